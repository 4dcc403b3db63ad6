"""`radedit jobs` on a queue, as a process of its own would be called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from radedit.lib.cli import app
from radedit.lib.jobs.database import VARIABLE
from radedit.lib.jobs.model import JobRequest
from radedit.lib.jobs.queue import JobQueue

runner = CliRunner()


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv(VARIABLE, raising=False)
    return str(tmp_path / "jobs.sqlite")


@pytest.fixture
def job(database: str) -> str:
    queue = JobQueue(database)
    queue.start()
    request = JobRequest("film.dcm", "Large left lung mass", masks={"a": b"1"}, user="reader 1")
    made, _ = queue.submit(request)
    queue.stop()
    return made.id


def call(*arguments: str) -> tuple[int, str, str]:
    done = runner.invoke(app, ["jobs", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_jobs_are_listed_for_a_person_and_as_json(job: str, database: str) -> None:
    code, said, _ = call("list", "--database", database)
    assert code == 0
    (line,) = (line for line in said.splitlines() if line.startswith(job))
    assert line.split()[1:3] == ["queued", "0"]
    assert "1 queued, 0 running" in said
    code, said, _ = call("list", "--database", database, "--json")
    listed = json.loads(said)
    assert [found["id"] for found in listed["jobs"]] == [job]
    assert listed["counts"]["queued"] == 1
    assert listed["workers"] == []


def test_a_job_is_cancelled_retried_and_discarded(job: str, database: str) -> None:
    place = ("--database", database, "--json")
    assert json.loads(call("cancel", job, *place)[1])["state"] == "cancelled"
    assert json.loads(call("retry", job, *place)[1])["state"] == "queued"
    code, _, refused = call("discard", job, *place)
    assert (code, refused) == (1, "radedit: the job is queued; cancel it first.\n")
    call("cancel", job, *place)
    assert json.loads(call("discard", job, *place)[1]) == {"discarded": job}
    code, _, refused = call("show", job, *place)
    assert code == 1
    assert "there is no job of that id" in refused


def test_a_job_is_shown_whole_without_the_bytes_of_its_masks(job: str, database: str) -> None:
    code, said, _ = call("show", job, "--database", database)
    assert code == 0
    for word in ("queued", "film.dcm", "Large left lung mass", "reader 1"):
        assert word in said


def test_the_queue_of_a_place_is_found_by_what_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert call("list", "--studies", str(tmp_path))[0] == 0
    assert len(list((tmp_path / "state").rglob("jobs.sqlite"))) == 1
    code, _, refused = call("list")
    assert code == 1
    assert "which queue is meant?" in refused


@pytest.mark.parametrize("device", ["cuda:77", "abacus"])
def test_a_worker_whose_device_is_not_there_says_so_and_takes_nothing(
    job: str, database: str, tmp_path: Path, device: str
) -> None:
    given = ["worker", "--studies", str(tmp_path), "--database", database, "--device", device]
    done = runner.invoke(app, given)
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == (
        f"radedit: the device '{device}' is not there; name another one in --device."
    )
    assert json.loads(call("show", job, "--database", database, "--json")[1])["state"] == "queued"
