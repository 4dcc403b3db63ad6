"""Lossless compression of what is written, on request."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, JPEGLSLossless, RLELossless

from radedit_dicom.errors import ConformanceError

#: Name of the choice to transfer syntax; None = as built, Explicit VR Little Endian.
SYNTAXES: Mapping[str, UID | None] = MappingProxyType(
    {"none": None, "jpegls": JPEGLSLossless, "rle": RLELossless}
)


def compress(dataset: Dataset, choice: str) -> None:
    """Compress an image without loss; its stored values and its UIDs stay.

    Parameters
    ----------
    dataset : pydicom.Dataset
        A single-frame image with native pixels; changed in place.
    choice : str
        A key of `SYNTAXES`.

    Raises
    ------
    ConformanceError
        The choice is unknown, or decoding does not give the pixels back.
    """
    if choice not in SYNTAXES:
        raise ConformanceError(
            f"The compression is unknown; it must be one of {', '.join(SYNTAXES)}."
        )
    syntax = SYNTAXES[choice]
    if syntax is None:
        return
    before = pixel_array(dataset)
    dataset.compress(syntax, generate_instance_uid=False)
    if not np.array_equal(pixel_array(dataset), before):
        raise ConformanceError(
            f"The pixels do not come back from the compression {choice}; choose another."
        )
