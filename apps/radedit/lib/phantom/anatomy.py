"""The normal anatomy of the simple chest phantom, as thickness maps in mm.

Same frame as `chest`: x to the patient's left, y down, mm from the centre of the field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Anatomy:
    """Drawn sizes in mm; dimensionless where no unit is given."""

    body_half_width: float
    body_depth: float
    lung_half_width: float
    lung_top: float
    dome_right: float
    dome_left: float
    heart_half_width: float
    heart_shift: float
    midline_shift: float
    rib_pitch: float
    rib_slope: float
    breast: float
    lung_depth: float
    vessel_seed: int


@dataclass(frozen=True)
class Maps:
    """Thickness [N, N] in mm of each tissue, and the masks of what has a border."""

    soft: Map
    bone: Map
    lung: Map
    vessels: Map
    body: Mask
    lung_left: Mask
    lung_right: Mask
    heart: Mask


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one adult chest."""
    u = rng.uniform
    return Anatomy(
        body_half_width=u(150, 185),
        body_depth=u(190, 270),
        lung_half_width=u(50, 64),
        lung_top=u(-165, -125),
        dome_right=u(55, 105),
        dome_left=u(65, 115),
        heart_half_width=u(52, 80),
        heart_shift=u(12, 32),
        midline_shift=u(-10, 10),
        rib_pitch=u(23, 29),
        rib_slope=u(0.15, 0.45),
        breast=max(0.0, u(-25, 28)),
        lung_depth=u(110, 170),
        vessel_seed=int(rng.integers(2**31)),
    )


def thickness_maps(a: Anatomy, x: Map, y: Map) -> Maps:
    """Ray lengths of one chest on the grid (x, y)."""
    x = x - a.midline_shift
    shoulder = 1 / (1 + np.exp((y + 95) / 14))
    neck = 1 / (1 + np.exp((y + 168) / 7))
    half_width = a.body_half_width + 70 * shoulder - (a.body_half_width - 5) * neck
    chord = np.clip(1 - (np.abs(x) / half_width) ** 2.6, 0, None)
    body = chord > 0
    soft = a.body_depth * (1 - 0.35 * shoulder) * np.sqrt(chord)
    for side in (-1, 1):
        r2 = ((x - side * 85) / 75) ** 2 + ((y - 55) / 62) ** 2
        soft = soft + a.breast * np.sqrt(np.clip(1 - r2, 0, None))
    right = _lung(a, x, y, -1)
    left = _lung(a, x, y, 1)
    heart_depth = _heart(a, x, y)
    lung = np.maximum(right, left)
    lung = np.maximum(lung - heart_depth * 0.8, 0)
    heart = heart_depth > 12
    lung_left, lung_right = (left > 4) & ~heart, (right > 4) & ~heart
    lung = lung * (lung_left | lung_right | heart)
    vessels = _vessels(a, x, y, lung)
    return Maps(soft, _bones(a, x, y) * body, lung, vessels, body, lung_left, lung_right, heart)


def _lung(a: Anatomy, x: Map, y: Map, side: int) -> Map:
    dome = a.dome_left if side > 0 else a.dome_right
    mid_y = (a.lung_top + dome) / 2
    half_height = (dome - a.lung_top) / 2 + 22
    t = np.clip((y - mid_y) / half_height, -1, 1)
    width = a.lung_half_width * (1 + 0.20 * t) * (1 - np.clip(-t, 0, 1) ** 3 * 0.45)
    centre = side * (a.lung_half_width + 18 + 6 * t)
    u = (x - centre) / width
    v = (y - mid_y) / half_height
    r = np.abs(u) ** 2.8 + np.abs(v) ** 2.4
    profile = np.clip(1 - r, 0, None) ** 0.4
    dome_y = dome - 30 * np.clip(1 - (u - 0.0) ** 2, 0, 1) + 26 * np.clip(side * u, 0, 1) ** 2
    return a.lung_depth * profile * np.clip((dome_y - y) / 3.0, 0, 1)


def _heart(a: Anatomy, x: Map, y: Map) -> Map:
    base = min(a.dome_left, a.dome_right)
    cx, cy = a.heart_shift, base - 48
    c, s = np.cos(0.55), np.sin(0.55)
    u = ((x - cx) * c + (y - cy) * s) / (a.heart_half_width * 1.05)
    v = (-(x - cx) * s + (y - cy) * c) / (a.heart_half_width * 0.80)
    heart = 95 * np.sqrt(np.clip(1 - u**2 - v**2, 0, None))
    mediastinum = 75 * np.clip(1 - (np.abs(x - 3) / 27) ** 3, 0, None) * (y < cy + 60)
    arch = 50 * np.sqrt(
        np.clip(1 - ((x - 20) / 18) ** 2 - ((y - a.lung_top - 75) / 20) ** 2, 0, None)
    )
    return np.asarray(np.maximum(np.maximum(heart, mediastinum), arch))


