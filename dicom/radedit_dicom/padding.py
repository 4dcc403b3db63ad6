"""Which stored values are padding (PS3.3 C.7.5.1.1.2), however they were written."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset


def padding_range(header: Dataset, legal: tuple[int, int]) -> tuple[int, int] | None:
    """Smallest and largest stored value that means padding; None without padding.

    Parameters
    ----------
    header : pydicom.Dataset
    legal : (int, int)
        Smallest and largest value that can be stored.
    """
    value = _stored_value(header.get("PixelPaddingValue"), legal)
    limit = _stored_value(header.get("PixelPaddingRangeLimit"), legal)
    if value is None:
        return None
    other = value if limit is None else limit
    return min(value, other), max(value, other)


def padding_mask(stored: NDArray[Any], span: tuple[int, int] | None) -> NDArray[np.bool_]:
    """Where a film is padding: bool, of the shape of `stored`."""
    if span is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    return np.asarray((stored >= span[0]) & (stored <= span[1]), dtype=np.bool_)


def _stored_value(written: object, legal: tuple[int, int]) -> int | None:
    """Read a stored value out of an element whose VR has the wrong sign, or is unknown (UN).

    US or SS follows from the pixel representation (PS3.5 A.2), but signed films are seen with US.
    """
    if isinstance(written, bytes) and len(written) == 2:
        written = int.from_bytes(written, "little")
    if not isinstance(written, int):
        return None
    low, high = legal
    bare = written - (high - low + 1) if low < 0 else written  # without extension of the sign
    readings = (written, written - 0x10000, written + 0x10000, bare)
    return next((value for value in readings if low <= value <= high), written)
