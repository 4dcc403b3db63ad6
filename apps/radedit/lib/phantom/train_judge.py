"""Train the judge of `radedit bench truth`, independently of the editor and of the victims.

Seeds are its own. In its world each finding and device comes independently of all others, on
either side, and each patient is seen with the findings gone and the drain kept, and the other
way round, so that nothing can be guessed from anything else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from radedit.lib.phantom import augment, networks, panels
from radedit.lib.phantom.checkpoint import Trainer
from radedit.lib.phantom.devices import Device
from radedit.lib.phantom.findings import Finding
from radedit.lib.phantom.measures import confusion, logits_of, operating_point
from radedit.lib.phantom.panels import Films, Panel
from radedit.lib.phantom.world import Patient, World, draw_finding, draw_patient

FIRST_SEED = 4_000_000
BATCH = 32
DETAIL = 8.0  # thin lines, of the pleura and of drains, count from the first step
SIDES = ("left", "right")
LOBES = ("left upper", "left lower", "right upper", "right middle", "right lower")
LABELS = (
    *(f"pneumothorax {side}" for side in SIDES),
    *(f"effusion {side}" for side in SIDES),
    *(f"consolidation {lobe}" for lobe in LOBES),
    *(f"mass {side}" for side in SIDES),
    "cardiomegaly",
    "oedema",
    *(f"chest drain {side}" for side in SIDES),
    *(f"pacemaker {side}" for side in SIDES),
)
SHARES = {"pneumothorax": 0.40, "effusion": 0.36, "mass": 0.30, "nodule": 0.10, "atelectasis": 0.10}
"""How often a patient has each, on either side; lobes by LOBE, and what is drawn once apart."""
LOBE, LARGE_HEART, OEDEMA = 0.13, 0.2, 0.12
DEVICES = {
    "chest drain": 0.5,
    "pacemaker": 0.4,
    "endotracheal tube": 0.2,
    "central line": 0.25,
    "ECG leads": 0.2,
}
WORLD = World(
    normal=1.0,
    sites={"north": 1.0, "harbour": 1.0, "ward": 1.0},
    drain_otherwise=0.0,
    devices={},
)


@dataclass(frozen=True)
class Plan:
    """How much work a training is.

    Attributes
    ----------
    patients, held : trained on; then kept apart for thresholds and figures
    steps : of training
    size : pixels a side
    """

    patients: int = 960
    held: int = 140
    steps: int = 2400
    size: int = 128


QUICK = Plan(patients=6, held=4, steps=3)


def variants(seed: int) -> list[Patient]:
    """Six films of one patient, two of them other draws of everything.

    As drawn; without its findings; without its drain (with one where it had none); without
    both; with other findings and devices; with those findings and the first devices.
    """
    rng = np.random.default_rng([seed, 0x1D6E])
    plain = draw_patient(seed, WORLD)
    found, placed = _findings(rng), _devices(rng)
    toggled = _toggle_drain(rng, placed)
    # A large heart and congestion are costly to lay out, so one patient has them one way.
    shaping = tuple(f for f in found if f.side == "both")
    others = tuple(f for f in _findings(rng) if f.side != "both") + shaping
    cells = (
        (found, placed), ((), placed), (found, toggled), ((), toggled),
        (others, _devices(rng)), (others, placed),
    )  # fmt: skip
    return [replace(plain, findings=f, devices=d) for f, d in cells]


def _findings(rng: np.random.Generator) -> tuple[Finding, ...]:
    found = [
        draw_finding(rng, kind, str(rng.choice(SIDES)))
        for kind, share in SHARES.items()
        if rng.random() < share
    ]
    for lobe in LOBES:
        if rng.random() < LOBE:
            side, zone = lobe.split()
            found.append(draw_finding(rng, "consolidation", side, zone))
    for kind, share in (("cardiomegaly", LARGE_HEART), ("oedema", OEDEMA)):
        if rng.random() < share:
            found.append(draw_finding(rng, kind))
    return tuple(found) if rng.random() < 0.85 else ()


def _devices(rng: np.random.Generator) -> tuple[Device, ...]:
    return tuple(_device(rng, kind) for kind, share in DEVICES.items() if rng.random() < share)


def _device(rng: np.random.Generator, kind: str) -> Device:
    return Device(kind, str(rng.choice(SIDES)), int(rng.integers(2**31)))


def _toggle_drain(rng: np.random.Generator, placed: tuple[Device, ...]) -> tuple[Device, ...]:
    without = tuple(d for d in placed if d.kind != "chest drain")
    return without if without != placed else (*placed, _device(rng, "chest drain"))


def labels_of(patient: Patient) -> NDArray[np.bool_]:
    """What is on a patient's film, bool [len(LABELS)]."""
    shown = set[str]()
    for f in patient.findings:
        place = {"both": "", "left": " left", "right": " right"}[f.side]
        shown.add(f.kind + place + (f" {f.zone}" if f.kind == "consolidation" else ""))
    shown.update(f"{d.kind} {d.side}" for d in patient.devices)
    return np.array([label in shown for label in LABELS])


def train(work: Path, out: Path, plan: Plan | None = None) -> dict[str, dict[str, float]]:
    """Train the judge into `out`; give per label what was measured on unseen patients."""
    plan = plan or Plan()
    torch.manual_seed(9)
    panel = Panel("judge", FIRST_SEED, plan.patients + plan.held, plan.size, variants)
    films = panels.load(panel, work / "panels")
    truth = np.array([[labels_of(p) for p in each] for each in films.patients])
    config: dict[str, Any] = {
        "network": "classifier",
        "channels": [24, 48, 80, 112],
        "detail": DETAIL,
        "labels": list(LABELS),
        "image_size": plan.size,
    }
    trainer = Trainer(
        networks.build(config),
        work / f"judge-{plan.steps}-detail-{DETAIL:g}.pt",
        plan.steps,
        lr=3e-3,
    )

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([step, 37])
        who = rng.integers(plan.patients, size=BATCH)
        film = rng.integers(films.images.shape[1], size=BATCH)
        x = torch.from_numpy(films.images[who, film].astype("f4") / 255)[:, None]
        x = augment.soften(augment.expose(augment.pose(x, rng), rng), rng)
        target = torch.from_numpy(truth[who, film].astype("f4"))
        logits = trainer.model(x).float()
        return functional.binary_cross_entropy_with_logits(logits, target)

    trainer.run(loss_at, "judge")
    network = trainer.averaged()
    measured, thresholds = _measure(
        network, films.part(plan.patients, len(films.patients)), truth[plan.patients :]
    )
    networks.save(
        network,
        {
            "name": "judge",
            "world": "phantoms: every finding and device independent of every other",
            "thresholds": thresholds,
            "seeds": [FIRST_SEED, FIRST_SEED + plan.patients - 1],
            "measured": measured,
            **config,
        },
        out,
    )
    return measured


def _measure(
    network: torch.nn.Module, held: Films, truth: NDArray[np.bool_]
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    """Thresholds on the first half of the patients held, figures on the second."""
    n, k, size, _ = held.images.shape
    x = torch.from_numpy(held.images.reshape(n * k, 1, size, size).astype("f4") / 255)
    scores = (1 / (1 + np.exp(-logits_of(network, x).astype(float)))).reshape(n, k, -1)
    half = n // 2
    measured, thresholds = {}, {}
    for i, label in enumerate(LABELS):
        at = operating_point(scores[:half, :, i].ravel(), truth[:half, :, i].ravel())
        thresholds[label] = at
        measured[label] = confusion(scores[half:, :, i].ravel(), truth[half:, :, i].ravel(), at)
    return measured, thresholds
