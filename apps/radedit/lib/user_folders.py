"""Where an account keeps its own files (XDG), accounts without a home among them.

Containers run under numbers that no table of users knows, and services without a home folder.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from radedit.lib.errors import ParameterError


def cache_folder() -> Path:
    """Name the folder for what can be made again; without a home, among temporary files."""
    named = os.environ.get("XDG_CACHE_HOME")
    if named:
        return Path(named) / "radedit"
    home = _home()
    return (
        Path(tempfile.gettempdir(), f"radedit-{os.getuid()}")
        if home is None
        else (home / ".cache" / "radedit")
    )


def state_folder() -> Path:
    """Name the folder for what must not be lost.

    Raises
    ------
    ParameterError
        The account has no home, and nobody says where else.
    """
    named = os.environ.get("XDG_STATE_HOME")
    if named:
        return Path(named) / "radedit"
    home = _home()
    if home is None:
        raise ParameterError(
            "This account has no home folder to keep the jobs and readings in; name a folder that "
            "it may write with --state, or --database, or in the variable XDG_STATE_HOME."
        )
    return home / ".local" / "state" / "radedit"


def made(folder: Path, option: str, what: str, mode: int = 0o777) -> Path:
    """Make a folder that this account must be able to write in.

    Parameters
    ----------
    option : that names another one
    what : it is for, in a few words

    Raises
    ------
    ParameterError
        It cannot be made, or not written; names it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=mode)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ParameterError(
            f"The folder '{folder}' for {what} cannot be written ({error.strerror}); name one that "
            f"this account may write with {option}."
        ) from None
    return folder


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # neither HOME nor a table of users says where it is
        return None
