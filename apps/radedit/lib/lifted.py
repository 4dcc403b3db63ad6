"""A film with thin objects lifted off, so that the model edits what lies behind them.

X-rays pass a drain and the tissue behind it, and optical depths add. A model that sees the drain
would draw on it, or take it away; shown the film without it, it changes the tissue alone, and
the drain is laid over what was drawn. Its depth stays; its contrast follows the film's curve,
which is flat in the dark and in the bright. Behind a wide object, such as a pacemaker, too little
is known, so that it keeps its values. See docs/adr/0006.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

Mask = NDArray[np.bool_]
Image = NDArray[np.float32]

MODEL_SIDE = 512  # lengths are given in pixels of a model image of this side
WIDEST_PX = 48.0  # of an object; behind a wider one too little is known


def wide_parts(objects: Mask) -> Mask:
    """Find where objects are too wide for what lies behind them to be known.

    That is their opening by a disc of `WIDEST_PX` across. What enters a wide object, a lead or a
    drain, is thin up to its edge, and so are corners that the disc does not reach.

    Parameters
    ----------
    objects : bool [S, S], True on every pixel that an object touches

    Returns
    -------
    bool [S, S], inside `objects`
    """
    scale = objects.shape[0] / MODEL_SIDE
    reach = WIDEST_PX / 2 * scale + 1
    core = distance_transform_edt(np.pad(objects, 1))[1:-1, 1:-1] > reach
    if not core.any():
        return np.zeros_like(objects)
    return np.asarray(objects & (distance_transform_edt(~core) <= reach))


def lifted_off(image: Image, objects: Mask) -> Image:
    """Replace thin objects by what their surroundings let expect behind them.

    Biharmonic inpainting (Damelin and Hoang, 2018): the smoothest surface that continues
    values and slopes from around the objects.

    Parameters
    ----------
    image : float32 [S, S], -1 to 1
    objects : bool [S, S], True on every pixel that an object touches, without `wide_parts`

    Returns
    -------
    float32 [S, S], -1 to 1; `image` itself beside the objects
    """
    if not objects.any():
        return image
    from skimage.restoration import inpaint_biharmonic  # slow to import

    filled = inpaint_biharmonic(image.astype(np.float64), objects)
    return np.where(objects, np.clip(filled, -1, 1), image).astype(np.float32)


def laid_over(change: Image, display: Image, objects: Image) -> Image:
    """Lay objects over what was drawn behind them.

    Optical depths add, and a film's curve shows them: steepest in the middle, flat in the dark and
    in the bright. Its slope at a display g is taken to be as sqrt(g (1 - g)), half-way (in its
    logarithm) between a straight window and the logistic curve of PS3.3 C.11.2.1.3.1 (SIGMOID):
    scatter, whose share is largest where a film is bright, takes part of the curve off again.
    So depth is the arcsine of the root of g, and an object keeps the depth that it adds.

    Parameters
    ----------
    change : float32 [rows, cols]
        Of what lies behind the objects, as display intensity.
    display : float32 [rows, cols], 0 to 1
        The film with the objects.
    objects : float32 [rows, cols]
        What of the display is theirs, 0 beside them.

    Returns
    -------
    float32 [rows, cols]
        The change of the film; exactly `change` where there is no object, 0 where that is.
    """
    where = (change != 0) & (objects != 0)
    seen, behind = display[where], display[where] - objects[where]
    found = change.copy()
    depth = _depth(behind + change[where]) + _depth(seen) - _depth(behind)
    found[where] = np.sin(np.clip(depth, 0, np.pi / 2)) ** 2 - np.clip(seen, 0, 1)
    return found


def _depth(display: Image) -> Image:
    return np.asarray(np.arcsin(np.sqrt(np.clip(display, 0, 1))))
