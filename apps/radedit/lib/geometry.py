"""The square model grid of a film: padding and resampling that can be undone.

A film of R x C pixels is centred on a black square of side max(R, C) and resampled to
S x S. Pixel centres lie at (i + 0.5), so a point (row, col) of the film is at
((row + top) * S / side, (col + left) * S / side) on the model grid, all in edge
coordinates (0 is the outer edge of the first pixel).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

FLAT = 1 / 255
"""What the display of a film that shows one grey only is stretched by; see `stretch_range`."""


@dataclass(frozen=True)
class SquareGrid:
    """Where a film of `rows` x `cols` pixels lies on a square grid of `size` pixels a side."""

    rows: int
    cols: int
    size: int

    @property
    def side(self) -> int:
        """Side of the padded square in film pixels."""
        return max(self.rows, self.cols)

    @property
    def top(self) -> int:
        """Padding above the film in film pixels."""
        return (self.side - self.rows) // 2

    @property
    def left(self) -> int:
        """Padding left of the film in film pixels."""
        return (self.side - self.cols) // 2

    @property
    def scale(self) -> float:
        """Film pixels per model pixel."""
        return self.side / self.size

    def down(self, image: Image) -> Image:
        """Film to model grid, anti-aliased.

        Parameters
        ----------
        image : float32 [rows, cols]; 0 is black, which the padding gets

        Returns
        -------
        float32 [size, size]
        """
        square = torch.from_numpy(self._pad(image.astype(np.float32, copy=False)))[None, None]
        resampled = functional.interpolate(
            square, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
        )
        return np.asarray(resampled[0, 0].numpy(), dtype=np.float32)

    def up(self, image: Image) -> Image:
        """Model grid to film, interpolated bicubically.

        Parameters
        ----------
        image : float32 [size, size]

        Returns
        -------
        float32 [rows, cols]
        """
        square = functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None],
            (self.side, self.side),
            mode="bicubic",
            align_corners=False,
        )
        return np.ascontiguousarray(self._crop(square[0, 0].numpy()))

    def mask_down(self, mask: Mask, size: int | None = None) -> Mask:
        """Film mask to a square grid: True where the cell holds any True film pixel.

        Parameters
        ----------
        mask : bool [rows, cols]
        size : cells a side; the grid's own size unless told (the latent grid, for one)

        Returns
        -------
        bool [size, size]
        """
        cells = self.size if size is None else size
        square = torch.from_numpy(self._pad(mask.astype(np.float32)))[None, None]
        pooled = functional.adaptive_max_pool2d(square, (cells, cells))
        return np.asarray(pooled[0, 0].numpy() > 0)

    def _pad(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        if image.shape != (self.rows, self.cols):
            raise ValueError(f"expected {self.rows} x {self.cols} pixels, found {image.shape}")
        below, right = self.side - self.rows - self.top, self.side - self.cols - self.left
        return np.pad(image, ((self.top, below), (self.left, right)))

    def _crop(self, square: NDArray[np.float32]) -> NDArray[np.float32]:
        return square[self.top : self.top + self.rows, self.left : self.left + self.cols]


def stretched(display: Image, valid: Mask | None = None) -> tuple[Image, float]:
    """Stretch a film's display to the range that the models see.

    Parameters
    ----------
    display, valid : as for `stretch_range`

    Returns
    -------
    image : float32 [rows, cols], 0 to 1
    contrast : display intensity between its 0 and its 1
    """
    low, high = stretch_range(display, valid)
    image = np.clip((display - low) / (high - low), 0, 1)
    return image.astype(np.float32, copy=False), high - low


def stretch_range(display: Image, valid: Mask | None = None) -> tuple[float, float]:
    """The display values that the model sees as black and white: 0.5 and 99.5 percentile.

    Parameters
    ----------
    display : float32 [rows, cols], 0 to 1
    valid : bool [rows, cols], True = a measured pixel (not padding); all unless told

    Returns
    -------
    low, high : high - low is at least `FLAT`, so a flat film does not divide by zero
    """
    values = display if valid is None else display[valid]
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    return low, max(high, low + FLAT)
