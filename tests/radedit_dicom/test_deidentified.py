"""What of a film is shown to another program, and that nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from radedit_dicom.deidentified import deidentified
from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.film import Film, read_film
from radedit_dicom.pixels import to_display
from radedit_dicom.readback import part10

MakeDataset = Callable[..., Dataset]
SECRET = "Geheim"


def sent(film: Film) -> bytes:
    return part10(deidentified(film))


def test_no_text_of_the_film_is_sent_save_how_it_is_displayed(make_dataset: MakeDataset) -> None:
    dataset = make_dataset(
        PatientComments=SECRET,
        StudyDescription=f"chest {SECRET}",
        ImageComments=SECRET,
        InstitutionName=SECRET,
        WindowCenter=[2000, 1000],
        WindowWidth=[3000, 500],
        WindowCenterWidthExplanation=[SECRET, SECRET],
        OperatorsName=SECRET,
        DeviceSerialNumber=SECRET,
    )
    dataset.private_block(0x0011, "ACME", create=True).add_new(1, "LO", SECRET)
    dataset.add_new(0x60000022, "LO", SECRET)  # an overlay's description
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [4096, 0, 12])
    lut.add_new("LUTData", "OW", np.arange(4096, dtype="<u2").tobytes())
    lut.LUTExplanation = SECRET
    dataset.VOILUTSequence = [lut]
    film = read_film(dataset)
    content = sent(film)
    for text in (SECRET, "Nam", "4711", "1950", "Doc^Tor", "A1\0"):
        assert text.encode() not in content, text
    assert b"1.2.3\0" not in content
    again = read_film(content)
    np.testing.assert_array_equal(to_display(again), to_display(film))


@pytest.mark.parametrize(
    ("bits", "attributes"),
    [
        (8, {}),
        (10, {"PixelSpacing": [0.2, 0.1]}),
        (12, {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 7}),
        (16, {"PixelRepresentation": 1, "PixelPaddingValue": -5}),
        (12, {"RescaleSlope": 2, "RescaleIntercept": -30, "RescaleType": "US"}),
        (12, {"BodyPartExamined": None, "StudyDescription": "chest"}),
    ],
)
def test_the_other_side_reads_the_same_film(
    make_dataset: MakeDataset, bits: int, attributes: dict[str, object]
) -> None:
    film = read_film(make_dataset(bits=bits, **attributes))
    again = read_film(sent(film))
    np.testing.assert_array_equal(again.stored, film.stored)
    np.testing.assert_array_equal(again.padding, film.padding)
    np.testing.assert_array_equal(to_display(again), to_display(film))
    assert again.spacing_mm == film.spacing_mm
    assert again.sop_instance_uid != film.sop_instance_uid


def test_a_real_film_is_read_the_same_and_is_another_one_each_time(rg1: Path) -> None:
    film = read_film(rg1)
    first, second = (pydicom.dcmread(BytesIO(sent(film))) for _ in range(2))
    np.testing.assert_array_equal(read_film(first).stored, film.stored)
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.PatientIdentityRemoved == "YES"
    assert not first.PatientName
    assert not first.PatientID


@pytest.mark.parametrize("said", ["YES", "PERHAPS"])
def test_text_burned_into_the_pixels_stays_here(make_dataset: MakeDataset, said: str) -> None:
    with pytest.raises(UnsupportedImageError, match="burned into its pixels"):
        deidentified(read_film(make_dataset(BurnedInAnnotation=said)))
    assert deidentified(read_film(make_dataset(BurnedInAnnotation="NO"))).PixelData
