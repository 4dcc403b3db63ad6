"""Rendered patients on disk, for training: drawn from seeds, resumable, in chunks.

Of each patient three films are kept: as drawn; with its findings gone, and with them the
drain that they brought (the counterfactual of the biased world, not of the drain's truth); and
with every other device gone too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from radedit.lib.geometry import SquareGrid, stretch_range
from radedit.lib.phantom.findings import KINDS
from radedit.lib.phantom.world import (
    Patient,
    Rendering,
    Studio,
    World,
    draw_patient,
    without,
    without_devices,
)
from radedit.lib.whole_files import replacing

CHUNK = 50
LAYERS = ("lung_left", "lung_right", "heart", "finding", "drain", "device")
"""What each bit of `Corpus.layers` says, lowest first."""


@dataclass(frozen=True)
class Corpus:
    """Patients and their films on the square model grid.

    Attributes
    ----------
    patients : N patients, in the order of their seeds
    shown, clear, bare : uint8 [N, S, S]; see the module text
    layers : uint8 [N, S, S], bits as in LAYERS
    """

    patients: list[Patient]
    shown: NDArray[np.uint8]
    clear: NDArray[np.uint8]
    bare: NDArray[np.uint8]
    layers: NDArray[np.uint8]

    def mask(self, layer: str) -> NDArray[np.bool_]:
        """One layer of every patient, bool [N, S, S]."""
        return np.asarray(self.layers & (1 << LAYERS.index(layer)) > 0)

    def mask_of(self, layer: str, number: int) -> NDArray[np.bool_]:
        """One layer of one patient, bool [S, S]."""
        return np.asarray(self.layers[number] & (1 << LAYERS.index(layer)) > 0)


@dataclass(frozen=True)
class Draw:
    """Which patients: `count` seeds from `first`, in a world, `size` pixels a side."""

    first: int
    count: int
    size: int = 256
    world: World = field(default_factory=World)


def load(draw: Draw, folder: Path, workers: int = 2) -> Corpus:
    """Render what is missing in `folder`, and read the whole corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    end = draw.first + draw.count
    spans = [range(start, min(start + CHUNK, end)) for start in range(draw.first, end, CHUNK)]
    jobs = [(draw, s, folder / f"{s.start}-{s.stop}-{draw.size}.npy") for s in spans]
    missing = [job for job in jobs if not job[2].exists()]
    if missing:
        with get_context("spawn").Pool(workers) as pool:
            for _ in track(
                pool.imap_unordered(_write_chunk, missing), "rendering", total=len(missing)
            ):
                pass
    films = np.concatenate([np.load(path) for _, _, path in jobs])[: draw.count]
    patients = [draw_patient(draw.first + i, draw.world) for i in range(draw.count)]
    return Corpus(patients, films[:, 0], films[:, 1], films[:, 2], films[:, 3])


def _write_chunk(job: tuple[Draw, range, Path]) -> None:
    draw, seeds, path = job
    rows = [triplet(draw_patient(seed, draw.world), draw.size) for seed in seeds]
    with replacing(path) as stream:
        np.save(stream, np.stack(rows))


def triplet(patient: Patient, size: int) -> NDArray[np.uint8]:
    """Give the three films and the layers of one patient, uint8 [4, S, S]."""
    studio = Studio(patient, size)
    cured = without(patient)
    if "pneumothorax" in patient.kinds:
        cured = without_devices(cured, "chest drain")
    shown, clear = studio.render(), studio.render(cured)
    bare = studio.render(without_devices(cured))
    low, high = stretch_range(shown.image)
    grid = SquareGrid(shown.image.shape[0], shown.image.shape[1], size)

    def grey(film: Rendering) -> NDArray[np.uint8]:
        image = np.clip((film.image - low) / (high - low), 0, 1).astype("f4")
        return np.asarray(np.round(grid.down(image) * 255), np.uint8)

    layers = np.zeros((size, size), np.uint8)
    for bit, names in enumerate(_names(shown)):
        for name in names:
            layers |= grid.mask_down(shown.masks[name]).astype(np.uint8) << bit
    return np.stack([grey(shown), grey(clear), grey(bare), layers])


def _names(film: Rendering) -> Iterator[list[str]]:
    organs = ("lung_left", "lung_right", "heart")
    yield from ([name] for name in organs)
    yield [name for name in film.masks if name in KINDS]
    yield [name for name in film.masks if name == "chest drain"]
    yield [name for name in film.masks if name not in (*organs, *KINDS, "chest drain")]
