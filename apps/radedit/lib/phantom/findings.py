"""What can be wrong in the phantom's chest: each finding as a change of ray lengths.

A finding takes lung away and puts soft tissue, fluid or air in its place, so what it adds to
the film follows from attenuation; nothing is painted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from radedit.lib.phantom.body import SIDES, Body, Mask
from radedit.lib.phantom.chest import Chest
from radedit.lib.phantom.rays import Map

VISIBLE_MM = 9.0  # of lung replaced, below which a finding's mask ends


@dataclass(frozen=True)
class Finding:
    """One finding.

    Attributes
    ----------
    kind : a key of FINDINGS
    side : the patient's "left" or "right"; "both" for oedema and cardiomegaly
    zone : "upper", "middle" or "lower": a lobe for consolidation, a third of the lung else
    extent : 0 (small) to 1 (large)
    seed : for shape and texture
    """

    kind: str
    side: str
    zone: str
    extent: float
    seed: int


@dataclass(frozen=True)
class Change:
    """What one finding does to the rays.

    Attributes
    ----------
    mask : bool [R, C], where it shows
    soft : float32 [R, C], mm of lung that became soft tissue or fluid
    air : share of the lung, 0 to 1, that became free air
    line : mm of soft tissue added (a pleural line, a septum)
    """

    mask: Mask
    soft: Map | None = None
    air: Map | None = None
    line: Map | None = None


def change_of(finding: Finding, chest: Chest) -> Change:
    """Work out a finding in a chest.

    Raises
    ------
    KeyError
        The kind is not in FINDINGS or changes the body itself (cardiomegaly).
    """
    return FINDINGS[finding.kind](finding, chest, np.random.default_rng([finding.seed, 7]))


def with_large_heart(body: Body, finding: Finding) -> Body:
    """Give the body its cardiomegaly: a cardiothoracic ratio of 0.55 to 0.68."""
    return replace(body, cardiothoracic_ratio=0.55 + 0.13 * finding.extent)


def smooth(rng: np.random.Generator, chest: Chest, mm: float) -> Map:
    """Noise of unit variance, correlated over `mm`; the same at every resolution."""
    cell = max(2.0, mm / 2)
    side = int(np.ceil(560 / cell))
    field = gaussian_filter(rng.standard_normal((side, side)), mm / cell)
    field = field / field.std()
    row, col = (chest.y + 280) / cell, (chest.x + 280) / cell
    return np.asarray(map_coordinates(field, [row, col], order=1, mode="nearest"), "f4")


def _span(chest: Chest, side: str) -> tuple[float, float]:
    """Top and lower end (y, mm) of a lung field; the body's own where it is hidden."""
    rows = chest.y[chest.field[side]]
    if rows.size == 0:
        return chest.body.lung_top, chest.body.dome_right
    return float(rows.min()), float(rows.max())


def _sign(finding: Finding) -> float:
    return 1.0 if finding.side == "left" else -1.0


