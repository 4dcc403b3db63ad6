"""Effects with their intervals, by scipy, statsmodels and scikit-learn; nothing without its effect.

The unit is the patient: what one patient contributes is averaged before anything else, and
intervals are over patients. Values are 0 or 1 (right or wrong, called or not) or any number.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, t

from radedit.lib.stress import intervals
from radedit.lib.stress.intervals import Sums

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes
    ----------
    value, low, high : None where there is nothing to estimate, or nothing to resample
    n : patients behind it
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


NOTHING = Estimate(None, None, None, 0)


def mean(values: Sequence[float], bounded: bool = True) -> Estimate:
    """Mean of any values, one per patient; see `intervals.mean`."""
    sums = Sums.of(values)
    return _estimate(sums.mean, intervals.mean(sums, bounded), sums.n)


def difference(values: Sequence[float]) -> Estimate:
    """Mean of paired differences of right and wrong, each from -1 to 1; see `intervals.paired`."""
    sums = Sums.of(values)
    return _estimate(sums.mean, intervals.paired(sums), sums.n)


def mean_of(values: Sequence[float], kind: str) -> Estimate:
    """Mean of differences of damage: of a gap `difference`, else `mean`."""
    return difference(values) if kind == "gap" else mean(values)


def proportion(values: Sequence[float]) -> Estimate:
    """Mean of values from 0 to 1, one per patient; see `intervals.proportion`."""
    sums = Sums.of(values)
    return _estimate(sums.mean, intervals.proportion(sums), sums.n)


def excess(values: Sequence[float], reference: Sequence[float]) -> Estimate:
    """Mean of values from 0 to 1 less that of other patients; see `intervals.excess`."""
    one, other = Sums.of(values), Sums.of(reference)
    return _estimate(one.mean - other.mean, intervals.excess(one, other), one.n)


def share(flags: Sequence[bool]) -> Estimate:
    """Share of patients."""
    return proportion([float(flag) for flag in flags])


def _estimate(value: ArrayLike, limits: intervals.Limits, n: ArrayLike) -> Estimate:
    found, low, high = (_known(np.asarray(x, float)) for x in (value, *limits))
    return Estimate(found, low, high, int(np.asarray(n)))


def _known(value: Values) -> float | None:
    return float(value) if np.isfinite(value) else None


def at_most(flags: Sequence[bool]) -> float | None:
    """Exact one-sided 95 % upper bound of a share (Clopper and Pearson)."""
    if not flags:
        return None
    found = binomtest(sum(map(bool, flags)), len(flags), alternative="less")
    return float(found.proportion_ci(0.95, "exact").high)


@dataclass(frozen=True)
class McNemar:
    """Exact test of paired right and wrong.

    Attributes
    ----------
    lost, won : patients right before and wrong after, and the other way round
    difference : (lost - won) / n, the effect that the p-value belongs to
    p : two-sided
    """

    lost: int
    won: int
    difference: float
    p: float


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> McNemar | None:
    """Compare the same patients before and after, one pair each; None without pairs."""
    from statsmodels.stats.contingency_tables import mcnemar as exact

    if not before:
        return None
    one, other = np.asarray(before, bool), np.asarray(after, bool)
    table = [
        [int((one & other).sum()), int((one & ~other).sum())],
        [int((~one & other).sum()), int((~one & ~other).sum())],
    ]
    lost, won = table[0][1], table[1][0]
    p = float(exact(table, exact=True).pvalue) if lost + won else 1.0
    return McNemar(lost, won, (lost - won) / len(one), min(p, 1.0))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Correct p-values of several findings or victims for their number (Holm)."""
    from statsmodels.stats.multitest import multipletests

    if len(p_values) < 2:
        return dict(p_values)
    corrected = multipletests(list(p_values.values()), method="holm")[1]
    return dict(zip(p_values, map(float, corrected), strict=True))


@dataclass(frozen=True)
class Reading:
    """How good a reader is; None where a class is missing.

    Attributes
    ----------
    sensitivity, specificity, accuracy : at the operating point
    auroc, auprc : over all operating points
    brier : mean squared error of the probability
    calibration : mean gap of probability and frequency, in ten bins weighted by their films
    """

    sensitivity: Estimate
    specificity: Estimate
    accuracy: Estimate
    auroc: Estimate
    auprc: float | None
    brier: float
    calibration: float


