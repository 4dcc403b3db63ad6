"""Several films of each of many patients, rendered once and kept on disk, for classifiers.

A corpus holds pairs for an editor. A panel holds the cells of an experiment: the same patient
and exposure with and without each thing, so that how often two things go together is chosen
when examples are drawn, not when films are rendered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from radedit.lib.geometry import SquareGrid, stretched
from radedit.lib.phantom.world import Patient, Studio
from radedit.lib.whole_files import replacing

CHUNK = 50


@dataclass(frozen=True)
class Panel:
    """Which patients, and which films of each.

    Attributes
    ----------
    name : of the files on disk
    first, count : seeds
    size : pixels a side
    variants : seed to K variants of one patient; a function of a module, and pure
    """

    name: str
    first: int
    count: int
    size: int
    variants: Callable[[int], list[Patient]]


@dataclass(frozen=True)
class Films:
    """Rendered panels, each film stretched and squared as the app does before a model.

    Attributes
    ----------
    patients : N lists of K variants
    images : uint8 [N, K, S, S]
    lungs : bool [N, S, S], both lung fields of each patient's first variant
    """

    patients: list[list[Patient]]
    images: NDArray[np.uint8]
    lungs: NDArray[np.bool_]

    def part(self, start: int, stop: int) -> Films:
        """Patients `start` to `stop`, the last left out."""
        return Films(self.patients[start:stop], self.images[start:stop], self.lungs[start:stop])


def load(panel: Panel, folder: Path, workers: int = 2) -> Films:
    """Render what is missing in `folder`, and read all films of a panel."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for start in range(0, panel.count, CHUNK):
        first, count = panel.first + start, min(CHUNK, panel.count - start)
        path = folder / f"{panel.name}-{first}-{count}-{panel.size}.npy"
        jobs.append((panel, first, count, path))
    missing = [job for job in jobs if not job[3].exists()]
    if len(missing) == 1:
        _write_chunk(missing[0])
    elif missing:
        with get_context("spawn").Pool(workers) as pool:
            done = pool.imap_unordered(_write_chunk, missing)
            for _ in track(done, f"rendering {panel.name}", total=len(missing)):
                pass
    stored = np.concatenate([np.load(path) for *_, path in jobs])
    patients = [panel.variants(panel.first + i) for i in range(panel.count)]
    return Films(patients, stored[:, :-1], stored[:, -1] > 0)


def _write_chunk(job: tuple[Panel, int, int, Path]) -> None:
    panel, first, count, path = job
    rows = [films_of(panel.variants(first + i), panel.size) for i in range(count)]
    with replacing(path) as stream:
        np.save(stream, np.stack(rows))


def films_of(variants: list[Patient], size: int) -> NDArray[np.uint8]:
    """Give the films of one patient's variants, and last its lung fields, uint8 [K + 1, S, S]."""
    studio = Studio(variants[0], size)
    films = [studio.render(variant) for variant in variants]
    grid = SquareGrid(films[0].image.shape[0], films[0].image.shape[1], size)
    grey = [np.round(grid.down(stretched(film.image)[0]) * 255) for film in films]
    lungs = films[0].masks["lung_left"] | films[0].masks["lung_right"]
    return np.stack([*grey, grid.down(lungs.astype("f4")) > 0.5]).astype(np.uint8)
