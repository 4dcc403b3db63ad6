"""Modality and VOI transformations on a vector of values (PS3.3 C.11.1 and C.11.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from radedit_dicom.errors import UnsupportedImageError


def modality_values(header: Dataset, stored: NDArray[np.int64]) -> NDArray[np.float64]:
    """Apply the modality LUT, else rescale slope and intercept, else nothing.

    Parameters
    ----------
    header : pydicom.Dataset
    stored : int64 [n]
        Stored values.

    Returns
    -------
    float64 [n]
        Modality values.

    Raises
    ------
    UnsupportedImageError
        The LUT contradicts itself, or slope or intercept is no usable number.
    """
    items = header.get("ModalityLUTSequence")
    if items:
        entries, first, _ = lut_entries(items[0])
        return _look_up(entries, first, stored)
    slope, intercept = _number(header, "RescaleSlope", 1.0), _number(header, "RescaleIntercept", 0)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise _bad("RescaleSlope or RescaleIntercept is 0 or not finite")
    return np.asarray(stored * slope + intercept, dtype=np.float64)


def voi_values(
    header: Dataset,
    values: NDArray[np.float64],
    used_range: Callable[[], tuple[float, float]],
) -> tuple[NDArray[np.float64], tuple[float, float] | None]:
    """Apply the first VOI LUT, else the first window, else the range of the used values.

    Parameters
    ----------
    header : pydicom.Dataset
    values : float64 [n]
        Modality values.
    used_range : callable
        Gives smallest and largest modality value in the film; asked only when needed.

    Returns
    -------
    float64 [n] in [0, 1]
        Before polarity.
    (float, float) or None
        The window (centre, width, function LINEAR) that was made up from `used_range`.

    Raises
    ------
    UnsupportedImageError
        The LUT or the window contradicts itself.
    """
    items = header.get("VOILUTSequence")
    if items:
        entries, first, bits = lut_entries(items[0])
        return _look_up(entries, first, values) / float((1 << bits) - 1), None
    if _first(header, "WindowCenter") is not None and _first(header, "WindowWidth") is not None:
        return _windowed(header, values), None
    low, high = used_range()
    center, width = (low + high) / 2.0 + 0.5, high - low + 1.0
    return _linear(values, center, width), (center, width)


def lut_entries(item: Dataset) -> tuple[NDArray[np.float64], int, int]:
    """Read one item of a modality or VOI LUT sequence.

    Parameters
    ----------
    item : pydicom.Dataset
        With LUTDescriptor and LUTData.

    Returns
    -------
    float64 [entries]
        The table.
    int
        Input value of the first entry.
    int
        Bits per entry, as declared.

    Raises
    ------
    UnsupportedImageError
        Descriptor and data contradict each other.

    Notes
    -----
    Source: PS3.3 C.11.1.1.1 and C.11.2.1.1. 0 entries means 65536.
    """
    descriptor, data = item.get("LUTDescriptor"), item.get("LUTData")
    if descriptor is None or len(descriptor) != 3 or data is None:
        raise _bad("a look-up table lacks its descriptor or data")
    count, first, bits = (int(value) for value in descriptor)
    count = count or 65536
    entries = _raw_entries(data, count)
    if not 8 <= bits <= 16 or len(entries) != count or count < 2:
        raise _bad(f"a look-up table declares {count} entries of {bits} bits, {len(entries)} found")
    if entries.max() > (1 << bits) - 1:
        raise _bad(f"a look-up table holds values above its declared {bits} bits")
    return entries, first, bits


def _raw_entries(data: Any, count: int) -> NDArray[np.float64]:
    if isinstance(data, bytes):
        packed = np.frombuffer(data, dtype="<u2" if len(data) >= 2 * count else "u1")
        return packed[:count].astype(np.float64)
    return np.atleast_1d(np.asarray(data, dtype=np.float64))


def _look_up(entries: NDArray[np.float64], first: int, values: NDArray[Any]) -> NDArray[np.float64]:
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return np.asarray(entries[index], dtype=np.float64)


def _windowed(header: Dataset, values: NDArray[np.float64]) -> NDArray[np.float64]:
    center, width = _number(header, "WindowCenter", 0.0), _number(header, "WindowWidth", 0.0)
    function = str(header.get("VOILUTFunction", "") or "LINEAR")
    if not np.isfinite([center, width]).all() or width < (1.0 if function == "LINEAR" else 1e-9):
        raise _bad("the window has no usable centre and width")
    if function == "LINEAR":
        return _linear(values, center, width)
    if function == "LINEAR_EXACT":
        return np.clip((values - center) / width + 0.5, 0.0, 1.0)
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4 * (values - center) / width, -700, 700))))
    raise _bad("the VOI LUT function is none of LINEAR, LINEAR_EXACT and SIGMOID")


def _linear(values: NDArray[np.float64], center: float, width: float) -> NDArray[np.float64]:
    """Window of PS3.3 C.11.2.1.2.1, with its half-pixel shift; a step when width is 1."""
    if width == 1.0:
        return np.asarray(values > center - 0.5, dtype=np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _number(header: Dataset, keyword: str, default: float) -> float:
    value = _first(header, keyword)
    if value is None:
        return default
    try:
        return float(value)
    except (TypeError, ValueError):
        raise _bad(f"{keyword} is no number") from None


def _first(header: Dataset, keyword: str) -> Any:
    """First value of a possibly multi-valued attribute; None when absent or empty."""
    value = header.get(keyword)
    if value is None or value == "":
        return None
    if isinstance(value, str | int | float):
        return value
    try:
        return next(iter(value), None)
    except TypeError:
        return value


def _bad(what: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"The film's grey scale is not usable: {what}; have the film exported again."
    )
