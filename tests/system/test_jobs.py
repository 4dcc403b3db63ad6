"""Worker processes killed while they run jobs; `scripts/kill-jobs` does the same at length."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from killing import (
    BOUND,
    account,
    children,
    in_the_middle,
    kill,
    radedit,
    requests_for,
    wait_for,
    write_studies,
)
from postgres import Postgres
from pydicom.dataset import Dataset

from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.supervisor import Crew, Supervisor
from radedit.lib.jobs.tables import jobs

PATIENCE_S = 600.0
AWAY_S = 3.0
NAME = "shared-jobs"
GONE = "jobs-that-are-gone"


def step_is_done(queue: JobQueue, least: int = 1) -> bool:
    found = queue.list()
    assert not all(job.has_ended for job in found), "too late to kill anything"
    return any(least <= job.done < job.total for job in found if job.state == "running")


def note_steps(queue: JobQueue) -> Callable[[], dict[str, list[int]]]:
    """Let the database (SQLite) note every step that is written; gives what it has noted."""
    with queue.engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE noted (job TEXT, done INTEGER)"))
        connection.execute(
            sa.text(
                f"CREATE TRIGGER note AFTER UPDATE OF done ON {jobs.name}"
                " BEGIN INSERT INTO noted VALUES (new.id, new.done); END"
            )
        )

    def noted() -> dict[str, list[int]]:
        steps: dict[str, list[int]] = {}
        with queue.engine.connect() as connection:
            for job, done in connection.execute(sa.text("SELECT * FROM noted ORDER BY rowid")):
                steps.setdefault(job, []).append(done)
        return steps

    return noted


def all_ended(queue: JobQueue, ids: list[str]) -> Callable[[], bool]:
    return lambda: all(queue.get(job).has_ended for job in ids)


def test_jobs_of_a_killed_worker_go_on_in_the_next_and_are_stored_once(
    tmp_path: Path, make_dataset: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    studies = tmp_path / "studies"
    names = write_studies(make_dataset, studies, 2)
    queue = JobQueue(str(tmp_path / "jobs.sqlite"))
    queue.start()
    noted = note_steps(queue)
    ids = [queue.submit(request)[0].id for request in requests_for(names, 3, 12)]
    supervisor = Supervisor(queue, Crew(str(studies), most=2))
    supervisor.start()
    try:
        assert wait_for(lambda: step_is_done(queue, 2), PATIENCE_S, 0.02)
        (first,) = supervisor.pids
        os.kill(first, signal.SIGKILL)
        assert wait_for(lambda: supervisor.pids not in ([], [first]), PATIENCE_S)
        assert wait_for(all_ended(queue, ids), PATIENCE_S)
        (second,) = supervisor.pids
    finally:
        supervisor.stop()
    found = account(queue, studies, ids)
    workers, steps = queue.workers(), noted()
    queue.stop()
    assert found.states == {"done": 3}
    assert found.endings == {1: 3}
    assert found.attempts == 3 + 2  # the batch of two was begun twice
    for done in steps.values():
        assert done == list(range(1, done[-1] + 1))  # and went on: no step was made again
    assert len(steps) == 3
    assert (found.objects, found.misplaced) == (9, 0)
    assert found.identical >= 1  # the one that ran alone
    assert found.largest <= BOUND
    assert not Path(f"/proc/{second}").exists()
    assert list(workers) == []


def test_two_workers_share_a_postgres_that_goes_away_and_one_finishes_what_the_other_leaves(
    tmp_path: Path, make_dataset: Callable[..., Dataset], postgres: Postgres
) -> None:
    studies = tmp_path / "studies"
    names = write_studies(make_dataset, studies, 2)
    database = postgres.database(NAME)
    queue = JobQueue(database)
    queue.start()
    ids = [queue.submit(request)[0].id for request in requests_for(names, 6, 8)]
    arguments = ["worker", "--studies", str(studies), "--batch", "2"]
    first = ["--name", "first"]
    worker = radedit(*arguments, *first, log=tmp_path / "1.log", RADEDIT_JOBS_DATABASE=database)
    # The other one's parent is a shell, so that it can lose it.
    command = shlex.join([sys.executable, "-m", "radedit.lib.cli", *arguments])
    log = (tmp_path / "2.log").open("wb")
    shell = subprocess.Popen(
        ["/bin/sh", "-c", f"{command} --parent $$; true"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "RADEDIT_JOBS_DATABASE": database},
        stdout=log,
        stderr=log,
    )
    log.close()
    try:
        assert wait_for(lambda: len(queue.workers()) == 2, PATIENCE_S)
        assert wait_for(lambda: step_is_done(queue), PATIENCE_S, 0.02)
        postgres.shut(NAME)
        time.sleep(AWAY_S)
        postgres.open(NAME)
        assert wait_for(lambda: bool(in_the_middle(queue, "first")), PATIENCE_S, 0.02)
        begun = {job: queue.get(job).attempts for job in in_the_middle(queue, "first")}
        kill(worker)
        left = [job for job in begun if not queue.get(job).has_ended]
        assert wait_for(all_ended(queue, ids), PATIENCE_S)
        (orphan,) = children(shell.pid)
        kill(shell)
        assert wait_for(lambda: not Path(f"/proc/{orphan}").exists(), 60)
    finally:
        for process in (worker, shell):
            if process.poll() is None:
                kill(process)
    found = account(queue, studies, ids, compare=False)
    workers, again = queue.workers(), {job: queue.get(job).attempts for job in left}
    queue.stop()
    assert found.states == {"done": 6}
    assert found.endings == {1: 6}
    assert left
    assert all(again[job] > begun[job] for job in left)  # by the other one
    assert (found.objects, found.misplaced) == (18, 0)
    assert list(workers) == []


def test_a_worker_and_what_starts_workers_end_while_the_database_is_away(
    tmp_path: Path,
    make_dataset: Callable[..., Dataset],
    postgres: Postgres,
    caplog: pytest.LogCaptureFixture,
) -> None:
    studies = tmp_path / "studies"
    write_studies(make_dataset, studies, 1)
    queue = JobQueue(postgres.database(GONE))
    queue.start()
    log = tmp_path / "1.log"
    database = {"RADEDIT_JOBS_DATABASE": queue.database}
    worker = radedit("worker", "--studies", str(studies), log=log, **database)
    supervisor = Supervisor(queue, Crew(str(studies)))
    stop = threading.Thread(target=supervisor.stop, daemon=True)
    try:
        assert wait_for(lambda: "is ready" in log.read_text(), PATIENCE_S)
        postgres.shut(GONE)
        supervisor.start()  # a worker that refuses to start, each time
        assert wait_for(lambda: "ended with code 1" in caplog.text, PATIENCE_S)
        worker.terminate()
        stop.start()
        assert worker.wait(60) == 0
        stop.join(60)
        assert not stop.is_alive()
    finally:
        if worker.poll() is None:
            kill(worker)
        postgres.open(GONE)
    queue.stop()
