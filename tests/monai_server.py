"""MONAI Label's own server, with this app or another, as a process that is ended by its own id."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

APP = Path(__file__).resolve().parents[1] / "apps" / "radedit"
_START_S = 300.0


def start_server(*arguments: str, app: Path = APP) -> list[str]:
    """`monailabel start_server` of this environment; the script finds Python on the PATH."""
    script = str(Path(sys.executable).with_name("monailabel"))
    return [script, "start_server", "--app", str(app), *arguments]


def environment(temporary: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}


@contextmanager
def serving(command: list[str], environment: dict[str, str], log: Path, url: str) -> Iterator[None]:
    """Run a server until the block ends.

    Raises
    ------
    RuntimeError
        It ended at once or does not answer; holds the end of its log.
    """
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            _wait_for(url, process, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < end:
        try:
            if requests.get(f"{url}/info/", timeout=5).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            time.sleep(0.3)
    raise RuntimeError(f"the server did not start:\n{log.read_text()[-3000:]}")
