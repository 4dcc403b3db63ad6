"""The journal: what came in, what is to be done with it, and what became of it.

One SQLite file in WAL mode with `synchronous=FULL`: what a committed transaction says survives
a power cut. Several processes share it; each change is one transaction.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from radedit_dicom.router.errors import RouteError

_VERSION = 1
_BUSY_S = 60.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (
    uid TEXT PRIMARY KEY, sop_class TEXT NOT NULL, syntax TEXT NOT NULL,
    sha256 TEXT NOT NULL DEFAULT '', file TEXT NOT NULL, bytes INTEGER NOT NULL,
    source TEXT NOT NULL, received REAL NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', tries INTEGER NOT NULL DEFAULT 0,
    study TEXT NOT NULL DEFAULT '',
    case_id INTEGER REFERENCES cases(id)
);
CREATE INDEX IF NOT EXISTS instances_by_state ON instances(state);
CREATE INDEX IF NOT EXISTS instances_by_case ON instances(case_id);
CREATE TABLE IF NOT EXISTS cases (
    id INTEGER PRIMARY KEY, study TEXT NOT NULL, number INTEGER NOT NULL,
    opened REAL NOT NULL, last REAL NOT NULL, closed REAL, UNIQUE (study, number)
);
CREATE INDEX IF NOT EXISTS open_cases ON cases(study) WHERE closed IS NULL;
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, rule TEXT NOT NULL, subject TEXT NOT NULL,
    case_id INTEGER, action TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0,
    slot TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',
    result TEXT NOT NULL DEFAULT '{}',
    created REAL NOT NULL, started REAL, ended REAL, notified INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs(state, priority DESC, created);
CREATE INDEX IF NOT EXISTS jobs_by_subject ON jobs(subject);
CREATE TABLE IF NOT EXISTS cohorts (
    job TEXT NOT NULL, uid TEXT NOT NULL, PRIMARY KEY (job, uid)
);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY, destination TEXT NOT NULL, uid TEXT NOT NULL, file TEXT NOT NULL,
    job TEXT NOT NULL, state TEXT NOT NULL, priority INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, refusals INTEGER NOT NULL DEFAULT 0,
    not_before REAL NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL, ended REAL, notified INTEGER NOT NULL DEFAULT 0,
    UNIQUE (destination, uid)
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries(destination, state, priority DESC, id);
CREATE INDEX IF NOT EXISTS deliveries_by_job ON deliveries(job);
CREATE INDEX IF NOT EXISTS deliveries_by_uid ON deliveries(uid);
CREATE TABLE IF NOT EXISTS quarantine (
    sha256 TEXT PRIMARY KEY, uid TEXT NOT NULL, file TEXT NOT NULL, source TEXT NOT NULL,
    reason TEXT NOT NULL, at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS refusals (
    source TEXT NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL, last REAL NOT NULL,
    PRIMARY KEY (source, reason)
);
CREATE TABLE IF NOT EXISTS reports (
    id INTEGER PRIMARY KEY, caller TEXT NOT NULL, content TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL, at REAL NOT NULL);
"""


class Journal:
    """One process's way to the journal; its threads take turns.

    Parameters
    ----------
    path : pathlib.Path
        Made if missing.

    Raises
    ------
    RouteError
        It is no journal, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            self._connection.row_factory = sqlite3.Row
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise RouteError(
                f"The journal cannot be opened ({error}); check the disk and the permissions, or "
                "restore the journal's file."
            ) from None

    def _prepare(self) -> None:
        call = self._connection.execute
        call("PRAGMA journal_mode=WAL")
        call("PRAGMA synchronous=FULL")
        call("PRAGMA foreign_keys=ON")
        found = call("PRAGMA user_version").fetchone()[0]
        if found not in (0, _VERSION):
            raise RouteError(
                f"The journal is of version {found} and this program of {_VERSION}; run the "
                "program that made it until nothing waits, then begin with a new spool folder."
            )
        if found == 0:
            with self.change():
                for statement in _SCHEMA.split(";"):
                    call(statement)
                call(f"PRAGMA user_version={_VERSION}")

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Hold one transaction: committed, and on disk, when the block ends well; else undone.

        Raises
        ------
        sqlite3.OperationalError
            The disk is full.
        """
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Give the rows that a query finds."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[Any] = ()) -> sqlite3.Row | None:
        """Give the first row, if there is one."""
        with self._lock:
            found: sqlite3.Row | None = self._connection.execute(query, values).fetchone()
            return found

    def note(self, name: str, value: str) -> None:
        """Write down one fact about the route, over the one before."""
        with self.change() as change:
            change.execute("INSERT OR REPLACE INTO notes VALUES (?, ?, ?)", (name, value, now()))

    def noted(self, name: str) -> str:
        """Give a fact; "" if there is none."""
        found = self.row("SELECT value FROM notes WHERE name = ?", (name,))
        return "" if found is None else str(found["value"])

    def files(self) -> list[str]:
        """List every file that a row names."""
        named = "SELECT file FROM instances UNION SELECT file FROM quarantine"
        return [str(row["file"]) for row in self.rows(named)]


def insert(change: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> bool:
    """Insert a row; False: one with its key is there already, and stays.

    Parameters
    ----------
    change : sqlite3.Connection
        Of `Journal.change`.
    table : str
    row : mapping
        Column to value; names from the program, never from outside.
    """
    columns, marks = ", ".join(row), ", ".join("?" * len(row))
    done = change.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING",
        tuple(row.values()),
    )
    return done.rowcount == 1


def now() -> float:
    """Give the time as the journal counts it: seconds since 1970, over restarts."""
    return time.time()
