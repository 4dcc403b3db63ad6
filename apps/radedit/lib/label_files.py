"""Label images written to files, as MONAI Label's clients want them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radedit.lib.errors import MaskError
from radedit_dicom.film import Film

MOST_LABELS = 255


def label_image(masks: Mapping[str, NDArray[np.bool_]], film: Film) -> NDArray[np.uint8]:
    """Number masks from 1 in their order; where two overlap the later one is written.

    Parameters
    ----------
    masks : label to bool [rows, cols], at most 255

    Returns
    -------
    uint8 [rows, cols], 0 = none

    Raises
    ------
    MaskError
        There are more than a label image has numbers.
    """
    if len(masks) > MOST_LABELS:
        raise MaskError(
            f"there are {len(masks)} labels, and a label image holds {MOST_LABELS}; ask for the "
            "DICOM segmentation itself."
        )
    labels = np.zeros(film.shape, np.uint8)
    for number, mask in enumerate(masks.values(), start=1):
        labels[mask] = number
    return labels


def write_labels(labels: NDArray[np.uint8], film: Film, extension: str) -> Path:
    """Write a label image to a new temporary file.

    Parameters
    ----------
    labels : uint8 [rows, cols]
    film : its pixel spacing goes into formats that have one
    extension : .png, .nii, .nii.gz or .nrrd
    """
    handle, name = tempfile.mkstemp(prefix="lungs-", suffix=extension)
    os.close(handle)
    if extension == ".png":
        Image.fromarray(labels).save(name)
    else:
        import itk

        image = itk.image_from_array(labels)
        if film.spacing_mm is not None:
            rows_mm, cols_mm = film.spacing_mm
            image.SetSpacing([cols_mm, rows_mm])
        itk.imwrite(image, name, compression=True)
    return Path(name)
