"""Bodies are bounded: a long one is refused before it is read, whoever sends it and however."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from radedit_server import RadEditServer

from radedit.lib.serving.config import MB, Limits

TOKEN = "drawn-at-random-0123456789"
LIMITS = Limits()
TWO_GB = 2 * 2**30
WRITING = ("/radedit/jobs", "/infer/radedit", "/datastore/image", "/dicom-web/studies", "/login",
           "/session/", "/review/api/edits/1.2/events", "/activelearning/first")  # fmt: skip


@pytest.fixture(scope="module")
def server(listen: Callable[..., AbstractContextManager[RadEditServer]]) -> Iterator[RadEditServer]:
    """Serve to who has the token."""
    with listen(token=TOKEN) as server:
        yield server


def opened(server: RadEditServer, path: str, *lines: str) -> socket.socket:
    """Begin a request; gives the connection, with the head sent."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    method = "PUT" if path.startswith(("/datastore", "/session")) else "POST"
    head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", *lines]
    connection.sendall("\r\n".join([*head, "", ""]).encode())
    return connection


def answer(connection: socket.socket) -> tuple[int, str]:
    """Read the whole answer; the server closes the connection behind it."""
    received = bytearray()
    with connection:
        while piece := connection.recv(65536):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["detail"]


@pytest.mark.parametrize("path", WRITING)
def test_two_gigabytes_are_refused_unread(server: RadEditServer, path: str) -> None:
    lines = (f"Authorization: Bearer {TOKEN}", f"Content-Length: {TWO_GB}")
    started = time.monotonic()
    status, detail = answer(opened(server, path, *lines))  # of the body, nothing is ever sent
    assert (status, "longer than" in detail) == (413, True)
    assert time.monotonic() - started < 30


def test_without_the_token_they_are_refused_unread_too(server: RadEditServer) -> None:
    status, _ = answer(opened(server, "/radedit/jobs", f"Content-Length: {TWO_GB}"))
    assert status == 401


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/radedit/jobs", LIMITS.job_bytes),
        ("/infer/radedit", LIMITS.body_bytes),
        ("/dicom-web/studies", LIMITS.body_bytes),
    ],
)
def test_a_body_of_no_announced_length_is_read_to_the_limit_only(
    server: RadEditServer, path: str, limit: int
) -> None:
    kind = "multipart/form-data; boundary=b" if path.startswith("/infer") else "application/json"
    if path.startswith("/dicom-web"):
        kind = 'multipart/related; type="application/dicom"; boundary=b'
    connection = opened(
        server, path, f"Authorization: Bearer {TOKEN}", "Transfer-Encoding: chunked",
        f"Content-Type: {kind}",
    )  # fmt: skip
    piece = b"x" * MB
    if path.startswith("/infer"):
        _send_chunk(connection, b'--b\r\nContent-Disposition: form-data; name="params"\r\n\r\n')
    sent = 0
    try:
        while sent < limit + 300 * MB:
            _send_chunk(connection, piece)
            sent += len(piece)
    except OSError:
        pass  # the server has closed the connection
    connection.close()
    assert sent < limit + 44 * MB  # what the network holds comes on top
    assert server.get("/health").ok


@pytest.mark.parametrize("length", ["-1", "1e9", "99999999999999999999999", "0x10"])
def test_a_length_that_is_none_is_refused(server: RadEditServer, length: str) -> None:
    connection = opened(
        server, "/radedit/jobs", f"Authorization: Bearer {TOKEN}", f"Content-Length: {length}"
    )
    with connection:
        assert connection.recv(12).split()[1] in (b"400", b"413")


def test_a_body_of_the_allowed_size_is_read(server: RadEditServer) -> None:
    body = json.dumps({"prompt": "x", "image": "none", "film_text": "a" * 2**20})
    refused = server.post("/radedit/jobs", data=body)
    assert (refused.status_code, "no such film" in refused.json()["detail"]) == (404, True)


def _send_chunk(connection: socket.socket, data: bytes) -> None:
    connection.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")
