"""Labels of an original as a SEG: what each of them is."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.sr.coding import Code

from radedit_dicom import vocabulary as words
from radedit_dicom.label_segmentation import TISSUE, About, build_label
from radedit_dicom.pixels import Film


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("heart", words.HEART),
        ("Heart", words.HEART),
        ("HEART", words.HEART),
        ("left_lung", words.LUNG),
        ("Left Lung", words.LUNG),
        ("left-lung", words.LUNG),
        ("leftLung", words.LUNG),
        (" Pleural_Effusion ", words.PLEURAL_EFFUSION),
        ("spleen", TISSUE),
        ("Edit mask", TISSUE),
    ],
)
def test_a_label_has_its_code_in_any_spelling_and_keeps_its_own(
    rg1_film: Film, label: str, code: Code
) -> None:
    mask = np.zeros(rg1_film.shape, bool)
    mask[200:400, 300:500] = True
    about = About(tag="final", model="", version="1", series_number=7)
    (segment,) = build_label(rg1_film, {label: mask}, about).SegmentSequence
    (found,) = segment.SegmentedPropertyTypeCodeSequence
    assert (found.CodeValue, found.CodingSchemeDesignator) == (code.value, code.scheme_designator)
    assert segment.SegmentLabel == label
