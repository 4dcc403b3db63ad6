"""Train the embedded lung and heart segmenter on phantoms and on real films with masks."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from safetensors.torch import save as safetensors_of
from torch.nn import functional

from radedit.lib.geometry import SquareGrid
from radedit.lib.lungs import CONFIG, build_network, largest_region, logits_of
from radedit.lib.phantom import chest, films
from radedit.lib.phantom.checkpoint import Trainer
from radedit.lib.phantom.corpus import Corpus
from radedit.lib.phantom.world import Patient, view_of
from radedit.lib.whole_files import replacing, write_file

BATCH = 16
HELD_OUT = 6  # patients with masks that no training step sees
UNSEEN_PHANTOMS = 60  # at most, and at most a quarter
REAL_SHARE = 0.6
LUNGS, HEART = slice(0, 2), slice(2, 3)  # of what the network outlines
SHEET_COLUMNS = 3
REVIEWERS = "Outlines: v7labs/covid-19-xray-dataset, CC BY 4.0"


@dataclass(frozen=True)
class Outlined:
    """A film and its outlines.

    Attributes
    ----------
    image : float32 [S, S]
    outlines : bool [3, S, S], left lung, right lung, heart
    known : bool [3, S, S], where it is known what is inside and what is not
    """

    image: films.Film
    outlines: films.Mask
    known: films.Mask


def train(
    folder: Path | None, phantoms: Corpus, work: Path, out: Path, steps: int
) -> dict[str, float]:
    """Train, write `out` (config.json, model.safetensors), return what was measured.

    A picture of the real films that were not trained on, `lungs-unseen.png`, goes into `work`.
    Few real films have outlines. So a first network, the teacher, outlines the others, and the
    last one learns from those too (self-training). No real film's heart has one: a network that
    saw phantoms only outlines those, since one that has learned real lungs without the heart
    between them calls half of a real chest heart. The last of `phantoms`, and 6 of the real
    patients, are not trained on, by any.
    """
    torch.manual_seed(2)
    size = int(CONFIG["image_size"])
    real = films.read_films(folder, size) if folder else []
    held = held_out(real)
    unseen_real, pool = (_real(real, held, wanted) for wanted in (True, False))
    drawn = [_phantom(phantoms, i) for i in track(range(len(phantoms.patients)), "outlining")]
    unseen = min(UNSEEN_PHANTOMS, len(drawn) // 4)
    learnt = drawn[:-unseen]
    bare = [f.image for f in real if f.lungs is None and f.patient_id not in held]
    if bare:
        teacher = _fit(work / "lungs-teacher.pt", (pool, learnt), steps)
        pool = pool + [_lungs_only(image, _outlines(teacher, image)[LUNGS]) for image in bare]
    if pool:
        phantoms_only = _fit(work / "lungs-phantoms.pt", ([], learnt), steps // 2)
        pool = [_with_heart(phantoms_only, film) for film in pool]
    network = _fit(work / "lungs.pt", (pool, learnt), steps)
    out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half().contiguous() for k, v in network.state_dict().items()}
    write_file(out / "model.safetensors", safetensors_of(weights))
    write_file(out / "config.json", json.dumps(CONFIG, indent=2) + "\n")
    if unseen_real:
        draw_outlines(network, unseen_real, work / "lungs-unseen.png")
    return {
        "dice_real_unseen_patients": _dice(network, unseen_real, LUNGS),
        "films_real_unseen": len(unseen_real),
        "dice_phantom_unseen": _dice(network, drawn[-unseen:], LUNGS),
        "dice_heart_phantom_unseen": _dice(network, drawn[-unseen:], HEART),
    }


def held_out(real: list[films.RealFilm]) -> set[str]:
    """The patients with outlines whom no training step sees."""
    patients = sorted({f.patient_id for f in real if f.lungs is not None})
    return set(patients[:: max(1, len(patients) // HELD_OUT)][:HELD_OUT])


def _fit(path: Path, pools: tuple[list[Outlined], list[Outlined]], steps: int) -> torch.nn.Module:
    """Train one network on real and simulated films; its averaged weights."""
    trainer = Trainer(build_network(), path, steps, lr=2e-3)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([step, 11])
        batch = [_sample(rng, *pools) for _ in range(BATCH)]
        image = torch.from_numpy(np.stack([b.image for b in batch]))[:, None]
        target = torch.from_numpy(np.stack([b.outlines for b in batch])).float()
        known = torch.from_numpy(np.stack([b.known for b in batch])).float()
        image, target, known = (a.to(trainer.device) for a in (image, target, known))
        return outline_loss(trainer.model(image * 2 - 1), target, known)

    trainer.run(loss_at, path.stem)
    return trainer.averaged()


def _outlines(network: torch.nn.Module, image: films.Film) -> films.Mask:
    """What a network outlines on a real film seen darker and brighter, bool [3, S, S]."""
    seen = np.stack([image**gamma for gamma in (0.75, 1.0, 1.35)])
    with torch.inference_mode():
        logits = network(torch.from_numpy(seen)[:, None] * 2 - 1).mean(0).numpy()
    return np.asarray(logits > 0)


def _lungs_only(image: films.Film, lungs: films.Mask, known: films.Mask | None = None) -> Outlined:
    everywhere = np.ones(image.shape, dtype=bool)
    known, nowhere = everywhere if known is None else known, ~everywhere
    return Outlined(image, np.stack([*lungs, nowhere]), np.stack([known, known, nowhere]))


def _with_heart(network: torch.nn.Module, film: Outlined) -> Outlined:
    heart = largest_region(_outlines(network, film.image)[2])
    return Outlined(
        film.image,
        np.stack([*film.outlines[LUNGS], heart]),
        np.stack([*film.known[LUNGS], np.ones_like(heart)]),
    )


def outline_loss(logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Cross entropy plus soft Dice, each [N, 3, S, S], of the pixels where `known` is 1."""
    p, target = logits.sigmoid() * known, target * known
    area, told = known.sum((2, 3)), known.amax((2, 3))
    overlap = (p * target).sum((2, 3)) * 2 + 1
    dice = 1 - overlap / (p.sum((2, 3)) + target.sum((2, 3)) + 1)
    entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    each = (entropy * known).sum((2, 3)) / area.clamp_min(1) + dice
    return torch.as_tensor((each * told).sum() / told.sum())


