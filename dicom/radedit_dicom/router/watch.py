"""A watched folder: what is put there is taken in and then removed."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path

from radedit_dicom.flushed import sync, write
from radedit_dicom.router.errors import DUPLICATE, OUT_OF_RESOURCES, RefusedError
from radedit_dicom.router.intake import Intake
from radedit_dicom.router.journal import insert, now
from radedit_dicom.router.part10 import opened

SOURCE = "folder"


class Watch:
    """Looks into a folder again and again.

    A file is taken when two looks in a row saw it with the same size and time, so that one
    that is still being copied is left alone; better still, copy under a name that begins with
    a dot and rename. What is no DICOM goes to quarantine, so that nothing stays unseen.

    Parameters
    ----------
    folder : pathlib.Path
    intake : Intake
    limit_bytes : int
        Larger files stay where they are, refused.
    poll_s : float
        Time between two looks.
    """

    def __init__(
        self, folder: Path, intake: Intake, limit_bytes: int = 1 << 29, poll_s: float = 2.0
    ) -> None:
        self._folder, self._intake = folder, intake
        self._limit_bytes, self._poll_s = limit_bytes, poll_s
        self._seen: dict[Path, tuple[int, int]] = {}
        self._told: set[Path] = set()  # files that stay, and whose reason was written down
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Look, in a thread of its own."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it looks."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop looking."""
        self._end.set()

    def _run(self) -> None:
        while not self._end.wait(self._poll_s):
            with suppress(OSError):  # the folder is away for now
                self.look()

    def look(self) -> int:
        """Look once, and give how many files were taken in or set apart."""
        seen: dict[Path, tuple[int, int]] = {}
        taken = 0
        for path in sorted(self._folder.rglob("*")):
            if any(part.startswith(".") for part in path.relative_to(self._folder).parts):
                continue
            if path.is_symlink() or not path.is_file():
                continue
            try:
                state = path.stat()
            except FileNotFoundError:  # taken away meanwhile
                continue
            seen[path] = (state.st_mtime_ns, state.st_size)
            if self._seen.get(path) == seen[path] and self._taken(path, state.st_size):
                taken += 1
                del seen[path]
        self._seen = seen
        self._told &= set(seen)
        return taken

    def _taken(self, path: Path, size: int) -> bool:
        """Take a file in; False: it stays, and keeps no other from being taken."""
        if size > self._limit_bytes:
            self._say(path, "A file in the watched folder is too large.")
            return False
        try:
            return self._take(path)
        except OSError as error:
            self._say(
                path, f"A file in the watched folder cannot be read or removed ({error.strerror})."
            )
        except sqlite3.OperationalError:  # a full disk: it waits here until there is room
            pass
        return False

    def _say(self, path: Path, reason: str) -> None:
        if path not in self._told:
            self._told.add(path)
            self._intake.refused(SOURCE, reason)

    def _take(self, path: Path) -> bool:
        content = path.read_bytes()
        try:
            self._intake.take_whole(opened(content), SOURCE)
        except RefusedError as refusal:
            if refusal.status == OUT_OF_RESOURCES:
                return False  # it waits here until there is room
            if refusal.status != DUPLICATE:  # that one lies in quarantine already
                self._set_apart(content, str(refusal))
        path.unlink()
        sync(path.parent)
        return True

    def _set_apart(self, content: bytes, reason: str) -> None:
        digest = hashlib.sha256(content).hexdigest()
        spool = self._intake.spool
        target = spool.quarantine(digest)
        write(target, (content,))
        row = {
            "sha256": digest,
            "uid": "",
            "file": spool.relative(target),
            "source": SOURCE,
            "reason": reason,
            "at": now(),
        }
        with self._intake.journal.change() as change:
            insert(change, "quarantine", row)
        self._intake.audit.write("quarantined", source=SOURCE, reason=reason)
