"""Effects with their intervals, by scipy, statsmodels and scikit-learn; nothing without its effect.

The unit is the patient: what one patient contributes is averaged before anything else, and
patients are what is resampled. Values are 0 or 1 (right or wrong, called or not) or any number.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, bootstrap, t

RESAMPLES = 4000
_SEED = 11
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


def mean(values: Sequence[float]) -> Estimate:
    """Mean over patients, one value each; bootstrap (bias-corrected) over patients."""
    data = np.asarray(values, float)
    if data.size == 0:
        return NOTHING
    value = float(data.mean())
    if data.size < 2 or np.ptp(data) == 0:
        return Estimate(value, *_constant(data), data.size)
    method = "BCa" if data.size >= 10 else "percentile"
    found = bootstrap(
        (data,), np.mean, n_resamples=RESAMPLES, method=method, rng=_SEED, vectorized=True
    ).confidence_interval
    low, high = (float(found.low), float(found.high))
    if not np.isfinite([low, high]).all():
        return Estimate(value, None, None, data.size)
    return Estimate(value, low, high, data.size)


def difference(values: Sequence[float]) -> Estimate:
    """Mean of paired differences of right and wrong, one per patient, each from -1 to 1.

    Half a patient who lost and half a one who won are added, with one who did neither, before
    the interval is drawn with Student's t: it holds near -1, 0 and 1 too, where resampling does
    not, since patients who differ are few there. Source: Agresti and Min, Statistics in Medicine
    24 (2005) 729, "Simple improved confidence intervals for comparing matched proportions".
    """
    data = np.asarray(values, float)
    if data.size < 2:
        return Estimate(float(data[0]), None, None, 1) if data.size else NOTHING
    n = data.size + 2
    middle = float(data.sum()) / n
    variance = (float((data**2).sum()) + 1) / n - middle**2
    half = float(t.ppf(0.975, n - 1)) * float(np.sqrt(variance / (n - 1)))
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    value = float(data.mean())
    return Estimate(value, min(low, value), max(high, value), data.size)


def level(values: Sequence[float]) -> Estimate:
    """Mean of values from 0 to 1, with an interval that stays there."""
    found = mean(values)
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


def _constant(data: Values) -> tuple[float | None, float | None]:
    """Bound a mean where all patients agree: resampling cannot, the exact binomial bound can.

    It is given for values of -1, 0 and 1 alone, as the share of patients that might differ.
    """
    value = float(data[0])
    if data.size < 2 or value not in (-1.0, 0.0, 1.0):
        return None, None
    slack = float(binomtest(0, data.size).proportion_ci(0.95, "exact").high)
    return max(-1.0, value - slack), min(1.0, value + slack)


def share(flags: Sequence[bool]) -> Estimate:
    """Share of patients; Wilson's interval."""
    n = len(flags)
    if n == 0:
        return NOTHING
    found = binomtest(sum(map(bool, flags)), n).proportion_ci(0.95, "wilson")
    return Estimate(sum(map(bool, flags)) / n, float(found.low), float(found.high), n)


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

    if not p_values:
        return {}
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
    """Area under the curve with DeLong's interval, by the placements of each score."""
    ill, well = p[truth], p[~truth]
    wins = (ill[:, None] > well[None]) + 0.5 * (ill[:, None] == well[None])
    area = float(wins.mean())
    if min(len(ill), len(well)) < 2:
        return Estimate(area, None, None, len(p))
    variance = wins.mean(1).var(ddof=1) / len(ill) + wins.mean(0).var(ddof=1) / len(well)
    half = 1.959964 * float(np.sqrt(variance))
    return Estimate(area, max(0.0, area - half), min(1.0, area + half), len(p))


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
    slope, low, high : log odds per tenth of display intensity, clustered by patient
    half : change at which half are called (ED50); None where the curve is flat
    p : of the slope
    n : patients
    """

    slope: float
    low: float
    high: float
    half: float | None
    p: float
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
    slope, (low, high) = float(fitted.params[1]), map(float, fitted.conf_int()[1])
    if not np.isfinite([slope, low, high]).all() or abs(slope) > 50:
        return None
    half = float(-fitted.params[0] / slope / 10) if abs(slope) > 1e-6 else None
    return Dose(slope, low, high, half, float(fitted.pvalues[1]), int(groups.max()) + 1)


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
