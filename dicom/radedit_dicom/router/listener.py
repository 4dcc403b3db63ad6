"""A DICOM listener for a hostile network: every wait, length and count has a limit.

pynetdicom speaks the protocol. What it leaves open is closed here: it would read a PDU as
long as its sender says and wait for it for ever, shake hands over TLS in the thread that
accepts the others, and make a thread for every caller.
"""

from __future__ import annotations

import copy
import logging
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

MAX_PDU_BYTES = 1 << 17
_SPARE_CALLERS = 16  # above the associations: so many are told that there are too many
_PIECE_S = 10.0
_LOG = logging.getLogger("radedit.route")


@dataclass
class Bounds:
    """What callers may cost.

    Attributes
    ----------
    associations : int
        At once; further ones are rejected, and beyond a few more the connection is closed.
    object_bytes : int
        Of one message.
    total_bytes : int
        Of all messages that are coming in at the same time.
    pdu_s, object_s, idle_s, associate_s : float
        The longest that one PDU, one message, the silence between two, and the request for an
        association may take.
    """

    associations: int = 16
    object_bytes: int = 1 << 29
    total_bytes: int = 1 << 31
    pdu_s: float = 30.0
    object_s: float = 900.0
    idle_s: float = 60.0
    associate_s: float = 10.0
    _held: int = field(default=0, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    def hold(self, count: int) -> None:
        """Count bytes in (or, below 0, out).

        Raises
        ------
        OSError
            There would be too many.
        """
        with self._lock:
            if count > 0 and self._held + count > self.total_bytes:
                raise OSError("too many bytes are coming in at the same time")
            self._held += count


class BoundedSocket(AssociationSocket):
    """A socket that reads no more, and no longer, than its bounds allow.

    Parameters
    ----------
    assoc : pynetdicom.association.Association
    client_socket : socket.socket
    bounds : Bounds
    """

    def __init__(self, assoc: Association, client_socket: socket.socket, bounds: Bounds) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._bounds = bounds
        self._held = 0
        self._began = 0.0
        client_socket.settimeout(min(_PIECE_S, bounds.pdu_s))

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes, as pynetdicom asks: 6, then what those say.

        Raises
        ------
        OSError
            A bound is reached; pynetdicom then ends the association.
        """
        now = time.monotonic()
        if nr_bytes > MAX_PDU_BYTES:
            raise OSError("a PDU is longer than was agreed")
        if self._held == 0:
            self._began = now
        if now - self._began > self._bounds.object_s:
            raise OSError("a message takes too long")
        if self._held + nr_bytes > self._bounds.object_bytes:
            raise OSError("a message is too long")
        self._bounds.hold(nr_bytes)
        self._held += nr_bytes
        return self._read(nr_bytes, now + self._bounds.pdu_s)

    def served(self) -> None:
        """Begin to count anew: a message was dealt with."""
        held, self._held = self._held, 0
        self._bounds.hold(-held)

    def _read(self, wanted: int, deadline: float) -> bytearray:
        content = bytearray(wanted)
        view, got = memoryview(content), 0
        held = self.socket
        if held is None:
            raise OSError("the connection is closed")
        if hasattr(socket, "TCP_QUICKACK") and not isinstance(held, ssl.SSLSocket):
            held.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        while got < wanted:
            if time.monotonic() > deadline:
                raise TimeoutError("a PDU takes too long")
            count = held.recv_into(view[got:])
            if count == 0:
                break
            got += count
        view.release()
        return content if got == wanted else content[:got]

    def _shutdown_socket(self) -> None:
        held = self.socket
        super()._shutdown_socket()
        if held is not None:  # pynetdicom leaves it open when the caller hung up first
            with suppress(OSError):
                held.close()
        self.served()


class _Handler(RequestHandler):
    """Makes the association of one caller, with a bounded socket."""

    server: Listener

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dul.event_queue.get_nowait()  # of the socket that is replaced: connected
        association.dul.socket = BoundedSocket(association, self.request, self.server.bounds)
        return association


class Listener(ThreadedAssociationServer):
    """A server on which no caller can keep the others out.

    Parameters
    ----------
    entity : pynetdicom.AE
        With its supported contexts and who may call.
    address : (str, int)
        Host and port; 0 takes any free one.
    bounds : Bounds
    handlers : list of (event, callable)
    tls : ssl.SSLContext, optional

    Raises
    ------
    OSError
        The port cannot be listened on.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        entity: AE,
        address: tuple[str, int],
        bounds: Bounds,
        handlers: list[Any],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.bounds = bounds
        self._tls = tls
        self._greeted = 0
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._counting = threading.Lock()
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.maximum_associations = bounds.associations
        entity.acse_timeout = bounds.associate_s
        entity.dimse_timeout = bounds.object_s
        entity.network_timeout = bounds.idle_s
        super().__init__(
            entity,
            address,
            entity.ae_title,
            copy.deepcopy(entity.supported_contexts),
            evt_handlers=handlers,
            request_handler=_Handler,
        )

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Listen, in a thread of its own."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it listens."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop listening, and end every association."""
        BaseServer.shutdown(self)
        self.server_close()
        for association in self.active_associations:
            association.abort()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Close the connection of whoever is far too many."""
        callers = self._greeted + len(self.active_associations)
        return callers < self.bounds.associations + _SPARE_CALLERS

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, where TLS is spoken, and hold the association."""
        with self._counting:
            self._greeted += 1
        try:
            request.settimeout(_PIECE_S)
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                request = self._tls.wrap_socket(request, server_side=True)
            self.finish_request(request, client_address)
        except Exception as error:
            self.handle_error(request, client_address)
            _LOG.info("a caller was not let in: %s", type(error).__name__)
            self.shutdown_request(request)
        finally:
            with self._counting:
                self._greeted -= 1

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of what the caller sent."""

    def _bind_defaults(self) -> None:
        """Bind no loggers: they quote what is received, and cost time at every PDU."""
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))


def served(event: evt.Event) -> None:
    """Tell the caller's socket that a message was dealt with."""
    held = event.assoc.dul.socket
    if isinstance(held, BoundedSocket):
        held.served()
