"""The jobs of a route: claimed by one worker at a time, finished together with what they send."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from radedit_dicom.router.audit import Audit
from radedit_dicom.router.journal import Journal, now
from radedit_dicom.router.outbox import Order, Patience, enqueue

QUEUED, RUNNING, DONE, DEAD, DISCARDED = "queued", "running", "done", "dead", "discarded"
STATES = (QUEUED, RUNNING, DONE, DEAD, DISCARDED)
_OURS = "id = ? AND state = ? AND slot = ?"  # else whatever is written on it is not ours to write


@dataclass(frozen=True)
class Job:
    """One job.

    Attributes
    ----------
    name : str
        Its id: the same object and rule give the same.
    kind : str
        "edit" or "stress".
    rule : str
    subject : str
        SOP instance UID of the film to edit; the suite of a stress run.
    action : mapping
        "to", "review" and "settings".
    attempts : int
        With this one.
    """

    name: str
    kind: str
    rule: str
    subject: str
    action: Mapping[str, Any]
    priority: int
    attempts: int


class Work:
    """The queue of jobs, as one worker sees it.

    Parameters
    ----------
    journal, audit
        Of the route.
    slot : str
        The worker's name; one process at a time has it.
    patience : Patience
        `refusals` counts failed attempts.
    """

    def __init__(self, journal: Journal, audit: Audit, slot: str, patience: Patience) -> None:
        self._journal, self._audit = journal, audit
        self._slot, self._patience = slot, patience

    def recover(self) -> list[str]:
        """Put back, and name, what this worker was at when it ended.

        It counts as an attempt, so a job that ends its workers is a dead letter in the end.
        """
        rows = self._journal.rows(
            "SELECT id FROM jobs WHERE state = ? AND slot = ?", (RUNNING, self._slot)
        )
        for row in rows:
            self.failed(self._job(row["id"]), "The worker ended in the middle of it.", final=False)
        return [str(row["id"]) for row in rows]

    def claim(self) -> Job | None:
        """Take the next job that is due: by priority, then the oldest."""
        due = (
            "SELECT id FROM jobs WHERE state = ? AND not_before <= ? "
            "ORDER BY priority DESC, created LIMIT 1"
        )
        if self._journal.row(due, (QUEUED, now())) is None:
            return None
        with self._journal.change() as change:
            row = change.execute(
                f"UPDATE jobs SET state = ?, slot = ?, started = ?, attempts = attempts + 1 "
                f"WHERE id = ({due}) RETURNING id",
                (RUNNING, self._slot, now(), QUEUED, now()),
            ).fetchone()
        return None if row is None else self._job(row["id"])

    def is_ours(self, job: Job) -> bool:
        """Tell whether a job is still this worker's to run: a person may have cancelled it."""
        return self._journal.row(f"SELECT 1 FROM jobs WHERE {_OURS}", self._key(job)) is not None

    def done(self, job: Job, result: Mapping[str, Any], orders: Sequence[Order]) -> bool:
        """Note the result and order its deliveries, both or neither; False: it was cancelled."""
        with self._journal.change() as change:
            ours = change.execute(
                f"UPDATE jobs SET state = ?, result = ?, error = '', ended = ? WHERE {_OURS}",
                (DONE, json.dumps(dict(result)), now(), *self._key(job)),
            ).rowcount
            for order in orders if ours else ():
                enqueue(change, order)
        if ours:
            self._say("done", job)
        return bool(ours)

    def put_back(self, job: Job) -> None:
        """Let go of a job that was interrupted by no fault of its own; it counts as no attempt."""
        with self._journal.change() as change:
            change.execute(
                f"UPDATE jobs SET state = ?, attempts = attempts - 1, not_before = 0 WHERE {_OURS}",
                (QUEUED, *self._key(job)),
            )

    def failed(self, job: Job, error: str, *, final: bool) -> None:
        """Note a failure: tried again later, or a dead letter; nothing if it was cancelled.

        Parameters
        ----------
        job : Job
        error : str
            One sentence, no patient data.
        final : bool
            True: it would fail again, whenever it is tried.
        """
        dead = final or job.attempts >= self._patience.refusals
        with self._journal.change() as change:
            ours = change.execute(
                "UPDATE jobs SET state = ?, error = ?, not_before = ?, ended = ?, notified = 0 "
                f"WHERE {_OURS}",
                (
                    DEAD if dead else QUEUED,
                    error,
                    now() + self._patience.wait_s(job.attempts),
                    now() if dead else None,
                    *self._key(job),
                ),
            ).rowcount
        if ours:
            self._say("dead" if dead else "failed", job, reason=error)

    def _key(self, job: Job) -> tuple[str, str, str]:
        return job.name, RUNNING, self._slot

    def _say(self, event: str, job: Job, **more: str) -> None:
        self._audit.write(
            event, job=job.name, kind=job.kind, rule=job.rule, attempts=job.attempts, **more
        )

    def _job(self, name: str) -> Job:
        row = self._journal.row("SELECT * FROM jobs WHERE id = ?", (name,))
        assert row is not None
        return Job(
            name=row["id"],
            kind=row["kind"],
            rule=row["rule"],
            subject=row["subject"],
            action=json.loads(row["action"]),
            priority=row["priority"],
            attempts=row["attempts"],
        )
