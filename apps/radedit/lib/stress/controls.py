"""Controls without diffusion, on the very mask of an edit: blur, reconstruction, masked region.

An effect of an edit means little while a blur of the same place has it too. Films are float32
[rows, cols], display intensity 0 to 1; masks bool [rows, cols].
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, gaussian_filter

from radedit.lib.cases import Prepared
from radedit.lib.composite import native_change, support_weight
from radedit.lib.edit.backbone import Backbone

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]
FILL_PX = 6  # of 512: width of the rim whose grey a masked region takes


def blurred(display: Image, weight: NDArray[np.float32], width_px: float) -> Image:
    """Blur a film where the edit could have changed it.

    Parameters
    ----------
    weight : float32 [rows, cols], 0 to 1, the edit's own support weight
    width_px : standard deviation of the Gaussian, film pixels
    """
    softer = np.asarray(gaussian_filter(display, width_px), np.float32)
    return display + weight * (softer - display)


def masked_out(display: Image, edit: Mask) -> Image:
    """Fill the edit mask with the mean grey of a rim around it: nothing is left to read there."""
    rim_px = max(1, round(FILL_PX * max(display.shape) / 512))
    rim = binary_dilation(edit, iterations=rim_px) & ~edit
    grey = display[rim].mean() if rim.any() else display.mean()
    return np.where(edit, np.float32(grey), display)


def reconstructed(prepared: Prepared, backbone: Backbone) -> Image:
    """Put the film's own reconstruction by the autoencoder where the edit could have changed it.

    The edit itself adds only a difference of two reconstructions, so this is more than any edit
    does: what is lost here is lost by the autoencoder, not by the diffusion.
    """
    image = torch.from_numpy(prepared.image)[None, None]
    decoded = backbone.decode(backbone.encode(image)).cpu().numpy()[0, 0]
    change = decoded - prepared.image
    if prepared.case.film.is_mirrored:
        change = np.ascontiguousarray(change[:, ::-1])
    weight = support_weight(prepared.edit, prepared.held, prepared.parameters)
    shift = native_change(change, prepared.grid, weight) * np.float32(prepared.contrast / 2)
    return np.clip(prepared.display + shift, 0, 1).astype(np.float32)
