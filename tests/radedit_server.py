"""`radedit serve` as a process of its own, for the tests that ask it over the network.

    with radedit_server(folder, port, "--workers", "0") as server:
        server.url                      # "http://127.0.0.1:PORT"
        server.studies                  # a folder; put films into it before or meanwhile
        server.get("/info/"), server.post("/radedit/jobs", json={...})
        server.log.read_text()          # all that it has said

Name `studies=` to serve an archive, `token=` to have it ask for one (get and post then send
it). It is ended with the block, by its own process id.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

START_S = 240.0
STOP_S = 60.0


@dataclass
class RadEditServer:
    """A server's process, and how to ask it."""

    folder: Path
    port: int
    options: tuple[str, ...] = ()
    address: str = ""
    token: str = ""
    environ: dict[str, str] = field(default_factory=dict)
    ca: Path | None = None
    process: subprocess.Popen[bytes] | None = None
    first_health: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{'https' if self.ca else 'http'}://127.0.0.1:{self.port}"

    @property
    def studies(self) -> Path:
        """The served folder, where no archive is."""
        return self.folder / "studies"

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> None:
        """Start it, again too, and wait until it answers."""
        self.studies.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "radedit.lib.cli", "serve", "--port", str(self.port),
            "--studies", self.address or str(self.studies), "--state", str(self.folder / "state"),
            *self.options,
        ]  # fmt: skip
        known = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self.folder / "cache")}
        token = {"RADEDIT_SERVER_TOKEN": self.token} if self.token else {}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **known, **token, **self.environ},
                start_new_session=True,
            )
        end = time.monotonic() + START_S
        while True:
            try:
                answer = self.get("/health", timeout=10)
                if answer.ok:
                    self.first_health = answer.json()
                    return
            except requests.RequestException:
                pass
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                raise RuntimeError(f"the server does not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.1)

    def stop(self) -> int:
        """End it as a service is ended; gives its exit status."""
        assert self.process is not None
        self.process.terminate()
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.ask("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.ask("POST", path, **options)

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= options.pop("headers", {})
        options = {"timeout": 120, "verify": str(self.ca) if self.ca else True, **options}
        return requests.request(method, f"{self.url}{path}", headers=headers, **options)


@contextmanager
def radedit_server(
    folder: Path, port: int, *options: str, studies: str = "", token: str = ""
) -> Iterator[RadEditServer]:
    """Serve a folder, or the archive at an address, until the block ends."""
    server = RadEditServer(folder, port, options, studies, token)
    folder.mkdir(parents=True, exist_ok=True)
    server.start()
    try:
        yield server
    finally:
        if server.process is not None and server.process.poll() is None:
            server.stop()
