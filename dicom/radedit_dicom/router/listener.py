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
from collections.abc import Callable
from socketserver import BaseServer
from typing import Any

from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from radedit_dicom.router.bounded_socket import MAX_PDU_BYTES, PIECE_S, BoundedSocket, Bounds
from radedit_dicom.router.upper_layer import Begin, Messages, UpperLayer

_SPARE_CALLERS = 16  # above the associations: so many are told that there are too many
_LOG = logging.getLogger("radedit.route")
_config.LOG_HANDLER_LEVEL = "none"  # its loggers quote what is received, at every PDU


class _Handler(RequestHandler):
    """Makes the association of one caller, with an upper layer and a socket of ours."""

    server: Listener

    def _create_association(self) -> Association:
        association = super()._create_association()
        association.dimse = Messages(association, self.server.begin)
        association.dul = UpperLayer(association)
        association.dul.socket = BoundedSocket(association, self.request, self.server.bounds)
        association.acse_timeout = association.acse_timeout  # sets the timers of the layer, too
        association.network_timeout = association.network_timeout
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
    begin : callable
        Says where the data set of a C-STORE request goes.
    tls : callable, optional
        Gives the context for the next caller, an `ssl.SSLContext`.

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
        begin: Begin,
        tls: Callable[[], ssl.SSLContext] | None = None,
    ) -> None:
        self.bounds, self.begin = bounds, begin
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
        ending = [threading.Thread(target=each.abort) for each in self.active_associations]
        for each in ending:
            each.start()
        for each in ending:
            each.join()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Close the connection of whoever is far too many."""
        callers = self._greeted + len(self.active_associations)
        return callers < self.bounds.associations + _SPARE_CALLERS

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, where TLS is spoken, and hold the association."""
        with self._counting:
            self._greeted += 1
        try:
            request.settimeout(PIECE_S)
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                request = self._tls().wrap_socket(request, server_side=True)
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
