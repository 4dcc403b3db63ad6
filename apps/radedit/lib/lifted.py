"""A film with thin objects lifted off, so that the model edits what lies behind them.

X-rays pass a drain and the tissue behind it, and optical depths add. So what changes behind
the drain changes its pixels by as much as those beside it, and its contrast stays. A model that
sees the drain would draw on it, or take it away; shown the film without it, it changes the
tissue alone, and that change is added to the film with the drain still there. See
docs/adr/0006.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from radedit.lib.errors import MaskError

Mask = NDArray[np.bool_]

MODEL_SIDE = 512  # lengths are given in pixels of a model image of this side
WIDEST_PX = 48.0  # of an object; behind a wider one too little is known


def lifted_off(image: NDArray[np.float32], objects: Mask) -> NDArray[np.float32]:
    """Replace thin objects by what their surroundings let expect behind them.

    Biharmonic inpainting (Damelin and Hoang, 2018): the smoothest surface that continues
    values and slopes from around the objects.

    Parameters
    ----------
    image : float32 [S, S], -1 to 1
    objects : bool [S, S], True on every pixel that an object touches

    Returns
    -------
    float32 [S, S], -1 to 1; `image` itself beside the objects

    Raises
    ------
    MaskError
        An object is wider than `WIDEST_PX`.
    """
    if not objects.any():
        return image
    scale = image.shape[0] / MODEL_SIDE
    if 2 * float(distance_transform_edt(np.pad(objects, 1)).max()) > WIDEST_PX * scale + 2:
        raise MaskError(
            "the keep mask is too wide to keep an attenuation, which fits thin objects such as "
            "drains, tubes and leads; keep its values instead (keep = values)."
        )
    from skimage.restoration import inpaint_biharmonic  # slow to import

    filled = inpaint_biharmonic(image.astype(np.float64), objects)
    return np.where(objects, np.clip(filled, -1, 1), image).astype(np.float32)
