"""One object in: written, flushed and journalled before anyone is told that it is here.

The same for C-STORE, STOW-RS and a watched folder. Nothing is decoded: whether the object is
sound is looked at later, by another process (`sorting`).
"""

from __future__ import annotations

import errno
import hashlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from radedit_dicom.archive import checked_uid
from radedit_dicom.errors import ArchiveError
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.errors import RefusedError
from radedit_dicom.router.journal import Journal, insert, now
from radedit_dicom.router.spool import Spool, write

OUT_OF_RESOURCES, CANNOT_UNDERSTAND, DUPLICATE = 0xA700, 0xC000, 0x0111
RECEIVED = "received"
_MOST_REASONS = 10_000  # rows of refusals; a flood of new ones is counted together


@dataclass(frozen=True)
class Arrival:
    """An object as it came.

    Attributes
    ----------
    uid, sop_class, syntax : str
        As the sender named them; not yet looked at.
    source : str
        The AE title, or the way it came.
    meta : bytes
        Preamble and file meta, written ahead of the content.
    content : memoryview of bytes
        The data set, encoded in `syntax`.
    """

    uid: str
    sop_class: str
    syntax: str
    source: str
    meta: bytes
    content: memoryview

    @property
    def digest(self) -> str:
        """The hash of syntax and content; the file meta, which is ours, is no part."""
        return digest_of(self.syntax, self.content)


class Intake:
    """Takes objects in.

    Parameters
    ----------
    spool, journal, audit : where to
    reserve_bytes : room that stays free for the journal and for results
    free : gives the free bytes; the spool's own unless a test gives another
    """

    def __init__(
        self,
        spool: Spool,
        journal: Journal,
        audit: Audit,
        reserve_bytes: int = 0,
        free: Callable[[], int] | None = None,
    ) -> None:
        self.spool, self.journal, self.audit = spool, journal, audit
        self.reserve_bytes = reserve_bytes
        self._free = free or spool.free_bytes

    def take(self, arrival: Arrival) -> bool:
        """Take an object in.

        Returns
        -------
        bool
            True: it is new. False: the same object is here already.

        Raises
        ------
        RefusedError
            It was not taken: a UID is malformed, there is no room, or another object is here
            under its UID (this one then lies in quarantine). The refusal is in the journal.
        """
        try:
            return self._take(arrival)
        except RefusedError as refusal:
            self.refused(arrival.source, str(refusal))
            raise

    def refused(self, source: str, reason: str) -> None:
        """Count a refusal; a full disk keeps nobody from being refused."""
        self.audit.write("refused", source=source, reason=reason)
        try:
            with self.journal.change() as change:
                many = change.execute("SELECT count(*) FROM refusals").fetchone()[0]
                change.execute(
                    "INSERT INTO refusals VALUES (?, ?, 1, ?) ON CONFLICT (source, reason) "
                    "DO UPDATE SET count = count + 1, last = excluded.last",
                    (source if many < _MOST_REASONS else "others", reason, now()),
                )
        except sqlite3.OperationalError:
            return

    def _take(self, arrival: Arrival) -> bool:
        for uid in (arrival.uid, arrival.sop_class, arrival.syntax):
            _check(uid)
        try:
            if (held := self._held(arrival.uid)) is not None:
                self._meet(arrival, held)
                return False
            self._check_room(len(arrival.content))
            return self._keep(arrival)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            words = "is full" if full else f"cannot be used ({error.strerror})"
            raise RefusedError(
                f"The disk of the spool {words}; mend that, then send again.", OUT_OF_RESOURCES
            ) from None
        except sqlite3.OperationalError:
            raise RefusedError(
                "The journal cannot be written, since the disk is full or broken; mend that, then "
                "send again.",
                OUT_OF_RESOURCES,
            ) from None

    def _check_room(self, size: int) -> None:
        if self._free() - size < self.reserve_bytes:
            raise RefusedError(
                "The disk of the spool is nearly full; make room, then send again.",
                OUT_OF_RESOURCES,
            )

    def _held(self, uid: str) -> sqlite3.Row | None:
        return self.journal.row("SELECT * FROM instances WHERE uid = ?", (uid,))

    def _keep(self, arrival: Arrival) -> bool:
        """Write, then journal; of two at the same time under one UID, one is journalled."""
        target = self.spool.incoming(arrival.uid)
        write(target, (arrival.meta, arrival.content))
        size = len(arrival.content)
        row = {
            "uid": arrival.uid,
            "sop_class": arrival.sop_class,
            "syntax": arrival.syntax,
            "file": self.spool.relative(target),
            "bytes": size,
            "source": arrival.source,
            "received": now(),
            "state": RECEIVED,
        }
        fresh = False
        try:
            with self.journal.change() as change:
                fresh = insert(change, "instances", row)
        finally:
            if not fresh:
                target.unlink(missing_ok=True)
        if fresh:
            self.audit.write("received", uid=arrival.uid, source=arrival.source, bytes=size)
        elif (held := self._held(arrival.uid)) is not None:
            self._meet(arrival, held)
        return fresh

    def _meet(self, arrival: Arrival, held: sqlite3.Row) -> None:
        """Let the same object pass, and set another one under its UID apart."""
        if held["syntax"] == arrival.syntax and held["bytes"] == len(arrival.content):
            if held["sha256"] and held["sha256"] == arrival.digest:
                return
            if not held["sha256"] and self._is_at(self.spool.folder / held["file"], arrival):
                return
        self._check_room(len(arrival.content))
        self._set_apart(arrival, arrival.digest)

    @staticmethod
    def _is_at(path: Path, arrival: Arrival) -> bool:
        """Compare bytes, which is needed only until `sorting` has hashed what came."""
        try:
            with path.open("rb") as stream:
                stream.seek(-len(arrival.content), 2)
                return bool(stream.read() == arrival.content)
        except FileNotFoundError:  # cleaned up, without ever having been hashed
            return False

    def _set_apart(self, arrival: Arrival, digest: str) -> None:
        """Keep a second object under a known UID where a person finds it, and refuse it."""
        reason = "Another object is here under its SOP instance UID, which must be unique."
        target = self.spool.quarantine(digest)
        if not target.exists():  # senders try again; one copy is enough
            write(target, (arrival.meta, arrival.content))
        row = (digest, arrival.uid, self.spool.relative(target), arrival.source, reason, now())
        with self.journal.change() as change:
            change.execute("INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?, ?, ?)", row)
        self.audit.write("quarantined", uid=arrival.uid, source=arrival.source, reason=reason)
        raise RefusedError(
            "Another object is here under this SOP instance UID, which must be unique; this one "
            "was set apart. Give it a UID of its own.",
            DUPLICATE,
        )


def _check(uid: str) -> None:
    try:
        checked_uid(uid)
    except ArchiveError as error:
        raise RefusedError(str(error), CANNOT_UNDERSTAND) from None


def digest_of(syntax: str, content: bytes | memoryview) -> str:
    """Hash an object: its transfer syntax, and its data set in that."""
    counted = hashlib.sha256(syntax.encode())
    counted.update(content)
    return counted.hexdigest()
