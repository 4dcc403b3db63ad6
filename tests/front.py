"""What stands in front of a server: TLS, as a hospital's reverse proxy, or a bad network.

It only relays bytes, so the peer behind it stays the real one; save for the faults it is
given, which no real peer can be asked to make. (Debian's Orthanc 1.10.1 was seen to die of its
first https request, so it cannot be asked to speak TLS itself.)
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """Answer a request in the server's place, and close the connection."""

    content: bytes


@dataclass(frozen=True)
class Cut:
    """Let the server answer, but drop the connection after so many bytes of it."""

    after: int = 0


@dataclass(frozen=True)
class Hang:
    """Read, and never answer."""


Fault = Answer | Cut | Hang


class Front:
    """Listens on loopback and relays to another port until it is closed.

    Parameters
    ----------
    port, behind : int
        Ports of 127.0.0.1: the one to listen at, and the plain server's.
    context : ssl.SSLContext, optional
        A server's, with its certificate; it may require one of the client.
    faults : iterable of Fault
        One for each of the first connections; the others are relayed.

    Attributes
    ----------
    sent : list of bytearray
        What was sent by the client, connection by connection.
    most_open : int
        How many connections were open at once at most.
    """

    def __init__(
        self,
        port: int,
        behind: int,
        context: ssl.SSLContext | None = None,
        faults: Iterable[Fault] = (),
    ) -> None:
        self.sent: list[bytearray] = []
        self.most_open = 0
        self._open = 0
        self._behind = behind
        self._faults = iter(faults)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listen = asyncio.start_server(self._meet, "127.0.0.1", port, ssl=context)
        self._server = asyncio.run_coroutine_threadsafe(listen, self._loop).result(10)

    def close(self) -> None:
        """Stop listening and drop every connection."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        own = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not own]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._open -= 1
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = next(self._faults, None)
        head = await reader.readuntil(b"\r\n\r\n")
        sent = bytearray(head)
        self.sent.append(sent)
        if isinstance(fault, Hang):
            await asyncio.sleep(3600)
        if isinstance(fault, Answer):
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(fault.content)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            return
        # While the server behind is down, the client sees its connection dropped.
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        back_writer.write(head)
        try:
            limit = fault.after if isinstance(fault, Cut) else None
            there = asyncio.create_task(_pump_and_close(reader, back_writer, sent))
            await _pump(back_reader, writer, limit)
            there.cancel()
        finally:
            back_writer.transport.abort()


async def _pump(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None = None
) -> None:
    """Relay to the end, or to a number of bytes."""
    with suppress(OSError):
        while limit != 0 and (data := await reader.read(min(limit or 1 << 16, 1 << 16))):
            limit = None if limit is None else limit - len(data)
            writer.write(data)
            await writer.drain()


async def _pump_and_close(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, sent: bytearray
) -> None:
    """Relay to the end, keep a copy, and hand on that it is the end."""
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            sent += data
            writer.write(data)
            await writer.drain()
    writer.close()
