"""Where masks come from: the embedded segmenter as a task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom

from radedit.lib.sources import embedded_lungs
from radedit_dicom.film import read_film


def test_left_is_the_patients_left_on_a_film_stored_mirrored(rg1: Path) -> None:
    upright = embedded_lungs(read_film(rg1))
    dataset = pydicom.dcmread(rg1)
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[:, ::-1]).tobytes()
    dataset.PatientOrientation = ["R", "F"]
    mirrored = embedded_lungs(read_film(dataset))
    assert set(mirrored) == set(upright)
    for label, mask in upright.items():
        np.testing.assert_array_equal(mirrored[label], mask[:, ::-1])