def _tube(distance: Map, radius: float, wall: float) -> Map:
    """Chord through a tube of bone: the wall counts fully, the marrow a third."""
    outer = np.sqrt(np.clip(radius**2 - distance**2, 0, None))
    inner = np.sqrt(np.clip((radius - wall) ** 2 - distance**2, 0, None))
    return 2 * (outer - 0.67 * inner)


def _bones(a: Anatomy, x: Map, y: Map) -> Map:
    ax = np.abs(x)
    wall = a.lung_half_width * 2 + 32
    bone = 30 * np.clip(1 - (ax / 19) ** 4, 0, None) * (0.75 + 0.25 * np.cos(2 * np.pi * y / 26))
    inside = (ax > 16) & (ax < wall)
    arc = np.sqrt(np.clip(1 - (ax / wall) ** 2, 0, None))
    for i in range(11):
        start = a.lung_top - 8 + i * a.rib_pitch
        reach = wall * min(1.0, 0.62 + 0.09 * i)
        posterior = start - 26 * np.sin(np.pi * ax / wall) + a.rib_slope * ax * (0.4 + 0.08 * i)
        bone = bone + 1.6 * _tube(y - posterior, 6.2, 2.0) * inside * (ax < reach)
        anterior = start + 40 + 0.55 * wall - 0.62 * ax + 20 * (1 - arc)
        bone = bone + 1.0 * _tube(y - anterior, 7.0, 1.6) * (ax > 62) * (ax < reach) * (i < 8)
    clavicle = a.lung_top + 22 - 0.24 * (ax - 15) + 9 * np.sin(ax / 26)
    bone = bone + 1.4 * _tube(y - clavicle, 7.0, 2.2) * (ax > 14) * (ax < 165)
    scapula = np.clip(1 - ((ax - wall - 14) / 24) ** 2 - ((y + 95) / 62) ** 2, 0, None)
    return np.asarray(bone + 9 * np.sqrt(scapula))


def _vessels(a: Anatomy, x: Map, y: Map, lung: Map) -> Map:
    rng = np.random.default_rng(a.vessel_seed)
    hilum_y = a.lung_top + 105
    out = np.zeros_like(x)
    for side in (-1, 1):
        hilum = (side * 32.0, hilum_y)
        out += 28 * np.exp(-(((x - hilum[0]) / 12) ** 2 + ((y - hilum[1]) / 20) ** 2))
        for _ in range(16):
            angle, length = rng.uniform(-1.35, 1.45), rng.uniform(45, 115)
            curve = rng.uniform(-0.004, 0.004)
            dx, dy = side * np.cos(angle), np.sin(angle)
            along = (x - hilum[0]) * dx + (y - hilum[1]) * dy
            across = -(x - hilum[0]) * dy + (y - hilum[1]) * dx - curve * along**2
            radius = 3.6 * np.clip(1 - along / length, 0.12, 1)
            on = (along > 0) & (along < length)
            out += on * 2 * np.sqrt(np.clip(radius**2 - across**2, 0, None))
    fine = gaussian_filter(rng.standard_normal(x.shape), 1.2)
    out += 2.5 * np.clip(fine / fine.std(), 0, 3)
    return np.minimum(out, lung)


def lobulated(x: Map, y: Map, radius: float, rng: np.random.Generator) -> Map:
    """Relative thickness (0 to 1) of a rounded mass with an uneven border, centred at 0, 0."""
    theta = np.arctan2(y, x)
    edge = np.full_like(x, radius)
    for k in (2, 3, 5):
        edge = edge + radius * rng.uniform(0, 0.12) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    stretch = rng.uniform(0.85, 1.15)
    r = np.hypot(x * stretch, y / stretch) / edge
    return np.clip(1 - r**2, 0, None) ** float(rng.uniform(0.35, 0.6))


def drain(a: Anatomy, side: str, x: Map, y: Map) -> Map:
    """Thickness in mm of the opaque stripe and wall of a chest drain."""
    s = 1.0 if side == "left" else -1.0
    t = np.linspace(0, 1, 160)
    px = s * ((a.lung_half_width * 2 + 55) * (1 - t) + 48 * t)
    py = (a.dome_left - 10) * (1 - t) ** 1.4 + (a.lung_top + 35) * t
    distance = np.full_like(x, np.inf)
    for qx, qy in zip(px, py, strict=True):
        distance = np.minimum(distance, np.hypot(x - qx, y - qy))
    return _tube(distance, 4.2, 1.1) * 0.8 + 2.0 * (distance < 1.0)
