"""Searches over the headers of a folder's objects (QIDO-RS, PS3.18, 10.6).

dicomweb-client's DICOMfileClient answers searches too, but not by a range of dates, and its
rows lack what a worklist shows (study description, accession number).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Literal

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from radedit.lib.errors import ParameterError

Level = Literal["study", "series", "instance"]
Row = dict[str, Any]
"""A header as DICOM JSON (PS3.18, annex F): "GGGGEEEE" to {"vr": ..., "Value": [...]}."""

MAX_ROWS: Final = 5000
_STUDY: Final = (
    "SpecificCharacterSet", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
    "StudyDescription", "PatientName", "PatientID", "PatientBirthDate", "PatientSex",
    "StudyInstanceUID", "StudyID",
)  # fmt: skip
_SERIES: Final = (
    "Modality", "SeriesDescription", "SeriesDate", "SeriesTime", "SeriesInstanceUID",
    "SeriesNumber", "BodyPartExamined", "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
)  # fmt: skip
_INSTANCE: Final = (
    "SOPClassUID", "SOPInstanceUID", "InstanceNumber", "Rows", "Columns", "BitsAllocated",
    "NumberOfFrames",
)  # fmt: skip
_RANGES: Final = frozenset({"DA", "TM", "DT"})
_IGNORED: Final = frozenset({"fuzzymatching", "includefield", "limit", "offset"})


def _tag(keyword: str) -> str:
    return f"{tag_for_keyword(keyword):08X}"


STUDY_UID, SERIES_UID, INSTANCE_UID = map(
    _tag, ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
)
_MODALITY, _MODALITIES = _tag("Modality"), _tag("ModalitiesInStudy")
_SHOWN: Final[Mapping[Level, frozenset[str]]] = {
    "study": frozenset(map(_tag, _STUDY)),
    "series": frozenset(map(_tag, _STUDY + _SERIES)),
    "instance": frozenset(map(_tag, _STUDY + _SERIES + _INSTANCE)),
}
_KEY: Final[Mapping[Level, str]] = {
    "study": STUDY_UID, "series": SERIES_UID, "instance": INSTANCE_UID,
}  # fmt: skip


@dataclass(frozen=True)
class Search:
    """What a query asks for.

    Attributes
    ----------
    wanted : tag to what its value must match
    fields : tags that rows show besides the usual; None = every one
    limit, offset : which rows of those found
    """

    wanted: Mapping[str, str]
    fields: frozenset[str] | None
    limit: int
    offset: int


def read_query(pairs: Iterable[tuple[str, str]]) -> Search:
    """Read a search from the names and values of an address.

    Raises
    ------
    ParameterError
        A name is no attribute, or a number is none.
    """
    wanted, fields, numbers = {}, set(), {"limit": MAX_ROWS, "offset": 0}
    for name, value in pairs:
        if name in numbers:
            if not re.fullmatch(r"\d{1,9}", value):
                raise ParameterError(f"{name} is no number of rows; give one.")
            numbers[name] = int(value)
        elif name == "includefield":
            fields |= {field for field in value.split(",") if field}
        elif name not in _IGNORED and value:
            wanted[_attribute(name)] = value
    shown = None if "all" in fields else frozenset(_attribute(name) for name in fields)
    return Search(wanted, shown, min(numbers["limit"], MAX_ROWS), numbers["offset"])


def search(level: Level, headers: Sequence[Row], asked: Search) -> list[Row]:
    """Find studies, series or instances.

    Parameters
    ----------
    headers : of every instance that is looked at
    asked : an instance that matches brings its series and study along

    Returns
    -------
    one row each, by UID
    """
    groups: dict[str, list[Row]] = {}
    for header in headers:
        groups.setdefault(text(header, _KEY[level]), []).append(header)
    studies = _modalities(headers)
    found = []
    for _, members in sorted(groups.items()):
        known = studies[text(members[0], STUDY_UID)]
        hits = [member for member in members if _matches(member, asked.wanted, known)]
        if hits:
            found.append(_row(level, hits[0], members, asked, known))
    return found[asked.offset :][: asked.limit]


def text(header: Row, tag: str) -> str:
    """Give the first value of an attribute as text, "" without one."""
    values = header.get(tag, {}).get("Value") or [""]
    first = values[0]
    return str(first.get("Alphabetic", "") if isinstance(first, dict) else first)


def _attribute(name: str) -> str:
    tag = tag_for_keyword(name)
    if tag is None and re.fullmatch(r"[0-9A-Fa-f]{8}", name) and keyword_for_tag(int(name, 16)):
        tag = int(name, 16)
    if tag is None:
        raise ParameterError(f"There is no attribute {name[:40]!r} to search or show.")
    return f"{tag:08X}"


def _modalities(headers: Sequence[Row]) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for header in headers:
        found.setdefault(text(header, STUDY_UID), set()).add(text(header, _MODALITY))
    return {study: sorted(names) for study, names in found.items()}


def _matches(header: Row, wanted: Mapping[str, str], modalities: Sequence[str]) -> bool:
    for tag, pattern in wanted.items():
        values = modalities if tag == _MODALITIES else _values(header, tag)
        if not any(map(_matcher(tag, pattern), values)):
            return False
    return True


def _values(header: Row, tag: str) -> list[str]:
    found = header.get(tag, {}).get("Value") or []
    return [str(v.get("Alphabetic", "") if isinstance(v, dict) else v) for v in found]


def _matcher(tag: str, pattern: str) -> Callable[[str], bool]:
    """Say when a value matches (PS3.4, C.2.2.2)."""
    vr = dictionary_VR(int(tag, 16))
    if vr in _RANGES and "-" in pattern:
        low, _, high = pattern.partition("-")
        return partial(_within, low, high)
    if vr == "UI" or tag == _MODALITIES:
        return frozenset(re.split(r"[,\\]", pattern)).__contains__
    glob = re.compile(
        fnmatch.translate(pattern.replace("[", "[[]")), re.IGNORECASE if vr == "PN" else 0
    )
    return lambda value: glob.match(value) is not None


def _within(low: str, high: str, value: str) -> bool:
    return (not low or value >= low) and (not high or value[: len(high)] <= high) and value != ""


def _row(
    level: Level, hit: Row, members: Sequence[Row], asked: Search, modalities: Sequence[str]
) -> Row:
    if asked.fields is None:
        row = dict(hit)
    else:
        shown = _SHOWN[level] | asked.fields | asked.wanted.keys()
        row = {tag: element for tag, element in hit.items() if tag in shown}
    if level == "study":
        series = {text(member, SERIES_UID) for member in members}
        row[_MODALITIES] = {"vr": "CS", "Value": list(modalities)}
        row[_tag("NumberOfStudyRelatedSeries")] = {"vr": "IS", "Value": [len(series)]}
        row[_tag("NumberOfStudyRelatedInstances")] = {"vr": "IS", "Value": [len(members)]}
    if level == "series":
        row[_tag("NumberOfSeriesRelatedInstances")] = {"vr": "IS", "Value": [len(members)]}
    return row
