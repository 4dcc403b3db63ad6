"""Which workers are alive, and what happens to the turns of one that is not.

A worker notes every second that it is there. One that ended is told by its process, if it ran on
this machine, or by its silence. Its turns are queued again, and whoever runs them next takes up
their jobs where they were. To take a live worker for dead costs time and nothing else: what it
writes from then on is written no more.
"""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from radedit.lib.jobs.database import now
from radedit.lib.jobs.queue import LIVELY_S, TURN, JobQueue
from radedit.lib.jobs.tables import jobs, workers

BEAT_S: Final = 1.0
ACTIVE: Final = ("ENQUEUED", "PENDING", "DELAYED")  # states of DBOS of what has not ended
logger = logging.getLogger(__name__)


def this_host() -> str:
    """Name what processes are numbered by: the machine, and in it the container."""
    try:
        container = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        container = 0
    return f"{socket.gethostname()}/{container}"


class Heartbeat:
    """The list of workers in a queue's database.

    Parameters
    ----------
    queue : started
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._engine = queue.engine

    def beat(self, worker: str, device: str) -> None:
        """Note that this process is a worker and alive."""
        seen = now(self._engine)
        of_worker = workers.c.id == worker
        with self._engine.begin() as connection:
            change = workers.update().where(of_worker).values(seen=seen)
            if connection.execute(change).rowcount:
                return
            row = {"id": worker, "host": this_host(), "pid": os.getpid(), "device": device}
            connection.execute(workers.insert().values(**row, seen=seen))

    def bury(self) -> None:
        """Hand on the turns of every worker that is not alive."""
        silent = (now(self._engine) - workers.c.seen).label("silent")
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(workers, silent)).all()
        for row in rows:
            if row.silent > LIVELY_S or (row.host == this_host() and not _runs(row.pid)):
                self.hand_on(row.id)

    def hand_on(self, worker: str) -> None:
        """Queue the turns of a worker again, and strike it off the list."""
        turns = self._queue.dbos.list_workflows(
            status="PENDING", executor_id=worker, load_input=False, load_output=False
        )
        if turns:
            ids = [turn.workflow_id for turn in turns]
            self._queue.dbos.resume_workflows(ids, queue_name=TURN)
            logger.warning("worker %s ended; %d turns are handed on", worker, len(turns))
        with self._engine.begin() as connection:
            connection.execute(workers.delete().where(workers.c.id == worker))

    def adopt(self) -> None:
        """Queue the jobs again whose turn ended without them, because the database was gone."""
        turn = sa.case((jobs.c.state == "running", jobs.c.turn), else_=jobs.c.ticket)
        open_jobs = sa.select(jobs.c.id, turn.label("turn")).where(
            jobs.c.state.in_(("queued", "running"))
        )
        with self._engine.connect() as connection:
            turn_of = {row.id: row.turn for row in connection.execute(open_jobs)}
        if not turn_of:
            return
        states = self._queue.dbos.list_workflows(
            workflow_ids=sorted(set(turn_of.values())), load_input=False, load_output=False
        )
        active = {found.workflow_id for found in states if found.status in ACTIVE}
        for job, ended in turn_of.items():
            if ended not in active:
                self._queue.requeue(job, ended)
                logger.warning("job %s is queued again; its turn ended without it", job)


def _runs(pid: int) -> bool:
    """Say whether a process of this machine runs; one that ended and awaits its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state not in ("Z", "X")
