"""What a person sees of a route, and can do: look, try again, discard, release."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from radedit_dicom.router import outbox, work
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.journal import Journal, now
from radedit_dicom.router.spool import Spool

OBJECT, JOB, DELIVERY, APART = "object", "job", "delivery", "apart"
_LISTED = {
    OBJECT: "SELECT uid AS id, state, reason, source AS about, received AS at FROM instances",
    JOB: "SELECT id, state, error AS reason, kind || ' by ' || rule AS about, created AS at "
    "FROM jobs",
    DELIVERY: "SELECT id, state, error AS reason, uid || ' to ' || destination AS about, "
    "created AS at FROM deliveries",
    APART: "SELECT sha256 AS id, 'quarantined' AS state, reason, source AS about, at "
    "FROM quarantine",
}
_COUNTED = {
    "objects": "SELECT state AS name, count(*) AS count FROM instances GROUP BY state",
    "jobs": "SELECT state AS name, count(*) AS count FROM jobs GROUP BY state",
    "refused": "SELECT reason AS name, sum(count) AS count FROM refusals GROUP BY reason",
}
_TOLD = (
    "id, kind, rule, subject, state, priority, attempts, error, result, created, started, ended, "
    "not_before"
)
#: What needs a person, or says where an object has ended that went nowhere.
TROUBLE = ("dead", "quarantined", "held", "unmatched")


@dataclass(frozen=True)
class Item:
    """One row that a person may act on.

    Attributes
    ----------
    id : str
        What `retry`, `discard` and `release` take: "delivery-12".
    """

    id: str
    state: str
    about: str
    reason: str
    at: float


class Desk:
    """A route, as a person handles it; no process of it needs to run.

    Parameters
    ----------
    spool, journal, audit
        Of the route.
    """

    def __init__(self, spool: Spool, journal: Journal, audit: Audit) -> None:
        self._spool, self._journal, self._audit = spool, journal, audit

    def status(self) -> dict[str, Any]:
        """Count everything by its state; plain values, no patient data."""
        counted: dict[str, Any] = {
            name: {row["name"]: row["count"] for row in self._journal.rows(query)}
            for name, query in _COUNTED.items()
        }
        oldest = self._journal.row(
            "SELECT min(received) AS at FROM instances WHERE state = ?", ("received",)
        )
        return counted | {
            "open studies": self._count("SELECT count(*) FROM cases WHERE closed IS NULL"),
            "set apart": self._count("SELECT count(*) FROM quarantine"),
            "destinations": self._destinations(),
            "unsorted for s": 0.0 if not oldest or oldest["at"] is None else now() - oldest["at"],
            "free bytes": self._spool.free_bytes(),
            "rules refused": self._journal.noted("rules refused"),
        }

    def _destinations(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for row in self._journal.rows(
            "SELECT destination, state, count(*) AS count, min(created) AS oldest "
            "FROM deliveries GROUP BY destination, state"
        ):
            each = found.setdefault(row["destination"], {"oldest waiting s": 0.0})
            each[row["state"]] = row["count"]
            if row["state"] in (outbox.WAITING, outbox.SENDING):
                each["oldest waiting s"] = max(each["oldest waiting s"], now() - row["oldest"])
        return found

    def _count(self, query: str) -> int:
        row = self._journal.row(query)
        return 0 if row is None else int(row[0])

    def items(self, states: tuple[str, ...] = TROUBLE, most: int = 1_000_000) -> list[Item]:
        """List rows in these states, the newest first; without states, all rows."""
        found = []
        for kind, query in _LISTED.items():
            asked = f"SELECT * FROM ({query})"
            if states:
                asked += f" WHERE state IN ({', '.join('?' * len(states))})"
            for row in self._journal.rows(f"{asked} ORDER BY at DESC LIMIT ?", (*states, most)):
                name = f"{kind}-{row['id']}"
                found.append(Item(name, row["state"], row["about"], row["reason"], row["at"]))
        return sorted(found, key=lambda item: -item.at)[:most]

    def jobs(
        self, states: Sequence[str] = (), subject: str | None = None, most: int = 100
    ) -> list[dict[str, Any]]:
        """List jobs, the newest first.

        Parameters
        ----------
        states : sequence of str
            Only these; all if empty.
        subject : str, optional
            Only jobs of this film, by its SOP instance UID.
        most : int

        Returns
        -------
        list of dict
            As `job`, without deliveries.

        Raises
        ------
        RouteError
            There is no such state.
        """
        if unknown := set(states) - set(work.STATES):
            raise RouteError(
                f"There is no state '{sorted(unknown)[0]}' of a route's jobs; there are "
                f"{', '.join(work.STATES)}."
            )
        asked = f"state IN ({', '.join('?' * len(states))})" if states else "1"
        rows = self._journal.rows(
            f"SELECT {_TOLD} FROM jobs WHERE {asked} AND subject = ifnull(?, subject) "
            "ORDER BY created DESC, id LIMIT ?",
            (*states, subject, most),
        )
        return [_told(row) for row in rows]

    def job(self, key: str) -> dict[str, Any]:
        """Tell all about one job, and of each of its deliveries where it stands.

        Parameters
        ----------
        key : str
            Its id, with or without "job-" ahead.

        Returns
        -------
        dict
            Identifiers, states, sentences and times (seconds since 1970); no patient data.

        Raises
        ------
        RouteError
            There is none.
        """
        key = key.removeprefix(f"{JOB}-")
        row = self._journal.row(f"SELECT {_TOLD} FROM jobs WHERE id = ?", (key,))
        if row is None:
            raise RouteError(f"There is no job '{key}'; look at `radedit route list CONFIG all`.")
        deliveries = self._journal.rows(
            "SELECT id, destination, uid, state, attempts, error FROM deliveries WHERE job = ?",
            (key,),
        )
        return _told(row) | {"deliveries": [dict(delivery) for delivery in deliveries]}

    def retry(self, name: str) -> None:
        """Have something tried again that came to nothing, or that waits for its next try.

        Raises
        ------
        RouteError
            There is no such row, or it is in no state for this.
        """
        self._act(
            name,
            "retried",
            {
                OBJECT: (
                    "UPDATE instances SET state = 'received', tries = 0, reason = '' "
                    "WHERE uid = ? AND state = 'quarantined'"
                ),
                JOB: (
                    "UPDATE jobs SET state = 'queued', attempts = 0, not_before = 0, error = '', "
                    "ended = NULL WHERE id = ? AND state IN ('dead', 'queued', 'discarded')"
                ),
                DELIVERY: (
                    "UPDATE deliveries SET state = 'waiting', refusals = 0, not_before = 0, "
                    "ended = NULL WHERE id = ? AND state IN ('dead', 'waiting', 'discarded')"
                ),
            },
        )

    def discard(self, name: str) -> None:
        """Give something up for good; its row stays. Raises as `retry`."""
        self._act(
            name,
            "discarded",
            {
                OBJECT: (
                    "UPDATE instances SET state = 'discarded', reason = 'A person discarded it.' "
                    "WHERE uid = ? AND state IN ('quarantined', 'unmatched')"
                ),
                JOB: (
                    f"UPDATE jobs SET state = '{work.DISCARDED}', ended = unixepoch() "
                    "WHERE id = ? AND state IN ('dead', 'queued')"
                ),
                DELIVERY: (
                    f"UPDATE deliveries SET state = '{outbox.DISCARDED}', ended = unixepoch() "
                    "WHERE id = ? AND state IN ('dead', 'waiting', 'held')"
                ),
                APART: "DELETE FROM quarantine WHERE sha256 = ?",
            },
        )

    def cancel(self, name: str) -> None:
        """End a job that waits or runs, as if discarded; a running one's worker lets go of it.

        Raises as `retry`.
        """
        self._act(
            name,
            "cancelled",
            {
                JOB: (
                    f"UPDATE jobs SET state = '{work.DISCARDED}', ended = unixepoch(), "
                    "error = 'A person cancelled it.' "
                    f"WHERE id = ? AND state IN ('{work.QUEUED}', '{work.RUNNING}')"
                ),
            },
        )

    def release(self, name: str) -> None:
        """Let go what waits for a person: one delivery, or all of a job. Raises as `retry`."""
        self._act(
            name,
            "released",
            {
                JOB: "UPDATE deliveries SET state = 'waiting' WHERE job = ? AND state = 'held'",
                DELIVERY: "UPDATE deliveries SET state = 'waiting' WHERE id = ? AND state = 'held'",
            },
        )

    def _act(self, name: str, said: str, statements: dict[str, str]) -> None:
        kind, _, key = name.partition("-")
        if kind not in statements:
            raise RouteError(
                f"'{name}' cannot be {said}; give an id of `radedit route list`, of a "
                f"{' or '.join(statements)}."
            )
        file = self._file_apart(key) if kind == APART else None
        with self._journal.change() as change:
            done = _execute(change, statements[kind], key)
        if not done:
            raise RouteError(
                f"'{name}' cannot be {said}: there is none, or it is in no state for that; look at "
                "`radedit route list`."
            )
        if file is not None:
            (self._spool.folder / file).unlink(missing_ok=True)
        self._audit.write(said, kind=kind, job=key)

    def _file_apart(self, key: str) -> str | None:
        row = self._journal.row("SELECT file FROM quarantine WHERE sha256 = ?", (key,))
        return None if row is None else str(row["file"])


def _told(row: sqlite3.Row) -> dict[str, Any]:
    return dict(row) | {"result": json.loads(row["result"])}


def _execute(change: sqlite3.Connection, statement: str, key: str) -> int:
    return change.execute(statement, (key,)).rowcount
