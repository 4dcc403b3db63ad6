"""The timesteps an edit visits and the coefficients of each step.

Notation (RadEdit, arXiv 2312.12865, Eq. 2-4)
    alpha_bar_t     share of signal variance left at timestep t
    alpha_bar_prev  the same at the timestep visited next (towards the clean image)
    sigma_t         noise a DDPM step adds back (eta = 1)
    a_t, b_t        mu_t(x, eps) = a_t x + b_t eps, the mean of Eq. 4
    c_t             second order: c_t (D_t - D_before) is added to that mean, D the clean image
                    that a step predicts; 0 = first order, RadEdit's own
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from radedit.lib.errors import ParameterError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Step:
    """One step of the schedule, as plain floats.

    Attributes
    ----------
    index : int
        Position in the schedule, 0 = noisiest step that is run.
    t : int
        Training timestep given to the network.
    alpha_bar, alpha_bar_prev, sigma, a, b, c : float
        See the notation of the module.
    """

    index: int
    t: int
    alpha_bar: float
    alpha_bar_prev: float
    sigma: float
    a: float
    b: float
    c: float = 0.0


@dataclass(frozen=True, eq=False)
class Schedule:
    """The steps that are run, noisiest first; left-out steps are not in it.

    Attributes
    ----------
    timesteps : tuple of int
        Strictly descending training timesteps, one per step that is run.
    alpha_bar, alpha_bar_prev, sigma_t, a_t, b_t, c_t : float64 [len(timesteps)]
        Coefficients of each step.
    num_steps : int
        Steps of the whole schedule before any was left out.
    skip : float
        Fraction of the noisiest steps that was asked to be left out.
    """

    timesteps: tuple[int, ...]
    alpha_bar: FloatArray
    alpha_bar_prev: FloatArray
    sigma_t: FloatArray
    a_t: FloatArray
    b_t: FloatArray
    c_t: FloatArray
    num_steps: int
    skip: float

    def __len__(self) -> int:
        """Return the number of steps that are run."""
        return len(self.timesteps)

    def __iter__(self) -> Iterator[Step]:
        """Yield the steps, noisiest first."""
        for i, t in enumerate(self.timesteps):
            yield Step(
                index=i,
                t=t,
                alpha_bar=float(self.alpha_bar[i]),
                alpha_bar_prev=float(self.alpha_bar_prev[i]),
                sigma=float(self.sigma_t[i]),
                a=float(self.a_t[i]),
                b=float(self.b_t[i]),
                c=float(self.c_t[i]),
            )

    @property
    def order(self) -> int:
        """1, or 2 if a step also uses what the step before it predicted."""
        return 2 if self.c_t.any() else 1

    @property
    def key(self) -> tuple[tuple[int, float], ...]:
        """What an inversion depends on: every timestep with its alpha_bar (hashable)."""
        return tuple(zip(self.timesteps, self.alpha_bar.tolist(), strict=True))


def trailing_timesteps(num_train: int, num_steps: int) -> tuple[int, ...]:
    """Spread `num_steps` timesteps evenly, counted back from the last training timestep.

    Returns
    -------
    tuple of int
        Descending; the first is `num_train - 1`. `num_steps` need not divide `num_train`.
    """
    spaced = num_train - np.arange(num_steps) * (num_train / num_steps)
    return tuple(int(t) - 1 for t in np.round(spaced))


def condensed_timesteps(timesteps: Sequence[int]) -> tuple[int, ...]:
    """Move evenly spread timesteps towards the clean image, where details are decided.

    Returns
    -------
    tuple of int
        As many, from the same first one, falling with the square of what is left of them.
    """
    left = 1 - np.arange(len(timesteps)) / len(timesteps)
    spread = np.round((timesteps[0] + 1) * left**2).astype(int) - 1
    # Rounding may bring the last ones together; each stays above those behind it.
    least = np.arange(len(timesteps))[::-1]
    return tuple(int(t) for t in np.maximum(spread, least))


def make_schedule(
    alphas_cumprod: Sequence[float] | npt.NDArray[np.floating],
    num_steps: int,
    skip: float = 0.0,
    final_alpha_bar: float = 1.0,
    solver: str = "ddpm",
) -> Schedule:
    """Build the schedule of an edit.

    The timestep after each one is read from the schedule itself: computing it as
    `t - num_train // num_steps` is wrong when `num_steps` does not divide `num_train`.

    Parameters
    ----------
    alphas_cumprod : float [num_train]
        alpha_bar of every training timestep, strictly decreasing, in (0, 1).
    num_steps : int
        Steps of the whole schedule, 1..num_train.
    skip : float
        Fraction of the noisiest steps to leave out, 0 <= skip < 1 (the released call uses
        0.3). At least one step stays.
    final_alpha_bar : float
        alpha_bar after the last step: 1 for a clean image (`set_alpha_to_one`).
    solver : "ddpm" or "dpm"
        RadEdit's own steps; or as many condensed ones of second order, for few steps.

    Raises
    ------
    ParameterError
        `num_steps` or `skip` is out of its range.

    Notes
    -----
    Source: arXiv 2312.12865, Eq. 4 and the sentence after it. The root
    sqrt(1 - alpha_bar_prev - sigma_t^2) is written as the product it equals for eta = 1,
    which loses no digits near t = 0.
    """
    alpha_bars = np.asarray(alphas_cumprod, dtype=np.float64)
    num_train = len(alpha_bars)
    if not 1 <= num_steps <= num_train:
        raise ParameterError(f"steps is {num_steps}; expected 1 to {num_train} for this model.")
    if not 0.0 <= skip < 1.0:
        raise ParameterError(f"skip is {skip}; expected 0 or more and less than 1.")
    timesteps = trailing_timesteps(num_train, num_steps)
    # The small term keeps 0.29 * 100 = 28.999999999999996 from losing a step.
    first = min(int(skip * num_steps + 1e-9), num_steps - 1)
    timesteps = timesteps[first:]
    if solver == "dpm":
        timesteps = condensed_timesteps(timesteps)

    ab = alpha_bars[list(timesteps)]
    ab_prev = np.append(ab[1:], final_alpha_bar)
    sigma = np.sqrt((1 - ab_prev) / (1 - ab)) * np.sqrt(1 - ab / ab_prev)
    a = np.sqrt(ab_prev / ab)
    direction = (1 - ab_prev) * np.sqrt(ab / (ab_prev * (1 - ab)))
    b = direction - np.sqrt(ab_prev * (1 - ab) / ab)
    c = second_order(ab) if solver == "dpm" else np.zeros_like(a)
    return Schedule(timesteps, ab, ab_prev, sigma, a, b, c, num_steps, skip)


def second_order(alpha_bar: FloatArray) -> FloatArray:
    """Compute c_t of SDE-DPM-Solver++(2M), float64 [S], from alpha_bar of every step.

    The solver's first order is DDPM with eta = 1, so a_t, b_t and sigma_t are as ever. What the
    second adds extrapolates the predicted clean image half a step ahead in lambda, the logarithm
    of signal over noise:

        h_t = lambda_prev - lambda_t
        c_t = sqrt(alpha_bar_prev) (1 - exp(-2 h_t)) h_t / (2 h_before)

    The first step has nothing before it and the last ends without noise, where h is infinite:
    both stay of first order.

    Notes
    -----
    Source: arXiv 2211.01095, SDE-DPM-Solver++(2M).
    """
    h = np.diff(np.log(alpha_bar) - np.log1p(-alpha_bar)) / 2
    c = np.zeros_like(alpha_bar)
    c[1:-1] = np.sqrt(alpha_bar[2:]) * -np.expm1(-2 * h[1:]) * h[1:] / (2 * h[:-1])
    return c
