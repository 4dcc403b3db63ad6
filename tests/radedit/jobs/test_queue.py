"""The queue as a server sees it, in SQLite and in a real PostgreSQL; no job is run here."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from postgres import Postgres

from radedit.lib.errors import (
    JobsError,
    JobStateError,
    MaskError,
    NotFoundError,
    ParameterError,
    PromptError,
    RadEditError,
)
from radedit.lib.jobs.database import VARIABLE, default_database
from radedit.lib.jobs.heartbeat import Heartbeat
from radedit.lib.jobs.model import JobRequest
from radedit.lib.jobs.queue import JobQueue

Ask = Callable[..., JobRequest]


def test_a_submitted_job_waits_and_says_what_it_is(queue: JobQueue, ask: Ask) -> None:
    request = ask(user="reader 1", masks={"drawn": b"\x89PNG"})
    job, new = queue.submit(request)
    assert new
    assert (job.id, job.state, job.attempts, job.result) == (request.id, "queued", 0, None)
    said = json.loads(json.dumps(job.as_json()))
    assert said["image"] == "film.dcm"
    assert said["request"]["parameters"] == dict(request.parameters)
    assert set(said["request"]["masks"]) == {"drawn"}
    assert said["created"].endswith("+00:00")
    assert queue.get(job.id) == job


def test_the_same_request_twice_is_one_job_whoever_asks(queue: JobQueue, ask: Ask) -> None:
    request = ask(masks={"a": b"1"}, edit_mask="uploaded:a")
    twin = JobRequest(**{**vars(request), "masks": {"a": b"1"}, "user": "somebody else"})
    other = JobRequest(**{**vars(request), "masks": {"a": b"2"}})
    (job, new), (again, renewed), (third, fresh) = map(queue.submit, (request, twin, other))
    assert (new, renewed, fresh) == (True, False, True)
    assert again == job
    assert third.id != job.id
    assert len(queue.list()) == 2


def test_of_many_who_ask_at_once_for_the_same_exactly_one_makes_the_job(
    queue: JobQueue, ask: Ask
) -> None:
    request = ask()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(queue.submit, [request] * 24))
    assert sum(new for _, new in answers) == 1
    assert {job.id for job, _ in answers} == {request.id}
    assert len(queue.dbos.list_workflows()) == 1


def test_a_job_outlives_the_process_that_took_it(database: str, queue: JobQueue, ask: Ask) -> None:
    job, _ = queue.submit(ask())
    later = JobQueue(database)
    later.start()
    assert later.get(job.id) == job
    later.stop()


def test_jobs_are_listed_newest_first_by_state_and_by_film(queue: JobQueue, ask: Ask) -> None:
    first, second, third = (
        queue.submit(ask(image=image))[0].id for image in ("a.dcm", "b.dcm", "a.dcm")
    )
    queue.cancel(first)
    assert [job.id for job in queue.list()] == [third, second, first]
    assert [job.id for job in queue.list(["queued"])] == [third, second]
    assert [job.id for job in queue.list(image="a.dcm")] == [third, first]
    assert [job.id for job in queue.list(["cancelled", "queued"], "a.dcm", 1)] == [third]
    assert queue.counts() == {"queued": 2, "running": 0, "done": 0, "failed": 0, "cancelled": 1}
    with pytest.raises(ParameterError, match="no state 'lost'"):
        queue.list(["lost"])  # type: ignore[list-item]


def test_every_change_gives_a_job_a_higher_version(queue: JobQueue, ask: Ask) -> None:
    job, _ = queue.submit(ask())
    seen = [queue.version(job.id)]
    for change in (queue.cancel, queue.retry, queue.cancel):
        change(job.id)
        seen.append(queue.version(job.id))
    assert seen == sorted(set(seen))


def test_a_cancelled_job_has_ended_until_it_is_tried_again(queue: JobQueue, ask: Ask) -> None:
    job, _ = queue.submit(ask())
    cancelled = queue.cancel(job.id)
    assert (cancelled.state, cancelled.has_ended) == ("cancelled", True)
    assert cancelled.ended is not None
    assert queue.cancel(job.id) == cancelled
    again = queue.retry(job.id)
    assert (again.state, again.ended) == ("queued", None)
    with pytest.raises(JobStateError, match="is queued; only a failed or cancelled"):
        queue.retry(job.id)


def test_a_discarded_job_is_forgotten_and_its_request_is_new_again(
    queue: JobQueue, ask: Ask
) -> None:
    request = ask(masks={"a": b"1"})
    job, _ = queue.submit(request)
    with pytest.raises(JobStateError, match="cancel it first"):
        queue.discard(job.id)
    queue.cancel(job.id)
    queue.discard(job.id)
    for look in (queue.get, queue.version, queue.cancel, queue.retry, queue.discard):
        with pytest.raises(NotFoundError):
            look(job.id)
    assert queue.submit(request)[1]


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"prompt": "  "}, PromptError, "no prompt"),
        ({"image": ""}, NotFoundError, "no image"),
        ({"model": "none"}, NotFoundError, "no model 'none'"),
        ({"parameters": {"steps": 0}}, ParameterError, "steps is 0"),
        ({"parameters": {"stepz": 5}}, ParameterError, "no parameter 'stepz'"),
        ({"study_mode": "old"}, ParameterError, "study_mode"),
        ({"edit_mask": "box:1,2,3"}, MaskError, "four numbers"),
        ({"keep_mask": "((("}, MaskError, "expected"),
        ({"masks": {"../a": b""}}, MaskError, "no plain word"),
        ({"masks": {f"m{n}": b"" for n in range(17)}}, MaskError, "at most 16"),
        ({"masks": {"a": bytes(33 * 2**20)}}, MaskError, "more than 32 MB"),
    ],
)
def test_a_request_that_cannot_run_is_refused_and_leaves_nothing(
    queue: JobQueue, ask: Ask, change: dict[str, object], error: type[RadEditError], said: str
) -> None:
    with pytest.raises(error, match=said):
        queue.submit(ask(**change))
    assert queue.list() == []
    assert queue.dbos.list_workflows() == []


def test_a_waiting_job_whose_turn_is_gone_gets_another_one(queue: JobQueue, ask: Ask) -> None:
    job, _ = queue.submit(ask())
    (turn,) = queue.dbos.list_workflows()
    Heartbeat(queue).adopt()
    assert len(queue.dbos.list_workflows()) == 1
    queue.dbos.cancel_workflow(turn.workflow_id)
    Heartbeat(queue).adopt()
    states = {found.status for found in queue.dbos.list_workflows()}
    assert states == {"CANCELLED", "ENQUEUED"}
    assert queue.get(job.id).state == "queued"
    Heartbeat(queue).adopt()
    assert len(queue.dbos.list_workflows()) == 2


@pytest.mark.parametrize(
    "address", ["mysql://u:geheim@h/d", "postgresql://u:geheim@127.0.0.1:1/d", "sqlite://", "://"]
)
def test_a_database_that_is_not_to_be_had_is_named_in_one_sentence_without_its_password(
    address: str,
) -> None:
    with pytest.raises((JobsError, ParameterError)) as caught:
        JobQueue(address).start()
    assert "geheim" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_while_the_database_is_away_nothing_is_accepted_and_later_it_goes_on(
    postgres: Postgres, ask: Ask
) -> None:
    name = f"jobs-{uuid4().hex}"
    queue = JobQueue(postgres.database(name))
    queue.start()
    kept, _ = queue.submit(ask())
    postgres.shut(name)
    for call in (lambda: queue.submit(ask()), lambda: queue.get(kept.id), queue.counts):
        with pytest.raises(JobsError, match="does not answer"):
            call()
    postgres.open(name)
    assert queue.get(kept.id) == kept
    assert queue.submit(ask())[1]
    assert len(queue.list()) == 2
    queue.stop()


def test_each_place_that_is_served_has_a_queue_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    here, there = default_database(str(tmp_path / "a")), default_database("http://h/dicom-web")
    assert here != there
    assert Path(here).is_relative_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert default_database("a") == here
    monkeypatch.setenv(VARIABLE, "postgresql://shared/queue")
    assert default_database("a") == "postgresql://shared/queue"
