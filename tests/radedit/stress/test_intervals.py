"""Intervals from sums hold what they estimate, of one cohort as of thousands at once."""

from __future__ import annotations

import numpy as np
import pytest

from radedit.lib.stress import intervals, statistics
from radedit.lib.stress.intervals import Sums

DRAWS = 2000
ERROR = 4 * np.sqrt(0.95 * 0.05 / DRAWS)


def held(limits: intervals.Limits, truth: float) -> float:
    low, high = limits
    return float(((low <= truth + 1e-12) & (truth - 1e-12 <= high)).mean())


@pytest.mark.parametrize("patients", [10, 20, 100])
@pytest.mark.parametrize(("wrong", "of_real"), [(0.01, 0.01), (0.1, 0.1), (0.3, 0.05), (0.95, 0.1)])
@pytest.mark.parametrize("seeds", [1, 3])
def test_an_excess_over_other_patients_is_covered(
    patients: int, wrong: float, of_real: float, seeds: int
) -> None:
    rng = np.random.default_rng(1)
    edits = rng.binomial(seeds, wrong, (DRAWS, patients)) / seeds
    real = rng.random((DRAWS, patients)) < of_real
    limits = intervals.excess(Sums.of(edits), Sums.of(real))
    assert held(limits, wrong - of_real) >= 0.95 - ERROR
    assert held(intervals.proportion(Sums.of(edits)), wrong) >= 0.93 - ERROR


@pytest.mark.parametrize("patients", [20, 30, 100])
def test_a_mean_of_scores_is_covered_and_not_by_more_than_it_says(patients: int) -> None:
    rng = np.random.default_rng(2)
    changes = rng.beta(1, 9, (DRAWS, patients)) - rng.beta(1, 9, (DRAWS, patients))
    share = held(intervals.mean(Sums.of(changes)), 0.0)
    assert 0.95 - ERROR <= share <= 0.98


def test_fewer_than_twenty_scores_have_no_interval() -> None:
    low, high = intervals.mean(Sums.of(np.random.default_rng(3).random((5, 19))))
    assert np.isnan(low).all()
    assert np.isnan(high).all()


@pytest.mark.parametrize("apart", [0.0, 1.2, 2.6])
@pytest.mark.parametrize("patients", [10, 40])
def test_an_area_under_the_curve_is_covered_also_near_one(apart: float, patients: int) -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(4)
    ill, well = rng.normal(apart, 1, (DRAWS, patients)), rng.normal(0, 1, (DRAWS, patients))
    areas = (ill[:, :, None] > well[:, None]).mean((1, 2))
    low, high = intervals.area(areas, patients, patients)
    assert held((low, high), float(norm.cdf(apart / np.sqrt(2)))) >= 0.93 - ERROR
    assert (high[areas == 1] == 1).all()
    assert (low[areas == 1] < 0.96).all()


def test_many_cohorts_at_once_have_the_limits_of_each_alone() -> None:
    rng = np.random.default_rng(5)
    values, known = rng.random((4, 30)).round(), rng.random((4, 30)) < 0.8
    low, high = intervals.proportion(Sums.of(values, known))
    for at in range(4):
        alone = statistics.proportion(values[at][known[at]].tolist())
        assert (low[at], high[at]) == (pytest.approx(alone.low), pytest.approx(alone.high))
