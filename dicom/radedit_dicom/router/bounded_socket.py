"""A socket on which every wait, length and count has a limit."""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket

MAX_PDU_BYTES = 1 << 17
PIECE_S = 10.0


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
        self._unread = b""
        self._connected = time.monotonic()
        client_socket.settimeout(min(PIECE_S, bounds.pdu_s, bounds.associate_s))

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return bool(self._unread) or super().ready

    def wait(self, seconds: float) -> bool:
        """Wait for something to read; False: there is nothing yet."""
        return self.ready or bool(self.socket and select.select([self.socket], [], [], seconds)[0])

    def recv(self, nr_bytes: int) -> bytearray:
        """Read so many bytes, as pynetdicom asks: 6, then what those say.

        Raises
        ------
        OSError
            A bound is reached; pynetdicom then ends the association.
        """
        if nr_bytes > MAX_PDU_BYTES:
            raise OSError("a PDU is longer than was agreed")
        begun, content, got = time.monotonic(), bytearray(nr_bytes), 0
        with memoryview(content) as view:
            while got < nr_bytes and (count := self.recv_some(view[got:], begun)):
                got += count
        return content if got == nr_bytes else content[:got]

    def recv_some(self, view: memoryview, begun: float) -> int:
        """Read what there is, waiting for the first of it.

        Parameters
        ----------
        view : memoryview of bytes
            Where to; not empty.
        begun : float, s
            When the PDU began, by the monotonic clock.

        Returns
        -------
        int
            So many bytes; 0: the caller hung up.

        Raises
        ------
        OSError
            A bound is reached.
        """
        if self._unread:
            count = min(len(view), len(self._unread))
            view[:count], self._unread = self._unread[:count], self._unread[count:]
            return count
        now, held = time.monotonic(), self.socket
        if held is None:
            raise OSError("the connection is closed")
        if self._held == 0:
            self._began = now
        if not self.assoc.is_established and now - self._connected > self._bounds.associate_s:
            raise TimeoutError("the request for an association takes too long")
        if now - begun > self._bounds.pdu_s:
            raise TimeoutError("a PDU takes too long")
        if now - self._began > self._bounds.object_s:
            raise TimeoutError("a message takes too long")
        if hasattr(socket, "TCP_QUICKACK") and not isinstance(held, ssl.SSLSocket):
            held.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        count = held.recv_into(view)
        if self._held + count > self._bounds.object_bytes:
            raise OSError("a message is too long")
        self._bounds.hold(count)
        self._held += count
        return count

    def unread(self, content: bytes) -> None:
        """Put back what was read too much; it is read again first."""
        self._unread = content + self._unread

    def served(self) -> None:
        """Begin to count anew: a message is whole."""
        held, self._held = self._held, 0
        self._bounds.hold(-held)

    def _shutdown_socket(self) -> None:
        held = self.socket
        super()._shutdown_socket()
        if held is not None:  # pynetdicom leaves it open when the caller hung up first
            with suppress(OSError):
                held.close()
        self.served()
