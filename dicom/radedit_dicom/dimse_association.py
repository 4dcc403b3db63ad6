"""Associations with an archive: opened, diagnosed where they fail, tried again where that helps."""

from __future__ import annotations

import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom import _config as pynetdicom_config
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu_primitives import A_ASSOCIATE, SCP_SCU_RoleSelectionNegotiation
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.dimse_status import class_name, rejection
from radedit_dicom.errors import ArchiveError

#: Fewer and larger PDUs: three times faster to a busy archive than the default of 16 KiB.
MAX_PDU_BYTES = 1 << 17
_TRANSIENT = 2  # the result of an A-ASSOCIATE-RJ that may be another one later, PS3.8 9.3.4
_ALERT_WAIT_S = 1.0
_T = TypeVar("_T")

# pynetdicom's messages quote what is sent and received, which is patient data; ours do not.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
pynetdicom_config.LOG_REQUEST_IDENTIFIERS = False
pynetdicom_config.LOG_RESPONSE_IDENTIFIERS = False


class _Socket(AssociationSocket):
    """A socket that keeps nobody waiting, and is closed when it could not connect.

    pynetdicom's own sends and acknowledges whenever the system likes, which costs 40 ms for
    each message (Nagle's algorithm meets delayed acknowledgements); it reads whatever length
    a peer claims, and leaves a socket open that was refused.
    """

    def _create_socket(self, address: AddressInformation) -> socket.socket:
        created = super()._create_socket(address)
        created.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return created

    def recv(self, nr_bytes: int) -> bytearray:
        if nr_bytes > MAX_PDU_BYTES:
            raise OSError("a PDU is longer than was agreed")
        if self.socket is not None and hasattr(socket, "TCP_QUICKACK"):  # Linux; lasts one read
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return super().recv(nr_bytes)

    def shut(self) -> None:
        """Close it, whatever became of the association."""
        self._shutdown_socket()

    def _shutdown_socket(self) -> None:
        held = self.socket
        super()._shutdown_socket()
        if held is not None:
            held.close()


class _Entity(AE):
    def _create_socket(
        self,
        assoc: Association,
        address: AddressInformation,
        tls_args: tuple[ssl.SSLContext, str] | None,
    ) -> AssociationSocket:
        created = _Socket(assoc, address=address)
        created.tls_args = tls_args
        return created


class DroppedError(ArchiveError):
    """An association was lost, or could not be made for now; the next try may go better."""


def with_retries(address: DimseAddress, operation: Callable[[], _T]) -> _T:
    """Run an operation, again after a pause for as long as associations drop.

    Parameters
    ----------
    address : DimseAddress
        Says how often, and how long to wait.
    operation : callable
        Must go on where it was dropped, or be harmless to repeat.

    Returns
    -------
    what the operation gives

    Raises
    ------
    ArchiveError
        Anything but a dropped association, or that at the last try.
    """
    for attempt in range(address.retries):
        try:
            return operation()
        except DroppedError:
            time.sleep(address.backoff_s * 2**attempt * random.uniform(0.5, 1.0))
    return operation()


@contextmanager
def associated(
    address: DimseAddress,
    contexts: Sequence[PresentationContext],
    handlers: Sequence[EventHandlerType] = (),
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """Hold an association; released behind a good end, aborted behind a bad one.

    Parameters
    ----------
    address : DimseAddress
    contexts : sequence of PresentationContext
        At most 128 (PS3.8 9.3.2.2); the archive must accept at least one of them.
    handlers : sequence of (event, callable)
        For what the archive sends on its own.
    roles : sequence of SCP_SCU_RoleSelectionNegotiation
        For classes of which the archive is to send us objects.

    Yields
    ------
    pynetdicom.association.Association

    Raises
    ------
    DroppedError
        The archive cannot be reached or is busy.
    ArchiveError
        It refuses, or is not trusted.
    """
    association = _request(address, contexts, handlers, roles)
    try:
        if not association.is_established:
            refusal = _refusal(address, association)
            if isinstance(held := association.dul.socket, _Socket):
                held.shut()  # pynetdicom leaves it open when the peer spoke no DICOM
            raise refusal
        yield association
    except BaseException as error:
        if association.is_established:
            association.abort()
        elif type(error) is RuntimeError:  # pynetdicom's word for an association that is gone
            raise _hung_up(address) from error
        raise
    if association.is_established:
        association.release()


def code(address: DimseAddress, status: Dataset, started: float) -> int:
    """Give the status of an answer.

    Parameters
    ----------
    address : DimseAddress
    status : pydicom.Dataset
        As pynetdicom gives it: empty when no answer came.
    started : float
        When the wait began, by `time.monotonic`.

    Returns
    -------
    int

    Raises
    ------
    DroppedError
        No answer came.
    """
    if "Status" in status:
        return int(status.Status)
    if time.monotonic() - started >= address.timeouts.response_s:
        raise DroppedError(
            f"The archive {address} did not answer within {address.timeouts.response_s:g} s; try "
            "again later, or give it more time."
        )
    raise _hung_up(address)


def application_entity(address: DimseAddress) -> AE:
    """Make our side of associations, with the address's AE title and timeouts."""
    entity = _Entity(address.calling_ae_title)
    entity.connection_timeout = address.timeouts.connect_s
    entity.acse_timeout = address.timeouts.associate_s
    entity.dimse_timeout = address.timeouts.response_s
    entity.network_timeout = None  # every wait has its own limit, and one may be long
    entity.maximum_pdu_size = MAX_PDU_BYTES
    return entity


def _hung_up(address: DimseAddress) -> DroppedError:
    return DroppedError(
        f"The archive {address} ended the association in the middle; check that it lets our AE "
        f"title {address.calling_ae_title} do this, then try again or look in its log."
    )


def _request(
    address: DimseAddress,
    contexts: Sequence[PresentationContext],
    handlers: Sequence[EventHandlerType],
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation],
) -> Association:
    tls = None
    if address.tls is not None:
        tls = (address.tls.client(), address.tls.server_name or address.host)
    try:
        socket.getaddrinfo(address.host, address.port)
    except OSError:
        raise ArchiveError(
            f"The host name {address.host} of the archive is not known; correct it."
        ) from None
    return application_entity(address).associate(
        address.host,
        address.port,
        contexts=list(contexts),
        ae_title=address.called_ae_title,
        max_pdu=MAX_PDU_BYTES,
        ext_neg=list(roles),
        tls_args=tls,
        evt_handlers=list(handlers),
    )


