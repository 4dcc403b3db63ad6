"""A worker: takes jobs one after the other, and is ended when one takes too long."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from radedit.lib.errors import OutputError, RadEditError
from radedit_dicom.errors import DicomError
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.outbox import Order
from radedit_dicom.router.route import Jobs
from radedit_dicom.router.spool import Spool
from radedit_dicom.router.work import Job, Work

OVERTIME: Final = 75  # exit code of a worker that ended itself over a job
_LOG = logging.getLogger("radedit.route")
_OUTPUT_END = 300  # characters of what a suite said last


class Worker:
    """Works on the jobs of a route, in one process.

    Parameters
    ----------
    spool, journal, audit
        Of the route.
    slot : str
        This worker's name.
    limits : Jobs
    end_process : callable
        Called when a job takes too long, since a running model cannot be interrupted.
    """

    def __init__(
        self,
        spool: Spool,
        journal: Journal,
        audit: Audit,
        slot: str,
        limits: Jobs,
        end_process: Callable[[int], Any] = os._exit,
    ) -> None:
        self._spool, self._journal, self._limits = spool, journal, limits
        self._work = Work(journal, audit, slot, limits.patience)
        self._end_process = end_process
        self._work.recover()

    def one(self) -> bool:
        """Work on the next job that is due; False: there is none."""
        job = self._work.claim()
        if job is None:
            return False
        guard = threading.Timer(self._limits.time_limit_s, self._end_process, (OVERTIME,))
        guard.daemon = True
        guard.start()
        try:
            self._do(job)
        finally:
            guard.cancel()
        return True

    def _do(self, job: Job) -> None:
        try:
            result, orders = self._run(job)
        except (RadEditError, DicomError) as error:
            from radedit.lib.routing.edits import is_final

            self._work.failed(job, str(error), final=is_final(error))
        except sqlite3.OperationalError:
            raise  # a full disk is no fault of the job: the caller waits
        except OSError as error:
            self._work.failed(job, f"A file cannot be used ({error.strerror}).", final=False)
        except Exception as error:  # the outermost edge of one job
            from radedit.lib.bulk import unexpected

            self._work.failed(job, unexpected(error), final=False)
        else:
            self._work.done(job, result, orders)

    def _run(self, job: Job) -> tuple[dict[str, Any], list[Order]]:
        if job.kind == "edit":
            outcome: tuple[dict[str, Any], list[Order]] = self._edits.run(job)
            return outcome
        return self._stress(job), []

    @cached_property
    def _edits(self) -> Any:
        """The models, loaded with the first edit."""
        from radedit.lib.pipeline import Editor
        from radedit.lib.routing.edits import EditStep

        return EditStep(self._spool, self._journal, Editor())

    def _stress(self, job: Job) -> dict[str, Any]:
        """Run a suite over the day's cohort, as a command line of its own."""
        folder = self._spool.results(job.name)
        films = folder / "cohort"
        films.mkdir(parents=True, exist_ok=True)
        rows = self._journal.rows(
            "SELECT i.uid, i.file FROM cohorts AS c JOIN instances AS i ON i.uid = c.uid "
            "WHERE c.job = ? AND i.state = 'planned'",
            (job.name,),
        )
        for row in rows:
            source = self._spool.folder / row["file"]
            target = films / source.name
            if not target.exists():
                os.link(source, target)
        settings = job.action["settings"]
        out = Path(settings["out"]).expanduser() / job.name
        options = ["--archive", str(films), "--out", str(out)]
        for name in ("victim", "labels"):
            if name in settings:
                options += [f"--{name}", settings[name]]
        command = [sys.executable, "-m", "radedit.lib.cli", "stress", settings["suite"]]
        done = subprocess.run(
            command + options,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.strip()[-_OUTPUT_END:] or "it said nothing"
            raise OutputError(f"The stress suite ended with code {done.returncode}: {said}")
        return {"films": len(rows)}
