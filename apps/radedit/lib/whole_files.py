"""The one way this package writes files: whole and flushed to disk, or as they were before.

`radedit_dicom.flushed` is that of the other package, which knows archives; some modules here must
know no DICOM.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of another once it is written whole.

    It keeps the permissions of the one before and, as far as the system lets us, its owner;
    where the path is a link, what it leads to is written. When the block raises, nothing has
    changed.

    Raises
    ------
    OSError
        The folder is not there, or the disk is full or broken.
    """
    target = path.resolve()
    part = target.with_name(f".part-{os.urandom(8).hex()}")
    try:
        with part.open("xb") as stream:
            yield stream
            stream.flush()
            with suppress(FileNotFoundError):
                _take_over(stream.fileno(), target.stat())
            os.fsync(stream.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    _sync(target.parent)


def write_file(path: Path, content: bytes | str) -> None:
    """Write a file whole, a text as UTF-8; see `replacing`."""
    with replacing(path) as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)


def _take_over(descriptor: int, before: os.stat_result) -> None:
    with suppress(PermissionError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, before.st_mode & 0o7777)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
