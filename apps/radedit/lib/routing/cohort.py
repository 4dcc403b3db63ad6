"""A stress suite over a day's cohort: `radedit stress` as a process of its own, which is watched.

It takes hours, so it has a limit of its own, ends when it is cancelled or the node stops, and goes
on where it was when it is started again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from radedit.lib.errors import OutputError
from radedit.lib.whole_files import write_file
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.spool import Spool
from radedit_dicom.router.work import Job

_POLL_S: Final = 0.5
_END_S: Final = 10.0  # between SIGTERM and SIGKILL
_FILMS: Final = (
    "SELECT i.file FROM cohorts AS c JOIN instances AS i ON i.uid = c.uid "
    "WHERE c.job = ? AND i.state = 'planned'"
)
_MASKS: Final = (
    "SELECT file FROM instances WHERE sop_class = '1.2.840.10008.5.1.4.1.1.66.4' "
    "AND state IN ('planned', 'unmatched', 'guarded') AND study IN "
    "(SELECT i.study FROM cohorts AS c JOIN instances AS i ON i.uid = c.uid WHERE c.job = ?)"
)
_MOST_SAID: Final = 300  # characters of the sentence that a suite ended with


class InterruptedRunError(Exception):
    """The run was ended because the node stops or a person cancelled it."""


@dataclass(frozen=True)
class CohortStep:
    """Runs the suites of jobs.

    Attributes
    ----------
    spool, journal
        Of the route.
    limit_s : float
        A run that takes longer is ended.
    end : threading.Event
        Set when the node stops.
    """

    spool: Spool
    journal: Journal
    limit_s: float
    end: threading.Event

    def run(self, job: Job, is_ours: Callable[[], bool]) -> dict[str, Any]:
        """Run a suite over the films that were gathered for it, or go on with a run.

        Returns
        -------
        dict
            "films": how many there were.

        Raises
        ------
        OutputError
            The suite ended with an error, or took too long.
        InterruptedRunError
            The node stops, or the job is not ours any more.
        """
        folder = self.spool.results(job.name)
        end_leftover(folder)
        films, count = self._films(job)
        settings = job.action["settings"]
        out = Path(settings["base"], Path(settings["out"]).expanduser(), job.name)
        said = folder / "said.txt"
        with said.open("wb") as stream:
            process = subprocess.Popen(
                command(settings, films, out),
                cwd=settings["base"],  # what its file names is relative to that
                stdout=subprocess.DEVNULL,
                stderr=stream,
                start_new_session=True,  # its group is ended with it
            )
        write_file(_leader(folder), f"{process.pid} {_started(process.pid)}")
        try:
            self._watch(process, is_ours)
        finally:
            _end(process)
            _leader(folder).unlink(missing_ok=True)
        if process.returncode != 0:
            lines = said.read_text(errors="replace").strip().splitlines()
            told = lines[-1][-_MOST_SAID:] if lines and process.returncode == 1 else "no sentence"
            raise OutputError(f"The suite ended with code {process.returncode} and said: {told}")
        return {"films": count}

    def _watch(self, process: subprocess.Popen[bytes], is_ours: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.limit_s
        while process.poll() is None:
            if self.end.wait(_POLL_S) or not is_ours():
                raise InterruptedRunError
            if time.monotonic() > deadline:
                raise OutputError(
                    f"The suite took longer than {self.limit_s / 3600:g} hours and was ended; give "
                    "stress_limit_h more, or the suite fewer films."
                )

    def _films(self, job: Job) -> tuple[Path, int]:
        """Link the films of the cohort, and SEG objects of their studies, into one folder."""
        films = self.spool.results(job.name) / "cohort"
        films.mkdir(parents=True, exist_ok=True)
        count = 0
        for query in (_FILMS, _MASKS):
            rows = self.journal.rows(query, (job.name,))
            count = len(rows) if query is _FILMS else count
            for row in rows:
                source = self.spool.folder / row["file"]  # on the same disk
                with suppress(FileExistsError):
                    os.link(source, films / source.name)
        return films, count


def command(settings: dict[str, Any], films: Path, out: Path) -> list[str]:
    """Give the command line of a suite over a folder of films."""
    given = [sys.executable, "-m", "radedit.lib.cli", "stress", settings["suite"]]
    given += ["--archive", str(films), "--out", str(out)]
    for name in ("victim", "labels"):
        if name in settings:
            given += [f"--{name}", settings[name]]
    return given


def end_leftover(folder: Path) -> None:
    """End a run that outlived its worker, which was killed: two must not write one report."""
    try:
        text, started = _leader(folder).read_text().split()
    except (OSError, ValueError):
        return
    if _started(int(text)) == started:  # else the number belongs to another process by now
        with suppress(ProcessLookupError):
            os.killpg(int(text), signal.SIGKILL)
    _leader(folder).unlink(missing_ok=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a run and the processes that it started."""
    with suppress(subprocess.TimeoutExpired):
        if process.poll() is None:
            process.terminate()
            process.wait(_END_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _leader(folder: Path) -> Path:
    return folder / "running"


def _started(pid: int) -> str:
    """Give when a process began, in ticks since the machine did; "" if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
