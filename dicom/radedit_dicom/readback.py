"""Whether an archive gives back what it was sent.

An archive may repack an object: another transfer syntax, other padding, other lengths, its
own file meta, another character set for the same text. It may not change what the object
says: every attribute and every pixel has to come back, and none may be added, save the few
that say where an archive keeps it.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from pydicom.charset import convert_encodings
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
    """Name the first thing in which the archive's copy differs from what was sent.

    Parameters
    ----------
    sent : pydicom.Dataset
        With ``file_meta``; not changed.
    held : bytes
        The Part 10 object that the archive gave back; untrusted.

    Returns
    -------
    str or None
        None: the same content. Otherwise a few words that fit behind "it differs:", with
        names of attributes and no values.

    Raises
    ------
    ArchiveError
        What was sent cannot be encoded.
    """
    wanted = parse(part10(sent), pixels=True)
    try:
        found = parse(held, pixels=True)
    except DicomError:
        return "what came back is no readable DICOM object"
    return _different(wanted, found) or _different_pixels(wanted, found)


def _different(wanted: Dataset, found: Dataset) -> str | None:
    tags = sorted({tag for dataset in (wanted, found) for tag in dataset.keys() if _counts(tag)})  # noqa: SIM118
    for tag in tags:
        if tag not in found:
            return f"{_name(wanted[tag])} is missing"
        if tag not in wanted:
            return f"{_name(found[tag])} was added"
        if not _equal(wanted[tag], found[tag]):
            return f"{_name(wanted[tag])} has another value"
    return None


def _counts(tag: BaseTag) -> bool:
    return tag.element != 0 and tag not in _PACKING and tag != _PIXELS


def _name(element: DataElement) -> str:
    return element.keyword or f"({element.tag.group:04X},{element.tag.element:04X})"


def _equal(wanted: DataElement, found: DataElement) -> bool:
    if wanted.VR == found.VR == "SQ":
        items = list(zip(wanted.value or [], found.value or [], strict=False))
        return len(wanted.value or []) == len(found.value or []) and all(
            _different(a, b) is None for a, b in items
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
