"""Where each ray of an exposure meets simple solids: the geometry of the phantom.

Patient frame, mm: x to the patient's left, y to the feet, z to the front; the origin lies in
the middle of the chest. A film shows the patient as if facing the reader, PA or AP: columns
run to the patient's left, rows to the feet.

A solid's part of a ray is an interval of z; lengths along the ray are the interval's length
times the ray's obliquity. Ellipsoids are solved exactly. Profiles (a depth given over x and y)
are solved by fixed point from z = 0: within 1 mm from about a pixel inside the silhouette, while
a ray that passes just outside it at z = 0 counts as empty, also where it meets the solid's edge
farther along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]
Points = NDArray[np.float64]
Interval = tuple[Map, Map]
"""Where rays enter and leave a solid, z in mm; empty where the second is not larger."""
Profile = Callable[[Map, Map], tuple[Map, Map]]
"""(x, y) to (middle z, half depth) in mm; outside the solid the half depth is 0."""

FIXED_POINT_STEPS = 4


@dataclass(frozen=True)
class View:
    """One exposure's geometry.

    Attributes
    ----------
    rows, cols : pixels of the film
    spacing : mm between pixel centres, at the detector
    source_z : z of the focal spot, mm; negative for PA (from behind), positive for AP
    detector_z : z of the detector plane, mm, on the other side
    turn : rotation of the patient about the long axis, radians; positive brings the front left
    tilt : rotation about the beam, radians, clockwise on the film
    shift_x, shift_y : where the origin lies on the film, mm from its centre
    """

    rows: int
    cols: int
    spacing: float
    source_z: float
    detector_z: float
    turn: float = 0.0
    tilt: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0

    @property
    def magnification(self) -> float:
        """How much larger a thing at z = 0 is drawn."""
        return (self.detector_z - self.source_z) / (0.0 - self.source_z)


@dataclass(frozen=True)
class Rays:
    """The rays through a film's pixels as lines x = ax + bx z, y = ay + by z, each [R, C]."""

    view: View
    ax: Map
    bx: Map
    ay: Map
    by: Map
    obliquity: Map

    def at(self, z: float | Map) -> tuple[Map, Map]:
        """The (x, y) in mm where the rays pass a depth."""
        return self.ax + self.bx * z, self.ay + self.by * z

    def length(self, interval: Interval) -> Map:
        """Ray length in mm inside one interval."""
        return np.asarray(np.maximum(interval[1] - interval[0], 0) * self.obliquity)


def cast(view: View) -> Rays:
    """Cast one ray per pixel."""
    u = ((np.arange(view.cols) + 0.5 - view.cols / 2) * view.spacing - view.shift_x).astype("f4")
    v = ((np.arange(view.rows) + 0.5 - view.rows / 2) * view.spacing - view.shift_y).astype("f4")
    u, v = np.meshgrid(u, v)
    c, s = np.float32(np.cos(view.tilt)), np.float32(np.sin(view.tilt))
    u, v = c * u + s * v, c * v - s * u
    span = np.float32(view.detector_z - view.source_z)
    start = np.float32(-view.source_z / span)
    bx, by = u / span, v / span
    obliquity = np.sqrt(1 + bx * bx + by * by)
    return Rays(view, u * start, bx - np.float32(view.turn), v * start, by, obliquity)


def project(view: View, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Film position (row, column, in pixels; a pixel's centre is whole) of points [N, 3] in mm."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    scale = (view.detector_z - view.source_z) / (z - view.source_z)
    u, v = (x + view.turn * z) * scale, y * scale
    c, s = np.cos(view.tilt), np.sin(view.tilt)
    u, v = c * u - s * v, c * v + s * u
    col = (u + view.shift_x) / view.spacing + view.cols / 2 - 0.5
    row = (v + view.shift_y) / view.spacing + view.rows / 2 - 0.5
    return row, col


def ellipsoid(
    rays: Rays, centre: Sequence[float], radii: Sequence[float], angle: float = 0.0
) -> Interval:
    """Intersect an ellipsoid, turned by `angle` radians from x towards y; exact."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    px, py = rays.ax - np.float32(centre[0]), rays.ay - np.float32(centre[1])
    linear = (
        ((px * c + py * s) / radii[0], (rays.bx * c + rays.by * s) / radii[0]),
        ((py * c - px * s) / radii[1], (rays.by * c - rays.bx * s) / radii[1]),
        (np.float32(-centre[2] / radii[2]), np.float32(1 / radii[2])),
    )
    a = sum(q * q for _, q in linear)
    b = sum(p * q for p, q in linear)
    rest = sum(p * p for p, _ in linear) - 1
    root = np.sqrt(np.maximum(b * b - a * rest, 0))
    return np.asarray((-b - root) / a, "f4"), np.asarray((-b + root) / a, "f4")


def profiled(rays: Rays, profile: Profile) -> Interval:
    """Intersect a solid given by its depth over (x, y)."""
    middle, half = profile(*rays.at(0.0))
    low, high = middle - half, middle + half
    for _ in range(FIXED_POINT_STEPS):
        middle, half = profile(*rays.at(low))
        low = middle - half
        middle, half = profile(*rays.at(high))
        high = middle + half
    return low, high


def union_length(rays: Rays, solid: Interval, parts: Sequence[Interval]) -> Map:
    """Ray length in mm that any of `parts` takes inside `solid`; overlaps count once."""
    if not parts:
        return np.zeros_like(solid[0])
    starts = np.stack([np.clip(low, solid[0], solid[1]) for low, _ in parts])
    ends = np.stack([np.clip(high, solid[0], solid[1]) for _, high in parts])
    order = np.argsort(starts, axis=0)
    starts, ends = np.take_along_axis(starts, order, 0), np.take_along_axis(ends, order, 0)
    total, reached = np.zeros_like(starts[0]), np.full_like(starts[0], -np.inf)
    for low, high in zip(starts, ends, strict=True):
        total += np.maximum(high - np.maximum(low, reached), 0)
        reached = np.maximum(reached, high)
    inside = np.maximum(solid[1] - solid[0], 0)
    return np.asarray(np.minimum(total, inside) * rays.obliquity, "f4")


def silhouette(interval: Interval, least: float = 0.5) -> NDArray[np.bool_]:
    """Where rays pass at least `least` mm of z through a solid."""
    return np.asarray(interval[1] - interval[0] > least)
