"""Is the gap that edits estimate the gap that is there? Only a phantom's truth can say.

Both are of the films that were read right before: the share that is wrong on the edit, and the
share that is wrong on the true counterfactual of the same patient. Bias is estimated less true,
paired within the patient. Coverage is how often the 95 % interval of an estimate, on cohorts drawn
from the patients, holds the true share of all of them. The rank correlation asks whether models
are put in the right order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from radedit.lib.stress.findings import Effect, less
from radedit.lib.stress.statistics import Estimate, difference, share

COHORTS = 200  # drawn for the coverage of each victim
_SEED = 23


def agreement(effects: Sequence[Effect]) -> dict[str, Any] | None:
    """Compare estimated and true gaps of several victims; None where no truth is known.

    Returns
    -------
    `points` (victim, edit, estimated, true), `bias`, `coverage` (share of cohorts),
    `rank` (Spearman; None of fewer than three victims or without any spread), `cohorts`, `size`
    """
    known = [effect for effect in effects if effect.lost_truly and effect.lost]
    if not known:
        return None
    points = [
        {
            "victim": effect.asked.victim,
            "edit": effect.edit.name,
            "estimated": asdict(effect.level(effect.lost)),
            "true": asdict(effect.level(effect.lost_truly)),
        }
        for effect in known
    ]
    pairs = [(p["estimated"]["value"], p["true"]["value"]) for p in points]  # type: ignore[index]
    flags = [flag for effect in known for flag in _covered(effect)]
    size = min(len(effect.lost) for effect in known) // 2
    return {
        "points": points,
        "bias": asdict(_bias(known)),
        "coverage": asdict(share(flags)),
        "rank": _rank(pairs),
        "cohorts": len(flags),
        "size": size,
    }


def _bias(effects: Sequence[Effect]) -> Estimate:
    """Mean over patients of the mean over victims, since victims share the patients."""
    collected: dict[str, list[float]] = {}
    for effect in effects:
        for patient, value in less(effect.lost, effect.lost_truly).items():
            collected.setdefault(patient, []).append(value)
    return difference([float(np.mean(values)) for values in collected.values()])


def _covered(effect: Effect) -> list[bool]:
    """Draw cohorts of half the patients; say of each whether its interval holds the true gap.

    The interval is for an endless population, the truth is that of all patients here; drawing
    half of them without putting back halves the variance, so intervals are drawn with putting
    back, as a new cohort would come.
    """
    estimated, true = effect.lost, effect.lost_truly
    patients = sorted(set(estimated) & set(true))
    if len(patients) < 10:
        return []
    goal = float(np.mean([true[p] for p in patients]))
    rng, flags = np.random.default_rng(_SEED), []
    for _ in range(COHORTS):
        drawn = rng.choice(patients, len(patients) // 2)
        found = effect.level({f"{at}": estimated[p] for at, p in enumerate(drawn)})
        if found.low is not None and found.high is not None:
            flags.append(found.low - 1e-9 <= goal <= found.high + 1e-9)
    return flags


def _rank(pairs: Sequence[tuple[float, float]]) -> float | None:
    one, other = np.array(pairs, float).T
    if len(pairs) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one, other).statistic)
