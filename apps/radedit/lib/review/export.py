"""Readings on their way out: as a table, and as DICOM reports."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import datetime

from pydicom.dataset import Dataset

from radedit.lib.errors import ParameterError
from radedit.lib.review.cases import Opened
from radedit.lib.review.events import COLUMNS, Event, newest

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(events: Iterable[Event]) -> str:
    """Write every event as a line, with whether a blinded answer was right.

    What a spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*COLUMNS, "is_right"])
    for event in events:
        right = {True: "yes", False: "no", None: ""}[event.is_right]
        table.writerow([*(_plain(getattr(event, name)) for name in COLUMNS), right])
    return text.getvalue()


def as_report(event: Event, events: list[Event], opened: Opened) -> Dataset:
    """Build the DICOM report of a decision.

    Parameters
    ----------
    event : a decision
    events : those of the same edit, for what the reader said before being told
    opened : the edit

    Raises
    ------
    ParameterError
        The event is no decision.
    DicomError
        The report cannot be built.
    """
    from radedit_dicom.reading_report import Reading, build_reading

    if event.kind != "decision":
        raise ParameterError("Only a decision has a DICOM report; choose an event of that kind.")
    blinded = newest(events, "blinded").get((event.reader, event.sop_instance_uid))
    said = (
        "" if blinded is None else {True: "right", False: "wrong", None: "unsure"}[blinded.is_right]
    )
    reading = Reading(
        reader=event.reader,
        decision=event.answer,
        reason=event.reason,
        blinded=said,
        event_sha256=event.sha256,
        time=datetime.fromisoformat(event.time),
    )
    return build_reading(reading, opened.result, opened.source)


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
