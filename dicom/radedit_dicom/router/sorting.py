"""What came in, looked at: sound objects join the case of their study, others go no further.

This runs in a process of its own, whose memory is limited, and never decodes a pixel. An
object on which that process ends three times is set apart as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset

from radedit_dicom.errors import DicomError, NotDicomError
from radedit_dicom.parsing import parse
from radedit_dicom.router import part10
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.spool import Spool
from radedit_dicom.uids import is_uid

QUARANTINED, WAITING = "quarantined", "waiting"
MAX_PIXELS = 1 << 28  # rows x columns x frames: far more than any radiograph has
_MOST_TRIES = 3
_PIXELS = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF
_NATIVE = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"})
_LONG = frozenset({b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"UN"})


@dataclass(frozen=True)
class Sorter:
    """Sorts what came in.

    Attributes
    ----------
    spool, journal, audit
        Of the route.
    """

    spool: Spool
    journal: Journal
    audit: Audit

    def sort(self, most: int = 100) -> int:
        """Look at objects that came in, the oldest first.

        Parameters
        ----------
        most : int
            So many at one call.

        Returns
        -------
        int
            How many were looked at; 0: there are no more.
        """
        rows = self.journal.rows(
            "SELECT uid, sop_class, syntax, file, tries, received, source FROM instances "
            "WHERE state = 'received' ORDER BY received LIMIT ?",
            (most,),
        )
        for row in rows:
            with self.journal.change() as change:  # ahead of the look: it may end this process
                change.execute(
                    "UPDATE instances SET tries = tries + 1 WHERE uid = ?", (row["uid"],)
                )
            digest = ""
            try:
                if row["tries"] >= _MOST_TRIES:
                    raise NotDicomError(
                        f"Reading it ended the process {_MOST_TRIES} times; look at it by other "
                        "means."
                    )
                path = self.spool.folder / row["file"]
                # known again, whatever becomes of it:
                digest = part10.digest(path, str(row["syntax"]))
                header = examined(path, str(row["uid"]), str(row["sop_class"]))
            except DicomError as error:
                self._set_apart(str(row["uid"]), str(row["source"]), digest, str(error))
            else:
                study = str(header.StudyInstanceUID)
                self._join(str(row["uid"]), study, digest, float(row["received"]))
        return len(rows)

    def _join(self, uid: str, study: str, digest: str, received: float) -> None:
        """Put an object into the open case of its study; late ones open a case that follows up."""
        with self.journal.change() as change:
            case = change.execute(
                "SELECT id FROM cases WHERE study = ? AND closed IS NULL", (study,)
            ).fetchone()
            if case is None:
                case = change.execute(
                    "INSERT INTO cases (study, number, opened, last) VALUES (?, "
                    "(SELECT count(*) + 1 FROM cases WHERE study = ?), ?, ?) RETURNING id",
                    (study, study, received, received),
                ).fetchone()
            change.execute(
                "UPDATE cases SET last = max(last, ?) WHERE id = ?", (received, case["id"])
            )
            change.execute(
                "UPDATE instances SET state = ?, study = ?, sha256 = ?, case_id = ? WHERE uid = ?",
                (WAITING, study, digest, case["id"], uid),
            )

    def _set_apart(self, uid: str, source: str, digest: str, reason: str) -> None:
        with self.journal.change() as change:
            change.execute(
                "UPDATE instances SET state = ?, reason = ?, sha256 = ? WHERE uid = ?",
                (QUARANTINED, reason, digest, uid),
            )
        self.audit.write("quarantined", uid=uid, source=source, reason=reason)


def examined(path: Path, uid: str, sop_class: str) -> Dataset:
    """Read the header of an object, and hold it against what was said of it.

    Parameters
    ----------
    path : pathlib.Path
    uid, sop_class : str
        As the sender named them.

    Returns
    -------
    pydicom.Dataset
        Without pixels.

    Raises
    ------
    DicomError
        It cannot be read, is another object than was said, has a malformed UID, declares more
        pixels than are decoded, or holds less than it declares.
    """
    header = parse(path, pixels=False)
    if str(header.get("SOPInstanceUID", "")) != uid:
        raise NotDicomError(
            "The object says another SOP instance UID of itself than its sender did; send it again."
        )
    if str(header.get("SOPClassUID", "")) != sop_class:
        raise NotDicomError(
            "The object says another SOP class of itself than its sender did; send it again."
        )
    for name in ("StudyInstanceUID", "SeriesInstanceUID"):
        if not is_uid(header.get(name, "")):
            raise NotDicomError(f"The {name} is missing or malformed; correct the object.")
    _check_size(path, header)
    return header


def _check_size(path: Path, header: Dataset) -> None:
    declared = 1
    for name in ("Rows", "Columns"):
        declared *= _count(header, name, 0)
    declared *= max(_count(header, "NumberOfFrames", 1), 1)
    if declared > MAX_PIXELS:
        raise NotDicomError(
            f"The object declares {declared} pixels, but at most {MAX_PIXELS} are decoded; check "
            "the object."
        )
    bits = _count(header, "SamplesPerPixel", 1) * _count(header, "BitsAllocated", 0)
    length = _pixel_length(path)
    syntax = str(header.file_meta.TransferSyntaxUID)
    if length is not None and syntax in _NATIVE and length * 8 < declared * bits:
        raise NotDicomError(
            f"The object holds {length} bytes of pixels and declares {declared} x {bits} bits; "
            "send it again."
        )


def _count(header: Dataset, keyword: str, default: int) -> int:
    value = header.get(keyword)
    if value is None or value == "":
        return default
    try:
        return max(int(value), 0)
    except (TypeError, ValueError):
        raise NotDicomError(
            f"The attribute {keyword} is no single whole number; check the object."
        ) from None


def _pixel_length(path: Path) -> int | None:
    """Give the length of the pixel data, None where there are none, without reading them.

    Raises
    ------
    NotDicomError
        It is longer than the file, or what is said to be encapsulated has no length of its own.
    """
    with path.open("rb") as stream:
        # The header was parsed safely just now, so a second time is safe, too.
        found = pydicom.dcmread(stream, stop_before_pixels=True, specific_tags=["SOPClassUID"])
        little, implicit = found.original_encoding[1], found.original_encoding[0]
        left = path.stat().st_size - stream.tell()
        length = _declared_length(stream, bool(little), bool(implicit))
    if length is None:
        return None
    if length != _UNDEFINED and length > left:
        raise NotDicomError(
            f"The object says that {length} bytes of pixels follow and {left} do; send it again."
        )
    return left if length == _UNDEFINED else length


def _declared_length(stream: BinaryIO, little: bool, implicit: bool) -> int | None:
    order: str = "little" if little else "big"
    head = stream.read(12)
    if len(head) < 8:
        return None

    def number(part: bytes) -> int:
        return int.from_bytes(part, "little" if order == "little" else "big")

    if (number(head[:2]) << 16 | number(head[2:4])) != _PIXELS:
        return None
    if implicit:
        return number(head[4:8])
    return number(head[8:12]) if head[4:6] in _LONG else number(head[6:8])
