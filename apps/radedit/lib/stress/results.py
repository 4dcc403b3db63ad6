"""The result of a run as one mapping for JSON, the report and the DICOM object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import wilcoxon

from radedit.lib.stress import statistics
from radedit.lib.stress.findings import (
    Asked,
    Effect,
    Found,
    Row,
    asked_of,
    effect_of,
    expected,
    less,
    on_arm,
)
from radedit.lib.stress.statistics import mean
from radedit.lib.stress.subjects import Problem
from radedit.lib.stress.yields import cohort_of, contradictions, yield_of

Result = dict[str, Any]
FEWEST = 5  # patients of a subgroup that is told of


def summarise(
    found: Found, problems: Sequence[Problem], facts: Mapping[str, Any] | None = None
) -> Result:
    """Reckon everything that the report says.

    Parameters
    ----------
    facts : of the run; without them nothing is said of privacy
    """
    effects = [
        effect_of(found, asked, edit) for asked in asked_of(found) for edit in found.suite.edits
    ]
    corrected = statistics.holm(
        {_name(effect): p for effect in effects if (p := _p_of(effect)) is not None}
    )
    victims = []
    for asked in asked_of(found):
        mine = [effect for effect in effects if effect.asked == asked]
        victims.append(
            {
                "victim": asked.victim,
                "label": asked.label,
                "card": dict(found.cards[asked.victim]),
                "reading": _reading(found, asked),
                "effects": [
                    _effect(found, effect, corrected.get(_name(effect))) for effect in mine
                ],
                "corruptions": _corruptions(found, asked),
                "missing": _missing(found, asked),
                "verdict": verdict(found, mine),
            }
        )
    return {
        "cohort": cohort_of(found),
        "edits": [yield_of(found, edit, facts) for edit in found.suite.edits],
        "victims": victims,
        "problems": [asdict(problem) for problem in (*problems, *contradictions(found))],
    }


def verdict(found: Found, effects: Sequence[Effect]) -> Result:
    """Hold the effects of one victim against the suite's criterion; the worst edit decides."""
    criterion = found.suite.criterion
    worst: tuple[int, Result] | None = None
    held: bool | None
    for effect in effects:
        estimate, made = effect.estimate, yield_of(found, effect.edit)
        about = {"edit": effect.edit.name, "effect": asdict(estimate)}
        few = estimate.n < criterion.patients
        if few or estimate.value is None or made["yield"] < criterion.least_yield:
            why = (
                f"{estimate.n} patients have an accepted edit, {criterion.patients} are needed"
                if few
                else f"{made['yield']:.0%} of the edits passed the filter, "
                f"{criterion.least_yield:.0%} are needed"
            )
            rank, held = 1, None
        elif estimate.high is not None and estimate.high <= criterion.at_most:
            rank, held, why = 0, True, "the upper limit is under the bound"
        elif estimate.low is not None and estimate.low > criterion.at_most:
            rank, held, why = 3, False, "the lower limit is over the bound"
        else:
            rank, held, why = 2, False, "the bound lies inside the interval"
        if worst is None or rank > worst[0]:
            worst = rank, {"held": held, "why": why, **about}
    return worst[1] if worst else {"held": None, "why": "nothing was edited"}


def _name(effect: Effect) -> str:
    return f"{effect.asked.victim}\0{effect.asked.label}\0{effect.edit.name}"


def _p_of(effect: Effect) -> float | None:
    """Two-sided p of the sham-corrected effect: signed ranks over patients."""
    values = np.array(list(effect.corrected.values()))
    if values.size < 5:
        return None
    if not values.any():
        return 1.0
    return float(wilcoxon(values, zero_method="zsplit", method="approx").pvalue)


def _effect(found: Found, effect: Effect, holm: float | None) -> Result:
    criterion = found.suite.criterion
    per_seed = [1 - float(np.mean(list(v.values()))) for v in effect.per_seed.values() if v]
    return {
        "edit": effect.edit.name,
        "patients": len(effect.edited),
        "level_real": asdict(statistics.level([1 - v for v in effect.real.values()])),
        "level_edited": asdict(statistics.level([1 - v for v in effect.edited.values()])),
        "level_sham": asdict(statistics.level([1 - v for v in effect.sham.values()])),
        "level_true": asdict(statistics.level([1 - v for v in effect.true.values()])),
        "per_seed": per_seed,
        "seed_sd": float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
        "raw": asdict(effect.mean(effect.raw)),
        "sham": asdict(effect.mean(effect.sham_effect)),
        "corrected": asdict(effect.estimate),
        "true": asdict(effect.mean(effect.truth)),
        "bias": asdict(effect.mean(less(effect.corrected, effect.truth))),
        "p": _p_of(effect),
        "p_holm": holm,
        "controls": {
            kind: asdict(effect.mean(less(values, effect.real)))
            for kind, values in effect.controls.items()
        },
        "paired": _paired(found, effect),
        "dose": _dose(found, effect),
        "subgroups": _subgroups(found, effect),
        "patients_needed": statistics.patients_needed(
            list(effect.corrected.values()), criterion.at_most
        ),
        "millimetres": _millimetres(found, effect),
    }


