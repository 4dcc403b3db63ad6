"""Files of an archive folder written whole and flushed to disk, or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from radedit_dicom.errors import ArchiveError

_TEMPORARY = ".radedit-"
_STALE_S = 3600.0  # no store takes as long, so what is older was left by a process that ended


def write_all(files: Sequence[tuple[Path, bytes]]) -> None:
    """Write every file beside its place, then rename all; on failure remove what was made.

    Raises
    ------
    ArchiveError
        The folder cannot be written, or does not give back what was written.
    """
    made: list[Path] = []
    try:
        staged = []
        for target, content in files:
            _make_folder(target.parent)
            staged.append((_staged(target, content, made), target))
        for temporary, target in staged:
            if target.exists():
                raise FileExistsError(errno.EEXIST, "a damaged file is in the way", str(target))
            temporary.rename(target)
            made.append(target)
        for folder in {target.parent for target, _ in files}:
            sync(folder)
        for target, content in files:
            if target.read_bytes() != content:
                raise ArchiveError(
                    "A stored file reads back differently from what was written; "
                    "check the disk, nothing was stored."
                )
    except BaseException as error:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ArchiveError(
                f"The archive folder cannot be written ({error.strerror}); check its "
                "permissions and free space, nothing was stored."
            ) from None
        raise


def _staged(target: Path, content: bytes, made: list[Path]) -> Path:
    descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=target.parent)
    made.append(Path(name))
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fchmod(stream.fileno(), 0o640)
        os.fsync(stream.fileno())
    return Path(name)


def sweep(folder: Path) -> None:
    """Remove staged files that a killed process left behind."""
    oldest = time.time() - _STALE_S
    for path in folder.glob(f"study-*/{_TEMPORARY}*"):
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
