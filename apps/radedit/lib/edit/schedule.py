"""The timesteps an edit visits and the coefficients of each step.

Notation (RadEdit, arXiv 2312.12865, Eq. 2-4)
    alpha_bar_t     share of signal variance left at timestep t
    alpha_bar_prev  the same at the timestep visited next (towards the clean image)
    sigma_t         noise a DDPM step adds back (eta = 1)
    a_t, b_t        mu_t(x, eps) = a_t x + b_t eps, the mean of Eq. 4
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
    alpha_bar, alpha_bar_prev, sigma, a, b : float
        See the notation of the module.
    """

    index: int
    t: int
    alpha_bar: float
    alpha_bar_prev: float
    sigma: float
    a: float
    b: float


@dataclass(frozen=True, eq=False)
class Schedule:
    """The steps that are run, noisiest first; left-out steps are not in it.

    Attributes
    ----------
    timesteps : tuple of int
        Strictly descending training timesteps, one per step that is run.
    alpha_bar, alpha_bar_prev, sigma_t, a_t, b_t : float64 [len(timesteps)]
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
            )

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


def make_schedule(
    alphas_cumprod: Sequence[float] | npt.NDArray[np.floating],
    num_steps: int,
    skip: float = 0.0,
    final_alpha_bar: float = 1.0,
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

    ab = alpha_bars[list(timesteps)]
    ab_prev = np.append(ab[1:], final_alpha_bar)
    sigma = np.sqrt((1 - ab_prev) / (1 - ab)) * np.sqrt(1 - ab / ab_prev)
    a = np.sqrt(ab_prev / ab)
    direction = (1 - ab_prev) * np.sqrt(ab / (ab_prev * (1 - ab)))
    b = direction - np.sqrt(ab_prev * (1 - ab) / ab)
    return Schedule(timesteps, ab, ab_prev, sigma, a, b, num_steps, skip)
