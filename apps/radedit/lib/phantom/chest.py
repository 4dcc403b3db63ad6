"""One chest along the rays of one exposure: path lengths of each tissue, and visible fields."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from radedit.lib.phantom import rays as ray
from radedit.lib.phantom import skeleton
from radedit.lib.phantom.body import SIDES, Body, Mask, Organs, organs
from radedit.lib.phantom.rays import Map, Rays, View
from radedit.lib.phantom.tubes import chords

VISIBLE_LUNG_MM = 4.0
MIDLINE_MM = 22.0  # half the width that the spine and vessels hide
FINE_HALF_MM = 256.0  # half the field that fine structure is drawn on


@dataclass(frozen=True)
class Chest:
    """A person without findings, laid into the rays.

    Attributes
    ----------
    body, rays : what was laid into what
    x, y : float32 [R, C], mm where each ray passes z = 0
    total, fat : float32 [R, C], mm of the whole torso, and of its outer fat
    lung : "left", "right": mm of lung, vessels included
    vessels : mm of vessel inside the lungs
    bone : mm of cortical bone
    air : mm of airway and stomach gas
    pleura : "left", "right": bool [R, C], the whole pleural space in projection
    field : "left", "right": bool [R, C], lung that nothing central hides
    heart, torso : bool [R, C]
    """

    body: Body
    rays: Rays
    x: Map
    y: Map
    total: Map
    fat: Map
    lung: dict[str, Map]
    vessels: Map
    bone: Map
    air: Map
    pleura: dict[str, Mask]
    field: dict[str, Mask]
    heart: Mask
    torso: Mask


def lay(body: Body, view: View, congestion: float = 0.0) -> Chest:
    """Lay a body into the rays of a view; `congestion` as in `skeleton.vessels`."""
    rays = ray.cast(view)
    found = organs(body, rays)
    lung = {side: _lung_path(rays, found, side) for side in SIDES}
    both = lung["left"] + lung["right"]
    torso = ray.silhouette(found.torso, 2.0)
    central = _union([ray.silhouette(part, 4.0) for part in found.central])
    x, y = rays.at(0.0)
    total = _torso_path(rays, found)
    air = np.minimum(chords(view, skeleton.airways(body)), 0.3 * total)
    if found.gas is not None:
        air = air + rays.length(found.gas)
    return Chest(
        body=body,
        rays=rays,
        x=x,
        y=y,
        total=total,
        fat=np.maximum(rays.length(found.torso) - rays.length(found.inner), 0),
        lung=lung,
        vessels=np.minimum(_vessels(body, rays, both, congestion), 0.9 * both),
        bone=np.minimum(skeleton.bones(body, rays), 0.6 * total),
        air=air,
        pleura={side: ray.silhouette(found.lungs[side]) for side in SIDES},
        field={side: (lung[side] > VISIBLE_LUNG_MM) & ~central for side in SIDES},
        heart=_union([ray.silhouette(part, 6.0) for part in found.heart]),
        torso=torso,
    )


def heart_mask(body: Body, view: View) -> Mask:
    """Give the heart's silhouette alone, bool [R, C]."""
    found = organs(body, ray.cast(view))
    return _union([ray.silhouette(part, 6.0) for part in found.heart])


def lung_zones(body: Body, view: View) -> dict[str, Mask]:
    """Each lung as reviewers outline it: the heart's shadow inside, nothing below the dome."""
    rays = ray.cast(view)
    found = organs(body, rays)
    x = rays.at(0.0)[0] - np.float32(body.midline)
    under = _union([ray.silhouette(dome, 4.0) for dome in found.domes.values()])
    return {
        side: ray.silhouette(found.lungs[side]) & ~under & (sign * x > MIDLINE_MM)
        for side, sign in (("left", 1), ("right", -1))
    }


def _vessels(body: Body, rays: Rays, lung: Map, congestion: float) -> Map:
    """Vessels that can be followed, and the finer ones as power-law noise.

    The spectrum of anatomy falls with the third power of frequency (Burgess, Med Phys 2001).
    """
    rng = np.random.default_rng([body.seed, 3])
    side = int(2 * FINE_HALF_MM)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    shape = np.where(frequency > 1 / 40, np.maximum(frequency, 1e-6) ** -1.5, 0)
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) * shape)
    noise = np.clip(noise / noise.std(), -2.5, 2.5)
    x, y = rays.at(0.0)
    fine = map_coordinates(noise, [y + FINE_HALF_MM, x + FINE_HALF_MM], order=1, mode="wrap")
    return np.asarray(
        chords(rays.view, skeleton.vessels(body, congestion)) + lung * (0.055 + 0.022 * fine), "f4"
    )


def _lung_path(rays: Rays, found: Organs, side: str) -> Map:
    space = found.lungs[side]
    taken = ray.union_length(rays, space, found.central)
    return np.asarray(np.maximum(rays.length(space) - taken, 0), "f4")


def _torso_path(rays: Rays, found: Organs) -> Map:
    total = rays.length(found.torso)
    for breast in found.breasts:
        inside = ray.union_length(rays, breast, [found.torso])
        total = total + np.maximum(rays.length(breast) - inside, 0)
    return np.asarray(total, "f4")


def _union(masks: list[Mask]) -> Mask:
    return np.asarray(np.logical_or.reduce(masks))
