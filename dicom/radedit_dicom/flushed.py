"""The one way this package writes files: whole and flushed to disk, or not there at all."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from radedit_dicom.errors import ArchiveError

TEMPORARY = ".part-"  # in front of the name of a file that is being written
_STALE_S = 3600.0  # no store takes as long, so what is older was left by a process that ended
_PIECES = 1024  # of one system call: IOV_MAX of Linux


class Staged:
    """A file that is being written: kept whole under its name in the end, or gone.

    Parameters
    ----------
    folder : pathlib.Path
        Where it lies meanwhile; on the disk of the place that it is kept at.
    mode : int, optional
        Its permissions, where it takes the place of no other file; else as the system's umask
        has it.

    Attributes
    ----------
    path : pathlib.Path
        Where it lies now.

    Raises
    ------
    OSError
        The disk is full or broken.
    """

    def __init__(self, folder: Path, mode: int | None = None) -> None:
        self.path = folder / f"{TEMPORARY}{os.urandom(8).hex()}"
        self._stream = self.path.open("xb", buffering=0)
        self._kept = False
        if mode is not None:
            os.fchmod(self._stream.fileno(), mode)

    def __enter__(self) -> Staged:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it, unless it is kept."""
        self.discard()

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Add pieces, none of which is kept in memory.

        Raises
        ------
        OSError
            The disk is full or broken.
        """
        done = os.writev(self._stream.fileno(), pieces[:_PIECES])
        if done != sum(map(len, pieces)):
            for left in _behind(pieces, done):
                while left:
                    left = left[self._stream.write(left) :]

    def flush(self, target: Path) -> None:
        """Flush it to disk, with the permissions and the owner of a file that it will replace.

        Raises
        ------
        OSError
            The disk is full or broken.
        """
        if self._stream.closed:
            return
        with suppress(FileNotFoundError):
            _take_over(self._stream.fileno(), target.stat())
        os.fsync(self._stream.fileno())
        self._stream.close()

    def keep(self, target: Path) -> None:
        """Flush it, and let it appear under this name.

        Raises
        ------
        OSError
            The disk is full or broken.
        """
        self.flush(target)
        self.path = self.path.rename(target)
        self._kept = True
        sync(target.parent)

    def give_up(self) -> None:
        """Let it be removed after all, unless it is kept under another name."""
        self._kept = False

    def discard(self) -> None:
        """Remove it, unless it is kept."""
        with suppress(OSError):
            self._stream.close()
        if not self._kept:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)


def write(target: Path, pieces: Iterable[bytes | memoryview], mode: int | None = None) -> None:
    """Write a file so that after any crash it is whole, or as it was before.

    Raises
    ------
    OSError
        The disk is full or broken; nothing is left behind.
    """
    with Staged(target.parent, mode) as staged:
        for piece in pieces:
            staged.write([piece])
        staged.keep(target)


def write_all(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write every file of an archive beside its place, then rename all; all or none are there.

    Raises
    ------
    ArchiveError
        The folder cannot be written, or does not give back what was written.
    """
    try:
        with ExitStack() as stack:
            made = []
            for target, content in files:
                _make_folder(target.parent)
                staged = stack.enter_context(Staged(target.parent, 0o640))
                made.append(staged)
                staged.write([content])
                staged.flush(target)
            stack.callback(_give_up, made)  # unless everything below succeeds
            for staged, (target, _) in zip(made, files, strict=True):
                if target.exists():
                    raise FileExistsError(errno.EEXIST, "a damaged file is in the way", str(target))
                staged.keep(target)
            for target, content in files:
                if target.read_bytes() != content:
                    raise ArchiveError(
                        "A stored file reads back differently from what was written; "
                        "check the disk, nothing was stored."
                    )
            stack.pop_all()
    except OSError as error:
        raise ArchiveError(
            f"The archive folder cannot be written ({error.strerror}); check its "
            "permissions and free space, nothing was stored."
        ) from None


def _give_up(made: Sequence[Staged]) -> None:
    for staged in made:
        staged.give_up()


def _behind(pieces: Sequence[bytes | memoryview], done: int) -> Iterator[memoryview]:
    """Give what is left of pieces of which the first bytes are dealt with."""
    for piece in pieces:
        yield memoryview(piece)[done:]
        done = max(done - len(piece), 0)


def _take_over(descriptor: int, before: os.stat_result) -> None:
    """Give a file the owner, as far as the system lets us, and the permissions of another."""
    with suppress(PermissionError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, before.st_mode & 0o7777)


def sweep(folder: Path) -> None:
    """Remove staged files that a killed process left behind."""
    oldest = time.time() - _STALE_S
    for path in folder.glob(f"study-*/{TEMPORARY}*"):
        # One that cannot be removed harms nobody: no name with a dot in front is read.
        with suppress(OSError):
            if path.stat().st_mtime < oldest:
                path.unlink()


def _make_folder(folder: Path) -> None:
    """Make a folder and those above it, each entry flushed to disk."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)


def sync(folder: Path) -> None:
    """Flush a folder's entries to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
