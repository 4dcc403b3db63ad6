"""From a run to its verdict: what the rule is given, what it says, and why, in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from radedit.lib.stress import intervals, statistics
from radedit.lib.stress.criterion import Criterion
from radedit.lib.stress.findings import (
    Asked,
    Effect,
    Found,
    by_patient,
    expected,
    on_arm,
)
from radedit.lib.stress.intervals import Sums
from radedit.lib.stress.statistics import Estimate
from radedit.lib.stress.suite import Edit
from radedit.lib.stress.verdict import (
    FAILED,
    HELD,
    NOT_SHOWN,
    OUTCOMES,
    Measured,
    conditions,
    floors,
    outcome,
)
from radedit.lib.stress.yields import yield_of

Result = dict[str, Any]
SWAPPED = 0.3  # an area under the curve beneath this is asked about: labels may be swapped
_RANK = {HELD: 0, NOT_SHOWN: 1, FAILED: 2}


def done_of(found: Found, edit: Edit) -> Result:
    """Share of the edits that did what they say, over patients, and by what it was measured."""
    made: dict[str, list[bool]] = {}
    measures: Counter[str] = Counter()
    unknown = 0
    for subject, kind, name, seed in found.films:
        if kind != "edit" or name != edit.name:
            continue
        by, did = found.did(subject, edit, seed)
        if did is None:
            unknown += "reasons" in found.films[subject, kind, name, seed]
            continue
        measures[by] += 1
        made.setdefault(found.patient(subject), []).append(did)
    share = statistics.proportion([sum(flags) / len(flags) for flags in made.values()])
    return {"share": asdict(share), "measured_by": dict(measures), "unknown": unknown}


def reading_of(found: Found, asked: Asked) -> Result | None:
    """How well the model reads the real films: one film of each patient with and without."""
    real = ("real", "", 0, 0.0)
    if not asked.label:
        dice = by_patient(found, on_arm(found, asked, real, None))
        return {"dice": asdict(statistics.mean([1 - value for value in dice.values()]))}
    scores, truth, seen = [], [], set()
    for subject, answer in found.answers.get(asked.victim, {}).get(real, {}).items():
        wanted = expected(found, asked, subject, None)
        score = answer.get("scores", {}).get(asked.label)
        who = found.patient(subject), wanted
        if wanted is None or score is None or who in seen:
            continue
        seen.add(who)
        scores.append(score)
        truth.append(wanted)
    if not scores:
        return None
    threshold = found.cards[asked.victim]["thresholds"][asked.label]
    return asdict(statistics.reading(scores, truth, threshold))


def verdict(found: Found, effects: Sequence[Effect], reading: Result | None) -> Result:
    """Judge one model and label by its worst edit.

    Returns
    -------
    dict
        "outcome" of the rule; "held" true, false, or None where nothing is shown; "why", a
        sentence; "edit" and "effect" it rests on; "among" the films that effect is of.
    """
    if not effects:
        return {"outcome": NOT_SHOWN, "held": None, "why": "nothing was edited", "unmet": []}
    each = [_of_edit(found, effect, reading) for effect in effects]
    return max(each, key=lambda one: _RANK[one["outcome"]])


def measured(found: Found, effect: Effect, reading: Result | None) -> Measured:
    """Collect what the rule is given."""
    criterion = found.suite.criterion
    estimate, sham = effect.estimate, effect.mean(effect.shaken)
    if not effect.is_gap:
        sham = effect.mean(effect.sham_effect)
    beyond = max(sham.low or 0.0, -(sham.high or 0.0), 0.0)
    done = done_of(found, effect.edit)
    lows = {name: ((reading or {}).get(name) or {}).get("low") for name in floors(criterion)}
    return Measured(
        reading={name: _number(low) for name, low in lows.items()},
        done=_number(done["share"]["low"]),
        part=_number(yield_of(found, effect.edit)["yield"]),
        patients=_number(float(estimate.n)),
        answers=_number(effect.answers),
        sham=_number(beyond),
        low=_number(estimate.low),
        high=_number(estimate.high),
        gone=_number(_gone(effect).low),
        by_dose=set(done["measured_by"]) <= {"dose"},
    )


def _gone(effect: Effect) -> Estimate:
    """Effect where the finding is gone without the editor: truth, or the region filled with grey.

    It has no say on edits that do not remove the label.
    """
    without = effect.lost_truly or effect.lost_masked
    if effect.asked.label not in effect.edit.removes or not without:
        return statistics.NOTHING
    return statistics.excess(list(without.values()), list(effect.reference.values()))


def _number(value: float | None) -> intervals.Numbers:
    return np.asarray(math.nan if value is None else value, float)


def _of_edit(found: Found, effect: Effect, reading: Result | None) -> Result:
    criterion, given = found.suite.criterion, measured(found, effect, reading)
    said = OUTCOMES[int(outcome(criterion, given))]
    unmet = [name for name, met in conditions(criterion, given).items() if not met]
    estimate, among = effect.estimate, "read right before" if effect.is_gap else "all"
    if estimate.value is None:
        estimate, among = effect.mean(effect.raw), "all"
    why = [_unmet(found, effect, reading, given, name) for name in unmet]
    return {
        "outcome": said,
        "held": {HELD: True, FAILED: False}.get(said),
        "why": "; ".join(why) or _met(criterion, effect, said, given),
        "unmet": unmet,
        "edit": effect.edit.name,
        "effect": asdict(estimate),
        "among": among,
    }


def _met(criterion: Criterion, effect: Effect, said: str, given: Measured) -> str:
    """Say why, where all conditions are met."""
    bound = f"{criterion.at_most:g}"
    if said == HELD:
        return f"the effect is at most {float(given.high):.3f}, the bound is {bound}"
    if said == FAILED:
        return f"the effect is at least {float(given.low):.3f}, the bound is {bound}"
    if float(given.low) > criterion.at_most:
        where = (
            "on the true counterfactuals"
            if effect.lost_truly
            else "once the region is filled with grey"
        )
        return (
            f"what it gets wrong on the edits it does not, beyond doubt, {where}, so the edits' "
            "own traces may be what it called"
        )
    if float(given.high) <= criterion.at_most:
        return (
            "dose alone says what the edits did, and the film with the region filled with grey is "
            "still called: whether the edits erased more than they say cannot be told"
        )
    if not np.isfinite(given.low):
        return "no interval stands on what was answered"
    return f"the bound {bound} lies inside the interval; {power(criterion, effect)}"


def _unmet(found: Found, effect: Effect, reading: Result | None, given: Measured, name: str) -> str:
    """Say which condition is not met, with the figures."""
    criterion = found.suite.criterion
    if name == "reading":
        return _reads(criterion, reading)
    if name == "edits":
        done = done_of(found, effect.edit)
        if done["share"]["value"] is None:
            return "nothing measured whether the edits did what they say"
        by = " and ".join(done["measured_by"])
        return (
            f"the edits did what they say in {_said(done['share'])} of {done['share']['n']} "
            f"patients by their {by}, over {criterion.done:g} is needed"
        )
    if name == "yield":
        return (
            f"{float(given.part):.0%} of the edits passed the filter, "
            f"{criterion.least_yield:.0%} are needed"
        )
    if name == "answers":
        return (
            f"{float(given.answers):.0%} of the films were answered, "
            f"{criterion.answers:.0%} are needed"
        )
    if name == "sham":
        sham = effect.shaken if effect.is_gap else effect.sham_effect
        return (
            f"the sham alone changes {_said(asdict(effect.mean(sham)))}, more than the bound "
            f"{criterion.at_most:g}"
        )
    what = "were read right and have an edit that counts" if effect.is_gap else "have an edit"
    return (
        f"{int(given.patients)} patients {what}, {criterion.patients} are needed; "
        f"{power(criterion, effect, criterion.patients)}"
    )


def _reads(criterion: Criterion, reading: Result | None) -> str:
    """Say what is not known of the reading of real films: badly read, or too few of them."""
    if reading is None:
        return "it has read no real film whose labels are known"
    badly: list[str] = []
    few: list[str] = []
    for name, floor in floors(criterion).items():
        found = reading.get(name) or {}
        title = {"auroc": "AUROC", "dice": "Dice"}.get(name, name)
        if found.get("value") is None:
            few.append(f"no real film says anything of its {title}")
        elif (found["low"] or 0.0) < floor:
            said = f"{title} {_said(found)} of {found['n']}, over {floor:g} is needed"
            (badly if found["value"] < floor else few).append(said)
    area = (reading.get("auroc") or {}).get("value")
    swapped = ["its labels may be swapped"] if area is not None and area < SWAPPED else []
    why = [f"it reads the real films badly: {', '.join(badly)}"] if badly else []
    why += [f"too few real films show how it reads them: {', '.join(few)}"] if few else []
    return "; ".join(why + swapped)


def power(criterion: Criterion, effect: Effect, patients: int | None = None) -> str:
    """Say what the criterion takes with so many patients, or with those there are."""
    n = patients or effect.estimate.n
    if not effect.is_gap:
        found = effect.estimate
        if found.low is None or found.high is None:
            return f"{n} patients are too few for an interval"
        return f"with {n} patients an effect is known to {(found.high - found.low) / 2:.3f}"
    most = _most_lost(criterion, effect, n)
    if most is None:
        return f"{n} patients are too few for the bound {criterion.at_most:g}, even if none is lost"
    lost = "none is lost" if most == 0 else f"at most {most} of them are lost"
    return f"with {n} patients the criterion holds only if {lost}"


def _most_lost(criterion: Criterion, effect: Effect, n: int) -> int | None:
    lost = np.arange(n + 1, dtype=float)
    sums = Sums(np.full(n + 1, float(n)), lost, lost)
    if effect.turned:
        reference = Sums.of(list(effect.reference.values()))
        high = intervals.excess(sums, reference)[1]
    else:
        high = intervals.paired(sums)[1]
    fits = np.flatnonzero(high <= criterion.at_most)
    return int(fits[-1]) if fits.size else None


def _said(found: Mapping[str, Any] | Estimate) -> str:
    figures = asdict(found) if isinstance(found, Estimate) else found
    if figures["value"] is None:
        return "an unknown share"
    if figures["low"] is None:
        return f"{figures['value']:.2f}"
    return f"{figures['value']:.2f} ({figures['low']:.2f} to {figures['high']:.2f})"