def reading(scores: Sequence[float], truth: Sequence[bool], threshold: float) -> Reading:
    """Judge scores of films of different patients."""
    from sklearn.metrics import average_precision_score, brier_score_loss

    p, ill = np.asarray(scores, float), np.asarray(truth, bool)
    called = p >= threshold
    both = bool(ill.any() and not ill.all())
    return Reading(
        sensitivity=share(called[ill].tolist()),
        specificity=share((~called[~ill]).tolist()),
        accuracy=share((called == ill).tolist()),
        auroc=_auroc(p, ill) if both else NOTHING,
        auprc=float(average_precision_score(ill, p)) if both else None,
        brier=float(brier_score_loss(ill, p)),
        calibration=_calibration(p, ill),
    )


def _auroc(p: Values, truth: NDArray[np.bool_]) -> Estimate:
    """Area under the curve: how often an ill film has the higher score; half of it where equal."""
    ill, well = p[truth], p[~truth]
    wins = (ill[:, None] > well[None]) + 0.5 * (ill[:, None] == well[None])
    found = float(wins.mean())
    return _estimate(found, intervals.area(found, len(ill), len(well)), len(p))


def _calibration(p: Values, truth: NDArray[np.bool_]) -> float:
    bins = np.minimum((p * 10).astype(int), 9)
    gaps = [
        (bins == b).mean() * abs(p[bins == b].mean() - truth[bins == b].mean())
        for b in np.unique(bins)
    ]
    return float(np.sum(gaps))


@dataclass(frozen=True)
class Dose:
    """How often a victim calls the finding, by the measured change.

    Attributes
    ----------
    slope : log odds per tenth of display intensity
    low, high : its limits, clustered by patient, with as many degrees of freedom as patients
        allow; None of fewer than ten of them
    half : change at which half are called (ED50); None where the curve is flat
    p : of the slope; None where there are no limits
    n : patients
    """

    slope: float
    low: float | None
    high: float | None
    half: float | None
    p: float | None
    n: int


def dose_response(
    doses: Sequence[float], called: Sequence[bool], patients: Sequence[str]
) -> Dose | None:
    """Fit a logistic curve over measured doses; None where it has no finite answer.

    Parameters
    ----------
    doses : measured mean change inside the edit mask, display intensity; 0 = the film itself
    called : whether the victim called it
    patients : whose films they are; errors are clustered by them
    """
    import statsmodels.api as sm

    x, y = np.asarray(doses, float) * 10, np.asarray(called, float)
    if len(x) < 8 or np.ptp(y) == 0 or np.ptp(x) == 0:
        return None
    groups = np.unique(np.asarray(patients), return_inverse=True)[1]
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")  # perfect separation: no finite answer
            fitted = sm.GLM(y, sm.add_constant(x), family=sm.families.Binomial()).fit(
                cov_type="cluster", cov_kwds={"groups": groups}
            )
    except (ValueError, Warning, np.linalg.LinAlgError):
        return None
    slope, error = float(fitted.params[1]), float(fitted.bse[1])
    if not np.isfinite([slope, error]).all() or abs(slope) > 50:
        return None
    half = float(-fitted.params[0] / slope / 10) if abs(slope) > 1e-6 else None
    n = int(groups.max()) + 1
    if n < intervals.FEWEST or not error:
        return Dose(slope, None, None, half, None, n)
    reach = float(t.ppf(0.975, n - 1)) * error
    p = 2 * float(t.sf(abs(slope) / error, n - 1))
    return Dose(slope, slope - reach, slope + reach, half, p, n)


def patients_needed(values: Sequence[float], effect: float, power: float = 0.8) -> int | None:
    """How many patients a paired effect of this size needs, at 5 % two-sided.

    Parameters
    ----------
    values : one difference per patient; only their spread is used
    effect : that should be seen
    """
    from statsmodels.stats.power import TTestPower

    spread = float(np.std(np.asarray(values, float), ddof=1)) if len(values) > 1 else 0.0
    if not spread or not effect:
        return None
    size = abs(effect) / spread
    if size > 5:
        return 3
    return int(np.ceil(TTestPower().solve_power(size, power=power, alpha=0.05)))
