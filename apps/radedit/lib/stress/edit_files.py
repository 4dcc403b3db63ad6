"""Edits of a run on the disk: the change of the stored values, and what was judged of it."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from radedit.lib.whole_files import replacing
from radedit_dicom.film import Film


def read_edit(path: Path, film: Film) -> tuple[NDArray[Any], dict[str, Any]] | None:
    """Read an edit's stored values and what is known of it; None where it is not there whole."""
    try:
        with path.open("rb") as stream, np.load(stream) as kept:
            top, left = kept["corner"]
            change = kept["change"]
            about: dict[str, Any] = json.loads(str(kept["about"]))
    except (OSError, EOFError, ValueError, KeyError, zlib.error, BadZipFile):
        return None  # not there, or cut off by a crash before files were replaced whole
    stored = film.stored.astype(np.int64)
    rows, cols = change.shape
    stored[top : top + rows, left : left + cols] += change
    return stored.astype(film.stored.dtype), about


def write_edit(path: Path, film: Film, stored: NDArray[Any], about: dict[str, Any]) -> None:
    """Write an edit, replaced whole."""
    change = stored.astype(np.int64) - film.stored.astype(np.int64)
    rows, cols = np.flatnonzero(change.any(1)), np.flatnonzero(change.any(0))
    top, left = (int(rows[0]), int(cols[0])) if rows.size else (0, 0)
    window = change[top : rows[-1] + 1, left : cols[-1] + 1] if rows.size else change[:1, :1]
    with replacing(path) as stream:
        np.savez_compressed(
            stream,
            corner=np.array([top, left]),
            change=window.astype(np.int32),
            about=np.array(json.dumps(about)),
        )
