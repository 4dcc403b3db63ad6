"""Drawn cohorts: what an edit really did, who answered, and what each vendor said of it.

Thousands of cohorts are drawn at once as arrays [draws, patients]. `measured_of` gives the rule
what it takes from them by the same intervals as a run; `rows_of` writes one of them as the rows of
a run, so that the whole way from rows to a verdict can be held against it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from radedit.lib.bench.vendors import THRESHOLD, Look, Scores, Vendor, noise
from radedit.lib.stress import intervals
from radedit.lib.stress.intervals import Sums
from radedit.lib.stress.suite import Suite, parse_suite
from radedit.lib.stress.verdict import Measured

Flags = NDArray[np.bool_]
RIGHT, NOTHING, ELSEWHERE, HALF, ERASES = (
    "right", "nothing done", "wrong place", "half removed", "erases besides",
)  # fmt: skip
EDITS: Final = (RIGHT, NOTHING, ELSEWHERE, HALF, ERASES)
REMOVED, ADDED, OFF_TARGET = "finding removed", "other thing added", "off target"
QUESTIONS: Final = (REMOVED, ADDED, OFF_TARGET)
TRUTH, DOSE = "truth or reader", "dose"
SEEN: Final = {RIGHT: 0.95, NOTHING: 0.02, ELSEWHERE: 0.03, HALF: 0.15, ERASES: 0.1}
"""How often a measure that knows the truth, or a reader, takes an edit of each kind for done."""
DOSES: Final = {RIGHT: 1.8, NOTHING: 1.0, ELSEWHERE: 1.8, HALF: 1.4, ERASES: 2.2}
SHAM_DOSE, SPREAD = 0.04, {NOTHING: 0.15}

SUITE: Final = """
name = "zoo"
title = "Drawn"
shift = "none"
intended_use = "Verdicts on vendors whose truth is known"
[question]
{question}
[[edits]]
name = "edit"
prompt = "none"
{turns}
seeds = {seeds}
[filter]
directional = false
[criterion]
effect = "{effect}"
at_most = {at_most}
patients = 20
"""


@dataclass(frozen=True)
class Cell:
    """What a cohort is drawn of.

    Attributes
    ----------
    question, edits, measure : one of QUESTIONS, EDITS, and TRUTH or DOSE
    patients : with an edit, and as many of the other kind
    seeds : of each edit
    missing : share of the answers that do not come, at random
    silent : share of the edits that the vendor does not answer where it would be wrong
    not_edited : share of the films that could not be edited
    """

    question: str
    edits: str
    measure: str
    patients: int
    seeds: int
    missing: float = 0.0
    silent: float = 0.0
    not_edited: float = 0.0

    @property
    def suite(self) -> Suite:
        """The suite that such a cohort is judged by."""
        gap = self.question != OFF_TARGET
        text = SUITE.format(
            question='label = "finding"' if gap else 'watch = ["finding"]',
            turns='removes = ["finding"]' if self.question == REMOVED else 'adds = ["object"]',
            seeds=list(range(self.seeds)),
            effect="gap" if gap else "off_target",
            at_most=0.15 if gap else 0.10,
        )
        return parse_suite(text.encode())


@dataclass(frozen=True, eq=False)
class Drawn:
    """Cohorts of one cell and one vendor; arrays [draws, patients] and [draws, patients, seeds].

    Attributes
    ----------
    real, edit, sham, masked : scores of the patients that are edited; NaN = no answer
    other : scores of the real films of the other patients
    made : whether the film could be edited
    done : whether the measure takes each edit for done
    dose : of each edit, where it is measured by dose
    """

    cell: Cell
    real: Scores
    other: Scores
    edit: Scores
    sham: Scores
    masked: Scores
    made: Flags
    done: Flags
    dose: Scores


def draw(cell: Cell, vendor: Vendor, draws: int, rng: np.random.Generator) -> Drawn:
    """Draw cohorts of a cell and let a vendor answer."""
    shape = (draws, cell.patients)
    own, others = rng.standard_normal(shape), rng.standard_normal(shape)
    removed = cell.question == REMOVED
    before = 1.0 if removed else 0.0
    finding, shortcut = _after(cell, vendor)

    def look(
        seen: float, short: float, edited: bool, own: Scores, seeds: int, of: Scores | None
    ) -> Scores:
        drawn = noise(rng, own, seeds)
        full = np.full(drawn.shape, seen), np.full(drawn.shape, short)
        return vendor.reads(Look(*full, edited, drawn, of), rng)

    real = look(before, before, False, own, 0, None)
    edit = look(finding, shortcut, True, own, cell.seeds, real)
    spread = SPREAD.get(cell.edits, 0.3)
    dose = SHAM_DOSE * DOSES[cell.edits] * np.exp(spread * rng.standard_normal(edit.shape))
    if cell.measure == DOSE:
        done = dose > 1.1 * SHAM_DOSE
    else:
        done = rng.random(edit.shape) < SEEN[cell.edits]
    made = rng.random(shape) >= cell.not_edited
    silent = (edit >= THRESHOLD) & (rng.random(edit.shape) < cell.silent)  # nothing is left to call
    return Drawn(
        cell=cell,
        real=_answered(real, cell, rng),
        other=_answered(look(1 - before, 1 - before, False, others, 0, None), cell, rng),
        edit=_answered(np.where(silent, np.nan, edit), cell, rng),
        sham=_answered(look(before, before, True, own, 0, real), cell, rng),
        masked=_answered(look(0.0, before, False, own, 0, None), cell, rng),
        made=made,
        done=done,
        dose=dose,
    )


def _answered(scores: Scores, cell: Cell, rng: np.random.Generator) -> Scores:
    return np.where(rng.random(scores.shape) < cell.missing, np.nan, scores)


def _after(cell: Cell, vendor: Vendor) -> tuple[float, float]:
    """What an edit leaves to be seen: finding and shortcut."""
    if cell.question == REMOVED:
        finding = {RIGHT: 0.0, ERASES: 0.0, HALF: 0.5}.get(cell.edits, 1.0)
        return finding, 0.0 if cell.edits == ERASES and vendor.erasable else 1.0
    return 0.0, {NOTHING: 0.0, HALF: 0.5}.get(cell.edits, 1.0)


@dataclass(frozen=True, eq=False)
class Reckoned:
    """What the rule is given of drawn cohorts, and the intervals that a report would print.

    Attributes
    ----------
    intervals : name to value and limits, each [draws]
    """

    measured: Measured
    intervals: dict[str, tuple[Scores, Scores, Scores]]


def measured_of(drawn: Drawn) -> Reckoned:
    """Reckon as `findings` and `conclusion` do, of all draws at once."""
    cell, gap = drawn.cell, drawn.cell.question != OFF_TARGET
    removed = cell.question == REMOVED
    counted = drawn.done & drawn.made[..., None]
    answered = counted & ~np.isnan(drawn.edit)
    read = ~np.isnan(drawn.real) & answered.any(-1)
    wrong_before = (drawn.real >= THRESHOLD) != removed
    right = read & ~wrong_before if gap else read
    wrong_other = (drawn.other >= THRESHOLD) == removed
    called, called_sham = drawn.edit >= THRESHOLD, drawn.sham >= THRESHOLD
    after = _over_seeds(called if gap else drawn.edit, answered)
    on_sham = (called_sham != removed) if gap else drawn.sham
    both = right & ~np.isnan(drawn.sham)
    lost, shaken = Sums.of(after, right), Sums.of(on_sham, both)
    other = Sums.of(wrong_other, ~np.isnan(drawn.other))
    compared = lost if removed else Sums.of(after - on_sham, both)
    value = compared.mean - (other.mean if removed else 0.0)
    if removed:
        low, high = intervals.excess(lost, other)
    else:
        low, high = intervals.paired(compared) if gap else intervals.mean(compared)
    sham_limits = (
        intervals.paired(shaken) if gap else intervals.mean(Sums.of(drawn.sham - drawn.real, both))
    )
    gone = np.full(low.shape, np.nan)
    if removed:
        wrong_grey = Sums.of(drawn.masked >= THRESHOLD, right & ~np.isnan(drawn.masked))
        gone = intervals.excess(wrong_grey, other)[0]
    done_known = np.broadcast_to(drawn.made[..., None], drawn.done.shape)
    done = Sums.of(_over_seeds(drawn.done, done_known), drawn.made)
    raw = Sums.of(after - (wrong_before if gap else drawn.real), read)
    said = {
        "effect": (value, low, high),
        "edits that did what they say": (done.mean, *intervals.proportion(done)),
    }
    if gap:
        said["right before, wrong after"] = (lost.mean, *intervals.proportion(lost))
        said["wrong on the sham"] = (shaken.mean, *intervals.proportion(shaken))
        said["fall of accuracy"] = (raw.mean, *intervals.paired(raw))
    reading = _reading(drawn, removed, said)
    return Reckoned(
        Measured(
            reading=reading,
            done=said["edits that did what they say"][1],
            part=drawn.made.mean(-1),
            patients=compared.n,
            answers=_answers(drawn, counted),
            sham=np.fmax(np.fmax(sham_limits[0], -sham_limits[1]), 0.0),
            low=low,
            high=high,
            gone=gone,
            by_dose=cell.measure == DOSE,
        ),
        said,
    )


def _over_seeds(values: NDArray[Any], known: Flags) -> Scores:
    with np.errstate(invalid="ignore"):
        total = np.where(known, np.nan_to_num(np.asarray(values, float)), 0.0).sum(-1)
        return np.asarray(total / known.sum(-1))


def _reading(
    drawn: Drawn, removed: bool, said: dict[str, tuple[Scores, Scores, Scores]]
) -> dict[str, Scores]:
    """Lower limits on the real films."""
    ill, well = (drawn.real, drawn.other) if removed else (drawn.other, drawn.real)
    known_ill, known_well = ~np.isnan(ill), ~np.isnan(well)
    if drawn.cell.question == OFF_TARGET:
        m, n = known_ill.sum(-1), known_well.sum(-1)
        ranks = rankdata(np.concatenate([ill, well], axis=1), axis=1, nan_policy="omit")
        found = (np.nansum(ranks[:, : ill.shape[1]], axis=1) - m * (m + 1) / 2) / (m * n)
        limits = intervals.area(found, m, n)
        said["AUROC"] = (found, *limits)
        return {"auroc": limits[0]}
    lows = {}
    for name, right, known in (
        ("sensitivity", ill >= THRESHOLD, known_ill),
        ("specificity", well < THRESHOLD, known_well),
    ):
        sums = Sums.of(right, known)
        said[name] = (sums.mean, *intervals.proportion(sums))
        lows[name] = said[name][1]
    return lows


def _answers(drawn: Drawn, counted: Flags) -> Scores:
    with np.errstate(invalid="ignore"):
        edits = (counted & ~np.isnan(drawn.edit)).sum((1, 2)) / counted.sum((1, 2))
    real = (~np.isnan(drawn.real)).mean(-1) / 2 + (~np.isnan(drawn.other)).mean(-1) / 2
    return np.asarray(np.minimum(np.nan_to_num(edits, nan=1.0), real))


def rows_of(drawn: Drawn, at: int) -> list[dict[str, Any]]:
    """Write one drawn cohort as the rows of a run."""
    cell, removed = drawn.cell, drawn.cell.question == REMOVED
    rows: list[dict[str, Any]] = [
        {
            "type": "card", "victim": "v", "name": "v", "version": "", "threshold": THRESHOLD,
            "thresholds": {"finding": THRESHOLD}, "preprocessing": "", "sha256": None, "world": "",
        }
    ]  # fmt: skip

    def answer(subject: str, score: float, kind: str, edit: str = "", seed: int = 0) -> None:
        said = {"missing": "none"} if np.isnan(score) else {"scores": {"finding": float(score)}}
        arm = {"subject": subject, "kind": kind, "edit": edit, "seed": seed, "level": 0.0}
        rows.append({"type": "answer", "victim": "v", **arm, **said})

    def film(subject: str, kind: str, seed: int, **about: Any) -> None:
        arm = {"subject": subject, "kind": kind, "edit": "edit", "seed": seed, "level": 0.0}
        rows.append({"type": "film", **arm, **about})

    for n in range(2 * cell.patients):
        edited, subject = n < cell.patients, f"s{n}"
        rows.append(
            {
                "type": "subject", "number": n, "subject": subject, "patient": subject, "group": "",
                "present": {"finding": removed == edited}, "traits": {}, "spacing_mm": [],
            }
        )  # fmt: skip
        if not edited:
            answer(subject, drawn.other[at, n - cell.patients], "real")
            continue
        answer(subject, drawn.real[at, n], "real")
        if not drawn.made[at, n]:
            film(subject, "edit", 0, refused="the edit mask is empty on this film")
            continue
        for seed in range(cell.seeds):
            film(subject, "edit", seed, **_about(drawn, at, n, seed))
            answer(subject, drawn.edit[at, n, seed], "edit", "edit", seed)
        film(subject, "sham", 0, **_ABOUT, dose=SHAM_DOSE)
        answer(subject, drawn.sham[at, n], "sham", "edit")
        answer(subject, drawn.masked[at, n], "masked", "edit")
    return rows


_ABOUT: Final[dict[str, Any]] = {
    "accepted": True, "reasons": [], "scores": {}, "ssim_outside": None, "features": [],
    "seconds": 1.0,
}  # fmt: skip


def _about(drawn: Drawn, at: int, n: int, seed: int) -> dict[str, Any]:
    about = {**_ABOUT, "dose": float(drawn.dose[at, n, seed])}
    if drawn.cell.measure == TRUTH:
        about["truth"] = {"done": float(drawn.done[at, n, seed]), "beside": 0.2}
    return about
