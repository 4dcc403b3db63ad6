"""What readers said of edits: a file of events that can only grow.

An event is never changed or taken back; who thinks otherwise later adds one, and the newest
counts. SQLite's own triggers refuse every change, and each event carries the hash of the one
before, so that a file that was changed past the triggers is seen to have been.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from radedit.lib.errors import OutputError, ParameterError

Kind = Literal["opened", "blinded", "decision"]

#: What may be answered to each kind of event; "opened" is a note that nothing was hidden.
ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "opened": ("",),
    "blinded": ("a", "b", "unsure"),
    "decision": ("accept", "reject", "unsure"),
}
#: Answers that need a reason.
REASONED: Final = ("reject", "unsure")
MAX_READER, MAX_REASON = 64, 1000
_WAIT_S = 30.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS secret (number INTEGER PRIMARY KEY CHECK (number = 1), value BLOB);
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY,
    time TEXT NOT NULL, reader TEXT NOT NULL, kind TEXT NOT NULL, answer TEXT NOT NULL,
    reason TEXT NOT NULL, edited_side TEXT NOT NULL, sop_instance_uid TEXT NOT NULL,
    edit_id TEXT NOT NULL, result_sha256 TEXT NOT NULL, model TEXT NOT NULL,
    model_sha256 TEXT NOT NULL, tool_version TEXT NOT NULL, sha256 TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_an_edit ON events (sop_instance_uid, reader);
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'events are never changed'); END;
CREATE TRIGGER IF NOT EXISTS events_remain BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'events are never removed'); END;
-- INSERT OR REPLACE removes a row without asking the trigger above.
CREATE TRIGGER IF NOT EXISTS events_follow BEFORE INSERT ON events
WHEN NEW.number IS NOT (SELECT COALESCE(MAX(number), 0) + 1 FROM events)
BEGIN SELECT RAISE(ABORT, 'events are numbered one after the other'); END;
"""


@dataclass(frozen=True)
class Subject:
    """What an event is about, named so that it can be told apart for good.

    Attributes
    ----------
    sop_instance_uid : of the edited image
    edit_id, result_sha256 : of the edit's record
    model, model_sha256, tool_version : what made it
    """

    sop_instance_uid: str
    edit_id: str
    result_sha256: str
    model: str
    model_sha256: str
    tool_version: str


@dataclass(frozen=True)
class Said:
    """What a reader says.

    Attributes
    ----------
    reader : 1 to 64 printable characters
    kind, answer : as in `ANSWERS`
    reason : at most 1000 characters; required if the decision is reject or unsure
    """

    reader: str
    kind: str
    answer: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        """Refuse what is not in the tables.

        Raises
        ------
        ParameterError
            Says what is allowed.
        """
        checked_reader(self.reader)
        if self.kind not in ANSWERS:
            raise ParameterError(f"The kind of event is none of {', '.join(ANSWERS)}; give one.")
        allowed = ANSWERS[self.kind]
        if self.answer not in allowed:
            raise ParameterError(
                f"The answer to {self.kind} is none of {', '.join(allowed) or 'those'}; give one."
            )
        if len(self.reason) > MAX_REASON:
            raise ParameterError(f"The reason is longer than {MAX_REASON} characters; shorten it.")
        if not all(letter.isprintable() or letter in "\n\t" for letter in self.reason):
            raise ParameterError("The reason holds characters that do not print; leave them out.")
        if self.kind == "decision" and self.answer in REASONED and not self.reason.strip():
            raise ParameterError(f"To {self.answer} an edit, give a reason in a few words.")


@dataclass(frozen=True)
class Event:
    """One event as it is in the file.

    Attributes
    ----------
    number : from 1, without gaps
    time : ISO 8601, UTC
    reader, kind, answer, reason : as in `Said`
    edited_side : "a" or "b" where two pictures were shown without saying which is edited
    sop_instance_uid, edit_id, result_sha256, model, model_sha256, tool_version : see `Subject`
    sha256 : over this event and the hash of the one before
    """

    number: int
    time: str
    reader: str
    kind: str
    answer: str
    reason: str
    edited_side: str
    sop_instance_uid: str
    edit_id: str
    result_sha256: str
    model: str
    model_sha256: str
    tool_version: str
    sha256: str

    @property
    def is_right(self) -> bool | None:
        """Whether a blinded answer named the edited picture; None: no, or no such, answer."""
        if self.kind != "blinded" or self.answer == "unsure":
            return None
        return self.answer == self.edited_side


COLUMNS: Final = tuple(item.name for item in fields(Event))


