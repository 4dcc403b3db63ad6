"""A reader's decision on an edit as a Comprehensive 3D SR, TID 1500 (PS3.16)."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime

from highdicom.sr import (
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    QualitativeEvaluation,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from radedit_dicom import vocabulary as words
from radedit_dicom.errors import ConformanceError, ProvenanceError
from radedit_dicom.film import Film
from radedit_dicom.marks import in_zone, mark
from radedit_dicom.provenance import Provenance, edit_uid, read_private
from radedit_dicom.structured_report import Told, edit_group, report_on
from radedit_dicom.study import StudyContext

_FIRST_NUMBER = 7000  # series numbers of readings, below those of labels and edits
_NOT_IN_NAMES = str.maketrans("\\^=", "   ")


@dataclass(frozen=True)
class Reading:
    """What a reader decided.

    Attributes
    ----------
    reader : str
        The reader's name.
    decision : str
        A key of `vocabulary.DECISIONS`.
    reason : str
        May be empty.
    blinded : str
        What the reader answered before being told which image is edited; empty: not asked.
    event_sha256 : str
        Of the recorded event; the object's UIDs follow from it.
    time : datetime.datetime
        With its offset from UTC.
    """

    reader: str
    decision: str
    reason: str
    blinded: str
    event_sha256: str
    time: datetime


def build_reading(reading: Reading, result: Film, source: Film) -> Dataset:
    """Build the report of a reader's decision, for the study of the edited image.

    Parameters
    ----------
    reading : Reading
    result : Film
        The edited image, with its provenance.
    source : Film
        The film it was made of.

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``; the same reading gives the same UIDs.

    Raises
    ------
    ConformanceError
        The decision is none of `vocabulary.DECISIONS`.
    ProvenanceError
        The edited image carries no record, or that of another film's edit.
    """
    if reading.decision not in words.DECISIONS:
        raise ConformanceError(f"A reading's decision is none of {', '.join(words.DECISIONS)}.")
    provenance = read_private(result.header)
    if provenance.source_sop_instance_uid != source.sop_instance_uid:
        raise ProvenanceError(
            "The edited image was made of another film than the one given; give its source."
        )
    role = f"reading-{reading.event_sha256}"
    group = edit_group(provenance, (result.header, source.header), _told(reading, provenance))
    report = report_on(
        (result.header, source.header),
        _observer(reading),
        [group],
        (
            edit_uid(provenance, role),
            edit_uid(provenance, f"{role}-series"),
            _FIRST_NUMBER + zlib.crc32(reading.event_sha256.encode("ascii")) % 1000,
        ),
    )
    study = StudyContext.same(result)
    mark(report, provenance, study, "reading")
    moment = in_zone(reading.time, study)
    for name in ("Content", "Series", "InstanceCreation"):
        setattr(report, f"{name}Date", moment.strftime("%Y%m%d"))
        setattr(report, f"{name}Time", moment.strftime("%H%M%S.%f"))
    return report


def _observer(reading: Reading) -> ObservationContext:
    """Name the reader; DICOM's name is family^given, and a reader's name is one text."""
    name = " ".join(reading.reader.translate(_NOT_IN_NAMES).split())
    return ObservationContext(
        observer_person_context=ObserverContext(
            observer_type=codes.DCM.Person,
            observer_identifying_attributes=PersonObserverIdentifyingAttributes(name=f"{name}^"),
        )
    )


def _told(reading: Reading, provenance: Provenance) -> Told:
    decision = QualitativeEvaluation(name=words.READING, value=words.DECISIONS[reading.decision])
    texts = (
        (words.READING_REASON, reading.reason),
        (words.READING_BLINDED, reading.blinded),
        (words.READING_EVENT, reading.event_sha256),
        (words.PARAMETER, f"edit_id: {provenance.edit_id}"),
        (words.PARAMETER, f"model: {provenance.model}"),
        (words.PARAMETER, f"model_sha256: {provenance.model_sha256}"),
    )
    return Told(evaluations=[decision], texts=texts)
