"""Half-sent requests are not kept; what waits for the server is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from radedit.lib.punctual import PunctualProtocol


class Hasty(PunctualProtocol):
    """With limits that a test can wait for."""

    silent_s, head_s, look_s = 0.4, 1.0, 0.05


async def _length(request: Request) -> PlainTextResponse:
    return PlainTextResponse(str(len(await request.body())))


async def _slowly(request: Request) -> StreamingResponse:
    async def pieces() -> Any:
        import anyio

        for _ in range(4):
            await anyio.sleep(0.5)
            yield b"still here\n"

    return StreamingResponse(pieces())


@pytest.fixture(scope="module")
def port(new_port: Any) -> Iterator[int]:
    routes = [Route("/", _length, methods=["GET", "POST"]), Route("/slowly", _slowly)]
    number = new_port()
    config = uvicorn.Config(
        Starlette(routes=routes), port=number, http=Hasty, log_config=None, timeout_keep_alive=3
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    yield number
    server.should_exit = True
    thread.join()


@contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as link:
        yield link


def ended_after(link: socket.socket) -> float:
    """Wait until the server closes the connection; gives how long that took."""
    began = time.monotonic()
    while link.recv(4096):
        pass
    return time.monotonic() - began


def heard(link: socket.socket, end: bytes) -> bytes:
    """Read an answer up to its end."""
    answer = b""
    while not answer.endswith(end):
        piece = link.recv(4096)
        assert piece, f"the server closed the connection after {answer!r}"
        answer += piece
    return answer


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\n", POST, POST + b"half"]
)
def test_a_half_sent_request_is_not_kept(port: int, sent: bytes) -> None:
    with connected(port) as link:
        link.sendall(sent)
        assert ended_after(link) < 2


def test_neither_is_the_second_one_of_a_connection(port: int) -> None:
    with connected(port) as link:
        link.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        heard(link, b"\r\n\r\n0")
        link.sendall(b"GET / HTTP/1.1\r\n")
        assert ended_after(link) < 2


def test_headers_that_trickle_are_not_waited_for(port: int) -> None:
    with connected(port) as link:
        link.sendall(b"GET / HTTP/1.1\r\n")
        sent = 0
        with suppress(ConnectionError):
            while sent < 40:
                time.sleep(0.1)
                link.sendall(b"a: b\r\n")
                sent += 1
        assert sent < 30


def test_an_upload_that_goes_on_and_an_answer_that_takes_its_time_are_kept(port: int) -> None:
    with connected(port) as link:
        link.sendall(POST)
        for _ in range(10):  # longer than anybody may be silent
            time.sleep(0.1)
            link.sendall(b"x" * 10)
        heard(link, b"\r\n\r\n100")
        link.sendall(b"GET /slowly HTTP/1.1\r\nHost: a\r\n\r\n")
        assert heard(link, b"\r\n0\r\n\r\n").count(b"still here") == 4
