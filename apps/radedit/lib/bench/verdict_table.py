"""The zoo's tables in Markdown: what each verdict is worth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from radedit.lib.bench.vendors import VENDORS
from radedit.lib.bench.verdicts import must_not_hold, summary_of
from radedit.lib.bench.worlds import (
    ADDED,
    DOSE,
    ELSEWHERE,
    HALF,
    NOTHING,
    OFF_TARGET,
    REMOVED,
    RIGHT,
)
from radedit.lib.stress.verdict import FAILED, HELD

Row = dict[str, Any]
Keep = Callable[[Row], bool]


def _plain(row: Row, question: str, patients: int) -> bool:
    hindered = row["missing"] or row["silent"] or row["not_edited"]
    return bool(
        row["edits"] == RIGHT
        and row["question"] == question
        and row["patients"] == patients
        and not hindered
    )


_COLUMNS: Final[tuple[tuple[str, Keep, tuple[str, ...]], ...]] = (
    ("removed, 30", lambda row: _plain(row, REMOVED, 30), (HELD, FAILED)),
    ("removed, 100", lambda row: _plain(row, REMOVED, 100), (HELD, FAILED)),
    ("other added, 100", lambda row: _plain(row, ADDED, 100), (HELD, FAILED)),
    ("off target, 100", lambda row: _plain(row, OFF_TARGET, 100), (HELD, FAILED)),
    ("most held where that is false, any cell", must_not_hold, (HELD,)),
    ("most failed, nothing done", lambda row: row["edits"] == NOTHING, (FAILED,)),
    (
        "most failed, half or misplaced, by dose alone",
        lambda row: row["edits"] in (HALF, ELSEWHERE) and row["measure"] == DOSE,
        (FAILED,),
    ),
)


def markdown(rows: Sequence[Row]) -> str:
    """Write what was drawn as tables: verdicts by vendor, coverage by interval, and the worst."""
    return "\n\n".join([_verdicts(rows), _coverage(rows), _worst(rows)])


def _verdicts(rows: Sequence[Row]) -> str:
    lines = [
        "| vendor | " + " | ".join(title for title, _, _ in _COLUMNS) + " |",
        "|---" * (len(_COLUMNS) + 1) + "|",
    ]
    for vendor in VENDORS:
        mine = [row for row in rows if row["vendor"] == vendor.name]
        cells = [_cell([row for row in mine if keep(row)], names) for _, keep, names in _COLUMNS]
        lines.append(f"| {vendor.name} ({vendor.kind}) | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Mean share of each outcome; the highest where one alone is asked for."""
    if not rows:
        return "–"
    if len(names) == 1:
        return _percent(max(row[names[0]] for row in rows))
    return ", ".join(_percent(float(np.mean([row[name] for row in rows]))) for name in names)


def _percent(share: float) -> str:
    return "0" if share == 0 else f"{100 * share:.1f}"


def _coverage(rows: Sequence[Row]) -> str:
    collected: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, share in row["coverage"].items():
            what = (
                "effect, of scores" if (name, row["question"]) == ("effect", OFF_TARGET) else name
            )
            collected[what].append(share)
    lines = ["| interval | cells | mean | lowest | highest |", "|---|---|---|---|---|"]
    for name, shares in sorted(collected.items()):
        figures = (float(np.mean(shares)), min(shares), max(shares))
        lines.append(
            f"| {name} | {len(shares)} | " + " | ".join(f"{x:.3f}" for x in figures) + " |"
        )
    return "\n".join(lines)


def _worst(rows: Sequence[Row]) -> str:
    found = summary_of(rows)
    said = {
        "false held, worst cell": "false_held",
        "false failed under right edits, worst cell": "false_failed",
        "failed under edits that did nothing, worst cell": "failed_on_nothing",
        "held, readers of 0.9 and 0.99, 100 patients, worst cell": "held_when_good",
        "failed, shortcut-bound readers, 100 patients, worst cell": "failed_when_bound",
    }
    lines = ["| measure | share | where |", "|---|---|---|"]
    for title, key in said.items():
        row = found[key]
        if row is not None:
            where = "–" if row["share"] == 0 else _where(row)
            lines.append(f"| {title} | {_percent(row['share'])} % | {where} |")
    lines.append(f"| coverage of all intervals, mean | {100 * found['coverage']['mean']:.1f} % | |")
    low = found["coverage"]["lowest"]
    if low is not None:
        lines.append(f"| lowest | {100 * low['share']:.1f} % | {low['interval']}: {_where(low)} |")
    lines.append(
        f"| verdicts that differ on the way through rows | {found['differ']} of "
        f"{found['through_rows']} | |"
    )
    return "\n".join(lines)


def _where(row: Row) -> str:
    hindered = [
        f"{row[key]:.0%} {key.replace('_', ' ')}"
        for key in ("missing", "silent", "not_edited")
        if row[key]
    ]
    parts = [row["vendor"], row["question"], f"edits: {row['edits']}", f"by {row['measure']}",
             f"{row['patients']} patients", f"{row['seeds']} seeds", *hindered]  # fmt: skip
    return ", ".join(parts)
