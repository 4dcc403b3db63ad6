"""The result of a run as one mapping for JSON, the report and the DICOM object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu, wilcoxon

from radedit.lib.stress import intervals, statistics
from radedit.lib.stress.conclusion import done_of, reading_of, verdict
from radedit.lib.stress.findings import (
    Asked,
    Effect,
    Found,
    Row,
    Values,
    asked_of,
    by_patient,
    effect_of,
    less,
    on_arm,
    over_seeds,
)
from radedit.lib.stress.subjects import Problem
from radedit.lib.stress.yields import cohort_of, contradictions, yield_of

Result = dict[str, Any]
Arm = tuple[str, str, int, float]
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
        reading = reading_of(found, asked)
        victims.append(
            {
                "victim": asked.victim,
                "label": asked.label,
                "card": dict(found.cards[asked.victim]),
                "reading": reading,
                "effects": [
                    _effect(found, effect, corrected.get(_name(effect))) for effect in mine
                ],
                "corruptions": _corruptions(found, asked),
                "missing": _missing(found, asked),
                "verdict": verdict(found, mine, reading),
            }
        )
    return {
        "cohort": cohort_of(found),
        "edits": [
            {**yield_of(found, edit, facts), "done": done_of(found, edit)}
            for edit in found.suite.edits
        ],
        "victims": victims,
        "problems": [asdict(problem) for problem in (*problems, *contradictions(found))],
    }


def _name(effect: Effect) -> str:
    return f"{effect.asked.victim}\0{effect.asked.label}\0{effect.edit.name}"


def _p_of(effect: Effect) -> float | None:
    """Two-sided p of the effect: signed ranks, or rank sums against the other films, over patients.

    Differences that are rounding were made 0 before.
    """
    values, reference = (
        np.array(list(found.values())) for found in (effect.compared, effect.reference)
    )
    if values.size < intervals.FEWEST:
        return None
    if effect.turned and effect.is_gap:
        if reference.size < intervals.FEWEST:
            return None
        return float(mannwhitneyu(values, reference).pvalue)
    if not values.any():
        return 1.0
    return float(wilcoxon(values, zero_method="zsplit", method="approx").pvalue)


def _effect(found: Found, effect: Effect, holm: float | None) -> Result:
    criterion = found.suite.criterion
    per_seed = [1 - float(np.mean(list(v.values()))) for v in effect.per_seed.values() if v]
    return {
        "edit": effect.edit.name,
        "patients": effect.patients,
        "answers": effect.answers,
        "level_real": _level(effect, effect.real),
        "level_edited": _level(effect, effect.edited),
        "level_sham": _level(effect, effect.sham),
        "level_true": _level(effect, effect.true),
        "per_seed": per_seed,
        "seed_sd": float(np.std(per_seed, ddof=1)) if len(per_seed) > 1 else None,
        "lost": asdict(effect.level(effect.lost)),
        "shaken": asdict(effect.level(effect.shaken)),
        "lost_truly": asdict(effect.level(effect.lost_truly)),
        "lost_masked": asdict(effect.level(effect.lost_masked)),
        "reference": asdict(effect.level(effect.reference)),
        "raw": asdict(effect.mean(effect.raw)),
        "sham": asdict(effect.mean(effect.sham_effect)),
        "corrected": asdict(effect.estimate),
        "true": asdict(effect.mean(effect.truth)),
        "bias": asdict(effect.mean(less(effect.lost, effect.lost_truly))),
        "scores": _scores(found, effect),
        "dose": asdict(statistics.mean(list(_doses(found, effect, "edit").values()))),
        "dose_sham": asdict(statistics.mean(list(_doses(found, effect, "sham").values()))),
        "p": _p_of(effect),
        "p_holm": holm,
        "controls": {kind: asdict(effect.mean(v)) for kind, v in effect.controls.items()},
        "paired": _paired(found, effect),
        "response": _response(found, effect),
        "subgroups": _subgroups(found, effect),
        "patients_needed": statistics.patients_needed(
            list(effect.compared.values()), criterion.at_most
        ),
        "millimetres": _millimetres(found, effect),
    }


def _level(effect: Effect, values: Values) -> Result:
    return asdict(effect.level({patient: 1 - value for patient, value in values.items()}))


def _scores(found: Found, effect: Effect) -> Result:
    """Mean scores of the films that were edited: before, after, on the sham, on the truth."""
    edit, asked = effect.edit, effect.asked
    if not asked.label:
        return {}
    arms = {
        "before": [("real", "", 0, 0.0)],
        "after": [("edit", edit.name, seed, 0.0) for seed in edit.seeds],
        "sham": [("sham", edit.name, seed, 0.0) for seed in edit.seeds],
        "true": [("truth", edit.name, 0, 0.0)],
    }
    per_arm = {title: _measured(found, effect, some, "scores", asked.label)
               for title, some in arms.items()}  # fmt: skip
    return {
        title: asdict(statistics.mean([v for p, v in values.items() if p in effect.edited]))
        for title, values in per_arm.items()
    }


def _measured(found: Found, effect: Effect, arms: Sequence[Arm], table: str, name: str) -> Values:
    """One figure of the answers per patient, over films and seeds; of edits, those that count."""
    per_arm = []
    for arm in arms:
        values = {}
        for subject, answer in found.answers.get(effect.asked.victim, {}).get(arm, {}).items():
            value = answer.get(table, {}).get(name)
            if value is None or (
                arm[0] == "edit" and not found.counts(subject, effect.edit, arm[2])
            ):
                continue
            values[subject] = float(value)
        per_arm.append(values)
    return by_patient(found, over_seeds(per_arm))


def _doses(found: Found, effect: Effect, kind: str) -> Values:
    """Mean change inside the edit mask per patient, of edits that count or of shams."""
    edit = effect.edit
    per_seed = [
        {
            subject: float(row["dose"])
            for (subject, what, name, at), row in found.films.items()
            if (what, name, at) == (kind, edit.name, seed)
            and row.get("dose") is not None
            and (kind != "edit" or found.counts(subject, edit, seed))
        }
        for seed in edit.seeds
    ]
    return by_patient(found, over_seeds(per_seed))


def _paired(found: Found, effect: Effect) -> Result:
    """Exact statements on one edit of each patient: the first seed that counts."""
    if not effect.is_gap:
        return {}
    first: dict[str, float] = {}
    for values in effect.per_seed.values():
        first = {**values, **first}
    patients = [p for p in first if p in effect.real]
    before = [effect.real[p] < 0.5 for p in patients]
    after = [first[p] < 0.5 for p in patients]
    test = statistics.mcnemar(before, after)
    lost = [not a for b, a in zip(before, after, strict=True) if b]
    return {
        "lost": asdict(statistics.share(lost)),
        "lost_at_most": statistics.at_most(lost),
        "mcnemar": None if test is None else asdict(test),
    }


def _response(found: Found, effect: Effect) -> Result | None:
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
            if score is None or not found.counts(subject, edit, seed):
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
    for patient, value in effect.compared.items():
        for trait, name in of_patient[patient].items():
            traits.setdefault(trait, {}).setdefault(name, []).append(value)
    told = {}
    for trait, groups in sorted(traits.items()):
        rows = {
            k: asdict(statistics.mean_of(v, effect.kind))
            for k, v in sorted(groups.items())
            if len(v) >= FEWEST
        }
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
        per_name = {name: _measured(found, effect, some, "measures", name)
                    for name in ("dice", "hd95_mm", "assd_mm")}  # fmt: skip
        table[title] = {
            name: asdict(statistics.mean(list(values.values()), bounded=name == "dice"))
            for name, values in per_name.items()
            if values
        }
    return table


def _corruptions(found: Found, asked: Asked) -> list[Result]:
    real, rows = on_arm(found, asked, ("real", "", 0, 0.0), None), []
    for arm in sorted(found.answers.get(asked.victim, {})):
        if arm[0] == "corruption":
            change = by_patient(found, less(on_arm(found, asked, arm, None), real))
            added = statistics.mean_of(list(change.values()), found.suite.criterion.effect)
            rows.append({"name": arm[1], "severity": arm[3], **asdict(added)})
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
