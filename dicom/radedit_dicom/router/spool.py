"""Files on their way: each is there whole and flushed to disk, or not there at all."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from radedit_dicom.errors import ArchiveError
from radedit_dicom.flushed import sync
from radedit_dicom.router.errors import RouteError

_FOLDERS = ("incoming", "quarantine", "results")
_SHARDS = tuple(f"{number:02x}" for number in range(256))


class Spool:
    """The folder of one route: journal, objects that came in, and results that go out.

    Parameters
    ----------
    folder : pathlib.Path
        Made, with what is in it, if missing. On one local disk: renames must be atomic.

    Raises
    ------
    RouteError
        It cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            for name in _FOLDERS:
                (folder / name).mkdir(parents=True, exist_ok=True)
            for shard in _SHARDS:  # now, so that taking an object in makes one file only
                (folder / "incoming" / shard).mkdir(exist_ok=True)
            for path in (folder.parent, folder, folder / "incoming"):
                sync(path)
        except OSError as error:
            raise RouteError(
                f"The spool folder cannot be made or written ({error.strerror}); give a folder on "
                "a local disk that this user may write."
            ) from None

    @property
    def journal(self) -> Path:
        """The file of the journal."""
        return self.folder / "journal.sqlite"

    @property
    def audit(self) -> Path:
        """The audit log, one JSON object a line."""
        return self.folder / "audit.jsonl"

    @property
    def incoming_folder(self) -> Path:
        """Where objects are written while they come in."""
        return self.folder / "incoming"

    def incoming(self, uid: str) -> Path:
        """Give a new place for an object: by a hash of its UID, never by the UID itself."""
        named = hashlib.sha256(uid.encode()).hexdigest()
        own = f"{named[:32]}-{os.urandom(6).hex()}.dcm"
        return self.folder / "incoming" / named[:2] / own

    def quarantine(self, digest: str) -> Path:
        """Say where an object is kept that must not go further."""
        return self.folder / "quarantine" / f"{digest[:48]}.dcm"

    def results(self, job: str) -> Path:
        """Say where the results of one job are kept."""
        return self.folder / "results" / job

    def relative(self, path: Path) -> str:
        """Name a file of the spool in the journal."""
        return str(path.relative_to(self.folder))

    def free_bytes(self) -> int:
        """Tell how much room there is for this user."""
        return shutil.disk_usage(self.folder).free

    def sweep(self, known: Iterable[str]) -> int:
        """Remove what a killed receiver left behind: parts, and objects without a row.

        Neither was acknowledged, so their senders still have them.

        Parameters
        ----------
        known : iterable of str
            Every file that the journal names.

        Returns
        -------
        int
            How many files were removed.
        """
        kept = set(known)
        removed = 0
        for name in ("incoming", "quarantine"):
            for path in (self.folder / name).rglob("*"):
                if path.is_file() and self.relative(path) not in kept:
                    path.unlink(missing_ok=True)
                    removed += 1
        return removed

    def sole(self, role: str) -> IO[bytes]:
        """Hold a role of this route as the only process; it ends with the process.

        Raises
        ------
        RouteError
            Another process holds it.
        """
        held = (self.folder / f"{role}.lock").open("ab")
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            held.close()
            raise RouteError(
                f"Another process is the '{role}' of this route; end it first, or give this one "
                "a spool folder of its own."
            ) from None
        held.truncate(0)
        held.write(str(os.getpid()).encode())
        held.flush()
        return held

    def holder(self, role: str) -> int | None:
        """Give the id of the process that holds a role now, if there is one."""
        if not self.is_held(role):
            return None
        text = (self.folder / f"{role}.lock").read_text()
        return int(text) if text.isdecimal() else None

    def is_held(self, role: str) -> bool:
        """Tell whether a process holds a role now."""
        with (self.folder / f"{role}.lock").open("ab") as probe:
            try:
                fcntl.flock(probe, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return True
        return False


def read(path: Path) -> bytes:
    """Read a file of the spool.

    Raises
    ------
    ArchiveError
        It is gone or unreadable.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveError(
            f"A file of the spool cannot be read ({error.strerror}); restore it, or discard what "
            "waits for it."
        ) from None
