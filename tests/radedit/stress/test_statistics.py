"""Every figure against what is known of it by hand, by simulation or by another library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from radedit.lib.stress import statistics


def test_the_interval_of_a_mean_holds_it_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        found = statistics.mean((rng.random(60) < 0.3).astype(float).tolist())
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.3 <= found.high
    assert 50 <= held <= 60  # 95 % of 60 is 57; 50 or fewer come once in 10 000 times


@pytest.mark.parametrize(
    ("lost", "won"), [(0.0, 0.0), (0.03, 0.0), (0.08, 0.08), (0.3, 0.1), (0.93, 0.0), (0.99, 0.0)]
)
@pytest.mark.parametrize("patients", [30, 51, 108])
def test_the_interval_of_a_gap_holds_it_also_where_few_patients_differ(
    lost: float, won: float, patients: int
) -> None:
    rng, cohorts = np.random.default_rng(3), 400
    drawn = rng.choice([1.0, 0.0, -1.0], (cohorts, patients), p=[lost, 1 - lost - won, won])
    held = 0
    for values in drawn:
        found = statistics.difference(values.tolist())
        assert found.value == pytest.approx(values.mean())
        assert found.low is not None
        assert found.high is not None
        assert -1 <= found.low <= found.value <= found.high <= 1
        held += found.low <= lost - won <= found.high
    assert held / cohorts > 0.92  # 0.95 less three standard errors of this simulation


def test_the_interval_of_a_gap_narrows_with_the_patients() -> None:
    widths = []
    for patients in (20, 80, 320):
        found = statistics.difference([1.0, 0.0, 0.0, 0.0] * (patients // 4))
        assert found.low is not None
        assert found.high is not None
        widths.append(found.high - found.low)
    assert widths[0] > 1.8 * widths[1] > 3 * widths[2]


@pytest.mark.parametrize("value", [-1.0, 0.0, 0.4, 1.0])
def test_patients_who_all_agree_still_leave_room_for_one_who_does_not(value: float) -> None:
    found = statistics.mean([value] * 20)
    slack = 1 - 0.025 ** (1 / 20)
    assert found.value == pytest.approx(value)
    assert found.low == pytest.approx(value * (1 - slack) - slack)
    assert found.high == pytest.approx(value * (1 - slack) + slack)
    assert statistics.mean([value] * 20, bounded=False).low is None


def test_nothing_is_estimated_from_nothing() -> None:
    assert statistics.mean([]) == statistics.NOTHING
    assert statistics.share([]) == statistics.NOTHING
    assert statistics.at_most([]) is None
    assert statistics.mcnemar([], []) is None
    assert statistics.mean([0.4]).low is None
    assert statistics.difference([]) == statistics.NOTHING
    assert statistics.difference([1.0]) == statistics.Estimate(1.0, None, None, 1)


@pytest.mark.parametrize(("value", "patients"), [(1.0, 10), (0.0, 30), (0.5, 10)])
def test_a_share_stays_between_0_and_1(value: float, patients: int) -> None:
    found = statistics.proportion([value] * patients)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= value <= found.high <= 1


def test_fewer_than_ten_patients_have_no_interval() -> None:
    nine = [0.0] * 8 + [1.0]
    found = [
        statistics.proportion(nine),
        statistics.difference(nine),
        statistics.mean(nine),
        statistics.excess(nine, nine * 3),
        statistics.excess(nine * 3, nine),
    ]
    assert {(one.low, one.high) for one in found} == {(None, None)}


@given(n=st.integers(2, 200))
@settings(max_examples=20, deadline=None)
def test_the_exact_bound_of_no_event_is_the_rule_of_three(n: int) -> None:
    assert statistics.at_most([False] * n) == pytest.approx(1 - 0.05 ** (1 / n))


def test_mcnemar_is_the_binomial_test_of_the_pairs_that_differ() -> None:
    before = [True] * 30 + [False] * 5
    after = [True] * 18 + [False] * 12 + [True] * 2 + [False] * 3
    found = statistics.mcnemar(before, after)
    assert found is not None
    assert (found.lost, found.won) == (12, 2)
    assert found.difference == pytest.approx(10 / 35)
    assert found.p == pytest.approx(binomtest(2, 14).pvalue)


def test_pairs_that_never_differ_have_no_small_p() -> None:
    found = statistics.mcnemar([True] * 9, [True] * 9)
    assert found is not None
    assert (found.difference, found.p) == (0.0, 1.0)


def test_holm_multiplies_the_smallest_p_by_their_number() -> None:
    assert statistics.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06}
    )
    assert statistics.holm({}) == {}


def test_a_reading_is_what_scikit_learn_says_with_delongs_interval() -> None:
    rng = np.random.default_rng(4)
    truth = rng.random(400) < 0.4
    scores = 1 / (1 + np.exp(-(1.2 * truth - 0.6 + rng.normal(0, 1, 400))))
    found = statistics.reading(scores.tolist(), truth.tolist(), 0.5)
    assert found.auroc.value == pytest.approx(roc_auc_score(truth, scores))
    assert found.sensitivity.value == pytest.approx((scores[truth] >= 0.5).mean())
    assert found.specificity.value == pytest.approx((scores[~truth] < 0.5).mean())
    drawn = []
    for _ in range(400):
        pick = rng.integers(400, size=400)
        drawn.append(roc_auc_score(truth[pick], scores[pick]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert found.auroc.low == pytest.approx(low, abs=0.015)
    assert found.auroc.high == pytest.approx(high, abs=0.015)


def test_a_reading_of_one_class_says_nothing_of_the_other() -> None:
    found = statistics.reading([0.9, 0.2, 0.7], [True, True, True], 0.5)
    assert found.sensitivity.value == pytest.approx(2 / 3)
    assert found.specificity.value is None
    assert found.auroc.value is None
    assert found.auprc is None


def test_probabilities_that_are_frequencies_are_calibrated() -> None:
    rng = np.random.default_rng(5)
    scores = rng.random(4000)
    good = statistics.reading(scores.tolist(), (rng.random(4000) < scores).tolist(), 0.5)
    bad = statistics.reading((scores**3).tolist(), (rng.random(4000) < scores).tolist(), 0.5)
    assert good.calibration < 0.03 < 0.15 < bad.calibration


def test_a_dose_response_finds_the_slope_and_where_half_are_called() -> None:
    rng = np.random.default_rng(6)
    doses = rng.random(900) * 0.3
    called = rng.random(900) < 1 / (1 + np.exp(-(doses - 0.15) * 40))
    found = statistics.dose_response(
        doses.tolist(), called.tolist(), [f"{i // 3}" for i in range(900)]
    )
    assert found is not None
    assert found.low < 4.0 < found.high
    assert found.half == pytest.approx(0.15, abs=0.01)
    assert found.n == 300
    assert found.p < 1e-6


@pytest.mark.parametrize("called", [[True] * 12, [False] * 6 + [True] * 6])
def test_no_curve_is_drawn_where_there_is_none(called: list[bool]) -> None:
    doses = [i / 12 for i in range(12)]  # all alike; or parted wholly by the dose
    assert statistics.dose_response(doses, called, [str(i) for i in range(12)]) is None


def test_errors_of_a_curve_grow_when_films_belong_to_few_patients() -> None:
    rng = np.random.default_rng(7)
    own = rng.normal(0, 2, 20).repeat(20)
    doses = rng.random(400) * 0.3
    called = (rng.random(400) < 1 / (1 + np.exp(-(doses * 20 - 3 + own)))).tolist()
    few = statistics.dose_response(doses.tolist(), called, [str(i // 20) for i in range(400)])
    many = statistics.dose_response(doses.tolist(), called, [str(i) for i in range(400)])
    assert few is not None
    assert many is not None
    assert few.slope == pytest.approx(many.slope)
    assert few.n == 20


def test_the_patients_needed_are_those_of_the_paired_t_test() -> None:
    values = np.random.default_rng(8).normal(0, 1, 5000)
    # (1.96 + 0.84)^2 / 0.5^2 = 31.4, and a little more for the t distribution
    assert statistics.patients_needed(values.tolist(), 0.5) in (33, 34, 35)
    assert statistics.patients_needed([0.0] * 9, 0.5) is None
    assert statistics.patients_needed([0.0, 0.01] * 9, 0.5) == 3
    assert not math.isnan(statistics.mean(values.tolist()).value or 0)
