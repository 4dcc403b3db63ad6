"""A file that grows by whole lines of JSON; whatever cuts a run off costs no line but the last."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from radedit.lib.errors import OutputError

LOCK: Final = ".lock"


class JsonLines:
    """One file of a run.

    Parameters
    ----------
    path : of the file; its folder exists
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give every object in it; a line that was cut off is none."""
        with self.path.open(encoding="utf-8") as stream:
            for line in stream:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    yield row

    def append(self, lines: Iterable[str]) -> None:
        """Add lines, each one object; they are on the disk when this returns.

        Raises
        ------
        OSError
            They cannot be written.
        """
        with self.path.open("a", encoding="utf-8") as stream:
            if stream.tell():  # a line that was cut off must not swallow these
                stream.write("\n")
            stream.write("\n".join(lines))
            stream.flush()
            os.fsync(stream.fileno())


def claimed(folder: Path, option: str) -> IO[str]:
    """Keep other processes out of a run's folder until the file given is closed.

    The system lets go of it by itself when the process ends, however that comes.

    Parameters
    ----------
    folder : of the run; it exists
    option : that names the folder

    Raises
    ------
    OutputError
        Another process works in it.
    OSError
        The folder cannot be written.
    """
    lock = (folder / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise OutputError(
            "This very run is going on in another process; wait for it, or name another folder "
            f"with {option}."
        ) from None
    return lock


@contextmanager
def written_to(option: str) -> Iterator[None]:
    """Tell a folder that cannot be written in one sentence, with the option that names it.

    Raises
    ------
    OutputError
        What is done inside met an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"the run's folder cannot be written ({error.strerror or type(error).__name__}); "
            f"choose another with {option}."
        ) from None
