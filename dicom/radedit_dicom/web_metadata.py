"""Headers of objects by WADO-RS metadata (PS3.18 10.4.1.1.5), which are without their pixels.

A header is passed over, so that its object is fetched instead, where the archive tells a part of
it only: a study's main attributes, as Orthanc can be set to, or by reference what we must know:
private values, or SyntheticData, which an older dictionary has as UN once it came over implicit VR.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import requests
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from radedit_dicom import web_rows as rows
from radedit_dicom.archive import Instance
from radedit_dicom.errors import NotDicomError
from radedit_dicom.parsing import from_json
from radedit_dicom.uids import is_uid
from radedit_dicom.web_session import WebSession, resource

_MOST_SERIES = 3  # asked for one by one; for more of a study it is asked for as a whole
_ALWAYS = {"00280101", "0040A040"}  # BitsStored of an image, ValueType of a report
_ONE_TEXT = ("ST", "LT", "UT")  # PS3.5 table 6.2-1: never of several values
_SYNTHETIC = "0008001C"  # SyntheticData
_SYNTAX = "00083002"  # AvailableTransferSyntaxUID


def headers(session: WebSession, instances: Sequence[Instance]) -> dict[str, Dataset]:
    """Give the headers of instances by SOP Instance UID, those that are told in whole.

    Raises
    ------
    ArchiveError
        The archive offers no metadata, or cannot be reached.
    """
    wanted = {instance.sop_instance_uid for instance in instances}
    found = {}
    for path in _paths(instances):
        for row in _rows(session, f"{path}/metadata"):
            uid = rows.value(row, "SOPInstanceUID")
            if uid in wanted and _is_whole(row):
                try:
                    found[uid] = _header(row)
                except NotDicomError:
                    continue
    return found


def _paths(instances: Sequence[Instance]) -> Iterator[str]:
    studies: dict[str, dict[str, list[Instance]]] = {}
    for each in instances:
        series = studies.setdefault(each.study_instance_uid, {})
        series.setdefault(each.series_instance_uid, []).append(each)
    for study, held in studies.items():
        if len(held) > _MOST_SERIES:
            yield f"studies/{study}"
            continue
        for name, members in held.items():
            whole = f"studies/{study}/series/{name}"
            yield resource(members[0]) if len(members) == 1 else whole


def _rows(session: WebSession, path: str) -> list[rows.Row]:
    url = session.address.url
    try:
        page = session.get(f"{url}/{path}").json()
    except requests.JSONDecodeError:
        page = None
    return rows.checked(page, url)


def _is_whole(row: Mapping[str, Any]) -> bool:
    by_reference = (tag for tag, element in row.items() if "BulkDataURI" in element)
    needed = (int(tag[:4], 16) % 2 or tag == _SYNTHETIC for tag in by_reference)
    return not _ALWAYS.isdisjoint(row) and not any(needed)


def _joined(element: Any) -> Any:
    """Undo what Orthanc does to a text with backslashes, which is one value all the same."""
    values = element.get("Value") if isinstance(element, dict) else None
    if not isinstance(values, list):
        return element
    if element.get("vr") == "SQ":
        items = [item for item in values if isinstance(item, dict)]
        return {**element, "Value": [{t: _joined(e) for t, e in item.items()} for item in items]}
    if element.get("vr") not in _ONE_TEXT or len(values) < 2:
        return element
    return {**element, "Value": ["\\".join(map(str, values))]}


def _header(row: rows.Row) -> Dataset:
    header = from_json({tag: _joined(e) for tag, e in row.items() if tag[:4] != "7FE0"})
    syntax = (row.get(_SYNTAX, {}).get("Value") or [""])[0]
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = UID(syntax) if is_uid(syntax) else ExplicitVRLittleEndian
    return header
