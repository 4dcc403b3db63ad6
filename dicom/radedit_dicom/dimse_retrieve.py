"""Objects brought from an archive: C-GET on one association, or C-MOVE to a port of ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context, build_role
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelGet as StudyRootGet,
)
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StudyRootQueryRetrieveInformationModelMove as StudyRootMove,
)

from radedit_dicom.archive import Instance, query_of
from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.dimse_association import DroppedError, associated, code
from radedit_dicom.dimse_find import find_instances
from radedit_dicom.dimse_receive import STORAGE_CLASSES, Receiver, listening, received_contexts
from radedit_dicom.dimse_status import retrieve_failure
from radedit_dicom.errors import ArchiveError

_NO_DESTINATION = 0xA801
_PENDING = (0xFF00, 0xFF01)
_CLASSES_AT_ONCE = 10  # times the syntaxes that can be read: within the 128 contexts allowed
_LATE_S = 2.0  # a C-MOVE's object may come in behind the answer
_POLL_S = 0.01


def retrieve_all(
    address: DimseAddress,
    left: list[Instance],
    take: Callable[[Instance, bytes], None],
    *,
    may_be_late: bool = False,
) -> None:
    """Hand over the content of each instance, taking it off the list.

    Parameters
    ----------
    address : DimseAddress
    left : list of Instance
        Those without a SOP class are asked for as any class that RadEdit reads or writes.
    take : callable
        Gets an instance and its Part 10 bytes, as they came.
    may_be_late : bool
        True: an instance that is not there counts as dropped, since some archives answer that
        they have stored before they find what they stored.

    Raises
    ------
    DroppedError
        The association was lost.
    ArchiveError
        An instance is not there, or cannot be sent to us.
    """
    while left:
        named = list(dict.fromkeys(i.sop_class_uid for i in left if i.sop_class_uid))
        classes = named[:_CLASSES_AT_ONCE] or [str(c) for c in STORAGE_CLASSES]
        try:
            with _retrieving(address, classes) as retrieve:
                while left and left[0].sop_class_uid in {"", *classes}:
                    take(left[0], retrieve(left[0]))
                    left.pop(0)
        except _NotGivenError as error:  # to be looked up when its association is over
            if error.status != 0 and (error.status == _NO_DESTINATION or _listed(address, left[0])):
                raise
            kind = DroppedError if may_be_late else ArchiveError
            raise kind(
                f"The archive {address} holds no instance {left[0].sop_instance_uid}; look for "
                "the UIDs it holds."
            ) from None


class _NotGivenError(ArchiveError):
    """The archive ended a request without the object; status 0 is success all the same."""

    def __init__(self, address: DimseAddress, uid: str, status: int) -> None:
        self.status = status
        words = retrieve_failure(status)
        super().__init__(f"The archive {address} did not give {uid}: it {words}.")


@contextmanager
def _retrieving(
    address: DimseAddress, classes: Sequence[str]
) -> Iterator[Callable[[Instance], bytes]]:
    """Hold what it takes: an association, and for C-MOVE an open port."""
    receiver = Receiver(address.limit_bytes)
    with ExitStack() as stack:
        if address.retrieve == "move":
            stack.enter_context(listening(address, receiver.handlers(), classes))
            association = stack.enter_context(associated(address, [build_context(StudyRootMove)]))
        else:
            association = stack.enter_context(
                associated(
                    address,
                    [build_context(StudyRootGet), *received_contexts(classes)],
                    receiver.handlers(),
                    [build_role(storage_class, scp_role=True) for storage_class in classes],
                )
            )
        yield lambda instance: _retrieve(address, association, receiver, instance)


def _retrieve(
    address: DimseAddress,
    association: Association,
    receiver: Receiver,
    instance: Instance,
) -> bytes:
    uid = instance.sop_instance_uid
    receiver.expect(uid)
    try:
        status = _ask(address, association, instance)
    except DroppedError:
        if not receiver.too_large:
            raise
        status = 0xC000
    deadline = time.monotonic() + (_LATE_S if address.retrieve == "move" and status == 0 else 0)
    while (content := receiver.taken()) is None and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    if content is not None:
        return content
    if receiver.too_large:
        raise ArchiveError(
            f"The instance {uid} is larger than {address.limit_bytes} bytes; raise limit_bytes, "
            "or choose another."
        )
    raise _NotGivenError(address, uid, status)


def _listed(address: DimseAddress, instance: Instance) -> bool:
    """Look it up: archives answer with a failure for what they do not hold."""
    return bool(find_instances(address, query_of(instance)))


def _ask(address: DimseAddress, association: Association, instance: Instance) -> int:
    """Send the request, and give the status of its last answer."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "IMAGE"
    identifier.StudyInstanceUID = instance.study_instance_uid
    identifier.SeriesInstanceUID = instance.series_instance_uid
    identifier.SOPInstanceUID = instance.sop_instance_uid
    started = time.monotonic()
    if address.retrieve == "move":
        answers = association.send_c_move(identifier, address.calling_ae_title, StudyRootMove)
    else:
        answers = association.send_c_get(identifier, StudyRootGet)
    for answer, _ in answers:
        status = code(address, answer, started)
        if status not in _PENDING:
            return status
        started = time.monotonic()
    return 0
