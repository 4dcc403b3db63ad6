"""What became of each film, one JSON line after the other, on the disk at once."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from radedit.lib.batch.plan import JOURNAL, TABLE
from radedit.lib.errors import NoChangeError, OutputError
from radedit.lib.json_lines import JsonLines, claimed, written_to
from radedit.lib.whole_files import replacing

Row = dict[str, Any]
FORMAT: Final = "radedit-batch-1"
COLUMNS: Final = (
    "input", "film", "state", "why", "edit_id", "study", "sc", "seg", "sr",
    "changed_outside_support", "pixel_sha256",
)  # fmt: skip


#: States of films that need no look at their results, for they have none and never will.
SETTLED: Final = ("passed over", "unchanged")


def state_of(error: Exception) -> str:
    """Name the state of a film whose edit was not stored: what shows nothing new was made."""
    return "unchanged" if isinstance(error, NoChangeError) else "failed"


class Journal:
    """The outcomes of one run in its folder; the last line about a film counts.

    Parameters
    ----------
    folder : of the run; made if missing
    facts : all that the outcomes follow from

    Raises
    ------
    OutputError
        The folder cannot be written, or holds another run.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder, self._lines = folder, JsonLines(folder / JOURNAL)
        wanted = json.loads(json.dumps({"format": FORMAT, **facts}))
        with written_to("--work"):
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = claimed(folder, "--work")
            if not self._lines.path.exists():
                self._append({"run": wanted})
            first = next(iter(self._lines), {})
        if first.get("run") != wanted:
            self.close()
            raise OutputError(
                "the folder of the run holds another run (films, request, model or destination "
                "differ); name another one with --work."
            )

    def close(self) -> None:
        """Let others in."""
        self._lock.close()

    def add(self, row: Row) -> None:
        """Write a row down; it is on the disk when this returns."""
        with written_to("--work"):
            self._append(row)

    def known(self) -> dict[str, Row]:
        """What has to be known of films that need no second edit, by SOP Instance UID."""
        kept = ("input", "film", "state", "why", "edit_id", "uids", "files")
        return {
            row["film"]: {name: row[name] for name in kept if name in row}
            for row in self.newest()
            if row["film"] and row["state"] != "failed"
        }

    def counts(self) -> dict[str, int]:
        """Count the films of each state."""
        return dict(Counter(row["state"] for row in self.newest()))

    def failures(self) -> list[dict[str, str]]:
        """Name what failed, and why."""
        return self._reasons("failed")

    def unchanged(self) -> list[dict[str, str]]:
        """Name the films whose edits show nothing new, and why."""
        return self._reasons("unchanged")

    def _reasons(self, state: str) -> list[dict[str, str]]:
        return [
            {"input": row["input"], "why": row["why"]}
            for row in self.newest()
            if row["state"] == state
        ]

    def write_table(self) -> Path:
        """Write the outcomes as CSV, a line for each film."""
        path = self.folder / TABLE
        with written_to("--work"), replacing(path) as stream:
            text = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
            table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="")
            table.writeheader()
            table.writerows({**row.get("uids", {}), **row} for row in self.newest())
            text.detach()
        return path

    def newest(self) -> Iterator[Row]:
        """Give the last row about each film, in the order they were written."""
        last = {row["input"]: number for number, row in enumerate(self._rows())}
        return (row for number, row in enumerate(self._rows()) if last[row["input"]] == number)

    def _rows(self) -> Iterator[Row]:
        return (row for row in self._lines if {"input", "film", "state"} <= set(row))

    def _append(self, row: Row) -> None:
        self._lines.append([json.dumps(row, default=str)])
