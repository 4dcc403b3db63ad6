"""The envelope of an object: file meta written for what came bare, and taken off what has one."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID

from radedit_dicom.archive import checked_uid
from radedit_dicom.errors import ArchiveError, NotDicomError
from radedit_dicom.router.errors import CANNOT_UNDERSTAND, RefusedError

_MOST_META = 1 << 16
_GROUP = 144  # bytes up to the end of the file meta group's length
_PIECE = 1 << 18
#: What pydicom is seen to raise on a broken file meta group.
_BROKEN = (
    InvalidDicomError,
    BytesLengthException,
    AttributeError,
    EOFError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


def file_meta(uid: str, sop_class: str, syntax: str) -> bytes:
    """Write preamble and file meta (PS3.10 7.1) for an object that came without.

    By hand: pydicom refuses UIDs with a leading zero in a component, which real devices send.

    Parameters
    ----------
    uid, sop_class, syntax : str
        Of the object; digits and dots.

    Returns
    -------
    bytes
    """
    group = b"".join(
        [
            struct.pack("<HH2sHI", 2, 0x0001, b"OB", 0, 2) + b"\0\1",
            _uid(0x0002, sop_class),
            _uid(0x0003, uid),
            _uid(0x0010, syntax),
            _uid(0x0012, str(PYNETDICOM_IMPLEMENTATION_UID)),
        ]
    )
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(group))
    return b"\0" * 128 + b"DICM" + length + group


@dataclass(frozen=True)
class Part10:
    """An object out of its envelope.

    Attributes
    ----------
    uid, sop_class, syntax : str
        Of the SOP instance, its class, and its transfer syntax.
    content : memoryview of bytes
        The data set, encoded in `syntax`.
    """

    uid: str
    sop_class: str
    syntax: str
    content: memoryview


def opened(content: bytes | memoryview) -> Part10:
    """Take the envelope off a Part 10 object, looking at nothing else.

    Raises
    ------
    RefusedError
        It is no Part 10 object, deflated, or a UID is malformed.
    """
    stream = BytesIO(content[:_MOST_META])
    try:
        read_preamble(stream, force=False)
        meta = read_dataset(stream, False, True, stop_when=_after_meta)
        uid, sop_class, syntax = (
            _named(meta, name)
            for name in (
                "MediaStorageSOPInstanceUID",
                "MediaStorageSOPClassUID",
                "TransferSyntaxUID",
            )
        )
    except _BROKEN:
        raise RefusedError(
            "What came is no DICOM Part 10 object; send a DICOM file.", CANNOT_UNDERSTAND
        ) from None
    if syntax == DeflatedExplicitVRLittleEndian:
        raise RefusedError(
            "The object is deflated, which is not accepted because it can hide very large data; "
            "send it uncompressed or losslessly compressed.",
            CANNOT_UNDERSTAND,
        )
    return Part10(uid, sop_class, syntax, memoryview(content)[stream.tell() :])


def digest(path: Path, syntax: str) -> str:
    """Hash an object: its transfer syntax, and its data set in that; the file meta is no part.

    Parameters
    ----------
    path : pathlib.Path
        Of a file that begins as `file_meta` writes it.
    syntax : str

    Raises
    ------
    NotDicomError
        It is deflated.
    OSError
        It is gone or unreadable.
    """
    if syntax == DeflatedExplicitVRLittleEndian:
        raise NotDicomError("The object is deflated, which is not accepted; send it otherwise.")
    counted = hashlib.sha256(syntax.encode())
    with path.open("rb", buffering=0) as stream:
        length = int.from_bytes(stream.read(_GROUP)[-4:], "little")  # PS3.10 7.1
        stream.seek(_GROUP + length)
        while piece := stream.read(_PIECE):
            counted.update(piece)
    return counted.hexdigest()


def _named(meta: Dataset, keyword: str) -> str:
    try:
        return checked_uid(meta.get(keyword, ""))
    except ArchiveError as error:
        raise RefusedError(str(error), CANNOT_UNDERSTAND) from None


def _after_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii") + b"\0" * (len(uid) % 2)
    return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value
