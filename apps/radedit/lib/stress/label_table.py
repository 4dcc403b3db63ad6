"""The table of what a cohort's films show: read as spreadsheets write it, or refused whole.

A wrong label that looks right is a wrong verdict, so nothing in a column that the suite needs is
guessed or passed over: a cell that is no label, a column that is there twice, a row that is too
short ends the run before its first edit, with the line to look at. No cell is ever repeated in a
message, for any of them may name a patient.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radedit.lib.errors import ParameterError
from radedit.lib.stress.subjects import Problem
from radedit.lib.stress.suite import Suite
from radedit_dicom.uids import is_uid

UID: Final = "sop_instance_uid"
WORDS: Final = ("group", "text", "side", "zone")
SEPARATORS: Final = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_TRUE: Final = frozenset({"1", "1.0", "1,0", "true", "yes", "y"})
_FALSE: Final = frozenset({"0", "0.0", "0,0", "false", "no", "n"})
_SIDES: Final = {"left": "left", "l": "left", "right": "right", "r": "right", "both": "both",
                 "bilateral": "both"}  # fmt: skip
_NAMED: Final = 5  # lines that a sentence names


@dataclass(frozen=True)
class Labelled:
    """One row of the table: labels that are known, and words."""

    present: Mapping[str, bool]
    words: Mapping[str, str]


def needed_labels(suite: Suite) -> frozenset[str]:
    """Labels that have to be known of films: the one that is asked for, and who is edited."""
    chosen = {label for edit in suite.edits for label in edit.where}
    return frozenset({suite.question.label, *chosen} - {""})


def read_labels(
    path: Path, needed: Collection[str] | None = None
) -> tuple[dict[str, Labelled], list[Problem]]:
    """Read the table of labels.

    A column is a label if the suite needs it, or if all its cells are labels; other columns, such
    as dates, are left alone. Names are matched whatever their case, and `_` is a space.

    Parameters
    ----------
    needed : labels of the suite, each of which must be a column; None = not known, and then a
        column with any label in it is one

    Returns
    -------
    rows by SOP Instance UID, and what is wrong with the table but leaves it usable

    Raises
    ------
    ParameterError
        It cannot be read; a column is there twice or is missing; a cell of a label is neither 0,
        1 nor empty; a line has no UID, another number of cells, or a side that is none.
    """
    names, lines = _parsed(_text(path))
    _refuse_doubles(names)
    columns = {_plain(name): at for at, name in enumerate(names)}
    if _plain(UID) not in columns:
        raise ParameterError(f"The table of labels has no column {UID}; write one.")
    labels = _label_columns(columns, lines, needed)
    _refuse_cells(labels, lines)
    found: dict[str, Labelled] = {}
    clashing = 0
    for number, cells in lines:
        uid = cells[columns[_plain(UID)]]
        if not is_uid(uid):
            raise ParameterError(
                f"Line {number} of the table of labels holds no SOP Instance UID; a spreadsheet "
                "rounds long numbers, so format that column as text and export it again."
            )
        row = Labelled(
            {
                name: truth
                for name, at in labels.items()
                if (truth := _truth(cells[at])) is not None
            },
            _words(columns, cells, number),
        )
        if uid in found and found[uid].present != row.present:
            clashing += 1
            before = found[uid].present
            row = Labelled({k: v for k, v in before.items() if row.present.get(k) is v}, row.words)
        found[uid] = row
    if not clashing:
        return found, []
    return found, [
        Problem(
            "labels that contradict",
            clashing,
            f"{clashing} films stand twice in the table with different labels; what differs counts "
            "for nothing",
            "accuracy and gaps on those films",
        )
    ]


def _text(path: Path) -> str:
    """Decode the file: UTF-8 with or without a mark, or UTF-16 with one."""
    try:
        content = path.read_bytes()
        wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        return content.decode("utf-16" if wide else "utf-8-sig")
    except OSError as error:
        raise ParameterError(
            f"The table of labels cannot be read ({error.strerror or type(error).__name__})."
        ) from None
    except UnicodeDecodeError:
        raise ParameterError(
            "The table of labels cannot be read, since it is not in UTF-8; export it as "
            "'CSV UTF-8' (Excel: Save as)."
        ) from None


def _parsed(text: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Split into the names of columns, and lines of as many cells, each with its number."""
    head = text.lstrip("\r\n").partition("\n")[0]
    split = {mark: [_plain(cell) for cell in next(csv.reader([head], delimiter=mark), [])]
             for mark in SEPARATORS}  # fmt: skip
    mark = next((mark for mark, cells in split.items() if _plain(UID) in cells), None)
    if mark is None:
        raise ParameterError(
            f"The table of labels has no column {UID}; its first line names the columns, separated "
            f"by {', '.join(SEPARATORS.values())}."
        )
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise ParameterError(
            f"The table of labels cannot be read as CSV with the separator {SEPARATORS[mark]} "
            f"({error})."
        ) from None
    rows = [(number, cells) for number, cells in rows if any(cells)]
    names = rows[0][1]
    while names and not names[-1]:  # empty columns to the right, as spreadsheets leave them
        names.pop()
    lines = []
    for number, cells in rows[1:]:
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        if len(cells) != len(names):
            raise ParameterError(
                f"Line {number} of the table of labels has {len(cells)} cells and its first line "
                f"{len(names)} (separator {SEPARATORS[mark]}); correct that line."
            )
        lines.append((number, cells))
    return names, lines