def _refusal(address: DimseAddress, association: Association) -> ArchiveError:
    """Say why there is no association."""
    answer = _answer(association)
    if answer is not None and answer.result:
        words = rejection(
            answer.result_source or 0,
            answer.diagnostic or 0,
            called=address.called_ae_title,
            calling=address.calling_ae_title,
        )
        kind = DroppedError if answer.result == _TRANSIENT else ArchiveError
        return kind(f"The archive {address} {words}.")
    if association.rejected_contexts:
        names = sorted({class_name(str(c.abstract_syntax)) for c in association.rejected_contexts})
        return ArchiveError(
            f"The archive {address} accepts no presentation context for {', '.join(names)}; have "
            "the class and its transfer syntax allowed there."
        )
    return _diagnosis(address)


def _answer(association: Association) -> A_ASSOCIATE | None:
    """Give what the archive said to the request, if anything.

    pynetdicom looks whether the connection stands before it looks for an answer, in another
    thread than the one that reads: an archive that rejects and closes may do both before that,
    and then the rejection lies unread in the queue.
    """
    answer = association.acceptor.primitive or association.dul.receive_pdu()
    return answer if isinstance(answer, A_ASSOCIATE) else None


def _diagnosis(address: DimseAddress) -> ArchiveError:
    """Connect once more by hand, as pynetdicom does not tell why it could not."""
    where = f"The archive at {address.host}:{address.port}"
    try:
        with socket.create_connection(
            (address.host, address.port), address.timeouts.connect_s
        ) as plain:
            if address.tls is not None:
                _shake_hands(address, plain)
    except ssl.SSLCertVerificationError as error:
        return ArchiveError(
            f"{where} shows a TLS certificate that is not trusted ({error.verify_message}); give "
            "the CA that vouches for it, and the name that it holds."
        )
    except ssl.SSLError as error:
        return ArchiveError(_no_tls(where, error.reason or "no reason given"))
    except ConnectionRefusedError:
        return DroppedError(
            f"{where} refuses connections; check the port, and that the archive is running."
        )
    except TimeoutError:
        return DroppedError(
            f"{where} did not answer within {address.timeouts.connect_s:g} s; check host and port, "
            "and any firewall in between."
        )
    except ConnectionResetError:
        return DroppedError(
            _no_tls(where, "it hung up")
            if address.tls
            else f"{where} hangs up at once; check that it speaks DICOM at this port."
        )
    except OSError as error:
        return DroppedError(
            f"{where} cannot be reached ({error.strerror or type(error).__name__}); check host "
            "and port, and that the archive is running."
        )
    return DroppedError(
        f"{where} takes connections but gave no answer to an association request within "
        f"{address.timeouts.associate_s:g} s or hung up; check that it speaks DICOM at this port, "
        f"{'with' if address.tls else 'without'} TLS."
    )


def _no_tls(where: str, reason: str) -> str:
    return (
        f"{where} and we agree on no TLS connection ({reason}); check that it speaks TLS at this "
        "port, and that it trusts our certificate."
    )


def _shake_hands(address: DimseAddress, plain: socket.socket) -> None:
    assert address.tls is not None
    name = address.tls.server_name or address.host
    with address.tls.client().wrap_socket(plain, server_hostname=name) as secured:
        # With TLS 1.3 a certificate of ours that is refused is answered behind the handshake.
        secured.settimeout(_ALERT_WAIT_S)
        try:
            secured.recv(1)
        except TimeoutError:
            return
