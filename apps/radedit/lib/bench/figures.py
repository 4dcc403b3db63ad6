"""Shares, means and factors with their 95 % intervals, as mappings for JSON and for tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, bootstrap

Figure = dict[str, float]
RESAMPLES = 4000


def share(flags: Sequence[bool]) -> Figure:
    """How many are True; Wilson's interval.

    Returns
    -------
    `value`, `low`, `high` (0 to 1) and `n`; only `n` where there are none
    """
    if not flags:
        return {"n": 0}
    found = binomtest(sum(flags), len(flags)).proportion_ci(method="wilson")
    return {
        "value": sum(flags) / len(flags),
        "low": float(found.low),
        "high": float(found.high),
        "n": len(flags),
    }


def mean(values: Sequence[float | None]) -> Figure:
    """Mean of one value per patient, None left out; bootstrap over patients."""
    known = np.array([v for v in values if v is not None], float)
    if known.size == 0:
        return {"n": 0}
    return {"value": float(known.mean()), **_interval((known,), np.mean), "n": known.size}


def factor(larger: Sequence[float], smaller: Sequence[float]) -> Figure:
    """Mean of one over mean of the other; both of the same patients, resampled together."""
    above, below = np.array(larger, float), np.array(smaller, float)
    if above.size == 0 or below.mean() == 0:
        return {"n": 0}

    def ratio(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.asarray(np.mean(x, axis=axis) / np.maximum(np.mean(y, axis=axis), 1e-12))

    value = float(above.mean() / below.mean())
    return {"value": value, **_interval((above, below), ratio), "n": above.size}


def _interval(data: tuple[np.ndarray, ...], statistic: object) -> Figure:
    if data[0].size < 2:
        return {}
    found = bootstrap(
        data, statistic, paired=len(data) > 1, n_resamples=RESAMPLES, method="percentile", rng=7
    ).confidence_interval
    return {"low": float(found.low), "high": float(found.high)}
