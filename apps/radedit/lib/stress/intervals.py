"""95 % intervals from counts and sums, elementwise: of one cohort, or of thousands that were drawn.

Values are one per patient. What is known of them is their number, sum and sum of squares, so the
same lines judge a run and, over arrays of cohorts, `radedit bench verdicts`. NaN stands for "no
interval": of fewer patients than the method was shown to hold for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

Numbers = NDArray[np.float64]
Limits = tuple[Numbers, Numbers]
FEWEST: Final = 10  # patients, where values lie between bounds that the method may lean on
FEWEST_OF_ANY_KIND: Final = 20  # where they do not: 10 skewed values say too little of their spread
_LEVEL: Final = 0.975
_STEPS: Final = 40  # of bisection: to 1e-12


@dataclass(frozen=True)
class Sums:
    """What is known of the values of some patients; arrays are so many cohorts.

    Attributes
    ----------
    n, total, squares : number of patients, sum of values, sum of their squares
    """

    n: Numbers
    total: Numbers
    squares: Numbers

    @classmethod
    def of(cls, values: ArrayLike, known: ArrayLike | None = None) -> Sums:
        """Sum over the last axis, where `known` is true (everywhere unless told)."""
        data = np.asarray(values, float)
        which = np.ones(data.shape, bool) if known is None else np.asarray(known, bool)
        kept = np.where(which, data, 0.0)
        return cls(np.asarray(which.sum(-1), float), np.asarray(kept.sum(-1)), (kept**2).sum(-1))

    @property
    def mean(self) -> Numbers:
        """Mean; NaN of no patients."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.total / self.n)

    def added(self, n: float, total: float, squares: float) -> tuple[Numbers, Numbers, Numbers]:
        """Mean, its variance and degrees of freedom with some made-up patients added."""
        size = self.n + n
        with np.errstate(invalid="ignore", divide="ignore"):
            middle = (self.total + total) / size
            spread = np.maximum((self.squares + squares) / size - middle**2, 0.0)
            return np.asarray(middle), np.asarray(spread / (size - 1)), np.asarray(size - 1)


def proportion(values: Sums) -> Limits:
    """Limits of a mean of values from 0 to 1, such as shares of the seeds of each patient.

    Two patients of 0 and two of 1 are added, then Student's t. Source: Agresti and Coull, The
    American Statistician 52 (1998) 119.
    """
    return _around(*values.added(4, 2, 2), 0.0, 1.0, values.mean, values.n >= FEWEST)


def paired(values: Sums) -> Limits:
    """Limits of a mean of paired differences of right and wrong, each from -1 to 1.

    Half a patient who lost and half a one who won are added, with one who did neither. Source:
    Agresti and Min, Statistics in Medicine 24 (2005) 729.
    """
    return _around(*values.added(2, 0, 1), -1.0, 1.0, values.mean, values.n >= FEWEST)


def excess(values: Sums, reference: Sums) -> Limits:
    """Limits of the difference of two groups' means, all values from 0 to 1.

    One patient of 0 and one of 1 are added to each group, then Welch's t. Source: Agresti and
    Caffo, The American Statistician 54 (2000) 280.
    """
    one, of_one, free_one = values.added(2, 1, 1)
    other, of_other, free_other = reference.added(2, 1, 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = of_one + of_other
        free = variance**2 / (of_one**2 / free_one + of_other**2 / free_other)
    stands = (values.n >= FEWEST) & (reference.n >= FEWEST)
    return _around(one - other, variance, free, -1.0, 1.0, values.mean - reference.mean, stands)


def mean(values: Sums, bounded: bool = True) -> Limits:
    """Limits of a mean of any values: Student's t; where all agree, an exact bound if there is one.

    Patients who all agree leave room for one who does not: Clopper and Pearson's bound of the
    share of such patients, each as far away as can be.

    Parameters
    ----------
    bounded : whether values lie from -1 to 1; without bounds nothing is known where all agree
    """
    low, high = _around(
        *values.added(0, 0, 0), -np.inf, np.inf, values.mean, values.n >= FEWEST_OF_ANY_KIND
    )
    middle = values.mean
    with np.errstate(invalid="ignore", divide="ignore"):
        same = (values.squares / values.n - middle**2 < 1e-12) & (values.n >= FEWEST)
        slack = 1 - (1 - _LEVEL) ** (1 / values.n)
    if not bounded:
        return np.where(same, np.nan, low), np.where(same, np.nan, high)
    near = middle * (1 - slack)
    return np.where(same, near - slack, low), np.where(same, near + slack, high)


def area(found: ArrayLike, ill: ArrayLike, well: ArrayLike) -> Limits:
    """Limits of an area under the ROC curve, also of one near 1.

    The areas that are not further from the one found than their own standard error allows.
    Source: Newcombe, Statistics in Medicine 25 (2006) 559, method 5.

    Parameters
    ----------
    ill, well : patients of each kind
    """
    middle, m, n = (np.asarray(x, float) for x in (found, ill, well))
    z = float(t.ppf(_LEVEL, np.inf))

    def spread(theta: Numbers) -> Numbers:
        more = ((m + n) / 2 - 1) * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return np.asarray(np.sqrt(theta * (1 - theta) * (1 + more) / (m * n)))

    limits = []
    for end in (0.0, 1.0):
        near, far = middle.copy(), np.full(middle.shape, end)
        for _ in range(_STEPS):
            half = (near + far) / 2
            inside = np.abs(half - middle) <= z * spread(half)
            near, far = np.where(inside, half, near), np.where(inside, far, half)
        limits.append(np.where(np.minimum(m, n) >= FEWEST, near, np.nan))
    return limits[0], limits[1]


def _around(
    middle: Numbers,
    variance: Numbers,
    free: Numbers,
    least: float,
    most: float,
    value: Numbers,
    stands: NDArray[np.bool_],
) -> Limits:
    """Student's t around a middle, inside the bounds, with the value itself inside."""
    with np.errstate(invalid="ignore", divide="ignore"):
        half = t.ppf(_LEVEL, np.maximum(free, 1e-9)) * np.sqrt(variance)
        low = np.minimum(np.maximum(middle - half, least), value)
        high = np.maximum(np.minimum(middle + half, most), value)
    return np.where(stands, low, np.nan), np.where(stands, high, np.nan)
