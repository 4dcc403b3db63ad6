"""Storage commitment: the archive's promise to keep what it holds (PS3.4 annex J)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)

from radedit_dicom.archive import Instance
from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.dimse_association import associated, code
from radedit_dicom.dimse_receive import listening
from radedit_dicom.dimse_status import commitment_failure
from radedit_dicom.errors import ArchiveError

_REQUEST = 1  # the one action of the class, PS3.4 J.3.2
_NOT_OURS = 0x0115  # invalid argument value
_POLL_S = 0.05


def commit(address: DimseAddress, instances: Sequence[Instance]) -> None:
    """Ask the archive to take over responsibility for instances, and wait for its word.

    The report may come on the association of the request, or on one that the archive opens to
    `address.move_port`.

    Parameters
    ----------
    address : DimseAddress
    instances : sequence of Instance
        With SOP classes.

    Raises
    ------
    DroppedError
        The association was lost before the request was answered.
    ArchiveError
        The archive does not offer commitment, commits to less than all, or sends no report
        within `address.timeouts.commit_s`.
    """
    report = _Report(str(generate_uid(prefix=None)))
    with ExitStack() as stack:
        if address.move_port is not None:
            stack.enter_context(listening(address, report.handlers()))
        association = stack.enter_context(
            associated(address, [build_context(StorageCommitmentPushModel)], report.handlers())
        )
        started = time.monotonic()
        answer, _ = association.send_n_action(
            _request(report.transaction_uid, instances),
            _REQUEST,
            StorageCommitmentPushModel,
            StorageCommitmentPushModelInstance,
        )
        if status := code(address, answer, started):
            raise ArchiveError(
                f"The archive {address} refuses to commit to what was stored (status "
                f"0x{status:04X}); look in its log."
            )
        deadline = time.monotonic() + address.timeouts.commit_s
        while not report.came.wait(_POLL_S):
            hung_up = address.move_port is None and not association.is_established
            if hung_up or time.monotonic() > deadline:
                raise ArchiveError(
                    f"The archive {address} took the request for storage commitment but sent no "
                    "report; check that it knows our AE title with host and move port, and do "
                    "not count on what was stored."
                )
    _judge(address, report, instances)


class _Report:
    """The N-EVENT-REPORT of one transaction, wherever it comes in."""

    def __init__(self, transaction_uid: str) -> None:
        self.transaction_uid = transaction_uid
        self.came = threading.Event()
        self.committed: set[str] = set()
        self.failed: dict[str, int] = {}

    def handlers(self) -> list[EventHandlerType]:
        return [(evt.EVT_N_EVENT_REPORT, self._take)]

    def _take(self, event: Event) -> tuple[int, Dataset | None]:
        information = event.event_information
        if str(information.get("TransactionUID", "")) != self.transaction_uid:
            return _NOT_OURS, None
        for item in information.get("ReferencedSOPSequence", []):
            self.committed.add(str(item.ReferencedSOPInstanceUID))
        for item in information.get("FailedSOPSequence", []):
            uid = str(item.ReferencedSOPInstanceUID)
            self.failed[uid] = int(item.get("FailureReason", 0x0110))
        self.came.set()
        return 0x0000, None


def _request(transaction_uid: str, instances: Sequence[Instance]) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction_uid
    items = []
    for instance in instances:
        item = Dataset()
        item.ReferencedSOPClassUID = instance.sop_class_uid
        item.ReferencedSOPInstanceUID = instance.sop_instance_uid
        items.append(item)
    request.ReferencedSOPSequence = DicomSequence(items)
    return request


def _judge(address: DimseAddress, report: _Report, instances: Sequence[Instance]) -> None:
    for instance in instances:
        uid = instance.sop_instance_uid
        if uid in report.failed or uid not in report.committed:
            words = commitment_failure(report.failed.get(uid, 0x0110))
            raise ArchiveError(
                f"The archive {address} does not commit to {uid}: it {words}; store it again."
            )