def _paired(found: Found, effect: Effect) -> Result:
    """Exact statements on one edit of each patient: the first seed that was accepted."""
    if found.suite.criterion.effect != "gap":
        return {}
    first: dict[str, float] = {}
    for values in effect.per_seed.values():
        first = {**values, **first}
    patients = [p for p in first if p in effect.real]
    before = [effect.real[p] < 0.5 for p in patients]
    after = [first[p] < 0.5 for p in patients]
    test = statistics.mcnemar(before, after)
    lost = [b and not a for b, a in zip(before, after, strict=True)]
    return {
        "lost": asdict(statistics.share(lost)),
        "lost_at_most": statistics.at_most(lost),
        "mcnemar": None if test is None else asdict(test),
    }


def _dose(found: Found, effect: Effect) -> Result | None:
    if found.suite.criterion.effect != "gap" or not effect.edit.doses:
        return None
    edit, asked, seed = effect.edit, effect.asked, effect.edit.seeds[0]
    threshold = found.cards[asked.victim]["thresholds"][asked.label]
    arms = [("real", "", 0, 0.0), ("edit", edit.name, seed, 0.0)]
    arms += [("dose", edit.name, seed, level) for level in edit.doses]
    points: list[tuple[float, bool, str]] = []
    for arm in arms:
        for subject, answer in found.answers[asked.victim].get(arm, {}).items():
            score = answer.get("scores", {}).get(asked.label)
            if score is None or not found.accepted(subject, edit.name, seed):
                continue
            film = found.films.get((subject, arm[0], edit.name, seed), {})
            if arm[0] == "dose":
                whole = found.films[(subject, "edit", edit.name, seed)]
                film = {"dose": whole["dose"] * arm[3]}
            points.append((film.get("dose", 0.0), score >= threshold, found.patient(subject)))
    if not points:
        return None
    doses, called_at, patients = zip(*points, strict=True)
    fitted = statistics.dose_response(doses, called_at, patients)
    return {
        "points": [[round(dose, 5), bool(called)] for dose, called, _ in points],
        "fit": None if fitted is None else asdict(fitted),
    }


def _subgroups(found: Found, effect: Effect) -> Result:
    """Effects by trait, and the widest difference between the values of each."""
    traits: dict[str, dict[str, list[float]]] = {}
    of_patient = {row["patient"]: row["traits"] for row in found.subjects.values()}
    for patient, value in effect.corrected.items():
        for trait, name in of_patient[patient].items():
            traits.setdefault(trait, {}).setdefault(name, []).append(value)
    told = {}
    for trait, groups in sorted(traits.items()):
        rows = {k: asdict(mean(v)) for k, v in sorted(groups.items()) if len(v) >= FEWEST}
        if len(rows) < 2:
            continue
        values = [row["value"] for row in rows.values()]
        told[trait] = {"groups": rows, "widest_gap": max(values) - min(values)}
    return told


def _millimetres(found: Found, effect: Effect) -> Result:
    """Distances of outlines in mm, real against accepted edits and truth."""
    if found.suite.criterion.effect != "dice_fall":
        return {}
    edit, table = effect.edit, {}
    arms = {
        "real": [("real", "", 0, 0.0)],
        "edited": [("edit", edit.name, seed, 0.0) for seed in edit.seeds],
        "sham": [("sham", edit.name, seed, 0.0) for seed in edit.seeds],
        "true": [("truth", edit.name, 0, 0.0)],
    }
    for title, some in arms.items():
        measured: dict[str, list[float]] = {}
        for arm in some:
            for subject, answer in found.answers[effect.asked.victim].get(arm, {}).items():
                if arm[0] == "edit" and not found.accepted(subject, edit.name, arm[2]):
                    continue
                for name in ("dice", "hd95_mm", "assd_mm"):
                    value = answer.get("measures", {}).get(name)
                    if value is not None:
                        measured.setdefault(name, []).append(value)
        table[title] = {name: asdict(mean(values)) for name, values in measured.items()}
    return table


def _reading(found: Found, asked: Asked) -> Result | None:
    """How well the victim reads the real films, one of each patient."""
    if not asked.label:
        return None
    scores, truth, seen = [], [], set()
    for subject, answer in found.answers[asked.victim].get(("real", "", 0, 0.0), {}).items():
        wanted = expected(found, asked, subject, None)
        score = answer.get("scores", {}).get(asked.label)
        if wanted is None or score is None or found.patient(subject) in seen:
            continue
        seen.add(found.patient(subject))
        scores.append(score)
        truth.append(wanted)
    if not scores:
        return None
    threshold = found.cards[asked.victim]["thresholds"][asked.label]
    return asdict(statistics.reading(scores, truth, threshold))


def _corruptions(found: Found, asked: Asked) -> list[Result]:
    real, rows = on_arm(found, asked, ("real", "", 0, 0.0), None), []
    for arm in sorted(found.answers.get(asked.victim, {})):
        if arm[0] == "corruption":
            change = less(on_arm(found, asked, arm, None), real)
            rows.append({"name": arm[1], "severity": arm[3], **asdict(mean(list(change.values())))})
    return rows


def _missing(found: Found, asked: Asked) -> Result:
    rows = [a for arm in found.answers.get(asked.victim, {}).values() for a in arm.values()]
    why = Counter(filter(None, (_why_missing(row, asked.label) for row in rows)))
    return {"asked": len(rows), "missing": sum(why.values()), "reasons": dict(why)}


def _why_missing(answer: Row, label: str) -> str:
    """Say why there is no answer; a victim may have answered about other labels only."""
    if "missing" in answer:
        return str(answer["missing"])
    return f"no score of {label} in the answer" if label and label not in answer["scores"] else ""
