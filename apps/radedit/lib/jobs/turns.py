"""A worker's share of the queue: jobs taken together, noted step by step, and ended.

A turn is a workflow of DBOS, which sees to it that each runs, on one worker at a time, and runs
again elsewhere when its worker is gone. It takes the job it was queued for, and with it jobs of
the same plan that wait as well; a turn whose job went along with another one takes the next that
waits, so that there is a turn for every waiting job.

Who runs a turn draws a `runner`. Whatever is written on a job asks for that runner and for the
state "running", so a worker that was thought dead, or whose job was cancelled, writes nothing any
more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa

from radedit.lib.jobs.database import insert_of, now
from radedit.lib.jobs.model import EDIT, STORING, JobRequest
from radedit.lib.jobs.tables import checkpoints, jobs, masks

MOST_FRUITLESS: Final = 10  # so often may a job's worker end before it has finished one step
ALONE_AFTER: Final = 2  # from then on it runs alone, so that no other job ends with it


@dataclass(frozen=True)
class Checkpoint:
    """The last finished step of a job.

    Attributes
    ----------
    step, seat, batch : what was done, and where in a batch of what size
    delta : bytes that the edit goes on from
    """

    step: int
    seat: int
    batch: int
    delta: bytes


@dataclass(frozen=True)
class Taken:
    """A job that this turn runs; `result` is that of an earlier time it was done."""

    id: str
    request: JobRequest
    fruitless: int
    checkpoint: Checkpoint | None
    result: Mapping[str, Any] | None = None


class Turn:
    """One execution of a turn.

    Parameters
    ----------
    engine : the queue's database
    ticket : the turn's workflow
    """

    def __init__(self, engine: sa.Engine, ticket: str) -> None:
        self._engine = engine
        self._ticket = ticket
        self.runner = uuid4().hex
        self._change = {"version": jobs.c.version + 1}

    def take(self, job: str, most: int) -> list[Taken]:
        """Take jobs that wait, or those that an earlier execution of this turn took.

        Parameters
        ----------
        job : that the turn was queued for; if it runs or has ended by now, the job that waits
            longest is taken in its place
        most : jobs of one batch

        Returns
        -------
        in the order they were queued; none if no job waits
        """
        taken = {
            **self._change, "state": "running", "runner": self.runner, "stage": "preparing",
            "attempts": jobs.c.attempts + 1, "turn": self._ticket, "started": now(self._engine),
        }  # fmt: skip
        of_turn = sa.and_(jobs.c.turn == self._ticket, jobs.c.state == "running")
        with self._engine.begin() as connection:
            if not connection.execute(jobs.update().where(of_turn).values(taken)).rowcount:
                its_own = sa.case((jobs.c.id == job, 0), else_=1)
                first = _waiting(1).order_by(its_own, jobs.c.queued, jobs.c.id)
                columns = (jobs.c.id, jobs.c.plan, jobs.c.fruitless)
                claim = _only(first).values(taken).returning(*columns)
                leader = connection.execute(claim).first()
                if leader is None:
                    return []
                if most > 1 and leader.fruitless < ALONE_AFTER:
                    self._take_mates(connection, leader, most - 1, taken)
            return self._read(connection)

    def _take_mates(
        self, connection: sa.Connection, leader: sa.Row[Any], most: int, taken: dict[str, Any]
    ) -> None:
        """Take waiting jobs of a plan that begin at the beginning, if the first one does too."""
        begun = sa.select(checkpoints.c.job)
        if connection.execute(begun.where(checkpoints.c.job == leader.id)).first():
            return
        mates = (
            _waiting(most)
            .where(jobs.c.plan == leader.plan, jobs.c.fruitless < ALONE_AFTER)
            .where(jobs.c.id.not_in(begun))
            .order_by(jobs.c.queued, jobs.c.id)
        )
        connection.execute(_only(mates).values(taken))

    def _read(self, connection: sa.Connection) -> list[Taken]:
        ours = jobs.c.runner == self.runner
        query = sa.select(jobs).where(ours).order_by(jobs.c.queued, jobs.c.id)
        rows = connection.execute(query).all()
        ids = [row.id for row in rows]
        pngs: dict[str, dict[str, bytes]] = {job: {} for job in ids}
        for mask in connection.execute(sa.select(masks).where(masks.c.job.in_(ids))):
            pngs[mask.job][mask.name] = bytes(mask.png)
        marks = {
            mark.job: Checkpoint(mark.step, mark.seat, mark.batch, bytes(mark.delta))
            for mark in connection.execute(sa.select(checkpoints).where(checkpoints.c.job.in_(ids)))
        }
        return [
            Taken(
                row.id,
                _request(row.request, pngs[row.id]),
                row.fruitless,
                marks.get(row.id),
                row.result,
            )
            for row in rows
        ]

    def begin(self, ids: Sequence[str], total: int) -> None:
        """Note that the steps of some jobs begin, of which there are `total`."""
        self._update(ids, stage="editing", total=total, fruitless=jobs.c.fruitless + 1)

    def step(self, done: int, marks: Mapping[str, Checkpoint]) -> set[str]:
        """Note a finished step; give the jobs that are still to be run."""
        with self._engine.begin() as connection:
            alive = self._update(list(marks), connection, done=done, fruitless=0)
            rows = [
                {"job": job, "step": m.step, "seat": m.seat, "batch": m.batch, "delta": m.delta}
                for job, m in marks.items()
                if job in alive
            ]
            if rows:
                insert = insert_of(self._engine)(checkpoints)
                new = {name: insert.excluded[name] for name in ("step", "seat", "batch", "delta")}
                change = insert.on_conflict_do_update(index_elements=["job"], set_=new)
                connection.execute(change, rows)
        return alive

    def tell(self, ids: Sequence[str], done: int, total: int) -> None:
        """Note a finished step of a method that cannot go on behind one."""
        self._update(ids, done=done, total=total, fruitless=0)

    def alive(self, ids: Iterable[str]) -> set[str]:
        """Give those of some jobs that are still ours to run."""
        query = sa.select(jobs.c.id).where(self._ours(list(ids)))
        with self._engine.connect() as connection:
            return set(connection.execute(query).scalars())

    def store(self, job: str) -> bool:
        """Note that a job's result is being stored; False = it is not ours any more."""
        return bool(self._update([job], stage=STORING))

    def finish(self, job: str, result: Mapping[str, Any]) -> None:
        """End a job well."""
        with self._engine.begin() as connection:
            if self._end(connection, job, "done", {"result": dict(result), "error": None}):
                connection.execute(checkpoints.delete().where(checkpoints.c.job == job))
                connection.execute(masks.delete().where(masks.c.job == job))

    def fail(self, job: str, error: str) -> None:
        """End a job with a sentence on why it failed."""
        with self._engine.begin() as connection:
            self._end(connection, job, "failed", {"error": error})

    def forget(self, ids: Sequence[str]) -> None:
        """Drop the checkpoints of some jobs: they begin anew, in another batch."""
        ours = sa.select(jobs.c.id).where(self._ours(ids))
        with self._engine.begin() as connection:
            connection.execute(checkpoints.delete().where(checkpoints.c.job.in_(ours)))

    def _ours(self, ids: Collection[str]) -> sa.ColumnElement[bool]:
        return sa.and_(jobs.c.id.in_(ids), jobs.c.runner == self.runner, jobs.c.state == "running")

    def _update(
        self, ids: Collection[str], connection: sa.Connection | None = None, **values: Any
    ) -> set[str]:
        if connection is None:
            with self._engine.begin() as own:
                return self._update(ids, own, **values)
        change = jobs.update().where(self._ours(ids)).values({**self._change, **values})
        return set(connection.execute(change.returning(jobs.c.id)).scalars())

    def _end(
        self, connection: sa.Connection, job: str, state: str, values: Mapping[str, Any]
    ) -> bool:
        ended = {
            **values, "state": state, "stage": "", "ended": now(self._engine),
            "endings": jobs.c.endings + 1,
        }  # fmt: skip
        return bool(self._update([job], connection, **ended))


def _request(said: Mapping[str, Any], pngs: Mapping[str, bytes]) -> JobRequest:
    known = {field.name for field in fields(JobRequest)} - {"masks"}
    return JobRequest(**{name: said[name] for name in known if name in said}, masks=pngs)


def _waiting(most: int) -> sa.Select[tuple[str]]:
    """Select jobs that wait and that no other turn is about to take."""
    waiting = sa.select(jobs.c.id).where(jobs.c.state == "queued", jobs.c.kind == EDIT)
    return waiting.limit(most).with_for_update(skip_locked=True)


def _only(some: sa.Select[tuple[str]]) -> sa.Update:
    """Change only these; as a table of its own, the selection is made once and its limit holds."""
    return jobs.update().where(jobs.c.id.in_(sa.select(some.cte("some").c.id)))
