"""Workers as processes of this one's own: started, started again when one ended, and ended."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

import sqlalchemy as sa

from radedit.lib.jobs.database import VARIABLE
from radedit.lib.jobs.heartbeat import Heartbeat
from radedit.lib.jobs.model import TOGETHER
from radedit.lib.jobs.queue import JobQueue

LOOK_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
END_S: Final = 10.0  # to end when asked, before it is killed
logger = logging.getLogger(__name__)


def devices(device: str) -> list[str]:
    """Name the device of each worker: every GPU for "cuda", else the one that is named.

    Where "cuda" finds no GPU, one worker is named it all the same, and refuses in a sentence.
    """
    if device != "cuda":
        return [device]
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())] or [device]


@dataclass
class _Slot:
    """One place for a worker."""

    device: str
    process: subprocess.Popen[bytes] | None = None
    name: str = ""
    refusals: int = 0
    not_before: float = 0.0


@dataclass(frozen=True)
class Crew:
    """Which workers there shall be.

    Attributes
    ----------
    studies, conf : as in `WorkerConfig`; keys of `conf` are `CONF_KEYS`
    devices : one worker for each
    most : jobs of one batch
    """

    studies: str
    conf: Mapping[str, str] = field(default_factory=dict)
    devices: Sequence[str] = ("cpu",)
    most: int = TOGETHER


class Supervisor:
    """Keeps workers running.

    Parameters
    ----------
    queue : started; the workers use its database
    crew : which workers
    """

    def __init__(self, queue: JobQueue, crew: Crew) -> None:
        self._queue, self._crew = queue, crew
        self._slots = [_Slot(device) for device in crew.devices]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="workers", daemon=True)

    def start(self) -> None:
        """Start the workers, which load their models first."""
        self._thread.start()

    def stop(self) -> None:
        """End the workers; what they ran is queued for whoever comes next."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(END_S)  # it may wait for a database that is away
        running = [slot.process for slot in self._slots if slot.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + END_S
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run."""
        processes = [slot.process for slot in self._slots]
        return [p.pid for p in processes if p is not None and p.poll() is None]

    def _watch(self) -> None:
        while True:
            for slot in self._slots:
                self._look_at(slot)
            if self._stopping.wait(LOOK_S):
                return

    def _look_at(self, slot: _Slot) -> None:
        if slot.process is not None:
            code = slot.process.poll()
            if code is None:
                return
            self._ended(slot, code)
        if time.monotonic() >= slot.not_before:
            self._begin(slot)

    def _begin(self, slot: _Slot) -> None:
        slot.name = uuid4().hex[:12]
        # A session of its own: Ctrl-C is for the server, which ends its workers itself.
        try:
            slot.process = subprocess.Popen(
                self._command(slot), env=self._environment(), start_new_session=True
            )
        except OSError as error:  # no memory for a process, say
            logger.error("no worker can be started (%s)", type(error).__name__)
            slot.not_before = time.monotonic() + LONGEST_WAIT_S

    def _ended(self, slot: _Slot, code: int) -> None:
        """Hand on what a worker left, and say when it is started again."""
        logger.warning("worker %s ended with code %d", slot.name, code)
        slot.process = None
        # One that was killed may run well next time; one that refused to start says so again.
        slot.refusals = slot.refusals + 1 if code > 0 else 0
        slot.not_before = time.monotonic() + min(2.0**slot.refusals - 1, LONGEST_WAIT_S)
        try:
            Heartbeat(self._queue).hand_on(slot.name)
        except sa.exc.SQLAlchemyError as error:  # the next worker does it
            logger.warning("the jobs' database does not answer (%s)", type(error).__name__)

    def _command(self, slot: _Slot) -> list[str]:
        crew = self._crew
        command = [sys.executable, "-m", "radedit.lib.cli", "worker", "--studies", crew.studies]
        command += ["--device", slot.device, "--batch", str(crew.most), "--name", slot.name]
        command += ["--parent", str(os.getpid())]
        for name, value in crew.conf.items():
            command += [f"--{name.replace('_', '-')}", value]
        return command

    def _environment(self) -> dict[str, str]:
        """Hand the database over where no list of processes shows its password."""
        return {**os.environ, VARIABLE: self._queue.database}
