"""What a run has found so far, one JSON line after the other; a stopped run goes on from here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from radedit.lib.errors import OutputError
from radedit.lib.json_lines import JsonLines, written_to

FORMAT = "radedit-stress-2"
Row = dict[str, Any]
FILE = "rows.jsonl"
EDITS = "edits"


class Ledger:
    """The rows of one run in its folder.

    A subject counts as done for a victim when its last line says so; lines of a subject that
    was cut off are read, and written again.

    Parameters
    ----------
    folder : of the run; made if missing
    facts : all that the rows follow from

    Raises
    ------
    OutputError
        The folder cannot be written, or holds another run.
    """

    def __init__(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.folder = folder
        self._lines = JsonLines(folder / FILE)
        with written_to("--out"):
            (folder / EDITS).mkdir(parents=True, exist_ok=True)
            if not self._lines.path.exists():
                self._append([{"run": dict(facts)}])
            first = next(iter(self._lines), {})
        if first.get("run") != json.loads(json.dumps(facts)):
            raise OutputError(
                "the folder holds another run (suite, films, editor or program differ); name "
                "another one with --out."
            )

    def rows(self) -> list[Row]:
        """Read every row, the last of each film, victim and subject."""
        newest: dict[str, Row] = {}
        for row in self._lines:
            if "run" not in row:
                newest[_identity(row)] = row
        return list(newest.values())

    def done(self) -> dict[str, dict[str, str]]:
        """Say for which victims each subject is done, and what those were: name to `model_of`."""
        found: dict[str, dict[str, str]] = {}
        for row in self._lines:
            if row.get("type") == "done":
                found.setdefault(row["subject"], {}).update(row["victims"])
        return found

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows; they are on the disk when this returns."""
        with written_to("--out"):
            self._append(rows)

    def _append(self, rows: Sequence[Row]) -> None:
        self._lines.append(json.dumps(row, allow_nan=False) for row in rows)


def _identity(row: Row) -> str:
    keys = ("type", "subject", "victim", "kind", "edit", "seed", "level")
    return json.dumps([row.get(key) for key in keys])
