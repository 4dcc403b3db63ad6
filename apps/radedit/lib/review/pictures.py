"""Pictures of films for a page: what a reader's monitor would show, and outlines to lay on top."""

from __future__ import annotations

from io import BytesIO
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Longest sides that are drawn, in pixels; a page asks for one of them.
SIDES: Final = (320, 1200, 2400, 4096)
WHITER, BLACKER = (255, 82, 82), (68, 138, 255)
_LINE_PX = 2


def film_picture(display: NDArray[np.float32], side: int) -> bytes:
    """Draw a film.

    Parameters
    ----------
    display : float32 [rows, columns] in [0, 1]
        1 = white on the monitor.
    side : of the picture's longer side, in pixels; a smaller film is not enlarged

    Returns
    -------
    bytes
        PNG, 8 bit grey.
    """
    grey = Image.fromarray(np.rint(display * 255).astype(np.uint8))
    return _png(grey.resize(_size(display.shape, side), Image.Resampling.LANCZOS))


def outline_picture(mask: NDArray[np.bool_], colour: tuple[int, int, int], side: int) -> bytes:
    """Draw the outline of a mask on nothing.

    Parameters
    ----------
    mask : bool [rows, columns], True = inside
    colour : red, green, blue, 0 to 255
    side : as for `film_picture`, so that both lie on each other

    Returns
    -------
    bytes
        PNG with alpha.
    """
    from scipy.ndimage import binary_erosion

    size = _size(mask.shape, side)
    shrunk = Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BOX)
    inside = np.asarray(shrunk) > 127
    line = inside & ~binary_erosion(inside, iterations=_LINE_PX)
    return _png(_tinted(colour, line.astype(np.uint8) * 255))


def difference_picture(before: NDArray[np.float32], after: NDArray[np.float32], side: int) -> bytes:
    """Draw where an edit made the film whiter (red) or blacker (blue), on nothing.

    Parameters
    ----------
    before, after : float32 [rows, columns] in [0, 1]
    side : as for `film_picture`

    Returns
    -------
    bytes
        PNG; the strongest change is opaque, so its scale is that of this edit alone.
    """
    size = _size(before.shape, side)
    change = np.asarray(Image.fromarray(after - before).resize(size, Image.Resampling.BOX))
    limit = max(float(np.abs(change).max()), 1e-6)
    alpha = np.rint(np.sqrt(np.abs(change) / limit) * 255).astype(np.uint8)
    colours = np.where((change > 0)[..., np.newaxis], WHITER, BLACKER).astype(np.uint8)
    return _png(Image.fromarray(np.dstack([colours, alpha])))


def _size(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Columns and rows of the picture."""
    scale = min(1.0, side / max(shape))
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _tinted(colour: tuple[int, int, int], alpha: NDArray[np.uint8]) -> Image.Image:
    full = np.empty((*alpha.shape, 4), dtype=np.uint8)
    full[..., :3], full[..., 3] = colour, alpha
    return Image.fromarray(full)


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