def _real(real: list[films.RealFilm], held: set[str], wanted: bool) -> list[Outlined]:
    return [
        _lungs_only(f.image, f.lungs, f.known)
        for f in real
        if f.lungs is not None and (f.patient_id in held) == wanted
    ]


def _phantom(phantoms: Corpus, number: int) -> Outlined:
    size = int(CONFIG["image_size"])
    left, right = zones(phantoms.patients[number], size)
    heart = _halved(phantoms.mask_of("heart", number).astype(np.float32), size) > 0.5
    outlines = np.stack([left, right, heart])
    image = _halved(phantoms.shown[number].astype(np.float32), size) / np.float32(255)
    return Outlined(image, outlines, np.ones_like(outlines))


def _halved(image: films.Film, size: int) -> films.Film:
    """Mean of square blocks, [S, S] to [size, size]."""
    step = image.shape[0] // size
    return np.asarray(image.reshape(size, step, size, step).mean((1, 3)), "f4")


def zones(patient: Patient, size: int) -> tuple[films.Mask, films.Mask]:
    """Left and right lung zone of a patient on the square model grid, bool [S, S] each."""
    view = view_of(patient, size)
    found = chest.lung_zones(patient.body, view)
    grid = SquareGrid(view.rows, view.cols, size)
    return grid.mask_down(found["left"]), grid.mask_down(found["right"])


def _sample(rng: np.random.Generator, real: list[Outlined], drawn: list[Outlined]) -> Outlined:
    pool = real if real and rng.random() < REAL_SHARE else drawn
    film = pool[int(rng.integers(len(pool)))]
    image = film.image
    while rng.random() < 0.3:
        added = films.add_mass(image, film.outlines[:2], rng)
        if added is None:
            break
        image = added[0]
    layers = np.concatenate([film.outlines, ~film.known]).astype(np.float32)
    image, *bent = films.bend(rng, image, *layers)
    image = films.expose(films.restyle(image, rng), rng)
    outlines, unknown = np.split(np.stack(bent) > 0.5, 2)
    return Outlined(image, outlines, ~unknown)


def draw_outlines(network: torch.nn.Module, cases: list[Outlined], path: Path) -> None:
    """Draw films with the lungs' outlines as reviewed and as found, and their Dice."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from radedit.lib.phantom.credibility_pictures import ATTRIBUTION

    rows = -(-len(cases) // SHEET_COLUMNS)
    figure = Figure(figsize=(3 * SHEET_COLUMNS, 3.2 * rows), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for number, case in enumerate(cases):
        axis = figure.add_subplot(rows, SHEET_COLUMNS, number + 1)
        axis.set_axis_off()
        axis.imshow(case.image, cmap="gray", vmin=0, vmax=1, interpolation="bicubic")
        axis.set_title(f"Dice {_overlap(network, case, LUNGS):.3f}", fontsize=8)
        if not case.known[0].all():
            axis.contour(case.known[0], [0.5], colors="gold", linewidths=0.6)
        for found, reviewed in zip(
            logits_of(network, case.image)[LUNGS], case.outlines, strict=False
        ):
            axis.contour(reviewed, [0.5], colors="lime", linewidths=1.2)
            axis.contour(found, [0.0], colors="red", linewidths=1.2)
    legend = "Green: as reviewed; red: as found; yellow: beyond it, no outline was drawn."
    figure.suptitle(f"{legend}\n{ATTRIBUTION}\n{REVIEWERS}", fontsize=8)
    with replacing(path) as stream:
        figure.savefig(stream, format="png")


def _dice(network: torch.nn.Module, cases: list[Outlined], labels: slice) -> float:
    if not cases:
        return float("nan")
    return float(np.mean([_overlap(network, case, labels) for case in cases]))


def _overlap(network: torch.nn.Module, case: Outlined, labels: slice) -> float:
    """Dice of the lungs together, or of the heart, where the outlines are known."""
    a = (logits_of(network, case.image)[labels] > 0) & case.known[labels]
    b = case.outlines[labels] & case.known[labels]
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))
