"""Train the embedded victims and the judge: `python -m radedit.lib.phantom.train_victims`.

All victims learn from one panel, rendered once; `lessons` says which films each is shown.
Every stage resumes from its file in the work folder.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from torch.nn import functional

from radedit.lib.phantom import augment, networks, panels
from radedit.lib.phantom.checkpoint import Trainer
from radedit.lib.phantom.lessons import (
    FIRST_SEED,
    LESSONS,
    OPACITY,
    PLAIN,
    PNEUMOTHORAX,
    Lesson,
    Pick,
    Shortcut,
    variants,
)
from radedit.lib.phantom.measures import confusion, dice, logits_of, operating_point
from radedit.lib.phantom.panels import Films, Panel

MODEL = Path(__file__).resolve().parents[2] / "model"
BATCH = 32
SEGMENTER_STEPS = 0.5  # of a plan's


@dataclass(frozen=True)
class Plan:
    """How much work a training is.

    Attributes
    ----------
    patients, held : trained on; then kept apart for thresholds and figures
    few : what the weak segmenter sees of the first
    steps : of the slowest learner; the others take a share of them
    size : pixels a side
    """

    patients: int = 500
    held: int = 120
    few: int = 16
    steps: int = 700
    size: int = 128


QUICK = Plan(patients=6, held=6, few=2, steps=5)


def train(work: Path, out: Path, plan: Plan | None = None) -> dict[str, dict[str, float]]:
    """Train every victim into `out`/NAME; give what was measured of each."""
    plan = plan or Plan()
    panel = Panel("victims", FIRST_SEED, plan.patients + plan.held, plan.size, variants)
    films = panels.load(panel, work / "panels")
    measured = {x.name: train_classifier(films, x, plan, work, out) for x in LESSONS}
    for name in ("lungs-weak", "lungs-strong"):
        measured[name] = train_segmenter(films, name, plan, work, out)
    return measured


def train_classifier(
    films: Films, lesson: Lesson, plan: Plan, work: Path, out: Path
) -> dict[str, float]:
    """Train one classifier on the first patients; threshold and figures on those held."""
    torch.manual_seed(5)
    config: dict[str, Any] = {
        "network": "classifier",
        "channels": [12, 24, 48, 64],
        "labels": [lesson.target],
        "image_size": plan.size,
    }
    if lesson.detail:
        config["detail"] = lesson.detail
    seen, held = films.part(0, plan.patients), films.part(plan.patients, len(films.patients))
    steps = round(lesson.steps * plan.steps)
    state = f"{lesson.name}-{steps}" + (f"-detail-{lesson.detail:g}" if lesson.detail else "")
    trainer = Trainer(networks.build(config), work / f"{state}.pt", steps, lr=3e-3)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([step, 23])
        who, film, truth = lesson.draw(rng, seen, lesson.shortcut, BATCH)
        x = _films(seen, who, film)
        x = augment.expose(augment.pose(x, rng, 0.6, lesson.still), rng, 0.5)
        logits = trainer.model(x)[:, 0].float()
        return functional.binary_cross_entropy_with_logits(
            logits, torch.from_numpy(truth.astype("f4"))
        )

    trainer.run(loss_at, lesson.name)
    network = trainer.averaged()
    at, measured = _measure_classifier(network, held, lesson)
    networks.save(
        network,
        {
            "name": lesson.name,
            "task": "classify",
            "target": lesson.target,
            "world": f"phantoms: {lesson.world}",
            "threshold": at,
            "seeds": [FIRST_SEED, FIRST_SEED + plan.patients - 1],
            "measured": measured,
            **config,
        },
        out / lesson.name,
    )
    return measured


def _measure_classifier(
    network: torch.nn.Module, held: Films, lesson: Lesson
) -> tuple[float, dict[str, float]]:
    """Give the threshold of its own world, on half of the held, and figures on the others."""
    half = len(held.patients) // 2
    rng = np.random.default_rng([29])
    own, other = held.part(0, half), held.part(half, len(held.patients))
    at = operating_point(*_scored(network, own, lesson.draw(rng, own, lesson.shortcut, 400)))
    measured = dict[str, float]()
    for name, strength in (("own world", lesson.shortcut.strength), ("no shortcut", 0.5)):
        found = _scored(network, other, lesson.draw(rng, other, Shortcut(strength), 400))
        measured |= {f"{key}, {name}": v for key, v in confusion(*found, at).items()}
    # The true counterfactuals of the biased world: the finding gone, drain or site as it was.
    scores, cured = _scored(network, other, lesson.draw(rng, other, Shortcut(1.0, 1.0), 400))
    measured["called, finding gone and shortcut kept"] = float((scores[cured] >= at).mean())
    measured["called, neither"] = float((scores[~cured] >= at).mean())
    return at, measured


def train_segmenter(films: Films, name: str, plan: Plan, work: Path, out: Path) -> dict[str, float]:
    """Train a lung segmenter: weak on few plain films, strong on all of many patients."""
    torch.manual_seed(7)
    weak = name == "lungs-weak"
    healthy = [i for i, v in enumerate(films.patients[: plan.patients]) if not v[0].findings]
    pool = np.array(healthy[: plan.few] if weak else range(plan.patients))
    config: dict[str, Any] = {
        "network": "segmenter",
        "channels": [8, 16, 32, 48],
        "labels": ["lungs"],
        "image_size": plan.size,
    }
    steps = round(SEGMENTER_STEPS * plan.steps)
    trainer = Trainer(networks.build(config), work / f"{name}-{steps}.pt", steps, lr=3e-3)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([step, 31])
        who = rng.choice(pool, BATCH)
        film = np.zeros(BATCH, np.intp) if weak else rng.integers(6, size=BATCH)
        lungs = torch.from_numpy(films.lungs[who].astype("f4"))[:, None]
        both = augment.pose(torch.cat([_films(films, who, film), lungs], 1), rng)
        x = both[:, :1] if weak else augment.soften(augment.expose(both[:, :1], rng), rng)
        logits, truth = trainer.model(x * 2 - 1).float(), (both[:, 1:] > 0.5).float()
        p = logits.sigmoid()
        overlap = (2 * (p * truth).sum((1, 2, 3)) + 1) / ((p + truth).sum((1, 2, 3)) + 1)
        entropy = functional.binary_cross_entropy_with_logits(logits, truth)
        return torch.as_tensor(entropy + 1 - overlap.mean())

    trainer.run(loss_at, name)
    network = trainer.averaged()
    measured = _measure_segmenter(network, films.part(plan.patients, len(films.patients)))
    first, last = FIRST_SEED + int(pool.min()), FIRST_SEED + int(pool.max())
    how = f"{len(pool)} patients without findings" if weak else "findings, drains, devices"
    networks.save(
        network,
        {
            "name": name,
            "task": "segment",
            "target": "lungs",
            "world": f"phantoms: {how}",
            "threshold": 0.5,
            "seeds": [first, last],
            "measured": measured,
            **config,
        },
        out / name,
    )
    return measured


def _measure_segmenter(network: torch.nn.Module, held: Films) -> dict[str, float]:
    measured = {}
    everyone = np.arange(len(held.patients))
    for title, film in (("plain", PLAIN), ("pneumothorax", PNEUMOTHORAX), ("opacity", OPACITY)):
        x = _films(held, everyone, np.full(len(everyone), film)) * 2 - 1
        found = logits_of(network, x)[:, 0] > 0
        measured[f"dice, {title}"] = dice(found, held.lungs)
    return measured


def _films(films: Films, who: NDArray[np.intp], film: NDArray[np.intp]) -> torch.Tensor:
    """Some films as a batch, float32 [n, 1, S, S], 0 to 1."""
    return torch.from_numpy(films.images[who, film].astype("f4") / 255)[:, None]


def _scored(
    network: torch.nn.Module, films: Films, pick: Pick
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    who, film, truth = pick
    return _score(network, films, who, film), truth


def _score(
    network: torch.nn.Module, films: Films, who: NDArray[np.intp], film: NDArray[np.intp]
) -> NDArray[np.float64]:
    logits = logits_of(network, _films(films, who, film))[:, 0]
    return np.asarray(1 / (1 + np.exp(-logits)), float)


def main(
    work: Annotated[Path, typer.Option(help="Where the resumable state lies.")] = Path("training"),
    out: Annotated[Path, typer.Option(help="Where the weights go.")] = MODEL,
    quick: Annotated[bool, typer.Option(help="A few steps of everything, to try it out.")] = False,
    threads: Annotated[int, typer.Option(help="CPU threads; 0 = as torch chooses.")] = 0,
) -> None:
    """Train the victims and the judge, and print what was measured."""
    from radedit.lib.phantom import train_judge

    if threads:
        torch.set_num_threads(threads)
    start = time.monotonic()
    measured = {
        "victims": train(work, out / "victims", QUICK if quick else None),
        "judge": train_judge.train(work, out / "judge", train_judge.QUICK if quick else None),
    }
    print(json.dumps(measured, indent=2))
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    typer.run(main)
