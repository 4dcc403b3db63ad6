"""Whether an archive gives back what it was sent.

An archive may repack an object: another transfer syntax, other padding, other lengths, its
own file meta, another character set for the same text. Many archives also reconcile what they
are sent with their own patients and orders (coercion of attributes, PS3.4 table B.2-1): those of
the patient and the study may be other ones, which is told, and which a strict comparison refuses.
Nothing else may change: every other attribute (UIDs, references, marks and the record are among
them) and every pixel has to come back, and none may be added, save those that say where a copy is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from pydicom.charset import convert_encodings
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragmented_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.pixels.utils import pixel_array
from pydicom.tag import BaseTag

from radedit_dicom.errors import ArchiveError, DicomError
from radedit_dicom.parsing import parse

_PIXELS = 0x7FE00010
#: How text is written, and where a copy lies; neither is what the object says.
_PACKING = frozenset(
    {
        0x00080005,  # SpecificCharacterSet; the text itself is compared decoded
        0x00080054,  # RetrieveAETitle
        0x00080056,  # InstanceAvailability
        0x00880130,  # StorageMediaFileSetID
        0x00880140,  # StorageMediaFileSetUID
        0xFFFCFFFC,  # DataSetTrailingPadding
    }
)
_PATIENT = 0x0010  # the group of the patient's modules (PS3.3 C.2, C.7.1.1, C.7.2.2)
#: Of that group, but said about the object: a phantom, or no human, stays one.
_ABOUT_THE_OBJECT = frozenset(
    map(
        tag_for_keyword,
        (
            "QualityControlSubject",
            "PatientSpeciesDescription",
            "PatientSpeciesCodeSequence",
            "PatientBreedDescription",
            "PatientBreedCodeSequence",
        ),
    )
)
#: Of the study and the visit (PS3.3 C.7.2.1, C.7.2.2), and what tells of a coercion (C.12.1).
_STUDY = frozenset(
    map(
        tag_for_keyword,
        (
            "StudyDate",
            "StudyTime",
            "AccessionNumber",
            "IssuerOfAccessionNumberSequence",
            "ReferringPhysicianName",
            "ReferringPhysicianIdentificationSequence",
            "ConsultingPhysicianName",
            "ConsultingPhysicianIdentificationSequence",
            "StudyDescription",
            "StudyID",
            "ProcedureCodeSequence",
            "PhysiciansOfRecord",
            "PhysiciansOfRecordIdentificationSequence",
            "NameOfPhysiciansReadingStudy",
            "PhysiciansReadingStudyIdentificationSequence",
            "RequestingPhysician",
            "RequestingService",
            "RequestingServiceCodeSequence",
            "ReasonForPerformedProcedureCodeSequence",
            "AdmittingDiagnosesDescription",
            "AdmittingDiagnosesCodeSequence",
            "AdmissionID",
            "IssuerOfAdmissionIDSequence",
            "ServiceEpisodeID",
            "ServiceEpisodeDescription",
            "IssuerOfServiceEpisodeIDSequence",
            "PatientState",
            "CurrentPatientLocation",
            "InstanceCoercionDateTime",
            "OriginalAttributesSequence",
        ),
    )
)


@dataclass(frozen=True)
class Comparison:
    """What became of an object in an archive.

    Attributes
    ----------
    differs : str or None
        A few words that fit behind "it differs:", with names of attributes and no values; None:
        the archive holds what was sent.
    coerced : tuple of str
        Names of attributes of the patient and the study that the archive keeps otherwise.
    """

    differs: str | None
    coerced: tuple[str, ...] = ()


def part10(dataset: Dataset) -> bytes:
    """Encode a dataset as the DICOM file it says it is.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With ``file_meta`` that names its transfer syntax.

    Returns
    -------
    bytes

    Raises
    ------
    ArchiveError
        It cannot be encoded.
    """
    buffer = BytesIO()
    try:
        dataset.save_as(buffer, enforce_file_format=True)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ArchiveError(
            f"An object cannot be encoded as a DICOM file ({type(error).__name__}); "
            "build it again and check it."
        ) from None
    return buffer.getvalue()


def same_content(sent: Dataset, held: bytes) -> bool:
    """Tell whether the archive holds what was sent; see `difference`."""
    return difference(sent, held) is None


def difference(sent: Dataset, held: bytes) -> str | None:
    """Name the first thing in which a copy differs from what was sent, coerced or not.

    Parameters, errors and the words as of `compare`; None: the same content.
    """
    return compare(sent, held, strict=True).differs


def compare(sent: Dataset, held: bytes, *, strict: bool = False) -> Comparison:
    """Compare an archive's copy with what was sent.

    Parameters
    ----------
    sent : pydicom.Dataset
        With ``file_meta``; not changed.
    held : bytes
        The Part 10 object that the archive gave back; untrusted.
    strict : bool
        True: what the archive coerced counts as a difference too.

    Returns
    -------
    Comparison

    Raises
    ------
    ArchiveError
        What was sent cannot be encoded.
    """
    wanted = parse(part10(sent), pixels=True)
    try:
        found = parse(held, pixels=True)
    except DicomError:
        return Comparison("what came back is no readable DICOM object")
    coerced = []
    for element, words in _changes(wanted, found):
        if strict or not _may_be_coerced(element.tag):
            return Comparison(f"{_name(element)} {words}")
        coerced.append(_name(element))
    return Comparison(_different_pixels(wanted, found), tuple(coerced))


def _may_be_coerced(tag: BaseTag) -> bool:
    return tag in _STUDY or (tag.group == _PATIENT and tag not in _ABOUT_THE_OBJECT)


def _changes(wanted: Dataset, found: Dataset) -> Iterator[tuple[DataElement, str]]:
    """Give each attribute that is not as it was, and what became of it."""
    tags = sorted({tag for dataset in (wanted, found) for tag in dataset.keys() if _counts(tag)})  # noqa: SIM118
    for tag in tags:
        if tag not in found:
            yield wanted[tag], "is missing"
        elif tag not in wanted:
            yield found[tag], "was added"
        elif not _equal(wanted[tag], found[tag]):
            yield wanted[tag], "has another value"


def _counts(tag: BaseTag) -> bool:
    return tag.element != 0 and tag not in _PACKING and tag != _PIXELS


def _name(element: DataElement) -> str:
    return element.keyword or f"({element.tag.group:04X},{element.tag.element:04X})"


def _equal(wanted: DataElement, found: DataElement) -> bool:
    if wanted.VR == found.VR == "SQ":
        items = list(zip(wanted.value or [], found.value or [], strict=False))
        return len(wanted.value or []) == len(found.value or []) and all(
            next(_changes(a, b), None) is None for a, b in items
        )
    # By bytes where the values differ: implicit VR gives private attributes back as UN.
    return bool(wanted.value == found.value) or _encoded(wanted) == _encoded(found)


def _encoded(element: DataElement) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_data_element(buffer, element, convert_encodings("ISO_IR 192"))
    return bytes(buffer.getvalue()[8:]).rstrip(b"\0 ")


def _different_pixels(wanted: Dataset, found: Dataset) -> str | None:
    """Compare pixels; every attribute about them is known to be equal by now."""
    if (_PIXELS in wanted) != (_PIXELS in found):
        return "PixelData is missing" if _PIXELS in wanted else "PixelData was added"
    if _PIXELS not in wanted:
        return None
    if wanted.file_meta.TransferSyntaxUID == found.file_meta.TransferSyntaxUID:
        return None if _stream(wanted) == _stream(found) else "PixelData has another value"
    try:
        same = np.array_equal(pixel_array(wanted), pixel_array(found))
    except Exception as error:  # whatever a codec raises on a stranger's bytes
        return f"PixelData cannot be decoded ({type(error).__name__})"
    return None if same else "PixelData has another value"


def _stream(dataset: Dataset) -> list[bytes]:
    """Give the bytes of native pixels, or those of each frame however it was cut up."""
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        return [bytes(dataset.PixelData).rstrip(b"\0")]
    frames = generate_fragmented_frames(
        dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames", 1) or 1)
    )
    return [b"".join(frame).rstrip(b"\0") for frame in frames]
