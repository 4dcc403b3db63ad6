"""Queries of the study root, level by level (PS3.4 C.4.1, C.6.2)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping

from pydicom import config
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelFind as StudyRootFind,
)

from radedit_dicom.archive import Instance, Query, Study
from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.dimse_association import associated, code
from radedit_dicom.dimse_status import query_failure
from radedit_dicom.errors import ArchiveError
from radedit_dicom.parsing import settled
from radedit_dicom.uids import is_uid

_PENDING = (0xFF00, 0xFF01)
_ASKED_AGAIN = 3  # Orthanc 1.10 now and then answers success and leaves a row out
_MOST_ROWS = 100_000  # of one answer; an archive that never ends must not fill the memory
_KEYS = {
    "STUDY": ("StudyInstanceUID", "PatientID", "AccessionNumber"),
    "SERIES": (
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "NumberOfSeriesRelatedInstances",
    ),
    "IMAGE": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
}
_UNIQUE = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}

Row = Mapping[str, str]


def find_instances(address: DimseAddress, query: Query) -> list[Instance]:
    """List the instances that match, in the order of their UIDs.

    Each level is asked with the unique keys of those above it, which archives may insist on.
    Rows that do not match are passed over, as archives ignore keys they do not know, and so
    are rows whose UIDs are malformed.

    Parameters
    ----------
    address : DimseAddress
    query : Query

    Returns
    -------
    list of Instance

    Raises
    ------
    DroppedError
        The association was lost.
    ArchiveError
        The archive refuses the query, or answers without an end.
    """
    with associated(address, [build_context(StudyRootFind)]) as association:
        walk = _Walk(address, association)
        return sorted(set(walk.instances(query)))


def find_studies(address: DimseAddress, query: Query) -> list[Study]:
    """List the studies that hold what a query wants, and how much each of them holds.

    Parameters, errors as of `find_instances`; series and instances are not looked at.
    """
    with associated(address, [build_context(StudyRootFind)]) as association:
        return list(_Walk(address, association).studies(query))


class _Walk:
    """The levels of one query on one association."""

    def __init__(self, address: DimseAddress, association: Association) -> None:
        self.address, self.association = address, association

    def instances(self, query: Query) -> Iterator[Instance]:
        for study in self._studies(query):
            for series in self._series(study, query):
                wanted = _present(
                    StudyInstanceUID=study,
                    SeriesInstanceUID=series["SeriesInstanceUID"],
                    SOPInstanceUID=query.sop_instance_uid,
                )
                for row in self._images(wanted, series):
                    yield _instance(row, series)

    def studies(self, query: Query) -> Iterator[Study]:
        wanted = _present(
            StudyInstanceUID=query.study_instance_uid,
            PatientID=query.patient_id,
            AccessionNumber=query.accession_number,
        )
        identifier = _identifier("STUDY", wanted)
        _add(identifier, "ModalitiesInStudy", query.modality or "")
        _add(identifier, "NumberOfStudyRelatedInstances", "")
        for found in self._answers(identifier):
            row, dataset = _row(found, "STUDY", wanted), settled(found)
            held = str(dataset.get("ModalitiesInStudy") or "")
            told = str(dataset.get("NumberOfStudyRelatedInstances") or "")
            if _fits(row, wanted) and (not query.modality or not held or query.modality in held):
                size = int(told) if re.fullmatch(r"[0-9]{1,9}", told) else None
                yield Study(row["StudyInstanceUID"], size)

    def _images(self, wanted: Row, series: Row) -> list[Row]:
        """Ask for the instances of a series, again while some are missing."""
        told = series["NumberOfSeriesRelatedInstances"]
        number = int(told) if re.fullmatch(r"[0-9]{1,6}", told) else 1
        rows = self.ask("IMAGE", wanted)
        for _ in range(_ASKED_AGAIN):
            if "SOPInstanceUID" in wanted or len(rows) >= number:
                break
            rows = self.ask("IMAGE", wanted)
        return rows

    def _studies(self, query: Query) -> list[str]:
        wanted = _present(
            StudyInstanceUID=query.study_instance_uid,
            PatientID=query.patient_id,
            AccessionNumber=query.accession_number,
        )
        if set(wanted) == {"StudyInstanceUID"}:
            return [wanted["StudyInstanceUID"]]
        if not wanted and (short := self._shortcut(query)):
            return short
        return [row["StudyInstanceUID"] for row in self.ask("STUDY", wanted)]

    def _shortcut(self, query: Query) -> list[str]:
        """Name the study of an instance or series, where the archive answers without the study.

        Not every archive does (PS3.4 C.4.1.2.1 lets it insist on the levels above); then, and
        when it finds nothing, all studies are walked through.
        """
        for level, uid in (
            ("IMAGE", query.sop_instance_uid),
            ("SERIES", query.series_instance_uid),
        ):
            if uid is not None:
                try:
                    rows = self.ask(level, {_UNIQUE[level]: uid})
                except _RefusedError:
                    continue
                if rows:
                    return sorted({row["StudyInstanceUID"] for row in rows})
        return []

    def _series(self, study: str, query: Query) -> list[Row]:
        wanted = _present(
            StudyInstanceUID=study,
            SeriesInstanceUID=query.series_instance_uid,
            Modality=query.modality,
        )
        return self.ask("SERIES", wanted)

    def ask(self, level: str, wanted: Row) -> list[Row]:
        """Ask one level, and keep the rows that match and are sound."""
        identifier = _identifier(level, wanted)
        rows = (_row(found, level, wanted) for found in self._answers(identifier))
        return [row for row in rows if _fits(row, wanted)]

    def _answers(self, identifier: Dataset) -> Iterator[Dataset]:
        started = time.monotonic()
        answers = self.association.send_c_find(identifier, StudyRootFind)
        for number, (answer, found) in enumerate(answers):
            status = code(self.address, answer, started)
            if status not in _PENDING:
                if status != 0:
                    raise _RefusedError(f"The archive {self.address} {query_failure(status)}.")
                return
            if found is None:
                raise ArchiveError(
                    f"The archive {self.address} sent a row of an answer that cannot be read; look "
                    "in its log."
                )
            if number >= _MOST_ROWS:
                raise ArchiveError(
                    f"The archive {self.address} answers with more than {_MOST_ROWS} rows; ask for "
                    "less."
                )
            yield found
            started = time.monotonic()


class _RefusedError(ArchiveError):
    """The archive answered a query with a failure."""


def _present(**values: str | None) -> dict[str, str]:
    return {keyword: value for keyword, value in values.items() if value is not None}


def _identifier(level: str, wanted: Row) -> Dataset:
    identifier = Dataset()
    _add(identifier, "QueryRetrieveLevel", level)
    if not all(value.isascii() for value in wanted.values()):
        _add(identifier, "SpecificCharacterSet", "ISO_IR 192")
    for keyword in _KEYS[level]:
        _add(identifier, keyword, wanted.get(keyword, ""))
    return identifier


def _add(identifier: Dataset, keyword: str, value: str) -> None:
    """Add a key as it is asked for; a value that no object can have finds none."""
    vr = dictionary_VR(keyword)
    identifier.add(DataElement(keyword, vr, value, validation_mode=config.IGNORE))


def _row(found: Dataset, level: str, wanted: Row) -> Row:
    dataset = settled(found)
    row = {keyword: str(dataset.get(keyword) or "").strip() for keyword in _KEYS[level]}
    for keyword in set(_UNIQUE.values()) & row.keys() - {_UNIQUE[level]}:
        row[keyword] = row[keyword] or wanted.get(keyword, "")
    return row


def _fits(row: Row, wanted: Row) -> bool:
    """Filter again: the values must match exactly, and no wildcard counts."""
    sound = all(is_uid(row[keyword]) for keyword in _UNIQUE.values() if keyword in row)
    return sound and all(row[keyword] == value for keyword, value in wanted.items())


def _instance(row: Row, series: Row) -> Instance:
    number = series["SeriesNumber"]
    return Instance(
        study_instance_uid=series["StudyInstanceUID"],
        series_instance_uid=series["SeriesInstanceUID"],
        sop_instance_uid=row["SOPInstanceUID"],
        sop_class_uid=row["SOPClassUID"] if is_uid(row["SOPClassUID"]) else "",
        modality=series["Modality"],
        series_number=int(number) if re.fullmatch(r"[+-]?[0-9]{1,11}", number) else None,
    )
