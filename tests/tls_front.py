"""TLS in front of a server that speaks plain TCP, as a hospital's reverse proxy is.

It only relays bytes, so the peer behind it stays the real one. (Debian's Orthanc 1.10.1 was
seen to die of its first https request, so it cannot be asked to speak TLS itself.)
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress


class TlsFront:
    """Listens with TLS on loopback and relays to a plain port until it is closed.

    Parameters
    ----------
    context : ssl.SSLContext
        A server's, with its certificate; it may require one of the client.
    port, behind : int
        Ports of 127.0.0.1: the one to listen at, and the plain server's.
    """

    def __init__(self, context: ssl.SSLContext, port: int, behind: int) -> None:
        self._behind = behind
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listen = asyncio.start_server(self._relay, "127.0.0.1", port, ssl=context)
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

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        except OSError:  # the server behind is down: the client sees its connection dropped
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_pump(reader, back_writer), _pump(back_reader, writer))
        except asyncio.CancelledError:
            writer.transport.abort()
            back_writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
