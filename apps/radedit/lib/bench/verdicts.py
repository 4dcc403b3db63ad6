"""How often a verdict is false: vendors and edits of known truth, cohorts by the thousand.

The rule is the product's own (`stress.verdict`), its intervals are the product's own, and some of
the drawn cohorts also go the whole way, as rows through `sort_rows` and `summarise`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from radedit.lib.bench.vendors import BLIND, BOUND, GOOD, SWAPPED, UNFIT, VENDORS, Vendor
from radedit.lib.bench.worlds import (
    DOSE,
    EDITS,
    NOTHING,
    OFF_TARGET,
    QUESTIONS,
    REMOVED,
    RIGHT,
    TRUTH,
    Cell,
    Drawn,
    Reckoned,
    draw,
    measured_of,
    rows_of,
)
from radedit.lib.stress.findings import sort_rows
from radedit.lib.stress.results import summarise
from radedit.lib.stress.verdict import FAILED, HELD, OUTCOMES, outcome

Row = dict[str, Any]
COHORTS, SEEDS = (10, 30, 100), (1, 3)
HINDRANCES: Final = ({"missing": 0.05}, {"silent": 0.5}, {"not_edited": 0.3})
LEAST_DRAWS: Final = 0.25  # part of the draws with an interval, to say how often it holds
_SEED: Final = 29
_SAME: Final = 1e-9


@dataclass(frozen=True)
class Zoo:
    """What to draw.

    Attributes
    ----------
    draws : cohorts of each cell and vendor
    through_rows : of them, that also go through rows and `summarise`
    cells : of cohorts
    """

    draws: int
    through_rows: int
    cells: tuple[Cell, ...]


def all_cells() -> tuple[Cell, ...]:
    """Every question, edit, measure, cohort and number of seeds, and what hinders the largest."""
    crossed = [
        Cell(question, edits, measure, patients, seeds)
        for question in QUESTIONS
        for edits in EDITS
        for measure in (TRUTH, DOSE)
        for patients in COHORTS
        for seeds in SEEDS
    ]
    hindered = [
        Cell(question, edits, measure, COHORTS[-1], SEEDS[-1], **hindrance)
        for question in QUESTIONS
        for edits in EDITS
        for measure in (TRUTH, DOSE)
        for hindrance in HINDRANCES
    ]
    return (*crossed, *hindered)


def judge_zoo(zoo: Zoo, progress: Callable[[int, int], None] = lambda i, n: None) -> list[Row]:
    """Judge every vendor in every cell.

    Returns
    -------
    One row of each: the cell, the vendor, shares of the three outcomes, how often each interval
    held what it estimates, and how many verdicts differed on the way through rows.
    """
    rows = []
    for number, cell in enumerate(zoo.cells):
        progress(number, len(zoo.cells))
        for vendor in VENDORS:
            rng = np.random.default_rng([_SEED, number, VENDORS.index(vendor)])
            rows.append(_judged(zoo, cell, vendor, rng))
    progress(len(zoo.cells), len(zoo.cells))
    return rows


def _judged(zoo: Zoo, cell: Cell, vendor: Vendor, rng: np.random.Generator) -> Row:
    drawn = draw(cell, vendor, zoo.draws, rng)
    reckoned = measured_of(drawn)
    said = outcome(cell.suite.criterion, reckoned.measured)
    shares = {name: float((said == at).mean()) for at, name in enumerate(OUTCOMES)}
    return {
        **asdict(cell),
        "vendor": vendor.name,
        "kind": vendor.kind,
        **shares,
        "coverage": dict(_covered(reckoned)),
        "through_rows": zoo.through_rows,
        "differ": _differ(drawn, said, zoo.through_rows),
    }


def _covered(reckoned: Reckoned) -> Iterator[tuple[str, float]]:
    """How often each interval holds the mean of its estimates; of those with intervals enough."""
    for name, (value, low, high) in reckoned.intervals.items():
        stands = np.isfinite(low) & np.isfinite(high)
        if stands.mean() < LEAST_DRAWS:
            continue
        goal = float(value[stands].mean())
        if value[stands].std() < _SAME:  # no chance is in it, so there is nothing to cover
            continue
        inside = (low[stands] <= goal + 1e-9) & (goal - 1e-9 <= high[stands])
        yield name, float(inside.mean())


def _differ(drawn: Drawn, said: np.ndarray[Any, Any], count: int) -> int:
    suite = drawn.cell.suite
    found = 0
    for at in range(count):
        result = summarise(sort_rows(suite, rows_of(drawn, at)), ())
        found += result["victims"][0]["verdict"]["outcome"] != OUTCOMES[said[at]]
    return found


def must_not_hold(row: Row) -> bool:
    """Say whether "held" would be false, whatever was edited."""
    if row["kind"] == UNFIT:  # wrong where there is a finding, or at its threshold
        return bool(row["question"] == REMOVED)
    return row["kind"] in (BLIND, SWAPPED, BOUND)


def must_not_fail(row: Row) -> bool:
    """Say whether "failed" would be false: of a good reader, where the edits were right or nil."""
    return row["kind"] == GOOD and row["edits"] in (RIGHT, NOTHING)


def _decides(row: Row) -> bool:
    plain = not (row["missing"] or row["silent"] or row["not_edited"])
    return bool(row["edits"] == RIGHT and row["patients"] == COHORTS[-1] and plain)


def summary_of(rows: Sequence[Row]) -> Row:
    """Worst cells of each kind, and how often intervals hold.

    Returns
    -------
    dict
        "false_held" and "false_failed" and "failed_on_nothing": highest share and its row;
        "held_when_good" and "failed_when_bound": lowest share with right edits and the largest
        cohorts; "coverage": mean, lowest, and highest of continuous measures; "differ": verdicts
        that differ on the way through rows.
    """
    fair = [row for row in rows if must_not_fail(row) and row["edits"] == RIGHT]
    good = [row for row in rows if _decides(row) and row["vendor"] in ("good, 0.9", "good, 0.99")]
    bound = [row for row in rows if _decides(row) and row["kind"] == BOUND]
    covered = [(share, name, row) for row in rows for name, share in row["coverage"].items()]
    smooth = [one for one in covered if one[2]["question"] == OFF_TARGET and one[1] == "effect"
              and one[2]["kind"] in (GOOD, BOUND)]  # fmt: skip

    def worst(kept: Sequence[Row], name: str, best: bool = False) -> Row | None:
        if not kept:
            return None
        row = (min if best else max)(kept, key=lambda one: one[name])
        return {"share": row[name], **_named(row)}

    return {
        "false_held": worst([row for row in rows if must_not_hold(row)], HELD),
        "false_failed": worst(fair, FAILED),
        "failed_on_nothing": worst([row for row in rows if row["edits"] == NOTHING], FAILED),
        "held_when_good": worst(good, HELD, best=True),
        "failed_when_bound": worst(bound, FAILED, best=True),
        "coverage": {
            "mean": float(np.mean([one[0] for one in covered])),
            "lowest": _extreme(min, covered),
            "highest_continuous": _extreme(max, smooth),
        },
        "through_rows": sum(row["through_rows"] for row in rows),
        "differ": sum(row["differ"] for row in rows),
    }


def _extreme(choose: Any, covered: Sequence[tuple[float, str, Row]]) -> Row | None:
    if not covered:
        return None
    share, name, row = choose(covered, key=lambda one: one[0])
    return {"share": share, "interval": name, **_named(row)}


def _named(row: Row) -> Row:
    keys = ("vendor", "question", "edits", "measure", "patients", "seeds", "missing", "silent",
            "not_edited")  # fmt: skip
    return {key: row[key] for key in keys}
