"""Ribs, vessels, wires: the ray length through round tubes along any curve, by convolution.

The projection of a uniform disc of radius r is 2 sqrt(r^2 - d^2), the chord of a cylinder. So
the thickness map of a tube is its centre line, weighted by arc length, convolved with a disc.
Tubes that cross add up, as they do in a film, and the mass of an oblique tube is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, next_fast_len, rfft2

from radedit.lib.phantom.rays import Map, Points, View, project

FINE = 8  # sub-samples a side, of a kernel's pixel


@dataclass(frozen=True)
class Tube:
    """A tube along a curve.

    Attributes
    ----------
    curve : float [N, 3], mm in the patient frame, evenly enough spaced
    radius : mm
    weight : what one mm of chord counts; negative for a hollow
    """

    curve: Points
    radius: float
    weight: float = 1.0


def bezier(control: Points, count: int) -> Points:
    """Points [count, 3] along the Bezier curve of 2 to 4 control points."""
    t = np.linspace(0, 1, count)[:, None]
    points = [np.repeat(p[None], count, 0) for p in np.asarray(control, float)]
    while len(points) > 1:
        points = [(1 - t) * a + t * b for a, b in pairwise(points)]
    return points[0]


def chords(view: View, tubes: Iterable[Tube]) -> Map:
    """Ray length in mm through all tubes, summed, [R, C]."""
    over = 2 if max(view.rows, view.cols) <= 512 else 1
    pixel = view.spacing / over
    pad = int(np.ceil(16 * 1.3 / pixel))
    shape = (
        next_fast_len(view.rows * over + pad, True),
        next_fast_len(view.cols * over + pad, True),
    )
    groups: dict[float, list[tuple[NDArray[np.float64], ...]]] = {}
    for tube in tubes:
        radius = round(tube.radius * _scale(view, tube), 3)
        groups.setdefault(radius, []).append(_samples(view, tube, over))
    total = np.zeros((shape[0], shape[1] // 2 + 1), np.complex64)
    for radius, parts in groups.items():
        row, col, mass = (np.concatenate(column) for column in zip(*parts, strict=True))
        lines = _gather(row, col, mass, (view.rows * over, view.cols * over), shape)
        total += rfft2(lines) * _disc(round(radius / pixel, 2), shape)
    film = irfft2(total, shape)[: view.rows * over, : view.cols * over]
    if over > 1:
        film = film.reshape(view.rows, over, view.cols, over).mean(axis=(1, 3))
    return np.asarray(film, "f4")


def _scale(view: View, tube: Tube) -> float:
    """The tube's mean magnification, to the next 4 %, so that many tubes share a kernel."""
    z = float(tube.curve[:, 2].mean())
    scale = (view.detector_z - view.source_z) / (z - view.source_z)
    return round(float(np.exp(np.round(np.log(scale) / 0.04) * 0.04)), 4)


def _samples(view: View, tube: Tube, over: int) -> tuple[NDArray[np.float64], ...]:
    """Film positions (row, col) and arc lengths, no farther apart than half a fine pixel."""
    step = float(np.linalg.norm(np.diff(tube.curve, axis=0), axis=1).mean())
    repeat = max(1, int(np.ceil(step / (0.5 * view.spacing / over))))
    t = np.linspace(0, len(tube.curve) - 1, (len(tube.curve) - 1) * repeat + 1)
    at = np.arange(len(tube.curve))
    curve = np.stack([np.interp(t, at, tube.curve[:, i]) for i in range(3)], axis=1)
    lengths = np.linalg.norm(np.diff(curve, axis=0), axis=1)
    middle = (curve[1:] + curve[:-1]) / 2
    row, col = project(view, middle)
    # The disc is drawn magnified, so the arc is too, and the chord must come out unmagnified.
    return (row + 0.5) * over - 0.5, (col + 0.5) * over - 0.5, lengths * tube.weight


def _gather(
    row: NDArray[np.float64],
    col: NDArray[np.float64],
    mass: NDArray[np.float64],
    inside: tuple[int, int],
    shape: tuple[int, int],
) -> Map:
    """Spread point masses on the grid, each over its four pixels."""
    r0, c0 = np.floor(row).astype(int), np.floor(col).astype(int)
    fr, fc = row - r0, col - c0
    r = np.concatenate([r0, r0, r0 + 1, r0 + 1])
    c = np.concatenate([c0, c0 + 1, c0, c0 + 1])
    weight = np.concatenate([(1 - fr) * (1 - fc), (1 - fr) * fc, fr * (1 - fc), fr * fc])
    weight = weight * np.tile(mass, 4)
    ok = (r >= 0) & (r < inside[0]) & (c >= 0) & (c < inside[1])
    flat = np.bincount(r[ok] * shape[1] + c[ok], weight[ok], shape[0] * shape[1])
    return flat.reshape(shape).astype("f4")


@lru_cache(maxsize=96)
def _disc(radius: float, shape: tuple[int, int]) -> NDArray[np.complex64]:
    """Spectrum of a disc of `radius` pixels, each pixel weighted by the share it covers."""
    reach = int(np.ceil(radius)) + 1
    axis = (np.arange((2 * reach + 1) * FINE) + 0.5) / FINE - reach - 0.5
    fine = (axis[:, None] ** 2 + axis[None] ** 2 <= radius**2).astype("f4")
    side = 2 * reach + 1
    kernel = np.zeros(shape, "f4")
    kernel[:side, :side] = fine.reshape(side, FINE, side, FINE).mean(axis=(1, 3))
    kernel = np.roll(kernel, (-reach, -reach), axis=(0, 1))
    return np.asarray(rfft2(kernel), np.complex64)
