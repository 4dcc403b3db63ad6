"""Pixels turned the way a film lies, by direction cosines: flips and transposes, no rotation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: How far a direction cosine may be from -1, 0 or 1: headers round, and nobody turns a mask by
#: half a degree on purpose.
TOLERANCE = 0.01


def axis_map(directions: Sequence[Sequence[float]]) -> list[tuple[int, int]] | None:
    """Say which axis of the film each axis of a grid runs along, and in which sense.

    Parameters
    ----------
    directions : [n][n]
        Unit vector of each of the grid's axes, in the film's axes (x = along a row to the
        right, y = along a column downwards, z = out of the plane). ITK's order: the axis whose
        neighbours lie next to each other in memory comes first.

    Returns
    -------
    list of (axis, sign), or None
        One per axis of the grid, sign 1 or -1; None when an axis is oblique.
    """
    matrix = np.asarray(directions, dtype=np.float64)
    nearest = np.rint(matrix)
    whole = np.abs(nearest)
    if not np.allclose(matrix, nearest, atol=TOLERANCE):
        return None
    if not ((whole.sum(axis=0) == 1).all() and (whole.sum(axis=1) == 1).all()):
        return None
    along = np.argmax(whole, axis=1)
    return [(int(axis), int(row[axis])) for axis, row in zip(along, nearest, strict=True)]


def turned(pixels: NDArray[Any], axes: Sequence[tuple[int, int]]) -> NDArray[Any]:
    """Flip and transpose pixels so that they lie as the film does.

    Parameters
    ----------
    pixels : [..., y, x] as numpy sees an ITK image: the last axis is ITK's first
    axes : what `axis_map` gave

    Returns
    -------
    [..., rows, columns], a view
    """
    last = len(axes) - 1
    order = [0] * len(axes)
    flipped = []
    for axis, (film_axis, sign) in enumerate(axes):
        order[last - film_axis] = last - axis
        if sign < 0:
            flipped.append(last - film_axis)
    return np.flip(np.transpose(pixels, order), tuple(flipped))
