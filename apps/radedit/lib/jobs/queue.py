"""The queue as a server's process and the command line see it: no models, only the database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import sqlalchemy as sa

from radedit.lib.errors import JobsError, JobStateError, NotFoundError, ParameterError
from radedit.lib.jobs.checks import comes_from_outside, plan_of
from radedit.lib.jobs.database import insert_of, migrate, now, open_engine
from radedit.lib.jobs.model import EDIT, ENDED, STATES, STORING, Job, JobRequest, State
from radedit.lib.jobs.tables import checkpoints, job_of, jobs, masks, workers
from radedit.lib.settings import Settings, load_settings

if TYPE_CHECKING:
    from dbos import DBOSClient

APPLICATION: Final = "radedit"
TURN: Final = "radedit-turn"  # the workflow, and the queue that it waits in
LIVELY_S: Final = 30.0  # a worker that was not seen for so long may be gone
_NONE: Final = "there is no job of that id; list the jobs for those that there are."


class JobQueue:
    """Jobs of one database; safe to use from several threads and processes.

    Every method raises `JobsError` when the database does not answer.

    Parameters
    ----------
    database : path of an SQLite file, or a URL of postgresql:// or sqlite://
    settings : what parameters and models a request is checked against; read from the
        environment unless given
    """

    def __init__(self, database: str, settings: Settings | None = None) -> None:
        self.database = database
        self.settings = settings or load_settings()
        self._engine: sa.Engine | None = None
        self._client: DBOSClient | None = None

    def start(self) -> None:
        """Connect, and make the tables that are missing.

        Raises
        ------
        ParameterError, JobsError
            The database's address is none, or it cannot be opened.
        """
        if self._engine is not None:
            return
        from dbos import DBOSClient

        migrate(self.database)
        engine = open_engine(self.database)
        self._client = DBOSClient(
            system_database_engine=engine,
            application_name=APPLICATION,
            retry_connection_errors=False,  # who asks can wait, and shall end when told to
        )
        self._engine = engine

    def stop(self) -> None:
        """Disconnect; jobs go on."""
        if self._engine is not None and self._client is not None:
            self._client.destroy()
            self._engine.dispose()
            self._engine = self._client = None

    def submit(self, request: JobRequest) -> tuple[Job, bool]:
        """Queue a request, or find the job that it is already; True = newly made.

        It is accepted when this returns: from then on it ends once, whatever is killed. A job that
        is done is queued again where the same words may by now ask for another edit: a mask comes
        from the archive, a task or a server, or the model's defaults were changed. It ends with
        the result that it has where they do not.

        Raises
        ------
        RequestError, NotFoundError
            A parameter, mask expression, mask name or model is none.
        """
        plan, clock = plan_of(request, self.settings), now(self.engine)
        ticket = uuid4().hex
        row = {
            "id": request.id, "kind": EDIT, "state": "queued", "image": request.image,
            "plan": plan, "request": request.as_json(), "ticket": ticket,
            "created": clock, "queued": clock,
        }  # fmt: skip
        insert = insert_of(self.engine)(jobs).values(row).on_conflict_do_nothing()
        insert = insert.returning(jobs.c.id)
        with self._talk() as connection:
            new = connection.execute(insert).first() is not None
            if new:
                self._add_masks(connection, request)
                self._enqueue(connection, request.id, ticket)
        if not new:
            self._renew(request, plan)
        return self.get(request.id), new

    def _renew(self, request: JobRequest, plan: str) -> None:
        stale = jobs.c.state == "done"
        if not comes_from_outside(request):
            stale = sa.and_(stale, jobs.c.plan != plan)
        fresh = {"queued": now(self.engine), "ended": None, "fruitless": 0, "plan": plan}
        self._again(request.id, stale, fresh, request)

    def _add_masks(self, connection: sa.Connection, request: JobRequest) -> None:
        for name, png in request.masks.items():
            insert = insert_of(self.engine)(masks).values(job=request.id, name=name, png=png)
            connection.execute(insert.on_conflict_do_nothing())

    def get(self, job: str) -> Job:
        """Look one job up.

        Raises
        ------
        NotFoundError
            There is none of that id.
        """
        with self._talk() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job)).one_or_none()
        if row is None:
            raise NotFoundError(_NONE)
        return job_of(row)

    def list(
        self, states: Collection[State] = (), image: str | None = None, limit: int = 100
    ) -> list[Job]:
        """List jobs, the newest first.

        Parameters
        ----------
        states : only these; all if empty
        image : only jobs of this film

        Raises
        ------
        ParameterError
            There is no such state.
        """
        for state in states:
            if state not in STATES:
                raise ParameterError(f"there is no state '{state}'; there are {', '.join(STATES)}.")
        query = sa.select(jobs).order_by(jobs.c.created.desc(), jobs.c.id).limit(limit)
        if states:
            query = query.where(jobs.c.state.in_(states))
        if image is not None:
            query = query.where(jobs.c.image == image)
        with self._talk() as connection:
            return [job_of(row) for row in connection.execute(query)]

    def version(self, job: str) -> int:
        """Give a number that grows with every change of a job; one look into an index.

        Raises
        ------
        NotFoundError
            As in `get`.
        """
        with self._talk() as connection:
            found = connection.execute(
                sa.select(jobs.c.version).where(jobs.c.id == job)
            ).scalar_one_or_none()
        if found is None:
            raise NotFoundError(_NONE)
        return int(found)

    def counts(self) -> dict[State, int]:
        """Count the jobs of each state."""
        query = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
        with self._talk() as connection:
            found = {str(state): int(count) for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in STATES}

    def workers(self) -> Sequence[Mapping[str, Any]]:
        """List the workers whose models are loaded: id, host, pid, device, seconds since seen."""
        ago = (now(self.engine) - workers.c.seen).label("seen_s_ago")
        query = sa.select(*(workers.c[n] for n in ("id", "host", "pid", "device")), ago)
        with self._talk() as connection:
            found = connection.execute(query.order_by(workers.c.id)).mappings()
            return [dict(row) for row in found if row["seen_s_ago"] < LIVELY_S]

    def cancel(self, job: str) -> Job:
        """Cancel a job that waits or runs; a running one stops before its next step.

        Raises
        ------
        NotFoundError
            As in `get`.
        JobStateError
            It has ended otherwise, or its result is being stored.
        """
        with self._talk() as connection:
            changed = connection.execute(
                jobs.update()
                .where(jobs.c.id == job, jobs.c.state.not_in(ENDED), jobs.c.stage != STORING)
                .values(
                    state="cancelled", stage="", ended=now(self.engine),
                    endings=jobs.c.endings + 1, version=jobs.c.version + 1,
                )
            ).rowcount  # fmt: skip
        found = self.get(job)
        if not changed and found.state != "cancelled":
            what = "storing its result" if found.stage == STORING else found.state
            raise JobStateError(f"the job is {what} and cannot be cancelled any more.")
        return found

    def retry(self, job: str) -> Job:
        """Queue a failed or cancelled job again; it goes on at its last finished step.

        Raises
        ------
        NotFoundError
            As in `get`.
        JobStateError
            It has not ended, or is done.
        """
        ended = jobs.c.state.in_(("failed", "cancelled"))
        fresh = {"queued": now(self.engine), "error": None, "ended": None, "fruitless": 0}
        again = self._again(job, ended, fresh)
        found = self.get(job)
        if not again:
            raise JobStateError(f"the job is {found.state}; only a failed or cancelled one can be.")
        return found

    def requeue(self, job: str, turn: str) -> bool:
        """Queue a job again that its turn left behind; False = it has moved on meanwhile."""
        left = sa.or_(
            sa.and_(jobs.c.state == "running", jobs.c.turn == turn),
            sa.and_(jobs.c.state == "queued", jobs.c.ticket == turn),
        )
        return self._again(job, left)

    def discard(self, job: str) -> None:
        """Forget a job that has ended, so that its request would be a new one; objects stay.

        Raises
        ------
        NotFoundError
            As in `get`.
        JobStateError
            It has not ended.
        """
        found = self.get(job)
        with self._talk() as connection:
            gone = connection.execute(
                jobs.delete().where(jobs.c.id == job, jobs.c.state.in_(ENDED))
            ).rowcount
        if not gone:
            raise JobStateError(f"the job is {found.state}; cancel it first.")

    @property
    def engine(self) -> sa.Engine:
        """The connections to the database, between `start` and `stop`."""
        if self._engine is None:
            raise RuntimeError("the queue is not started")
        return self._engine

    @property
    def dbos(self) -> DBOSClient:
        """DBOS as a client, between `start` and `stop`."""
        if self._client is None:
            raise RuntimeError("the queue is not started")
        return self._client

    @contextmanager
    def _talk(self) -> Iterator[sa.Connection]:
        """Open a transaction."""
        try:
            with self.engine.begin() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError):
            raise JobsError(
                "the jobs' database does not answer; nothing was changed, try again."
            ) from None

    def _again(
        self,
        job: str,
        if_so: sa.ColumnElement[bool],
        values: Mapping[str, Any] | None = None,
        request: JobRequest | None = None,
    ) -> bool:
        ticket = uuid4().hex
        change = {
            **(values or {}), "state": "queued", "stage": "", "ticket": ticket, "turn": None,
            "runner": None, "version": jobs.c.version + 1,
        }  # fmt: skip
        with self._talk() as connection:
            if not connection.execute(
                jobs.update().where(jobs.c.id == job, if_so).values(change)
            ).rowcount:
                return False
            # Half of a batch is not worth the time of the whole; what is finished stays.
            shared = sa.and_(checkpoints.c.batch > 1, checkpoints.c.step < jobs.c.total)
            of_job = sa.select(jobs.c.id).where(jobs.c.id == job, shared)
            connection.execute(checkpoints.delete().where(checkpoints.c.job.in_(of_job)))
            if request is not None:
                self._add_masks(connection, request)
            self._enqueue(connection, job, ticket)
        return True

    def _enqueue(self, connection: sa.Connection, job: str, ticket: str) -> None:
        from dbos import EnqueueOptions, WorkflowSerializationFormat

        options = EnqueueOptions(
            workflow_name=TURN,
            queue_name=TURN,
            workflow_id=ticket,
            serialization_type=WorkflowSerializationFormat.PORTABLE,
        )
        self.dbos.enqueue_in_transaction(connection, options, job)
