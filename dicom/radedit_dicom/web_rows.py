"""The rows that a search of a DICOMweb archive gives, in DICOM JSON (PS3.18 F)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from radedit_dicom.archive import Instance, Query, Study
from radedit_dicom.errors import ArchiveError
from radedit_dicom.uids import is_uid

Row = dict[str, Any]

_TAGS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "SOPClassUID": "00080016",
    "Modality": "00080060",
    "SeriesNumber": "00200011",
    "PatientID": "00100020",
    "AccessionNumber": "00080050",
    "ModalitiesInStudy": "00080061",
    "NumberOfStudyRelatedInstances": "00201208",
}
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_PLAIN = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Level:
    """What is searched for, and what may be asked about it.

    Attributes
    ----------
    keys : tuple of (str, str)
        Field of a `Query`, and keyword.
    fields : tuple of str
        Keywords to be told of each.
    """

    keys: tuple[tuple[str, str], ...]
    fields: tuple[str, ...]


STUDY = Level(
    keys=(
        ("study_instance_uid", "StudyInstanceUID"),
        ("patient_id", "PatientID"),
        ("accession_number", "AccessionNumber"),
        ("modality", "ModalitiesInStudy"),
    ),
    fields=(
        "StudyInstanceUID",
        "PatientID",
        "AccessionNumber",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedInstances",
    ),
)
INSTANCE = Level(
    keys=(
        ("study_instance_uid", "StudyInstanceUID"),
        ("series_instance_uid", "SeriesInstanceUID"),
        ("sop_instance_uid", "SOPInstanceUID"),
        ("modality", "Modality"),
    ),
    fields=(
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SOPInstanceUID",
        "SOPClassUID",
        "Modality",
        "SeriesNumber",
        "PatientID",
        "AccessionNumber",
    ),
)


def filters(query: Query, level: Level) -> dict[str, str]:
    """Give the keys of a query that can be asked at a level, by keyword."""
    pairs = [(keyword, getattr(query, name)) for name, keyword in level.keys]
    return {keyword: value for keyword, value in pairs if value is not None}


def matches(row: Row, query: Query, level: Level) -> bool:
    """Tell whether a row is what was asked for, exactly; wildcards are none."""
    if any(wanted not in values(row, word) for word, wanted in filters(query, level).items()):
        return False
    # Where the archive tells it: two patients may have been given one study UID.
    return all(
        wanted is None or _TAGS[keyword] not in row or value(row, keyword) == wanted
        for keyword, wanted in (
            ("PatientID", query.patient_id),
            ("AccessionNumber", query.accession_number),
        )
    )


def instances(found: Sequence[Row], query: Query) -> list[Instance]:
    """Name the instances of those rows that match, save those with malformed UIDs."""
    named = (instance(row) for row in found if matches(row, query, INSTANCE))
    return [one for one in named if one is not None]


def is_plain(text: str) -> bool:
    """Tell whether a value reads the same percent-encoded, and so in every archive."""
    return _PLAIN.fullmatch(text) is not None


def checked(page: Any, url: str) -> list[Row]:
    """Let only what is a list of datasets in DICOM JSON pass.

    Raises
    ------
    ArchiveError
        It is anything else: a page for people, or another service's answer.
    """
    if isinstance(page, Sequence) and all(_is_row(row) for row in page):
        return list(page)
    raise ArchiveError(
        f"What answers at {url} does not speak DICOM JSON; give the address of a DICOMweb "
        "service, which /studies follows."
    )


def instance(row: Row) -> Instance | None:
    """Name the instance of a row; None when its UIDs are malformed.

    One such object in an archive must not hide all others, and nobody could fetch it.
    """
    study, series, uid = (value(row, name) for name in _UIDS)
    if not all(map(is_uid, (study, series, uid))):
        return None
    number, sop_class = value(row, "SeriesNumber"), value(row, "SOPClassUID")
    return Instance(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_instance_uid=uid,
        sop_class_uid=sop_class if is_uid(sop_class) else "",
        modality=value(row, "Modality"),
        series_number=int(number) if re.fullmatch(r"-?\d{1,12}", number) else None,
    )


def study(row: Row) -> Study | None:
    """Name the study of a row; None when its UID is malformed."""
    uid = value(row, "StudyInstanceUID")
    if not is_uid(uid):
        return None
    size = value(row, "NumberOfStudyRelatedInstances")
    return Study(uid, int(size) if re.fullmatch(r"\d{1,9}", size) else None)


def value(row: Row, keyword: str) -> str:
    """Give the first value of an attribute as text; "" where there is none."""
    return next(iter(values(row, keyword)), "")


def values(row: Row, keyword: str) -> list[str]:
    """Give the values of an attribute as text."""
    listed = row.get(_TAGS[keyword], {}).get("Value")
    texts = listed if isinstance(listed, list) else []
    return [str(text).strip(" \0") for text in texts if text is not None]


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and all(
        re.fullmatch(r"[0-9A-Fa-f]{8}", tag) and isinstance(element, dict)
        for tag, element in row.items()
    )
