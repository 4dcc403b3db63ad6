"""The queue's database: SQLite in a file, or a Postgres that several machines share."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from radedit.lib import user_folders
from radedit.lib.errors import JobsError, ParameterError
from radedit.lib.jobs.tables import metadata

VARIABLE: Final = "RADEDIT_JOBS_DATABASE"
FILE: Final = "jobs.sqlite"
BUSY_MS: Final = 30_000  # how long a writer of SQLite waits for the others


def default_database(studies: str) -> str:
    """Name the database of a folder or an archive: what the environment says, else a file.

    Parameters
    ----------
    studies : a folder's path or an archive's address; each has a queue of its own
    """
    return os.environ.get(VARIABLE) or str(state_folder(studies) / FILE)


def state_folder(studies: str) -> Path:
    """Name the folder for what is kept of a served folder or archive: its jobs, its readings.

    Raises
    ------
    ParameterError
        The account has no home, and `XDG_STATE_HOME` names none.
    """
    place = studies if "://" in studies else str(Path(studies).expanduser().resolve())
    digest = hashlib.sha256(place.encode()).hexdigest()[:16]
    return user_folders.state_folder() / digest


def database_url(named: str) -> sa.URL:
    """Read a path, or a URL of SQLite or Postgres.

    Raises
    ------
    ParameterError
        It is a URL of something else; the text is not repeated, for it may hold a password.
    """
    if "://" not in named:
        return sa.URL.create("sqlite", database=str(Path(named).expanduser().absolute()))
    try:
        url = sa.make_url(named)
    except sa.exc.ArgumentError:
        url = sa.URL.create("unknown")
    if url.get_backend_name() == "sqlite" and url.database:
        return url
    if url.get_backend_name() in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    raise ParameterError(
        "the jobs' database is neither a file nor a URL of postgresql:// or sqlite://; give one."
    )


def open_engine(named: str) -> sa.Engine:
    """Connect to the database; a missing SQLite file and its folder are made.

    Raises
    ------
    ParameterError
        As in `database_url`.
    JobsError
        There is no such database, or it does not let us in.
    """
    url = database_url(named)
    try:
        if url.get_backend_name() == "sqlite":
            engine = _sqlite(url)
        else:
            engine = sa.create_engine(url, pool_pre_ping=True, pool_size=10, hide_parameters=True)
        with engine.connect():
            return engine
    except (sa.exc.SQLAlchemyError, OSError) as error:
        if url.get_backend_name() == "sqlite":
            raise JobsError(
                f"The jobs' database '{url.database}' cannot be opened; name a file that this "
                "account may write with --database, or in RADEDIT_JOBS_DATABASE."
            ) from None
        raise JobsError(
            f"the jobs' database cannot be opened ({type(error).__name__}); check that it runs, "
            "its address and the password."
        ) from None


def migrate(named: str) -> None:
    """Make the tables that are missing, ours and those of DBOS.

    Raises
    ------
    ParameterError, JobsError
        As in `open_engine`.
    """
    from dbos import DBOS

    engine = open_engine(named)
    url = database_url(named).set(drivername=engine.dialect.name)
    try:
        DBOS.migrate(url.render_as_string(hide_password=False))
        metadata.create_all(engine)
    finally:
        engine.dispose()


def insert_of(engine: sa.Engine) -> Any:
    """Give the `insert` of the database's own dialect, which knows ON CONFLICT."""
    return sqlite.insert if engine.dialect.name == "sqlite" else postgresql.insert


def _sqlite(url: sa.URL) -> sa.Engine:
    path = Path(str(url.database))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = sa.create_engine(url, hide_parameters=True)  # errors quote no prompts

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # As DBOS connects: a transaction that writes takes the lock before it reads.
        connection.isolation_level = "IMMEDIATE"
        connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA journal_mode=WAL")  # readers do not wait for a writer

    return engine


def now(engine: sa.Engine) -> sa.ColumnElement[float]:
    """Seconds since 1970 by the database's clock, the one clock all machines share."""
    if engine.dialect.name == "sqlite":
        return (sa.func.julianday("now") - 2440587.5) * 86400.0
    return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Double)
