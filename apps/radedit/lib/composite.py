"""Where an edit may touch the film, and how its change is laid over the native pixels.

The model's picture never replaces the film. Only the difference between two decodings,
edited and unedited, is brought to the film's own grid, weighted with A, and added. A is 1
inside the support, falls to 0 towards its rim and towards what is held, and is exactly 0 on
what is held and outside the support.

Where an object's attenuation is kept instead of its values (`keep` = "attenuation"), it is not
held: the model saw the film without it, and it is laid over the change (`lifted`). What is held
then, a wide object, ends at its own edge, and the change goes up to that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from radedit.lib.geometry import SquareGrid
from radedit.lib.parameters import Defaults as Parameters

Mask = NDArray[np.bool_]
Weight = NDArray[np.float32]

MODEL_SIDE = 512  # bands are given in pixels of a model image of this side
HALO_PX = 6  # how far, of 512, a decoder's blur spreads an object beside its own pixels


def support_weight(edit: Mask, held: Mask, parameters: Parameters) -> Weight:
    """The weight A of the change at every film pixel.

    Parameters
    ----------
    edit : bool [rows, cols], True = may change
    held : bool [rows, cols], True = keeps its values
    parameters : its `support` is "band" (the edit mask grown by `band_px`) or "free" (all
        but what is held, the paper's own reading); over `feather_px` inside the support's
        rim, and beside what is held where values are kept, the weight rises from 0 to 1

    Returns
    -------
    float32 [rows, cols], 0 to 1; exactly 0 outside the support and on what is held
    """
    around = held if parameters.keep == "values" else np.zeros_like(held)
    px = max(edit.shape) / MODEL_SIDE
    band = parameters.band_px * px
    weight = np.zeros(edit.shape, np.float32)
    if parameters.support == "free":
        window = np.s_[:, :]
        allowed = ~around
    else:
        window = _window(edit, int(np.ceil(band)) + 1)
        allowed = distance_transform_edt(~edit[window]) <= band
        allowed &= ~around[window]
    if allowed.all():
        weight[window] = 1
    else:
        weight[window] = _ramp(distance_transform_edt(allowed) / (parameters.feather_px * px + 1))
    weight[held] = 0
    return weight


def native_change(change: NDArray[np.float32], grid: SquareGrid, weight: Weight) -> Weight:
    """The weighted difference of two model images on the film's grid.

    Parameters
    ----------
    change : float32 [S, S], edited less unedited, both decoded by the same model
    weight : float32 [rows, cols], the A of `support_weight`

    Returns
    -------
    float32 [rows, cols], in the model images' units; exactly 0 where the weight is
    """
    return np.where(weight > 0, weight * grid.up(change), np.float32(0))


def _window(mask: Mask, margin: int) -> tuple[slice, slice]:
    """The rows and columns around a mask, so that distances are not computed for all."""
    spans = []
    for axis in (1, 0):
        hits = np.flatnonzero(mask.any(axis=axis))
        size = mask.shape[1 - axis]
        spans.append(slice(max(0, hits[0] - margin), min(size, hits[-1] + margin + 1)))
    return spans[0], spans[1]


def _ramp(t: NDArray[np.float64]) -> Weight:
    """0 at t <= 0 and 1 at t >= 1, with a flat start and end."""
    t = np.clip(t, 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32)
