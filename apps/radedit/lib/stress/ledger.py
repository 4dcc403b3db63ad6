"""What a run has found so far, one JSON line after the other; a stopped run goes on from here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from radedit.lib.errors import OutputError, ParameterError
from radedit.lib.json_lines import JsonLines, written_to

FORMAT = "radedit-stress-2"
Row = dict[str, Any]
FILE = "rows.jsonl"
EDITS = "edits"


class Ledger:
    """The rows of one run in its folder.

    A subject counts as done for a victim when its last line says so; lines of a subject that
    was cut off are read, and written again. Answers carry the key of the model that gave them:
    what another model answered under the same name, before its file was corrected, say, is not
    read any more, nor is what a victim answered that was dropped.

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
        """Read every row, the last of each film, victim and subject, as far as it counts."""
        return _newest(self._lines)

    def drop(self, victims: Iterable[str]) -> None:
        """Leave victims out from here on; one that is named in a run again is back.

        Raises
        ------
        ParameterError
            The run knows no such victim.
        """
        cards = {row["victim"]: row for row in self.rows() if row["type"] == "card"}
        for name in victims:
            if name not in cards:
                known = ", ".join(sorted(cards)) or "none"
                raise ParameterError(f"The run has no model '{name}' to drop; it has {known}.")
            self.add([{**cards[name], "dropped": True}])

    def done(self) -> dict[str, dict[str, str]]:
        """Say for which victims each subject is done, and what those were: name to `model_of`."""
        found: dict[str, dict[str, str]] = {}
        for row in self._lines:
            if row.get("type") == "done":
                found.setdefault(row["subject"], {}).update(row["victims"])
        return found

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows; they are on the disk when this returns."""
        if rows:
            with written_to("--out"):
                self._append(rows)

    def _append(self, rows: Sequence[Row]) -> None:
        self._lines.append(json.dumps(row, allow_nan=False) for row in rows)


def read_run(folder: Path) -> tuple[dict[str, Any], list[Row]]:
    """Read what a run followed from and its rows, whichever version made it; writes nothing."""
    lines = list(JsonLines(folder / FILE))
    return dict((lines[0] if lines else {}).get("run", {})), _newest(lines)


def _newest(lines: Iterable[Row]) -> list[Row]:
    newest: dict[str, Row] = {}
    for row in lines:
        if "run" not in row:
            newest[_identity(row)] = row
    cards = {row["victim"]: row for row in newest.values() if row["type"] == "card"}
    return [row for row in newest.values() if _counts(row, cards)]


def _counts(row: Row, cards: Mapping[str, Row]) -> bool:
    card = cards.get(row.get("victim", ""), {})
    if card.get("dropped"):
        return False
    return row["type"] != "answer" or not card or row.get("key") == card.get("key")


def _identity(row: Row) -> str:
    keys = ("type", "subject", "victim", "kind", "edit", "seed", "level")
    return json.dumps([row.get(key) for key in keys])