class EventStore:
    """The file of events.

    Parameters
    ----------
    path : of the SQLite file; made, readable by its owner only, when it is not there

    Raises
    ------
    OutputError
        The file cannot be made, or is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
        except OSError as error:
            raise OutputError(
                f"The file of readings cannot be written ({error.strerror}); name another folder."
            ) from error
        with self._open() as connection:
            connection.executescript(_SCHEMA)
            connection.execute(
                "INSERT OR IGNORE INTO secret VALUES (1, ?)", (secrets.token_bytes(32),)
            )
            self._secret: bytes = connection.execute("SELECT value FROM secret").fetchone()[0]

    def add(self, said: Said, subject: Subject) -> Event:
        """Write down what a reader said.

        Returns
        -------
        Event
            As it is in the file now.

        Raises
        ------
        ParameterError
            A blinded answer comes after the reader has seen, or was told, which is edited.
        OutputError
            The file cannot be written.
        """
        side = self.edited_side(said.reader, subject.sop_instance_uid)
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            if said.kind == "blinded" and _known(connection, said.reader, subject):
                raise ParameterError(
                    "You have seen which picture is the edited one, or have answered before; go "
                    "on to the next edit."
                )
            last = connection.execute(
                "SELECT number, sha256 FROM events ORDER BY number DESC LIMIT 1"
            ).fetchone()
            number, before = last or (0, "")
            content: dict[str, Any] = {
                "number": number + 1,
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                **asdict(said),
                "edited_side": side if said.kind == "blinded" else "",
                **asdict(subject),
            }
            event = Event(**content, sha256=_hash(before, content))
            marks = ", ".join("?" * len(COLUMNS))
            connection.execute(
                f"INSERT INTO events ({', '.join(COLUMNS)}) VALUES ({marks})", astuple(event)
            )
        return event

    def events(self, sop_instance_uid: str | None = None) -> list[Event]:
        """List events in their order, of one edited image or of all.

        Raises
        ------
        OutputError
            The file cannot be read.
        """
        where, values = (
            ("", ())
            if sop_instance_uid is None
            else (
                "WHERE sop_instance_uid = ?",
                (sop_instance_uid,),
            )
        )
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT {', '.join(COLUMNS)} FROM events {where} ORDER BY number", values
            ).fetchall()
        return [Event(*row) for row in rows]

    def edited_side(self, reader: str, sop_instance_uid: str) -> Literal["a", "b"]:
        """Say on which side a reader is shown the edited picture: a coin tossed once for good."""
        text = json.dumps([reader, sop_instance_uid]).encode()
        return "a" if hmac.digest(self._secret, text, "sha256")[0] % 2 else "b"

    def first_changed(self) -> int | None:
        """Give the number of the first event whose hash is not that of its content.

        Returns
        -------
        int or None
            None: nothing was changed since it was written (the newest events may be missing,
            which only a copy kept elsewhere can show).
        """
        before = ""
        for position, event in enumerate(self.events(), start=1):
            content = asdict(event)
            if content.pop("sha256") != _hash(before, content) or event.number != position:
                return event.number
            before = event.sha256
        return None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """Open the file for one transaction."""
        try:
            connection = sqlite3.connect(self.path, timeout=_WAIT_S)
            try:
                with connection:
                    yield connection
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise OutputError(
                f"The file of readings cannot be used ({error}); check its folder, or restore it."
            ) from error


def checked_reader(reader: str) -> str:
    """Let a reader's name pass.

    Raises
    ------
    ParameterError
        It is empty, longer than 64 characters, or holds characters that do not print.
    """
    if not (reader.strip() == reader and 0 < len(reader) <= MAX_READER and reader.isprintable()):
        raise ParameterError(
            f"Give the reader's name in 1 to {MAX_READER} printable characters, without spaces "
            "around it."
        )
    return reader


def newest(events: list[Event], kind: Kind) -> dict[tuple[str, str], Event]:
    """Give the event that counts for each (reader, SOP Instance UID of the edited image)."""
    return {(e.reader, e.sop_instance_uid): e for e in events if e.kind == kind}


def _known(connection: sqlite3.Connection, reader: str, subject: Subject) -> bool:
    found = connection.execute(
        "SELECT 1 FROM events WHERE sop_instance_uid = ? AND reader = ? LIMIT 1",
        (subject.sop_instance_uid, reader),
    ).fetchone()
    return found is not None


def _hash(before: str, content: dict[str, Any]) -> str:
    return hashlib.sha256((before + json.dumps(content, sort_keys=True)).encode()).hexdigest()
