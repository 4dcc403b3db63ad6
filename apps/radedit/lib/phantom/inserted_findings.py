"""Findings for real films: their borders follow the outlines found on the film.

The phantom's own (`findings`) lean on a body whose diaphragm and wall are known to the
millimetre; consolidation, effusion and pneumothorax are drawn here from the outlines instead.
Nodule, mass, oedema and plates of atelectasis are the phantom's. A large heart and a lobe's loss of
volume move what is there, which no added attenuation does, so they are not among these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from radedit.lib.phantom.body import Mask
from radedit.lib.phantom.chest import Chest
from radedit.lib.phantom.findings import FINDINGS, VISIBLE_MM, Change, Finding, smooth
from radedit.lib.phantom.fitted import hull
from radedit.lib.phantom.rays import Map


def inserted(finding: Finding, chest: Chest) -> Change:
    """Work out a finding in a chest laid over a film.

    Raises
    ------
    KeyError
        The kind is not in INSERTED.
    """
    return INSERTED[finding.kind](finding, chest, np.random.default_rng([finding.seed, 7]))


def lobe_share(chest: Chest, side: str, zone: str) -> Map:
    """Share of the lung's depth, 0 to 1, that a lobe takes, as seen from the front.

    The upper lobe ends at the minor fissure (left: at its level); the middle lobe, in the left
    lung the lingula, lies in front and against the heart, whose border it takes away; the lower
    lobe lies behind, so that the heart's border stays, and reaches the diaphragm.
    """
    lung = chest.pleura[side]
    rows = chest.y[lung]
    top, bottom = float(rows.min()), float(rows.max())
    lateral = np.abs(chest.x - chest.body.midline) / chest.body.cage_half_width
    height = (chest.y - top) / (bottom - top)
    minor = 0.52 + 0.05 * (lateral - 0.5)
    if zone == "upper":
        return np.asarray(0.85 * np.clip((minor - height) / 0.015 + 0.5, 0, 1), "f4")
    if zone == "middle":
        below = np.clip((height - minor) / 0.015 + 0.5, 0, 1)
        front = np.clip((0.92 - height) / 0.12, 0, 1) * np.clip((1.02 - lateral) / 0.35, 0, 1)
        return np.asarray(0.6 * below * front, "f4")
    return np.asarray(0.85 * np.clip((height - 0.42 - 0.12 * lateral) / 0.18, 0, 1), "f4")


def _consolidation(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
    """Airspaces filled in patches that run together, densest at their middle."""
    share = lobe_share(chest, f.side, f.zone)
    lung = chest.lung[f.side]
    inside = chest.pleura[f.side] & (share > 0.5 * float(share.max())) & (lung > 40)
    if f.zone == "lower":
        inside &= ~chest.heart
    inside = inside if inside.any() else chest.pleura[f.side]
    pick = int(rng.integers(int(inside.sum())))
    cx, cy = float(chest.x[inside][pick]), float(chest.y[inside][pick])
    reach = 26 + 44 * f.extent
    stretch = float(rng.uniform(0.8, 1.25))
    r = np.hypot((chest.x - cx) * stretch, (chest.y - cy) / stretch) / reach
    uneven = 0.55 * smooth(rng, chest, 22) + 0.35 * smooth(rng, chest, 9)
    near = 1 / (1 + np.exp(np.clip((r - 1 - 0.45 * uneven) / 0.17, -40, 40)))
    texture = 0.85 + 0.16 * smooth(rng, chest, 10) + 0.12 * smooth(rng, chest, 3.5)
    fill = (0.24 + 0.30 * f.extent) * near * np.clip(texture, 0.35, 1.25)
    soft = lung * share * np.clip(fill, 0, 1)
    return Change((soft > VISIBLE_MM) & chest.pleura[f.side], soft=np.asarray(soft, "f4"))


def _effusion(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
    """Fluid that hides the diaphragm, its surface rising towards the side wall as a meniscus."""
    space = chest.pleura[f.side]
    bottom = float(chest.y[space].max())
    dome = chest.body.dome_left if f.side == "left" else chest.body.dome_right
    lateral = np.abs(chest.x - chest.body.midline) / chest.body.cage_half_width
    level = bottom + (dome - bottom) * min(1.0, 0.4 + 1.6 * f.extent)
    level = level - 85 * max(0.0, f.extent - 0.3)
    climb = (16 + 30 * f.extent) * np.clip(lateral, 0, 1.05) ** 6
    medial = (4 + 8 * f.extent) * np.clip(1 - lateral / 0.35, 0, 1) ** 2
    surface = level - climb - medial + 1.2 * smooth(rng, chest, 45)
    depth = (chest.y - surface) / float(rng.uniform(20, 30))
    fill = np.clip(depth, 0, 1) ** 1.6
    fill = fill * np.clip((lateral - 0.15) / 0.4, 0, 1)  # the heart leaves it little room
    soft = np.float32(rng.uniform(0.38, 0.50)) * fill * chest.lung[f.side]
    return Change((soft > VISIBLE_MM) & space, soft=np.asarray(soft, "f4"))


def _pneumothorax(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
    """Free air between the wall and a lung that has fallen away from it, most at the apex."""
    space = chest.pleura[f.side]
    pixel = chest.rays.view.spacing / chest.rays.view.magnification
    rows = chest.y[space]
    top, bottom = float(rows.min()), float(rows.max())
    depth = wall_distance(chest, space) * np.float32(pixel)
    t = np.clip((chest.y - top) / (bottom - top), 0, 1)
    end = 0.55 + 0.6 * f.extent + float(rng.uniform(-0.06, 0.06))  # how far down it reaches
    gap = (13 + 34 * f.extent) * np.clip(1 - (t / end) ** 1.7, 0, None)
    gap = gap * (1 + 0.10 * smooth(rng, chest, 50)) - 1.0
    there = np.clip(gap / 3, 0, 1)  # where the layers meet there is neither air nor edge
    inside = np.clip((gap - depth) / pixel + 0.5, 0, 1) * space * there
    width = max(0.9, 0.6 * pixel)
    edge = np.exp(-(((depth - gap - width) / width) ** 2)) * space * there
    share = np.float32(rng.uniform(0.65, 0.95)) * inside
    line = edge * np.float32(rng.uniform(4, 7) * min(1.0, 1.1 / pixel))
    mask = (inside > 0.5) | (edge > 0.3)
    return Change(mask, air=np.asarray(share, "f4"), line=np.asarray(line, "f4"))


def wall_distance(chest: Chest, space: Mask) -> Map:
    """Pixels from the side wall and the apex of one lung; the diaphragm and the middle are open."""
    closed = hull(space)
    sign = 1 if chest.x[space].mean() > chest.body.midline else -1
    for row in np.flatnonzero(space.any(axis=1)):
        columns = np.flatnonzero(space[row])
        if sign > 0:
            closed[row, : columns[-1] + 1] = True
        else:
            closed[row, columns[0] :] = True
    closed = np.logical_or.accumulate(closed, axis=0)
    far = distance_transform_edt(np.pad(closed, 1, mode="edge"))[1:-1, 1:-1]
    pixel = chest.rays.view.spacing / chest.rays.view.magnification
    return np.asarray(gaussian_filter(far.astype("f4"), 5.0 / pixel), "f4")  # no kinks


def _thinner(kind: str, share: float) -> Callable[[Finding, Chest, np.random.Generator], Change]:
    """The phantom's finding with a share of its fluid, set by eye beside real films."""

    def change(f: Finding, chest: Chest, rng: np.random.Generator) -> Change:
        whole = FINDINGS[kind](f, chest, rng)
        soft = None if whole.soft is None else np.asarray(whole.soft * np.float32(share), "f4")
        return replace(whole, soft=soft)

    return change


INSERTED: Mapping[str, Callable[[Finding, Chest, np.random.Generator], Change]] = {
    **FINDINGS,
    "consolidation": _consolidation,
    "effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "oedema": _thinner("oedema", 0.6),
    "atelectasis": _thinner("atelectasis", 0.55),
}