def _pneumothorax(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
    """Free air around a lung that has fallen away from the wall, most at the apex."""
    space, pixel = chest.pleura[f.side], chest.rays.view.spacing / chest.rays.view.magnification
    top, bottom = chest.body.lung_top, chest.body.angle_y
    lateral = _sign(f) * (chest.x - chest.body.midline)
    closed = space | (lateral < 30) | (chest.y > bottom - 20)
    depth = distance_transform_edt(closed).astype("f4") * np.float32(pixel)
    t = np.clip((chest.y - top) / (bottom - top), 0, 1)
    gap = (10 + 30 * f.extent) * (1 - (0.85 - 0.40 * f.extent) * t)
    gap = gap + (1.5 + 2.5 * f.extent) * smooth(rng, chest, 30)
    inside = np.clip((gap - depth) / pixel + 0.5, 0, 1) * (chest.lung[f.side] > 0)
    share = np.float32(rng.uniform(0.55, 0.9)) * inside
    edge = np.exp(-(((depth - gap) / max(1.1, 0.7 * pixel)) ** 2)) * (chest.lung[f.side] > 8)
    mask = ((inside > 0.5) | (edge > 0.3)) & (chest.field[f.side] | (inside > 0.5))
    line = edge * np.float32(rng.uniform(5, 9) * min(1.0, 1.1 / pixel))
    return Change(mask, air=np.asarray(share, "f4"), line=np.asarray(line, "f4"))


def _effusion(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
    """Fluid that fills the angle and climbs the side wall."""
    _, bottom = _span(chest, f.side)
    lateral = _sign(f) * (chest.x - chest.body.midline)
    wall = chest.body.cage_half_width
    level = bottom - (20 + 70 * f.extent)
    climb = (20 + 22 * f.extent) * np.clip(lateral / wall, 0, 1.1) ** 5
    medial = 8 * np.clip(1 - lateral / 45, 0, 1) ** 2
    surface = level - climb - medial + 1.5 * smooth(rng, chest, 40)
    fill = np.clip((chest.y - surface) / 30, 0, 1) ** 1.2
    soft = fill * chest.lung[f.side] * np.float32(rng.uniform(0.80, 0.97))
    return Change(soft > VISIBLE_MM, soft=np.asarray(soft, "f4"))


def lobe(chest: Chest, side: str, zone: str) -> Map:
    """Share of the lung's depth, 0 to 1, that a lobe takes, as seen from the front."""
    top, bottom = chest.body.lung_top, chest.body.angle_y
    sign = 1.0 if side == "left" else -1.0
    lateral = sign * (chest.x - chest.body.midline) / chest.body.cage_half_width
    fissure = chest.body.hilum_y + 6 + 8 * (lateral - 0.5)  # the minor one, or its level
    above = np.clip((fissure - chest.y) / 2.5 + 0.5, 0, 1)
    low = np.clip((chest.y - (fissure + 34 * lateral**2 - 4)) / 30, 0, 1)
    if zone == "upper":
        return np.asarray(above * (0.75 + 0.2 * (chest.y < 0.3 * top)), "f4")
    if zone == "middle":
        front = np.clip((bottom - 26 - chest.y) / 22, 0, 1) * np.clip(1.35 - lateral, 0, 1)
        return np.asarray((1 - above) * front * 0.65, "f4")
    return np.asarray(low * 0.85, "f4")


def _consolidation(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
    share = lobe(chest, f.side, f.zone) * (0.32 + 0.38 * f.extent)
    patch = smooth(rng, chest, 16) + 0.5 * smooth(rng, chest, 5)
    inside = chest.field[f.side] & (share > 0.15)
    if not inside.any():
        inside = chest.field[f.side] | (chest.lung[f.side] > 20)
    pick = int(rng.integers(int(inside.sum())))
    cx, cy = float(chest.x[inside][pick]), float(chest.y[inside][pick])
    reach = 42 + 62 * f.extent
    near = np.exp(-((np.hypot(chest.x - cx, chest.y - cy) / reach) ** 4))
    soft = chest.lung[f.side] * share * near * np.clip(0.9 + 0.22 * patch, 0.25, 1.3)
    return Change(soft > VISIBLE_MM, soft=np.asarray(soft, "f4"))


def _oedema(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
    """Fluid around both hila, with septal lines at the bases."""
    soft = np.zeros_like(chest.total)
    line = np.zeros_like(chest.total)
    for side in SIDES:
        x = (1 if side == "left" else -1) * (chest.x - chest.body.midline)
        r = np.hypot((x - 48) / 66, (chest.y - chest.body.hilum_y - 32) / 92)
        patch = 1 + 0.25 * smooth(rng, chest, 12) + 0.15 * smooth(rng, chest, 4)
        soft += chest.lung[side] * np.exp(-(r**2)) * (0.16 + 0.26 * f.extent) * patch
        rim = chest.pleura[side] & (x > 0.80 * chest.body.cage_half_width) & (chest.y > 20)
        stripes = np.cos(2 * np.pi * (chest.y + 0.2 * x) / 9.0) > 0.86
        septa = rim & stripes & chest.field[side]
        line += np.float32(2.5 + 2 * f.extent) * septa.astype(np.float32)
    return Change(
        (soft > 0.5 * VISIBLE_MM) & (chest.field["left"] | chest.field["right"]),
        soft=np.asarray(np.maximum(soft, 0), "f4"),
        line=np.asarray(line, "f4"),
    )


def lobulated(x: Map, y: Map, radius: float, rng: np.random.Generator) -> Map:
    """Relative thickness, 0 to 1, of a rounded mass with an uneven border, centred at 0, 0.

    Parameters
    ----------
    x, y, radius : in one unit
    """
    theta = np.arctan2(y, x)
    edge = np.full(x.shape, radius)
    for k in (2, 3, 5):
        edge = edge + radius * rng.uniform(0, 0.12) * np.cos(k * theta + rng.uniform(0, 2 * np.pi))
    stretch = rng.uniform(0.85, 1.15)
    r = np.hypot(x * stretch, y / stretch) / edge
    return np.asarray(np.clip(1 - r**2, 0, None) ** float(rng.uniform(0.4, 0.6)))


def _rounded(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
    """A nodule (up to 30 mm) or a mass (30 to 70 mm)."""
    radius = 5 + 10 * f.extent if f.kind == "nodule" else 15.5 + 19 * f.extent
    top, bottom = _span(chest, f.side)
    third = (bottom - top) / 3
    start = top + third * ("upper", "middle", "lower").index(f.zone)
    deep = chest.field[f.side] & (chest.lung[f.side] > 60)
    zone = deep & (chest.y > start + 0.1 * third) & (chest.y < start + 0.9 * third)
    inside = zone if zone.any() else deep if deep.any() else chest.pleura[f.side]
    pick = int(rng.integers(int(inside.sum())))
    cx, cy = float(chest.x[inside][pick]), float(chest.y[inside][pick])
    shape = lobulated(chest.x - cx, chest.y - cy, radius, rng)
    soft = np.minimum(shape * 2 * radius * np.float32(rng.uniform(0.8, 1.0)), chest.lung[f.side])
    return Change(soft > min(VISIBLE_MM, 0.5 * radius), soft=np.asarray(soft, "f4"))


def _atelectasis(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
    """One to three plates of collapsed lung above the diaphragm, and the haze beside them."""
    dome = chest.body.dome_left if f.side == "left" else chest.body.dome_right
    lateral = _sign(f) * (chest.x - chest.body.midline)
    soft = np.zeros_like(chest.total)
    for _ in range(1 + int(2.99 * f.extent)):
        middle, half = rng.uniform(62, 92), rng.uniform(20, 30) + 14 * f.extent
        height, slope = dome - rng.uniform(10, 46), rng.uniform(-0.35, 0.25)
        across = chest.y - height - slope * (lateral - middle)
        across = across + 5 * ((lateral - middle) / half) ** 2 * rng.uniform(-1, 1)
        along = np.exp(-(((lateral - middle) / half) ** 6))
        soft += (16 + 20 * f.extent) * along * np.exp(-((across / rng.uniform(2.2, 4.5)) ** 2))
        soft += (5 + 8 * f.extent) * along * np.exp(-((across / 12.0) ** 2))
    soft = np.minimum(soft, chest.lung[f.side])
    return Change((soft > 0.5 * VISIBLE_MM), soft=np.asarray(soft, "f4"))


FINDINGS: Mapping[str, Callable[[Finding, Chest, np.random.Generator], Change]] = {
    "pneumothorax": _pneumothorax,
    "effusion": _effusion,
    "consolidation": _consolidation,
    "oedema": _oedema,
    "nodule": _rounded,
    "mass": _rounded,
    "atelectasis": _atelectasis,
}
KINDS = (*FINDINGS, "cardiomegaly")
