"""An archive may repack an object; it may not change what the object says."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from radedit_dicom.errors import ArchiveError
from radedit_dicom.pixels import read_film
from radedit_dicom.readback import Comparison, compare, difference, part10, same_content


@pytest.fixture(params=["sc", "seg", "sr"])
def sent(request, make_dataset, make_edit) -> Dataset:
    return getattr(make_edit(read_film(make_dataset()))[1], request.param)


def reread(sent: Dataset) -> Dataset:
    return pydicom.dcmread(BytesIO(part10(sent)))


def test_the_same_bytes_are_the_same_content(sent):
    assert same_content(sent, part10(sent))


def test_another_transfer_syntax_is_the_same_content(sent):
    held = reread(sent)
    held.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    assert difference(sent, part10(held)) is None


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_lossless_compression_and_its_undoing_are_the_same_content(make_dataset, make_edit, syntax):
    native = make_edit(read_film(make_dataset()))[1].sc
    compressed = reread(native)
    compressed.compress(syntax, generate_instance_uid=False)
    assert difference(native, part10(compressed)) is None
    assert difference(compressed, part10(native)) is None
    assert difference(compressed, part10(compressed)) is None


def test_another_character_set_for_the_same_text_is_the_same_content(make_dataset):
    sent = make_dataset()
    held = reread(sent)
    str(held.PatientName)
    for element in held.iterall():
        _ = element.value
    held.SpecificCharacterSet = "ISO_IR 192"
    held.PatientName = str(held.PatientName)
    assert part10(held) != part10(sent)
    assert difference(sent, part10(held)) is None
    held.PatientName = "Geheim^Name"
    assert difference(sent, part10(held)) == "PatientName has another value"


def test_what_says_where_a_copy_lies_is_no_content(sent):
    held = reread(sent)
    held.RetrieveAETitle = "PACS"
    held.InstanceAvailability = "ONLINE"
    assert same_content(sent, part10(held))


def coerced(sent: Dataset) -> Dataset:
    """Give it as an archive keeps it that reconciles patients and orders, and writes that down."""
    held = reread(sent)
    item, before = Dataset(), Dataset()
    before.PatientName, before.PatientID = held.PatientName, held.PatientID
    item.ModifiedAttributesSequence = [before]
    held.OriginalAttributesSequence = [item]
    held.PatientName, held.PatientID = "Geheim^Name", "77"
    held.AccessionNumber, held.StudyDescription = "A77", "Thorax pa"
    held.PatientComments = "Geheim"
    held.PatientBirthDate = None
    held.InstanceCoercionDateTime = "20260101120000"
    return held


def test_attributes_of_patient_and_study_may_be_coerced_and_are_told(sent):
    found = compare(sent, part10(coerced(sent)))
    assert found.differs is None
    told = {"PatientName", "PatientID", "AccessionNumber", "StudyDescription", "PatientComments"}
    assert told <= set(found.coerced)
    assert "Geheim" not in str(found)
    assert compare(sent, part10(reread(sent))) == Comparison(None, ())
    strict = compare(sent, part10(coerced(sent)), strict=True)
    assert strict.differs is not None


@pytest.mark.parametrize(
    "keyword",
    [
        "SyntheticData", "SeriesDescription", "ContentQualification", "StudyInstanceUID",
        "SeriesInstanceUID", "SOPInstanceUID", "ContributingEquipmentSequence", "SeriesNumber",
        "QualityControlSubject", "PatientIdentityRemoved", "DeidentificationMethod",
        "PatientSpeciesDescription", "BodyPartExamined", "InstitutionName",
    ],
)  # fmt: skip
def test_what_is_said_about_the_object_itself_may_not_be_coerced(sent, keyword):
    held = coerced(sent)
    vr = dictionary_VR(keyword)
    if keyword in sent and vr == "SQ":
        del held[keyword]
    else:
        held[keyword] = DataElement(
            keyword, vr, {"UI": "1.9", "IS": 77}.get(vr, "NO" if vr == "CS" else "Other")
        )
    assert str(compare(sent, part10(held)).differs).startswith(keyword)


def test_record_references_and_pixels_may_not_be_coerced(make_dataset, make_edit):
    sent = make_edit(read_film(make_dataset()))[1].sc
    held = coerced(sent)
    private = next(e for e in held if e.tag.is_private and not e.tag.is_private_creator)
    private.value = "x"
    assert "has another value" in str(compare(sent, part10(held)).differs)
    held = coerced(sent)
    held.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.9"
    assert compare(sent, part10(held)).differs == "SourceImageSequence has another value"
    held = coerced(sent)
    pixels = held.pixel_array.copy()
    pixels[3, 4] ^= 1
    held.PixelData = pixels.tobytes()
    assert compare(sent, part10(held)).differs == "PixelData has another value"


def test_every_change_is_named_and_none_is_quoted(sent):
    changed = reread(sent)
    changed.SeriesDescription = "Geheim"
    assert difference(sent, part10(changed)) == "SeriesDescription has another value"
    shortened = reread(sent)
    del shortened.SeriesDescription
    assert difference(sent, part10(shortened)) == "SeriesDescription is missing"
    extended = reread(sent)
    extended.PatientComments = "Geheim"
    assert difference(sent, part10(extended)) == "PatientComments was added"
    assert difference(sent, part10(sent)[:300]) is not None
    assert difference(sent, b"no file") == "what came back is no readable DICOM object"


def test_a_change_inside_a_sequence_or_a_private_block_is_seen(make_dataset, make_edit):
    sent = make_edit(read_film(make_dataset()))[1].sc
    held = reread(sent)
    held.SourceImageSequence[0].ReferencedSOPInstanceUID = "1.9"
    assert difference(sent, part10(held)) == "SourceImageSequence has another value"
    held = reread(sent)
    del held.SourceImageSequence[0]
    assert difference(sent, part10(held)) == "SourceImageSequence has another value"
    held = reread(sent)
    private = next(e for e in held if e.tag.is_private and not e.tag.is_private_creator)
    private.value = "x"
    assert "has another value" in str(difference(sent, part10(held)))


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_one_changed_pixel_is_seen_however_it_is_compressed(make_dataset, make_edit, syntax):
    sent = make_edit(read_film(make_dataset()))[1].sc
    held = reread(sent)
    pixels = held.pixel_array.copy()
    pixels[3, 4] ^= 1
    held.PixelData = pixels.tobytes()
    if syntax:
        held.compress(syntax, generate_instance_uid=False)
    assert difference(sent, part10(held)) == "PixelData has another value"


def test_pixels_that_are_gone_or_cannot_be_decoded_are_said_so(make_dataset, make_edit):
    objects = make_edit(read_film(make_dataset()))[1]
    held = reread(objects.sc)
    del held.PixelData
    assert difference(objects.sc, part10(held)) == "PixelData is missing"
    held = reread(objects.sc)
    held.compress(RLELossless, generate_instance_uid=False)
    content = bytearray(part10(held))
    start = content.index(b"\xe0\x7f\x10\x00") + 12
    content[start + 20 : start + 60] = b"\xff" * 40
    assert "PixelData" in str(difference(objects.sc, bytes(content)))


def test_an_object_that_cannot_be_encoded_is_a_clear_refusal(make_dataset):
    broken = make_dataset()
    del broken.file_meta.TransferSyntaxUID
    with pytest.raises(ArchiveError, match="cannot be encoded"):
        same_content(broken, b"")
