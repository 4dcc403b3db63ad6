"""The Storage SCP: C-ECHO, C-STORE, and storage commitment answered from the journal."""

from __future__ import annotations

import json
import logging
import sqlite3
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import Event
from pynetdicom.presentation import AllStoragePresentationContexts, PresentationContext
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    Verification,
)

from radedit_dicom.archive import checked_uid
from radedit_dicom.dimse_receive import RECEIVED_SYNTAXES
from radedit_dicom.router.bounded_socket import Bounds
from radedit_dicom.router.errors import CANNOT_UNDERSTAND, RefusedError, RouteError
from radedit_dicom.router.intake import Arrival, Intake
from radedit_dicom.router.journal import now
from radedit_dicom.router.listener import Listener
from radedit_dicom.router.upper_layer import Received

_LOG = logging.getLogger("radedit.route")
_SUCCESS, _NO_SUCH_ACTION, _INVALID_ARGUMENT, _BUSY = 0x0000, 0x0123, 0x0115, 0x0213
_DOES_NOT_MATCH = 0xA900
_OTHER_CLASS = "The object's SOP class is not that of its presentation context."
_REQUEST = 1  # PS3.4 J.3.2
_REPORT_AFTER_S = 0.5  # the caller first hears that it was understood
_MOST_COMMITTED = 10_000  # references of one request


@dataclass(frozen=True)
class ReceiveTls:
    """The listener's certificate, and the authority of those who may call; PEM files."""

    certificate: Path
    key: Path
    ca: Path

    def context(self) -> ssl.SSLContext:
        """Make the context: TLS 1.2 or later, and the caller must show a certificate.

        Raises
        ------
        RouteError
            A file cannot be used.
        """
        try:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.load_cert_chain(self.certificate, self.key)
        except OSError as error:
            raise RouteError(
                f"The TLS files of the receiver cannot be used ({error.strerror or error}); give a "
                "CA file, and a certificate with its key, in PEM form."
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
        return context


@dataclass(frozen=True)
class Receive:
    """Where the node listens, and to whom.

    Attributes
    ----------
    ae_title : str
        Ours; callers must use it.
    host, port : str, int
    callers : tuple of str
        AE titles that may call. An AE title is no authentication: that is TLS.
    bounds : Bounds
    reserve_bytes : int
        Room on the disk that receiving leaves free.
    tls : ReceiveTls or None
    """

    ae_title: str = "RADEDIT"
    host: str = "127.0.0.1"
    port: int = 11112
    callers: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    reserve_bytes: int = 1 << 30
    tls: ReceiveTls | None = None


class Receiver:
    """Listens until it is stopped.

    Parameters
    ----------
    settings : Receive
    intake : Intake
        Keeps what comes.

    Raises
    ------
    RouteError
        The port cannot be listened on, or the TLS files cannot be used.

    Attributes
    ----------
    asking : dict
        Rows of reports that are due to the associations on which they were asked for.
    """

    def __init__(self, settings: Receive, intake: Intake) -> None:
        self._intake = intake
        self.asking: dict[int, Association] = {}
        entity = AE(settings.ae_title)
        entity.require_called_aet = True
        entity.require_calling_aet = list(settings.callers)
        entity.add_supported_context(Verification)
        entity.add_supported_context(StorageCommitmentPushModel)
        for context in AllStoragePresentationContexts:
            assert context.abstract_syntax is not None
            entity.add_supported_context(context.abstract_syntax, list(RECEIVED_SYNTAXES))
        handlers: list[Any] = [
            (evt.EVT_C_ECHO, self._echo),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_N_ACTION, self._commit),
        ]
        self._files = settings.tls
        self._tls = settings.tls.context() if settings.tls else None
        tls = self._renewed if settings.tls else None
        try:
            self._listener = Listener(
                entity, (settings.host, settings.port), settings.bounds, handlers, self._begin, tls
            )
        except OSError as error:
            raise RouteError(
                f"Port {settings.port} of {settings.host} cannot be listened on "
                f"({error.strerror}); end what uses it, or choose another."
            ) from None
        self.port = self._listener.port

    def start(self) -> None:
        """Listen, in threads of its own."""
        self._listener.start()

    @property
    def is_alive(self) -> bool:
        """Whether it listens."""
        return self._listener.is_alive

    def stop(self) -> None:
        """Stop listening; who is sending learns it by the connection's end."""
        self._listener.stop()

    def _renewed(self) -> ssl.SSLContext:
        """Read the TLS files again, which are renewed while we listen; half-written ones wait."""
        assert self._files is not None
        assert self._tls is not None
        try:
            self._tls = self._files.context()
        except RouteError as error:
            _LOG.warning("the TLS files are passed over until they can be used: %s", error)
        return self._tls

    def _echo(self, event: Event) -> int:
        return _SUCCESS

    def _begin(
        self, association: Association, command: Dataset, context: PresentationContext
    ) -> Arrival:
        """Open what a data set is kept in while it comes in."""
        return self._intake.begin(
            str(command.get("AffectedSOPInstanceUID", "")),
            str(command.get("AffectedSOPClassUID", "")),
            str(context.transfer_syntax[0]),
            caller(association),
        )

    def _store(self, event: Event) -> int | Dataset:
        data_set = cast(Any, event.request).DataSet
        try:
            if not isinstance(data_set, Received):
                self._refuse(event, "The request holds no data set.", CANNOT_UNDERSTAND)
            with cast(Arrival, data_set.sink) as arrival:
                if str(event.context.abstract_syntax) != arrival.sop_class:
                    self._refuse(event, _OTHER_CLASS, _DOES_NOT_MATCH)
                self._intake.take(arrival)
        except RefusedError as refusal:
            answer = Dataset()
            answer.Status, answer.ErrorComment = refusal.status, refusal.comment
            return answer
        return _SUCCESS

    def _refuse(self, event: Event, reason: str, status: int) -> NoReturn:
        self._intake.refused(caller(event.assoc), reason)
        raise RefusedError(reason, status)

    def _commit(self, event: Event) -> tuple[int, Dataset | None]:
        """Note the report that is due; the journal is asked when it is sent."""
        request: Any = event.request
        try:
            if request.ActionTypeID != _REQUEST:
                return _NO_SUCH_ACTION, None
            content = _asked(event.action_information)
        except Exception:  # whatever pydicom raises on a stranger's bytes
            return _INVALID_ARGUMENT, None
        try:
            with self._intake.journal.change() as change:
                row = change.execute(
                    "INSERT INTO reports (caller, content, not_before) VALUES (?, ?, ?)",
                    (caller(event.assoc), content, now() + _REPORT_AFTER_S),
                )
                self.asking[row.lastrowid or 0] = event.assoc
        except sqlite3.OperationalError:
            return _BUSY, None
        return _SUCCESS, None


def caller(association: Association) -> str:
    """Give the AE title of who is calling."""
    return str(association.requestor.ae_title).strip()


def _asked(information: Dataset) -> str:
    references: Sequence[Dataset] = information.ReferencedSOPSequence
    if not 0 < len(references) <= _MOST_COMMITTED:
        raise ValueError("too many references")
    pairs = [
        (checked_uid(item.ReferencedSOPClassUID), checked_uid(item.ReferencedSOPInstanceUID))
        for item in references
    ]
    return json.dumps({"transaction": checked_uid(information.TransactionUID), "references": pairs})
