"""Storage commitment: what the journal says of objects, reported to who asked (PS3.4 annex J)."""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.dimse_association import associated
from radedit_dicom.errors import ArchiveError
from radedit_dicom.router.intake import Intake
from radedit_dicom.router.journal import now

_NO_SUCH_OBJECT, _CLASS_CONFLICT = 0x0112, 0x0119  # failure reasons, PS3.3 C.14.1.1
_ALL_KEPT, _SOME_FAILED = 1, 2  # event types, PS3.4 table J.3-2
_POLL_S = 0.2
_LONGEST_S = 60.0  # between two attempts; the first come quicker
_MOST_ATTEMPTS = 60  # about an hour
_LOG = logging.getLogger("radedit.route")


class Reporter:
    """Sends the reports that are due: to a caller's known address, else where it asked.

    Parameters
    ----------
    intake : Intake
    addresses : mapping
        AE title to where its reports go; a caller without one is told on its own association.
    asking : dict
        `Receiver.asking`.
    """

    def __init__(
        self,
        intake: Intake,
        addresses: Mapping[str, DimseAddress],
        asking: dict[int, Association],
    ) -> None:
        self._intake, self._addresses, self._asking = intake, addresses, asking
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def start(self) -> None:
        """Send, in a thread of its own."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it sends."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop; what is due stays in the journal."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(_POLL_S):
            with suppress(sqlite3.OperationalError):  # a full disk; the row stays
                self.send_due()

    def send_due(self) -> None:
        """Send every report whose time has come, once."""
        journal = self._intake.journal
        for row in journal.rows("SELECT * FROM reports WHERE not_before <= ?", (now(),)):
            try:
                done = self._report(int(row["id"]), str(row["caller"]), json.loads(row["content"]))
            except sqlite3.OperationalError:
                raise
            except Exception as error:  # the outermost edge of one report: the others are due, too
                _LOG.warning("a report cannot be written: %s", type(error).__name__)
                done = True
            with journal.change() as change:
                if done or row["attempts"] + 1 >= _MOST_ATTEMPTS:
                    self._asking.pop(int(row["id"]), None)
                    change.execute("DELETE FROM reports WHERE id = ?", (row["id"],))
                else:
                    change.execute(
                        "UPDATE reports SET attempts = attempts + 1, not_before = ? WHERE id = ?",
                        (now() + min(2.0 ** row["attempts"], _LONGEST_S), row["id"]),
                    )

    def _report(self, number: int, caller: str, asked: Mapping[str, Any]) -> bool:
        """Send one report; False: not now."""
        report = judged(self._intake, asked)
        address = self._addresses.get(caller)
        if address is None:
            association = self._asking.get(number)
            if association is None or not association.is_established:
                return True  # nobody can be told any more
            return _sent(association, report)
        try:
            role = build_role(StorageCommitmentPushModel, scp_role=True)
            contexts = [build_context(StorageCommitmentPushModel)]
            with associated(address, contexts, roles=[role]) as association:
                return _sent(association, report)
        except ArchiveError:
            return False


def judged(intake: Intake, asked: Mapping[str, Any]) -> Dataset:
    """Say of each reference of a commitment request whether it is kept.

    Parameters
    ----------
    intake : Intake
    asked : mapping
        "transaction", and "references": pairs of SOP class and instance UID.

    Returns
    -------
    pydicom.Dataset
        The information of an N-EVENT-REPORT (PS3.4 J.3.3).
    """
    report = Dataset()
    report.TransactionUID = asked["transaction"]
    kept, failed = [], []
    for sop_class, uid in asked["references"]:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        reason = _why_not(intake, sop_class, uid)
        if reason is None:
            kept.append(item)
        else:
            item.FailureReason = reason
            failed.append(item)
    if kept:
        report.ReferencedSOPSequence = kept
    if failed:
        report.FailedSOPSequence = failed
    return report


def _why_not(intake: Intake, sop_class: str, uid: str) -> int | None:
    row = intake.journal.row("SELECT sop_class, file, state FROM instances WHERE uid = ?", (uid,))
    if row is None or not (intake.spool.folder / row["file"]).is_file():
        return _NO_SUCH_OBJECT
    return None if row["sop_class"] == sop_class else _CLASS_CONFLICT


def _sent(association: Association, report: Dataset) -> bool:
    kind = _SOME_FAILED if "FailedSOPSequence" in report else _ALL_KEPT
    try:
        status, _ = association.send_n_event_report(
            report, kind, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (RuntimeError, ValueError):  # pynetdicom's words for gone, and for no such context
        return False
    return "Status" in status and int(status.Status) == 0
