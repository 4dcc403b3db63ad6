"""What a worker may write on a job, and when it may not; no model is run here."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from radedit.lib.errors import JobStateError
from radedit.lib.jobs.model import JobRequest
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.tables import checkpoints, jobs, masks
from radedit.lib.jobs.turns import ALONE_AFTER, Checkpoint, Taken, Turn

Ask = Callable[..., JobRequest]
MARK = Checkpoint(step=2, seat=0, batch=1, delta=bytes(16))


def ticket_of(queue: JobQueue, job: str) -> str:
    with queue.engine.connect() as connection:
        return str(connection.execute(sa.select(jobs.c.ticket).where(jobs.c.id == job)).scalar())


def take(queue: JobQueue, job: str, most: int = 4, ticket: str = "") -> tuple[Turn, list[Taken]]:
    turn = Turn(queue.engine, ticket or ticket_of(queue, job))
    return turn, turn.take(job, most)


def count(queue: JobQueue, table: sa.Table) -> int:
    with queue.engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_a_turn_takes_its_job_and_waiting_ones_of_the_same_plan_oldest_first(
    queue: JobQueue, ask: Ask
) -> None:
    wanted = [ask(), ask(), ask(steps=5), ask(), ask(parameters={"guidance": 2.0}), ask(), ask()]
    ids = [queue.submit(request)[0].id for request in wanted]
    turn = Turn(queue.engine, ticket_of(queue, ids[1]))
    taken = turn.take(ids[1], 4)
    assert [job.id for job in taken] == [ids[0], ids[1], ids[3], ids[5]]
    running = queue.list(["running"])
    assert {job.id for job in running} == {job.id for job in taken}
    assert all(job.attempts == 1 and job.started is not None for job in running)


def test_a_turn_whose_job_went_along_with_another_takes_the_next_that_waits(
    queue: JobQueue, ask: Ask
) -> None:
    ids = [queue.submit(ask())[0].id for _ in range(3)]
    tickets = [ticket_of(queue, job) for job in ids]
    found = [
        take(queue, *given, ticket=t)[1]
        for given, t in zip(((ids[0], 2), (ids[1], 2), (ids[2], 2)), tickets, strict=True)
    ]
    assert [[job.id for job in taken] for taken in found] == [ids[:2], ids[2:], []]


def test_what_was_asked_comes_back_whole(queue: JobQueue, ask: Ask) -> None:
    request = ask(masks={"a": b"\x00png"}, keep_mask="uploaded:a", study_mode="same", user="u")
    job, _ = queue.submit(request)
    _, (taken,) = take(queue, job.id)
    assert taken.request == request


def test_an_interrupted_turn_takes_the_same_jobs_again_with_their_last_step(
    queue: JobQueue, ask: Ask
) -> None:
    ids = [queue.submit(ask())[0].id for _ in range(3)]
    ticket = ticket_of(queue, ids[0])
    turn, taken = take(queue, ids[0], 2)
    marks = {job.id: Checkpoint(3, seat, 2, bytes([seat])) for seat, job in enumerate(taken)}
    assert turn.step(3, marks) == set(marks)
    turn.step(4, {name: Checkpoint(4, m.seat, 2, b"later") for name, m in marks.items()})
    _, again = take(queue, ids[0], 4, ticket)
    assert {job.id for job in again} == set(ids[:2])
    assert [job.checkpoint for job in again] == [Checkpoint(4, s, 2, b"later") for s in (0, 1)]
    assert [queue.get(job).attempts for job in ids] == [2, 2, 0]


def test_who_was_thought_dead_writes_nothing_any_more(queue: JobQueue, ask: Ask) -> None:
    job, _ = queue.submit(ask())
    ticket = ticket_of(queue, job.id)
    dead, _ = take(queue, job.id, ticket=ticket)
    living, _ = take(queue, job.id, ticket=ticket)
    assert dead.step(2, {job.id: MARK}) == set()
    assert count(queue, checkpoints) == 0
    assert not dead.store(job.id)
    assert living.step(2, {job.id: MARK}) == {job.id}
    dead.forget([job.id])
    dead.finish(job.id, {"edit_id": "of the dead"})
    dead.fail(job.id, "of the dead")
    assert queue.get(job.id).state == "running"
    assert count(queue, checkpoints) == 1
    living.finish(job.id, {"edit_id": "of the living"})
    assert queue.get(job.id).result == {"edit_id": "of the living"}


def test_a_job_ends_once_and_keeps_neither_masks_nor_steps(queue: JobQueue, ask: Ask) -> None:
    job, _ = queue.submit(ask(masks={"a": b"1"}))
    turn, _ = take(queue, job.id)
    turn.step(2, {job.id: MARK})
    turn.finish(job.id, {"edit_id": "first"})
    turn.finish(job.id, {"edit_id": "second"})
    turn.fail(job.id, "third")
    ended = queue.get(job.id)
    assert (ended.state, ended.result, ended.error) == ("done", {"edit_id": "first"}, None)
    with queue.engine.connect() as connection:
        assert connection.execute(sa.select(jobs.c.endings)).scalar_one() == 1
    assert count(queue, checkpoints) == count(queue, masks) == 0


def test_a_cancelled_job_is_told_to_its_worker_at_the_next_step(queue: JobQueue, ask: Ask) -> None:
    ids = [queue.submit(ask())[0].id for _ in range(2)]
    turn, _ = take(queue, ids[0])
    queue.cancel(ids[1])
    assert turn.step(2, dict.fromkeys(ids, MARK)) == turn.alive(ids) == {ids[0]}
    turn.finish(ids[1], {})
    assert queue.get(ids[1]).state == "cancelled"


def test_a_result_that_is_being_stored_cannot_be_cancelled(queue: JobQueue, ask: Ask) -> None:
    job, _ = queue.submit(ask())
    turn, _ = take(queue, job.id)
    assert turn.store(job.id)
    with pytest.raises(JobStateError, match="storing its result"):
        queue.cancel(job.id)
    assert queue.get(job.id).state == "running"


def test_a_job_tried_again_goes_on_at_its_last_step_if_it_was_alone(
    queue: JobQueue, ask: Ask
) -> None:
    alone, shared, finished = (queue.submit(ask(steps=n))[0].id for n in (5, 6, 7))
    for job, mark in (
        (alone, MARK),
        (shared, Checkpoint(2, 0, 2, b"")),
        (finished, Checkpoint(4, 1, 2, b"whole")),
    ):
        turn, _ = take(queue, job)
        turn.begin([job], 4)
        turn.step(mark.step, {job: mark})
        turn.fail(job, "The archive is away.")
        assert queue.retry(job).error is None
    marks = [take(queue, job)[1][0].checkpoint for job in (alone, shared, finished)]
    assert marks == [MARK, None, Checkpoint(4, 1, 2, b"whole")]


def test_a_job_that_has_begun_shares_no_batch_with_one_that_has_not(
    queue: JobQueue, ask: Ask
) -> None:
    ids = [queue.submit(ask())[0].id for _ in range(3)]
    turn, _ = take(queue, ids[0], 1)
    turn.step(2, {ids[0]: MARK})
    turn.fail(ids[0], "The archive is away.")
    queue.retry(ids[0])
    _, fresh = take(queue, ids[1])
    _, begun = take(queue, ids[0])
    assert [{job.id for job in found} for found in (fresh, begun)] == [set(ids[1:]), {ids[0]}]


def test_a_job_whose_worker_ends_again_and_again_runs_alone(queue: JobQueue, ask: Ask) -> None:
    ids = [queue.submit(ask())[0].id for _ in range(2)]
    for _ in range(ALONE_AFTER):
        turn, _ = take(queue, ids[0], 1)
        turn.begin([ids[0]], 4)
        queue.requeue(ids[0], ticket_of(queue, ids[0]))
    with queue.engine.connect() as connection:
        counted = sa.select(jobs.c.fruitless).where(jobs.c.id == ids[0])
        assert connection.execute(counted).scalar() == ALONE_AFTER
    assert [job.id for job in take(queue, ids[0])[1]] == [ids[0]]
    assert [job.id for job in take(queue, ids[1])[1]] == [ids[1]]


def test_turns_that_run_at_once_never_take_the_same_job(queue: JobQueue, ask: Ask) -> None:
    ids = [queue.submit(ask())[0].id for _ in range(40)]
    tickets = {job: ticket_of(queue, job) for job in ids}

    def run(job: str) -> list[str]:
        return [taken.id for taken in take(queue, job, 3, tickets[job])[1]]

    with ThreadPoolExecutor(4) as pool:
        taken = [job for found in pool.map(run, ids) for job in found]
    assert sorted(taken) == sorted(ids)
    assert all(job.attempts == 1 for job in queue.list())
