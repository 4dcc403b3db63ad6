"""A real film's chest, as far as its outlines tell: the phantom's frame laid over a patient.

Findings and devices of the phantom are drawn in a `Chest`. Here one is made of the lungs and the
heart that were found on a film: what lies where is measured; how deep a lung is along a ray is
not, and is taken from the phantom's own section of a chest of that width.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from radedit.lib.errors import FilmError
from radedit.lib.phantom import rays as ray
from radedit.lib.phantom.body import SIDES, Body, Mask
from radedit.lib.phantom.chest import Chest
from radedit.lib.phantom.rays import Map, View

LUNG_TOP = -150.0  # y of the apices, mm: a phantom's usual one
HALF_WIDTH_MM = 126.0  # of an adult's inner cage; stands for a film that knows no spacing
HALF_WIDTHS_MM = (70.0, 175.0)  # that a spacing may lead to and be believed
DEPTH = 0.80  # of the inner cage against its width, as in the phantom
BELOW_MM = 5.0  # of lung below its drawn edge
MEDIAL_MM = 14.0  # over which a lung thins out at its inner edge
BEHIND_HEART = 0.5  # share of the lung's depth that the heart leaves
HEART_RIM_MM = 10.0  # over which a heart's depth rises from its border
GAP = 135.0  # mm from the middle of the chest to the detector
DISTANCE = 1800.0  # mm from the focal spot to the detector


def fit_chest(outlines: Mapping[str, Mask], spacing_mm: float | None = None) -> Chest:
    """Lay the phantom's frame over a film.

    Parameters
    ----------
    outlines : "left", "right" (the patient's), "heart" to bool [R, C], as `lungs.segment_lungs`
        gives them; the patient's left on the right
    spacing_mm : between pixels, at the detector; None or one that makes no chest: an adult's
        width is assumed, so that a child's film gets an adult's devices made smaller

    Returns
    -------
    Chest
        Without bone, vessels, fat and airways, which the film itself shows.

    Raises
    ------
    FilmError
        The two lungs do not lie beside each other.
    """
    left, right, heart = (outlines[name] for name in ("left", "right", "heart"))
    rows, cols = left.shape
    inner, outer = _edges(left, right)
    middle = float(np.median(inner.mean(axis=0)))
    half_px = float(outer[1].max() - outer[0].min()) / 2
    if not np.all(np.median(inner, axis=1) != middle) or half_px < 8:
        raise FilmError(
            "The lungs found on this film do not lie beside each other, so nothing can be put "
            "into them; choose a frontal film that shows both lungs."
        )
    magnification = DISTANCE / (DISTANCE - GAP)
    half_mm = half_px * (spacing_mm or 0.0) / magnification
    if not HALF_WIDTHS_MM[0] <= half_mm <= HALF_WIDTHS_MM[1]:
        half_mm = HALF_WIDTH_MM
    spacing = half_mm * magnification / half_px
    top = float(min(np.flatnonzero(side.any(axis=1))[0] for side in (left, right)))
    view = View(
        rows,
        cols,
        spacing,
        source_z=GAP - DISTANCE,
        detector_z=GAP,
        shift_x=(middle + 0.5 - cols / 2) * spacing,
        shift_y=(top + 0.5 - rows / 2) * spacing - LUNG_TOP * magnification,
    )
    rays = ray.cast(view)
    x, y = rays.at(0.0)
    body = _body(half_mm, {s: _dome(outlines[s], y) for s in SIDES}, _wide(heart, half_px))
    nothing = np.zeros((rows, cols), "f4")
    depth = _depth(left | right, view, body, y)
    deep = np.clip(distance_transform_edt(heart) * (spacing / magnification) / HEART_RIM_MM, 0, 1)
    depth *= (1 - (1 - BEHIND_HEART) * deep).astype("f4")
    return Chest(
        body=body,
        rays=rays,
        x=x,
        y=y,
        total=nothing,
        fat=nothing,
        lung={
            side: _present(outlines[side], depth, spacing / magnification, sign)
            for side, sign in (("left", 1), ("right", -1))
        },
        vessels=nothing,
        bone=nothing,
        air=nothing,
        pleura={side: outlines[side] for side in SIDES},
        field={side: outlines[side] & ~heart for side in SIDES},
        heart=heart,
        torso=np.ones((rows, cols), dtype=bool),
    )


def _edges(left: Mask, right: Mask) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Columns of the inner and outer edges, each [2 (right, left lung), rows with both lungs]."""
    both = np.flatnonzero(left.any(axis=1) & right.any(axis=1))
    if both.size < 8:
        raise FilmError(
            "The lungs found on this film lie above each other, so nothing can be put into them; "
            "choose an upright frontal film."
        )
    cols = left.shape[1]
    start = [np.argmax(side[both], axis=1) for side in (right, left)]
    end = [cols - 1 - np.argmax(side[both][:, ::-1], axis=1) for side in (right, left)]
    return np.stack([end[0], start[1]]), np.stack([start[0], end[1]])


def _dome(lung: Mask, y: Map) -> float:
    """The y (mm) of a hemidiaphragm's highest point: of the lung's lower edge, off its ends."""
    columns = np.flatnonzero(lung.any(axis=0))
    inside = columns[len(columns) // 4 : max(len(columns) * 3 // 4, len(columns) // 4 + 1)]
    last = lung.shape[0] - 1 - np.argmax(lung[::-1, inside], axis=0)
    return float(np.percentile(y[last, inside], 20))


def _wide(heart: Mask, half_px: float) -> float:
    """Width of the heart against the cage's; a usual one where none was found."""
    columns = np.flatnonzero(heart.any(axis=0))
    return float(np.clip(np.ptp(columns) / (2 * half_px), 0.3, 0.8)) if columns.size else 0.46


def _body(half_mm: float, dome: Mapping[str, float], ratio: float) -> Body:
    """A body of the measured width, height and heart; the rest is a usual one's."""
    return Body(
        sex="male", age=60.0,
        cage_half_width=half_mm, cage_half_depth=DEPTH * half_mm,
        wall_side=24.0, wall_depth=24.0, fat=0.4,
        lung_top=LUNG_TOP, dome_right=dome["right"], dome_left=dome["left"],
        cardiothoracic_ratio=ratio, heart_tilt=0.6, midline=0.0, breast=0.0, tortuosity=0.3,
        rib_pitch=25.0, rib_drop=0.4, bone=1.0, lung_density=1.0, stomach_gas=0.0, seed=0,
    )  # fmt: skip


def _depth(lungs: Mask, view: View, body: Body, y: Map) -> Map:
    """Depth of lung in mm along every ray, were there no heart.

    It rises from the side wall and the apex as the section of the phantom's pleural space does,
    and does not fall towards the diaphragm, above whose dome a ray has passed lung all the way.
    """
    pixel = view.spacing / view.magnification
    reach = distance_transform_edt(np.pad(hull(lungs), 1, mode="edge")).astype("f4")[1:-1, 1:-1]
    r = 1 - np.clip(reach * np.float32(pixel / (0.45 * body.cage_half_width)), 0, 1)
    section = np.clip(1 - r**2.6, 0, 1) ** np.float32(1 / 2.6)
    t = np.clip((y - body.lung_top) / (body.angle_y - body.lung_top), 0, 1)
    high = np.sqrt(1 - (1 - t) ** 2.3)
    depth = 2 * body.cage_half_depth * section * high
    return np.asarray(gaussian_filter(depth, 2.0 / pixel), "f4")


def hull(lungs: Mask) -> Mask:
    """Lungs, all that lies between them in a row, and all below: open to the diaphragm."""
    closed = lungs.copy()
    for row in np.flatnonzero(lungs.any(axis=1)):
        span = np.flatnonzero(lungs[row])
        closed[row, span[0] : span[-1] + 1] = True
    return np.asarray(np.logical_or.accumulate(closed, axis=0))


def _present(lung: Mask, depth: Map, pixel: float, sign: int) -> Map:
    """Lung in mm along the rays of one side, its drawn edge softened.

    At the diaphragm a drawn edge is some mm off; lung runs on a little below it, where a film
    that is white anyway takes no notice. Towards the middle it thins out behind the heart.
    """
    drop = max(1, round(BELOW_MM / pixel))
    lower = lung.copy()
    for step in range(1, drop + 1):
        lower[step:] |= lung[:-step]
    edge = gaussian_filter(lower.astype("f4"), 1.5 / pixel)
    return np.asarray(depth * edge * _from_middle(lung, pixel, sign), "f4")


def _from_middle(lung: Mask, pixel: float, sign: int) -> Map:
    """0 at a lung's inner edge rising to 1 over MEDIAL_MM, row by row."""
    away = np.zeros(lung.shape, "f4")
    columns = np.arange(lung.shape[1])
    last = None
    for row in range(lung.shape[0]):
        found = np.flatnonzero(lung[row])
        if found.size:
            last = found[0] if sign > 0 else found[-1]
        if last is not None:
            away[row] = sign * (columns - last)
    t = np.clip(gaussian_filter(away, 2.0 / pixel) * pixel / MEDIAL_MM + 0.15, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), "f4")
