"""From a film's display to what a network takes, and from its maps back to the film's pixels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from radedit.lib.errors import FilmError
from radedit.lib.geometry import SquareGrid
from radedit.lib.victims.about import Input
from radedit.lib.victims.protocol import Display, Mask

#: float32 [1, channels, rows, columns]
Tensor = NDArray[np.float32]


def to_input(display: Display, valid: Mask | None, wanted: Input) -> Tensor:
    """Turn a film into a network's input.

    Parameters
    ----------
    display, valid : as `Victim.answer` takes them
    wanted : what the network expects

    Returns
    -------
    float32 [1, channels, rows, columns]

    Raises
    ------
    FilmError
        The film is not one grey picture of finite values.
    """
    checked(display)
    image = _stretched(display, valid, wanted)
    if wanted.pad:
        rows, cols = image.shape
        image = SquareGrid(rows, cols, wanted.size[0]).down(image)
    elif wanted.size:
        image = _resampled(image, (wanted.size[0], wanted.size[1]))
    image = image * (wanted.high - wanted.low) + wanted.low
    channels = np.repeat(image[None], wanted.channels, axis=0)
    if wanted.mean:
        channels = channels - np.asarray(wanted.mean, dtype=np.float32)[:, None, None]
    if wanted.std:
        channels = channels / np.asarray(wanted.std, dtype=np.float32)[:, None, None]
    return np.ascontiguousarray(channels[None], dtype=np.float32)


def to_film(values: NDArray[np.float32], shape: tuple[int, int], wanted: Input) -> Display:
    """Bring a map on the network's grid back to the film's pixels.

    Parameters
    ----------
    values : float32 [h, w]
    shape : rows and columns of the film
    wanted : what its input was made by

    Returns
    -------
    float32 [rows, columns]
    """
    if wanted.pad:
        side = (wanted.size[0], wanted.size[0])
        square = values if values.shape == side else _resampled(values, side)
        return SquareGrid(*shape, wanted.size[0]).up(square)
    return values if values.shape == shape else _resampled(values, shape)


def described(wanted: Input) -> str:
    """Say in a sentence what `to_input` does."""
    black, white = wanted.percentiles or (None, None)
    said = [
        "the film as it is displayed"
        if black is None
        else f"percentiles {black:g} and {white:g} of the film stretched to black and white"
    ]
    if wanted.pad:
        said.append("padded to a square")
    if wanted.size:
        said.append(f"resampled to {wanted.size[0]} x {wanted.size[1]} pixels")
    said.append(f"black {wanted.low:g} and white {wanted.high:g}")
    if wanted.mean or wanted.std:
        said.append(f"mean {list(wanted.mean)} and std {list(wanted.std)} taken off")
    return ", ".join([*said, f"{wanted.channels} channel(s)"])


def checked(display: Display) -> Display:
    """Give the display back; FilmError when it is not one grey picture of finite values."""
    if display.ndim != 2 or not display.size or not np.isfinite(display).all():
        raise FilmError(
            "expected one grey film of finite values, [rows, cols], 0 to 1; "
            "give the display of a single frontal film."
        )
    return display


def _stretched(display: Display, valid: Mask | None, wanted: Input) -> Display:
    if not wanted.percentiles:
        return display
    seen = display if valid is None else display[valid]
    low, high = np.percentile(seen, wanted.percentiles)
    stretched = np.clip((display - low) / max(high - low, 1 / 255), 0, 1)
    return np.asarray(stretched, dtype=np.float32)


def _resampled(image: NDArray[np.float32], shape: tuple[int, int]) -> Display:
    """Bilinear, anti-aliased where it shrinks."""
    resampled = functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None, None],
        shape,
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return np.asarray(resampled[0, 0].numpy(), dtype=np.float32)
