"""The audit log: what happened to which object, one JSON object a line, no patient data."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

#: What a line may hold: identifiers, counts, and sentences of our own.
FIELDS: Final = frozenset(
    {
        "uid",
        "source",
        "bytes",
        "reason",
        "rule",
        "job",
        "kind",
        "case",
        "study",
        "number",
        "count",
        "destination",
        "seconds",
        "attempts",
        "role",
    }
)


class Audit:
    """Appends to one file, from any process.

    Parameters
    ----------
    path : pathlib.Path or None
        None: nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def write(self, event: str, **fields: str | int | float | None) -> None:
        """Append one line.

        A full disk stops no work for the log's sake: the journal is what counts.

        Raises
        ------
        ValueError
            A field is not among those that a line may hold.
        """
        if unknown := set(fields) - FIELDS:
            raise ValueError(f"the audit log has no field {sorted(unknown)[0]}")
        if self.path is None:
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "event": event, **fields}) + "\n"
        with suppress(OSError):
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                os.write(descriptor, line.encode())  # one write: lines of processes do not mix
            finally:
                os.close(descriptor)
