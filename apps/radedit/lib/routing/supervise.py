"""Starts the processes of a route, and starts again whichever ends."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from radedit.lib.routing.roles import names, opened

_POLL_S = 0.2
_STOP_S = 60.0
_QUICK_S = 5.0  # a process that ends sooner than this is not started again at once
_LOG = logging.getLogger("radedit.route")


def supervise(file: Path) -> None:
    """Run a whole route until SIGTERM or Ctrl-C.

    Raises
    ------
    RouteError
        The file is wrong, or another supervisor runs this route.
    """
    place = opened(file)
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    with place.spool.sole("route"):
        children = [_Child(role, file) for role in names(place.route)]
        place.journal.close()
        try:
            while not end.wait(_POLL_S):
                for child in children:
                    child.keep_up()
        finally:
            _stop(children)


class _Child:
    """One process, started again when it ends."""

    def __init__(self, role: str, file: Path) -> None:
        self.role = role
        self._command = [
            sys.executable, "-m", "radedit.lib.cli", "route", "run", str(file), "--role", role,
        ]  # fmt: skip
        self._not_before = 0.0
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._not_before = time.monotonic() + _QUICK_S
        # Of its own session: Ctrl-C reaches the supervisor, which ends the others in order.
        return subprocess.Popen(self._command, start_new_session=True)

    def keep_up(self) -> None:
        code = self.process.poll()
        if code is None:
            return
        if code in (0, -signal.SIGKILL) or time.monotonic() >= self._not_before:
            _LOG.warning("%s ended with code %d and is started again", self.role, code)
            self.process = self._start()


def _stop(children: Sequence[_Child]) -> None:
    for child in children:
        child.process.terminate()
    deadline = time.monotonic() + _STOP_S
    for child in children:
        try:
            child.process.wait(max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()
