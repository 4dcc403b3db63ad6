"""Worker processes killed while they run jobs; `scripts/kill-jobs` does the same at length."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from killing import (
    BOUND,
    account,
    children,
    is_in_the_middle,
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

PATIENCE_S = 600.0
AWAY_S = 3.0
NAME = "shared-jobs"


def step_is_done(queue: JobQueue) -> bool:
    found = queue.list()
    assert not all(job.has_ended for job in found), "too late to kill anything"
    return any(0 < job.done < job.total for job in found if job.state == "running")


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
    ids = [queue.submit(request)[0].id for request in requests_for(names, 3, 12)]
    supervisor = Supervisor(queue, Crew(str(studies), most=2))
    supervisor.start()
    try:
        assert wait_for(lambda: step_is_done(queue), PATIENCE_S, 0.02)
        (first,) = supervisor.pids
        reached = max(job.done for job in queue.list(["running"]))
        os.kill(first, signal.SIGKILL)
        assert wait_for(lambda: supervisor.pids not in ([], [first]), PATIENCE_S)
        assert all(job.done >= reached for job in queue.list(["running"]))
        assert wait_for(all_ended(queue, ids), PATIENCE_S)
        (second,) = supervisor.pids
    finally:
        supervisor.stop()
    found = account(queue, studies, ids)
    workers = queue.workers()
    queue.stop()
    assert found.states == {"done": 3}
    assert found.endings == {1: 3}
    assert found.attempts == 3 + 2  # the batch of two was begun twice
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
        assert wait_for(lambda: is_in_the_middle(queue, "first"), PATIENCE_S, 0.02)
        kill(worker)
        assert wait_for(all_ended(queue, ids), PATIENCE_S)
        (orphan,) = children(shell.pid)
        kill(shell)
        assert wait_for(lambda: not Path(f"/proc/{orphan}").exists(), 60)
    finally:
        for process in (worker, shell):
            if process.poll() is None:
                kill(process)
    found = account(queue, studies, ids, compare=False)
    workers = queue.workers()
    queue.stop()
    assert found.states == {"done": 6}
    assert found.endings == {1: 6}
    assert found.attempts >= 6 + 1  # what the first one left was begun again
    assert (found.objects, found.misplaced) == (18, 0)
    assert list(workers) == []
