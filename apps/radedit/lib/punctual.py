"""HTTP connections that do not stay open on a request which never gets complete."""

from __future__ import annotations

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

SILENT_S: Final = 30.0  # how long a client may say nothing in the middle of a request
HEAD_S: Final = 60.0  # how long it may take over the request line and the headers
LOOK_S: Final = 5.0


class PunctualProtocol(H11Protocol):
    """uvicorn's protocol, which knows no time limit but that between two requests.

    A connection is closed when its client keeps silent in the middle of a request, or has not
    sent the headers in time. What waits for the server, such as a paused upload or the follower
    of a job, stays.
    """

    silent_s: float = SILENT_S
    head_s: float = HEAD_S
    look_s: float = LOOK_S

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look after the connection."""
        super().connection_made(transport)
        self._heard = self._head_since = self.loop.time()
        self.loop.call_later(self.look_s, self._look)

    def data_received(self, data: bytes) -> None:
        """Note that something came."""
        self._heard = self.loop.time()
        super().data_received(data)

    def _look(self) -> None:
        if self.transport.is_closing():
            return
        now, state = self.loop.time(), self.conn.their_state
        in_head = state is h11.IDLE and self.timeout_keep_alive_task is None
        in_body = state is h11.SEND_BODY and not self.flow.read_paused
        if not in_head:
            self._head_since = now
        if not in_head and not in_body:
            self._heard = now
        if now - self._heard > self.silent_s or now - self._head_since > self.head_s:
            self.transport.close()
            return
        self.loop.call_later(self.look_s, self._look)
