"""The rule that verdicts were made by before `verdict.RULE`: kept to show both side by side.

It held wherever the upper limit of the sham-corrected effect was under the bound, whatever the
model read and whatever the edits did. Nothing new is judged by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
from scipy.stats import binomtest, bootstrap, t

from radedit.lib.stress.findings import Asked, Found, damage, expected, less
from radedit.lib.stress.statistics import Estimate
from radedit.lib.stress.suite import Edit

RULE: Final = 1
Values = dict[str, float]


def former_verdict(found: Found, asked: Asked) -> dict[str, Any]:
    """Judge one model and label as the first rule did; its worst edit decides.

    Returns
    -------
    dict
        "rule", "held" (true, false, or None where it concluded nothing), "why", "effect", "edit"
    """
    each = [_of_edit(found, asked, edit) for edit in found.suite.edits]
    return {"rule": RULE, **max(each, key=lambda one: one[0])[1]}


def _of_edit(found: Found, asked: Asked, edit: Edit) -> tuple[int, dict[str, Any]]:
    criterion = found.suite.criterion
    estimate = _effect(found, asked, edit)
    flags = [
        bool(row["accepted"])
        for (_, kind, name, _), row in found.films.items()
        if kind == "edit" and name == edit.name and "refused" not in row
    ]
    part = sum(flags) / len(flags) if flags else 0.0
    about = {"edit": edit.name, "effect": asdict(estimate)}
    if estimate.n < criterion.patients:
        why = f"{estimate.n} patients have an accepted edit, {criterion.patients} are needed"
        return 1, {"held": None, "why": why, **about}
    if estimate.value is None or part < criterion.least_yield:
        why = f"{part:.0%} of the edits passed the filter, {criterion.least_yield:.0%} are needed"
        return 1, {"held": None, "why": why, **about}
    if estimate.high is not None and estimate.high <= criterion.at_most:
        return 0, {"held": True, "why": "the upper limit is under the bound", **about}
    if estimate.low is not None and estimate.low > criterion.at_most:
        return 3, {"held": False, "why": "the lower limit is over the bound", **about}
    return 2, {"held": False, "why": "the bound lies inside the interval", **about}


def _effect(found: Found, asked: Asked, edit: Edit) -> Estimate:
    every = _on_arm(found, asked, ("real", "", 0, 0.0), None)
    edited = _mean_of(
        [_on_arm(found, asked, ("edit", edit.name, s, 0.0), edit) for s in edit.seeds]
    )
    sham = _mean_of([_on_arm(found, asked, ("sham", edit.name, s, 0.0), None) for s in edit.seeds])
    real = {patient: value for patient, value in every.items() if patient in edited}
    raw, harm = less(edited, real), less(sham, real)
    turned = asked.label in (*edit.removes, *edit.adds)
    alone = not harm or (turned and sum(harm.values()) <= 0)
    values = np.array(list((raw if alone else less(raw, harm)).values()), float)
    return (_difference if found.suite.criterion.effect == "gap" else _mean)(values)


def _on_arm(
    found: Found, asked: Asked, arm: tuple[str, str, int, float], edit: Edit | None
) -> Values:
    collected = defaultdict(list)
    for subject, answer in found.answers.get(asked.victim, {}).get(arm, {}).items():
        if arm[0] == "edit" and not found.accepted(subject, arm[1], arm[2]):
            continue
        value = damage(found, asked, answer, expected(found, asked, subject, edit))
        if value is not None:
            collected[found.patient(subject)].append(value)
    return {patient: float(np.mean(values)) for patient, values in collected.items()}


def _mean_of(per_seed: Sequence[Mapping[str, float]]) -> Values:
    collected = defaultdict(list)
    for values in per_seed:
        for patient, value in values.items():
            collected[patient].append(value)
    return {patient: float(np.mean(values)) for patient, values in collected.items()}


def _difference(data: np.ndarray[Any, Any]) -> Estimate:
    """Agresti and Min's interval."""
    if data.size < 2:
        return Estimate(float(data[0]) if data.size else None, None, None, data.size)
    n = data.size + 2
    middle = float(data.sum()) / n
    variance = (float((data**2).sum()) + 1) / n - middle**2
    half = float(t.ppf(0.975, n - 1)) * float(np.sqrt(variance / (n - 1)))
    value = float(data.mean())
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Estimate(value, min(low, value), max(high, value), data.size)


def _mean(data: np.ndarray[Any, Any]) -> Estimate:
    """Bootstrap over patients; where all agree, the exact bound of 0 or 1."""
    if data.size == 0:
        return Estimate(None, None, None, 0)
    value = float(data.mean())
    if data.size < 2 or np.ptp(data) == 0:
        if data.size < 2 or value not in (-1.0, 0.0, 1.0):
            return Estimate(value, None, None, data.size)
        slack = float(binomtest(0, data.size).proportion_ci(0.95, "exact").high)
        return Estimate(value, max(-1.0, value - slack), min(1.0, value + slack), data.size)
    method = "BCa" if data.size >= 10 else "percentile"
    limits = bootstrap((data,), np.mean, n_resamples=4000, method=method, rng=11, vectorized=True)
    low, high = map(float, limits.confidence_interval)
    known = bool(np.isfinite([low, high]).all())
    return Estimate(value, low if known else None, high if known else None, data.size)
