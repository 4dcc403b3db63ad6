"""A worker: takes jobs one after the other, and ends itself when one takes too long."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any, Final

from radedit.lib.errors import RadEditError
from radedit.lib.routing.cohort import CohortStep, InterruptedRunError, end_leftover
from radedit_dicom.errors import DicomError
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.outbox import Order
from radedit_dicom.router.route import Jobs
from radedit_dicom.router.spool import Spool
from radedit_dicom.router.work import Job, Work

GIVEN_UP: Final = 75  # exit code of a worker that ended itself over a job
_LOOK_S: Final = 1.0  # how soon a cancelled edit is ended
_LOG = logging.getLogger("radedit.route")


class Worker:
    """Works on the jobs of a route, in one process.

    Parameters
    ----------
    spool, journal, audit
        Of the route.
    slot : str
        This worker's name.
    limits : Jobs
    end : threading.Event, optional
        Set when the node stops.
    end_process : callable
        Called when an edit takes too long or is cancelled, since a running model cannot be
        interrupted.
    """

    def __init__(
        self,
        spool: Spool,
        journal: Journal,
        audit: Audit,
        slot: str,
        limits: Jobs,
        end: threading.Event | None = None,
        *,
        end_process: Callable[[int], Any] = os._exit,
    ) -> None:
        self._spool, self._journal, self._limits = spool, journal, limits
        self._work = Work(journal, audit, slot, limits.patience)
        self._end = end or threading.Event()
        self._end_process = end_process
        for name in self._work.recover():
            end_leftover(spool.results(name))

    def one(self) -> bool:
        """Work on the next job that is due; False: there is none."""
        job = self._work.claim()
        if job is None:
            return False
        self._do(job)
        return True

    def _do(self, job: Job) -> None:
        try:
            result, orders = self._run(job)
        except (RadEditError, DicomError) as error:
            from radedit.lib.routing.edits import is_final

            self._work.failed(job, str(error), final=is_final(error))
        except InterruptedRunError:
            self._work.put_back(job)
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
        def is_ours() -> bool:
            return self._work.is_ours(job)

        if job.kind == "stress":
            limit_s = self._limits.stress_limit_s
            step = CohortStep(self._spool, self._journal, limit_s, self._end)
            return step.run(job, is_ours), []
        with guarded(self._limits.time_limit_s, is_ours, self._end_process):
            outcome: tuple[dict[str, Any], list[Order]] = self._edits.run(job)
        return outcome

    @cached_property
    def _edits(self) -> Any:
        """The models, loaded with the first edit."""
        from radedit.lib.pipeline import Editor
        from radedit.lib.routing.edits import EditStep

        return EditStep(self._spool, self._journal, Editor())


@contextmanager
def guarded(
    limit_s: float, is_ours: Callable[[], bool], end_process: Callable[[int], Any]
) -> Iterator[None]:
    """Watch over the block: end the process when it takes too long or its job was cancelled.

    Parameters
    ----------
    limit_s : float
    is_ours : callable
        Asked every second.
    end_process : callable
        Called with an exit code.
    """
    over = threading.Event()
    deadline = time.monotonic() + limit_s

    def watch() -> None:
        while not over.wait(min(_LOOK_S, max(deadline - time.monotonic(), 0.0))):
            late, ours = time.monotonic() >= deadline, True
            with suppress(sqlite3.OperationalError):  # it cannot be asked for now
                ours = is_ours()
            if late or not ours:
                _LOG.warning("a job %s; its worker ends", "takes too long" if late else "ended")
                end_process(GIVEN_UP)
                return

    watcher = threading.Thread(target=watch, name="guard", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
