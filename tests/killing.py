"""Jobs whose server and workers are killed meanwhile, and the account of what became of them.

`tests/system/test_jobs.py` does it on a few jobs, `scripts/kill-jobs` on many.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hospital
import numpy as np
import requests
import sqlalchemy as sa
import torch
from pydicom.dataset import Dataset

from radedit.lib.cases import Case
from radedit.lib.jobs.films import Films
from radedit.lib.jobs.model import JobRequest
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.tables import jobs
from radedit.lib.pipeline import Editor
from radedit_dicom.archive import Query
from radedit_dicom.film import read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.provenance import read_private

PROMPT = "Large left lung mass"
BOUND = 4  # stored values between batches of different sizes, see tests/radedit/test_pipeline.py


def write_studies(
    make_dataset: Callable[..., Dataset], folder: Path, count: int, every: int = 8
) -> list[str]:
    """Write films into a folder, each the real film moved and repacked; give their names."""
    folder.mkdir(parents=True)
    made = hospital.make_hospital(make_dataset, count, every)
    names = []
    for number, uid in enumerate(made.frontal[:count]):
        names.append(f"film-{number:02}.dcm")
        (folder / names[-1]).write_bytes(made.films[uid])
    return names


def requests_for(names: Sequence[str], count: int, steps: int) -> list[JobRequest]:
    """Make different requests, going around the films; all of one plan."""
    return [
        JobRequest(
            image=names[number % len(names)],
            prompt=PROMPT,
            edit_mask="ellipse:170,100,30,40",
            parameters={"steps": steps, "seed": number},
        )
        for number in range(count)
    ]


def radedit(*arguments: str, log: Path, **environment: str) -> subprocess.Popen[bytes]:
    """Start the program as a process of its own, one thread each."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "radedit.lib.cli", *arguments],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=file,
            stderr=file,
        )


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that we started, and see it gone."""
    process.send_signal(signal.SIGKILL)
    process.wait(30)


def children(pid: int) -> list[int]:
    """List the processes that a process started."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return found


def in_the_middle(queue: JobQueue, worker: str) -> list[str]:
    """List the jobs of a worker of which some steps are done and some are not."""
    turns = queue.dbos.list_workflows(status="PENDING", executor_id=worker, load_input=False)
    of_worker = sa.select(jobs.c.id).where(
        jobs.c.turn.in_([turn.workflow_id for turn in turns]),
        jobs.c.state == "running",
        jobs.c.done > 0,
        jobs.c.done < jobs.c.total,
    )
    with queue.engine.connect() as connection:
        return list(connection.execute(of_worker).scalars())


def wait_for(what: Callable[[], bool], timeout_s: float, step_s: float = 0.1) -> bool:
    """Wait until something is so; False = it was not in time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(step_s)
    return what()


@dataclass
class Served:
    """`radedit serve`, started again whenever it was killed.

    Parameters
    ----------
    studies, state : folders
    port : of 127.0.0.1
    database : of the jobs
    """

    studies: Path
    state: Path
    port: int
    database: str
    process: subprocess.Popen[bytes] | None = None
    killed: Counter[str] = field(default_factory=Counter)

    def start(self) -> None:
        self.process = radedit(
            "serve", "--studies", str(self.studies), "--port", str(self.port),
            "--state", str(self.state), "--database", self.database,
            log=self.state.parent / "server.log",
        )  # fmt: skip

    def keep(self) -> None:
        """Start the server again if it is gone, as whatever keeps services running does."""
        assert self.process is not None
        if self.process.poll() is not None:
            self.killed["not by us"] += 1
            self.start()

    def kill_one(self, rng: random.Random, server_share: float = 0.1) -> None:
        """Kill the server, or a worker of it; a killed server is started again."""
        assert self.process is not None
        self.keep()
        workers = children(self.process.pid)
        if workers and rng.random() >= server_share:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(workers), signal.SIGKILL)
                self.killed["worker"] += 1
            return
        kill(self.process)
        self.killed["server"] += 1
        self.start()

    def submit(self, request: JobRequest, timeout_s: float) -> str:
        """Post a job until it is accepted, as a client does whose server is gone for a while."""
        body = {
            "image": request.image,
            "prompt": request.prompt,
            "edit_mask": request.edit_mask,
            **request.parameters,
        }
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            with suppress(requests.RequestException):
                url = f"http://127.0.0.1:{self.port}/radedit/jobs"
                answer = requests.post(url, json=body, timeout=30)
                if answer.status_code in (200, 202):
                    return str(answer.json()["id"])
                assert answer.status_code >= 500, answer.text
            self.keep()
            time.sleep(0.5)
        raise TimeoutError("the server took no job in time")

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            kill(self.process)


@dataclass(frozen=True)
class Account:
    """What became of jobs.

    Attributes
    ----------
    states : how many jobs are in each state
    endings : how many jobs came to an end so many times
    attempts : how often jobs were begun, all together
    objects : how many objects the output holds
    misplaced : jobs whose three objects are not exactly once in the output
    identical : jobs whose pixels are those of an edit that nobody disturbed, alone
    largest : the largest difference to it, in stored values
    """

    states: Counter[str]
    endings: Counter[int]
    attempts: int
    objects: int
    misplaced: int
    identical: int
    largest: int


def account(queue: JobQueue, studies: Path, ids: Iterable[str], compare: bool = True) -> Account:
    """Count, and make every edit again, alone and undisturbed, to compare it."""
    ids = list(ids)
    rows = sa.select(jobs.c.id, jobs.c.endings)
    with queue.engine.connect() as connection:
        endings = {row.id: row.endings for row in connection.execute(rows)}
    assert set(endings) == set(ids), "there are jobs that nobody submitted, or some are lost"
    found = [queue.get(job) for job in ids]
    output = FolderArchive(studies / "edited")
    held = Counter(instance.sop_instance_uid for instance in output.find(Query()))
    misplaced, identical, largest = 0, 0, 0
    editor = Editor()
    films = Films.open(str(studies), {}, editor.settings)
    for job in found:
        if job.state != "done":
            continue
        assert job.result is not None
        uids = job.result["uids"]
        misplaced += any(held[uids[kind]] != 1 for kind in ("sc", "seg", "sr"))
        if compare:
            difference = _difference(editor, films, output, job.request, uids["sc"])
            identical += difference == 0
            largest = max(largest, difference)
    return Account(
        states=Counter(job.state for job in found),
        endings=Counter(endings[job] for job in ids),
        attempts=sum(job.attempts for job in found),
        objects=held.total(),
        misplaced=misplaced,
        identical=identical,
        largest=largest,
    )


def _difference(
    editor: Editor, films: Films, output: FolderArchive, said: Any, sop_instance_uid: str
) -> int:
    request = JobRequest(**{**said, "masks": {}})
    case: Case = films.case(request)
    (instance,) = output.find(Query(sop_instance_uid=sop_instance_uid))
    edited = read_film(output.path_of(instance), allow_synthetic=True)
    stored = edited.stored
    threads = torch.get_num_threads()
    torch.set_num_threads(int(read_private(edited.header).platform["threads"]))  # as it was made
    try:
        alone = editor.edit_batch([case])[0].stored
    finally:
        torch.set_num_threads(threads)
    return int(np.abs(stored.astype(np.int64) - alone.astype(np.int64)).max())
