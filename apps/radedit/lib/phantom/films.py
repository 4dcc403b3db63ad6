"""Training films: rendered phantoms, and real films with a phantom's mass added.

Real films come from a folder given by the caller (`index.csv`, `images/`, `lung_masks/`);
the package ships none. The reviewed masks that the shipped weights learned from were drawn on
each film's central square and stretched over the whole film, so that is how masks are read; a
folder whose masks lie on the film says so in a column `mask_of` of its index, "film".
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import affine_transform, gaussian_filter, label, map_coordinates

from radedit.lib.errors import ParameterError
from radedit.lib.geometry import SquareGrid, stretched
from radedit.lib.phantom.findings import lobulated

Film = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Films whose square was not cut from the middle: columns to the right, for a film 640 wide.
OFF_CENTRE = {"4fed5061": 40, "a4318ac9": -40}


@dataclass(frozen=True)
class RealFilm:
    """One real film on the square training grid.

    Attributes
    ----------
    image : float32 [S, S], stretched to 0..1
    lungs : bool [2, S, S], the patient's left and right lung field, or None
    known : bool [S, S], where `lungs` says what is lung and what is not
    patient_id : a split by patient needs it
    """

    image: Film
    lungs: Mask | None
    known: Mask
    patient_id: str


def read_films(folder: Path, size: int) -> list[RealFilm]:
    """Read a folder of real films; see the module text for its layout.

    Raises
    ------
    ParameterError
        The index says of a mask what is neither "square" nor "film".
    """
    films = []
    with (folder / "index.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            name = f"{row['image_id']}.png"
            grey = np.asarray(Image.open(folder / "images" / name).convert("L"))
            pixels = grey.astype(np.float32) / np.float32(255)
            grid = SquareGrid(pixels.shape[0], pixels.shape[1], size)
            image = grid.down(stretched(pixels)[0])
            lungs, known = None, np.zeros((size, size), dtype=bool)
            if row["lung_mask"] == "1":
                mask = np.asarray(Image.open(folder / "lung_masks" / name).convert("L")) > 127
                lungs, known = outlined(mask, grid, _drawn_on(row, mask.shape))
            films.append(RealFilm(image, lungs, known, row["patient_id"]))
    return films


def _drawn_on(row: Mapping[str, str], shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """The square in a film's middle, as wide as its shorter side; None for the whole film."""
    drawn_on = row.get("mask_of", "square")
    if drawn_on == "film":
        return None
    if drawn_on != "square":
        raise ParameterError(
            f'the index has "{drawn_on}" as mask_of; write "film" for a mask that lies on the '
            'film, "square" for one drawn on its central square and stretched.'
        )
    side = min(shape)
    top, left = ((length - side) // 2 for length in shape)
    left += OFF_CENTRE.get(row["image_id"], 0) * shape[1] // 640
    return slice(top, top + side), slice(left, left + side)


def outlined(
    mask: Mask, grid: SquareGrid, square: tuple[slice, slice] | None = None
) -> tuple[Mask, Mask]:
    """A film's reviewed mask on the square training grid.

    Parameters
    ----------
    mask : bool [rows, cols], both lungs
    grid : of that film
    square : rows and columns of the film that the mask was drawn on before it was stretched
        over the film; the whole film unless told

    Returns
    -------
    lungs : bool [2, S, S], left and right
    known : bool [S, S], where the mask was drawn, and beside the film, where no lung is
    """
    undrawn = np.zeros_like(mask)
    if square is not None:
        shape = undrawn[square].shape
        drawn = Image.fromarray(mask).convert("L").resize(shape[::-1], Image.Resampling.BOX)
        mask, undrawn = np.zeros_like(mask), np.ones_like(mask)
        mask[square], undrawn[square] = np.asarray(drawn) > 127, False
    lungs, unknown = (grid.down(layer.astype(np.float32)) > 0.5 for layer in (mask, undrawn))
    return _sides(lungs), ~unknown


def _sides(lungs: Mask) -> Mask:
    """Split a mask of both lungs: the patient's left lies on the image's right."""
    regions, count = label(lungs)
    centres = [float(np.nonzero(regions == i + 1)[1].mean()) for i in range(count)]
    middle = (min(centres) + max(centres)) / 2
    left = np.isin(regions, [i + 1 for i, c in enumerate(centres) if c > middle])
    return np.stack([left, lungs & ~left])


def vary(rng: np.random.Generator, *layers: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The same small rotation, zoom and shift for every layer, each float32 [S, S]."""
    angle, zoom = rng.uniform(-0.10, 0.10), rng.uniform(0.85, 1.25)
    size = layers[0].shape[0]
    c, s = np.cos(angle) / zoom, np.sin(angle) / zoom
    matrix = np.array([[c, -s], [s, c]])
    middle = np.full(2, (size - 1) / 2)
    offset = middle - matrix @ (middle + rng.uniform(-0.06, 0.06, 2) * size)
    return [affine_transform(x, matrix, offset, order=1) for x in layers]


def bend(rng: np.random.Generator, *layers: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """The same turn, stretch, shift and soft bending for every layer, each float32 [S, S].

    Wider than `vary`: for few films that must stand for many.
    """
    size = layers[0].shape[0]
    angle = rng.uniform(-0.16, 0.16)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag(1 / rng.uniform(0.75, 1.3, 2))
    at = np.mgrid[:size, :size].astype(np.float32) - (size - 1) / 2
    bent = [gaussian_filter(rng.standard_normal((size, size)), size / 12) for _ in range(2)]
    waves = np.stack([b / np.abs(b).max() for b in bent]) * rng.uniform(0, 0.04) * size
    shift = rng.uniform(-0.07, 0.07, (2, 1, 1)) * size
    source = np.tensordot(matrix, at, 1) + (size - 1) / 2 + shift + waves
    return [map_coordinates(x, source, order=1).astype(np.float32) for x in layers]


def restyle(image: Film, rng: np.random.Generator) -> Film:
    """Another vendor's processing, and things that lie on the film; float32 [S, S], 0 to 1."""
    size = image.shape[0]
    usual = gaussian_filter(image, rng.uniform(0.02, 0.15) * size)
    shown = image + rng.uniform(-0.5, 0.8) * (image - usual)
    if rng.random() < 0.3:
        shown = gaussian_filter(shown, rng.uniform(0.3, 1.2))
    for _ in range(int(rng.integers(0, 4))):
        y, x = rng.integers(0, size, 2)
        h, w = (rng.uniform(0.02, 0.2, 2) * size).astype(int) + 1
        shown[y : y + h, x : x + w] += rng.uniform(-0.4, 0.4)
    for _ in range(int(rng.integers(0, 4))):  # a lead across the film
        t = np.linspace(0, 1, 3 * size)[:, None]
        begin, end = rng.uniform(0, size, (2, 2))
        bow = rng.uniform(-0.2, 0.2, 2) * size
        line = begin + (end - begin) * t + bow * np.sin(np.pi * t)
        rows, cols = np.clip(line, 0, size - 1).astype(int).T
        shown[rows, cols] += rng.uniform(0.1, 0.5)
    return np.asarray(np.clip(shown, 0, 1), "f4")


def expose(image: Film, rng: np.random.Generator) -> Film:
    """Another look-up and other noise for the same film."""
    shown = np.clip(image, 0, 1) ** rng.uniform(0.65, 1.5)
    low, high = rng.uniform(0, 0.15), rng.uniform(0.85, 1.0)
    noise = rng.standard_normal(image.shape) * rng.uniform(0, 0.012)
    return np.clip(low + (high - low) * shown + noise, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Mass:
    """Where a mass was added: the patient's side, the third of the lung, 0..1 extent."""

    side: str
    zone: str
    extent: float


def add_mass(image: Film, lungs: Mask, rng: np.random.Generator) -> tuple[Film, Mass] | None:
    """Add the shadow of a rounded mass to a film inside a lung field.

    Parameters
    ----------
    image : float32 [S, S], 0 to 1
    lungs : bool [2, S, S], left and right

    Returns
    -------
    The film and where the mass lies, or None where that side has no lung field.
    """
    side = int(rng.integers(2))
    rows, cols = np.nonzero(lungs[side])
    if rows.size < 400:
        return None
    size = image.shape[0]
    pick = int(rng.integers(rows.size))
    extent = float(rng.random())
    radius = (0.018 + 0.055 * extent) * size
    y, x = np.mgrid[:size, :size].astype(float)
    depth = lobulated(x - cols[pick], y - rows[pick], radius, rng)
    depth = gaussian_filter(depth, rng.uniform(0.4, 1.4))
    amplitude = rng.uniform(0.25, 0.75)
    shown = image + amplitude * depth * (1 - image) * (0.5 + 0.5 * lungs[side])
    third = (rows[pick] - rows.min()) / max(1, np.ptp(rows))
    zone = ("upper", "middle", "lower")[min(2, int(3 * third))]
    return shown.astype(np.float32), Mass(("left", "right")[side], zone, extent)