def _refuse_doubles(names: Sequence[str]) -> None:
    plain = [_plain(name) for name in names]
    twice = next((name for name in names if plain.count(_plain(name)) > 1), None)
    if twice is not None:
        raise ParameterError(
            f"The table of labels has more than one column '{twice}' (case and spaces do not "
            "count); leave the right one."
        )


def _label_columns(
    columns: Mapping[str, int],
    lines: Sequence[tuple[int, list[str]]],
    needed: Collection[str] | None,
) -> dict[str, int]:
    """Choose the columns that are labels, under the suite's names where it has some."""
    taken = {_plain(name) for name in (UID, *WORDS)}
    wanted = {_plain(name): name for name in needed or ()}
    lacking = [name for plain, name in wanted.items() if plain not in columns]
    if lacking:
        raise ParameterError(
            f"The table of labels has no column {', '.join(repr(name) for name in lacking)}, which "
            "the suite needs; write it with 0, 1, or nothing where nobody knows."
        )
    labels = {}
    for plain, at in columns.items():
        cells = [cells[at] for _, cells in lines if cells[at]]
        known = [_truth(cell) is not None for cell in cells]
        enough = any(known) if needed is None else bool(known) and all(known)
        if plain not in taken and (plain in wanted or enough):
            labels[wanted.get(plain, plain)] = at
    if needed is None and lines and not labels:
        raise ParameterError(
            "The table of labels has no column of labels, 0 and 1; write one for each finding."
        )
    return labels


def _refuse_cells(labels: Mapping[str, int], lines: Sequence[tuple[int, list[str]]]) -> None:
    for name, at in labels.items():
        odd = [number for number, cells in lines if cells[at] and _truth(cells[at]) is None]
        if odd:
            named = ", ".join(map(str, odd[:_NAMED])) + (", ..." if len(odd) > _NAMED else "")
            raise ParameterError(
                f"The column '{name}' of the table of labels has {len(odd)} cells that are neither "
                f"0, 1 nor empty (line {named}); write 1 where the film shows it, 0 where it does "
                "not, and nothing where nobody is sure."
            )


def _words(columns: Mapping[str, int], cells: Sequence[str], number: int) -> dict[str, str]:
    words = {name: cells[columns[name]] for name in WORDS if name in columns}
    words = {name: word for name, word in words.items() if word}
    if "side" in words:
        side = _SIDES.get(words["side"].lower())
        if side is None:
            raise ParameterError(
                f"The side in line {number} of the table of labels is none of left, right and "
                "both; correct it, or leave it empty."
            )
        words["side"] = side
    return words


def _truth(cell: str) -> bool | None:
    plain = cell.lower()
    return True if plain in _TRUE else False if plain in _FALSE else None


def _plain(name: str) -> str:
    """A column's name without what makes no difference; SOPInstanceUID is sop_instance_uid."""
    plain = " ".join(name.replace("_", " ").split()).casefold()
    return "sop instance uid" if plain == "sopinstanceuid" else plain
