"""One object in: written, flushed and journalled before anyone is told that it is here.

The same for C-STORE, STOW-RS and a watched folder. Nothing is decoded: whether the object is
sound is looked at later, by another process (`sorting`).
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from radedit_dicom.archive import checked_uid
from radedit_dicom.errors import ArchiveError
from radedit_dicom.flushed import Staged
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.errors import (
    CANNOT_UNDERSTAND,
    DUPLICATE,
    OUT_OF_RESOURCES,
    RefusedError,
)
from radedit_dicom.router.journal import Journal, insert, now
from radedit_dicom.router.part10 import Part10, digest, file_meta
from radedit_dicom.router.spool import Spool

RECEIVED = "received"
_MOST_REASONS = 10_000  # rows of refusals; a flood of new ones is counted together
_ROOM_EVERY: Final = 1 << 23  # bytes of one object between two looks at the room that is left


class Arrival:
    """An object that is coming in: named, then written to disk piece by piece.

    One that cannot be taken swallows what still comes of it; `Intake.take` then says why.

    Attributes
    ----------
    uid, sop_class, syntax : str
        As the sender named them.
    source : str
        The AE title, or the way it came.
    size : int
        Bytes of the data set so far.
    """

    def __init__(self, intake: Intake, uid: str, sop_class: str, syntax: str, source: str) -> None:
        self.uid, self.sop_class, self.syntax, self.source = uid, sop_class, syntax, source
        self.size = 0
        self._intake = intake
        self._staged: Staged | None = None
        self._refusal: RefusedError | None = None
        try:
            for each in (uid, sop_class, syntax):
                _check(each)
            intake.check_room()
            self._staged = Staged(intake.spool.incoming_folder)
            self._staged.write([file_meta(uid, sop_class, syntax)])
        except (OSError, RefusedError) as error:
            self._refuse(error)

    def __enter__(self) -> Arrival:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what there is of it, unless it was taken."""
        self.discard()

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Add pieces of the data set, encoded in `syntax`."""
        if self._staged is None:
            return
        before, self.size = self.size, self.size + sum(map(len, pieces))
        try:
            if before // _ROOM_EVERY != self.size // _ROOM_EVERY:
                self._intake.check_room()
            self._staged.write(pieces)
        except (OSError, RefusedError) as error:
            self._refuse(error)

    def discard(self) -> None:
        """Remove what there is of it, unless it was taken."""
        if self._staged is not None:
            self._staged.discard()

    @property
    def staged(self) -> Staged:
        """Its file, whole but not yet flushed.

        Raises
        ------
        RefusedError
            It cannot be taken.
        """
        if self._refusal is not None:
            raise self._refusal
        assert self._staged is not None
        return self._staged

    @property
    def digest(self) -> str:
        """The hash of syntax and data set."""
        return digest(self.staged.path, self.syntax)

    def _refuse(self, error: OSError | RefusedError) -> None:
        self._refusal = error if isinstance(error, RefusedError) else _disk(error)
        self.discard()
        self._staged = None


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

    def begin(self, uid: str, sop_class: str, syntax: str, source: str) -> Arrival:
        """Begin to take an object in."""
        return Arrival(self, uid, sop_class, syntax, source)

    def take(self, arrival: Arrival) -> bool:
        """Take in an object that is whole.

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
        with arrival:
            try:
                return self._take(arrival)
            except RefusedError as refusal:
                self.refused(arrival.source, str(refusal))
                raise

    def take_whole(self, part10: Part10, source: str) -> bool:
        """Take in an object that is in memory; see `take`."""
        arrival = self.begin(part10.uid, part10.sop_class, part10.syntax, source)
        arrival.write([part10.content])
        return self.take(arrival)

    def check_room(self) -> None:
        """See that the journal and the results have room left.

        Raises
        ------
        RefusedError
            They have not.
        """
        if self._free() < self.reserve_bytes:
            raise RefusedError(
                "The disk of the spool is nearly full; make room, then send again.",
                OUT_OF_RESOURCES,
            )

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
        staged = arrival.staged
        if arrival.size == 0:
            raise RefusedError(
                "There is no data set in the object; send it again.", CANNOT_UNDERSTAND
            )
        try:
            if (held := self._held(arrival.uid)) is not None:
                self._meet(arrival, held)
                return False
            self.check_room()
            return self._keep(arrival, staged)
        except OSError as error:
            raise _disk(error) from None
        except sqlite3.OperationalError:
            raise RefusedError(
                "The journal cannot be written, since the disk is full or broken; mend that, then "
                "send again.",
                OUT_OF_RESOURCES,
            ) from None

    def _held(self, uid: str) -> sqlite3.Row | None:
        return self.journal.row("SELECT * FROM instances WHERE uid = ?", (uid,))

    def _keep(self, arrival: Arrival, staged: Staged) -> bool:
        """Flush, then journal; of two at the same time under one UID, one is journalled."""
        target = self.spool.incoming(arrival.uid)
        row = {
            "uid": arrival.uid,
            "sop_class": arrival.sop_class,
            "syntax": arrival.syntax,
            "file": self.spool.relative(target),
            "bytes": arrival.size,
            "source": arrival.source,
            "received": now(),
            "state": RECEIVED,
        }
        try:
            staged.keep(target)
            with self.journal.change() as change:
                fresh = insert(change, "instances", row)
        except BaseException:
            if not self._may_name(str(row["file"])):
                staged.give_up()
            raise
        if fresh:
            self.audit.write("received", uid=arrival.uid, source=arrival.source, bytes=arrival.size)
            return True
        staged.give_up()
        if (held := self._held(arrival.uid)) is not None:
            self._meet(arrival, held)
        return False

    def _may_name(self, file: str) -> bool:
        """Say whether the journal names a file, or cannot be asked (the next start sweeps then)."""
        try:
            return self.journal.row("SELECT 1 FROM instances WHERE file = ?", (file,)) is not None
        except sqlite3.Error:
            return True

    def _meet(self, arrival: Arrival, held: sqlite3.Row) -> None:
        """Let the same object pass, and set another one under its UID apart."""
        found = arrival.digest
        if held["syntax"] == arrival.syntax and found == (held["sha256"] or self._hashed(held)):
            return
        self.check_room()
        self._set_apart(arrival, found)

    def _hashed(self, held: sqlite3.Row) -> str:
        """Hash what is here; needed only until `sorting` has done so."""
        try:
            return digest(self.spool.folder / held["file"], held["syntax"])
        except FileNotFoundError:  # cleaned up, without ever having been hashed
            return ""

    def _set_apart(self, arrival: Arrival, found: str) -> None:
        """Keep a second object under a known UID where a person finds it, and refuse it."""
        reason = "Another object is here under its SOP instance UID, which must be unique."
        target = self.spool.quarantine(found)
        if not target.exists():  # senders try again; one copy is enough
            arrival.staged.keep(target)
        row = (found, arrival.uid, self.spool.relative(target), arrival.source, reason, now())
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


def _disk(error: OSError) -> RefusedError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    words = "is full" if full else f"cannot be used ({error.strerror})"
    return RefusedError(
        f"The disk of the spool {words}; mend that, then send again.", OUT_OF_RESOURCES
    )
