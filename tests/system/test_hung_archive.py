"""An archive that hangs holds up its own films, and neither the list of tasks nor the server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from radedit_server import RadEditServer, radedit_server


class Line:
    """A way to a port that can be cut so that nothing comes back: what a hung archive is like."""

    def __init__(self, port: int) -> None:
        self._port, self.open = port, threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            back = threading.Thread(target=self._pass, args=(far, near), daemon=True)
            back.start()
            self._pass(near, far)
            back.join()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                self.open.wait()
                sink.sendall(piece)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="module")
def line_and_server(
    start_orthanc: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    new_port: Callable[[], int],
    rg1: Path,
) -> Iterator[tuple[Line, RadEditServer]]:
    archive = start_orthanc()
    archive.upload(rg1.read_bytes())
    line = Line(int(archive.dicom_web.split(":")[2].split("/")[0]))
    address = f"http://127.0.0.1:{line.port}/dicom-web"
    folder = tmp_path_factory.mktemp("hung")
    with radedit_server(folder, new_port(), "--workers", "0", studies=address) as server:
        yield line, server
        line.open.set()
    line.close()


def test_a_hung_archive_is_told_by_health_and_does_not_hold_info(
    line_and_server: tuple[Line, RadEditServer],
) -> None:
    line, server = line_and_server
    while "unavailable" in (before := server.get("/info/").json()["datastore"]):
        time.sleep(0.2)  # the first listing may take longer than it is waited for
    assert before["total"] == 1
    assert server.get("/health").json()["status"] == "ok"

    line.open.clear()
    time.sleep(11)  # the listing is believed for ten seconds
    slow = [threading.Thread(target=server.get, args=("/datastore/",)) for _ in range(60)]
    for request in slow:  # more than the server has threads
        request.start()
    for _ in range(3):
        began = time.monotonic()
        info = server.get("/info/").json()
        assert time.monotonic() - began < 8
        assert "radedit" in info["models"]
        assert info["datastore"] == before, "as it was when the archive last answered"
    began = time.monotonic()
    while (told := server.get("/health").json())["status"] == "ok":
        assert time.monotonic() - began < 45
        time.sleep(0.5)
    assert (told["status"], told["archive"]) == ("degraded", "does not answer")

    line.open.set()
    began = time.monotonic()
    while server.get("/health").json()["status"] != "ok":
        assert time.monotonic() - began < 60
        time.sleep(0.5)
    for request in slow:
        request.join()
    assert server.get("/datastore/?output=all").status_code == 200
