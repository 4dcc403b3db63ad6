"""Deterministic DDIM steps (arXiv 2010.02502, Eq. 12 with sigma = 0), and the same backwards.

RadEdit draws fresh noise at every step; the methods that it is compared with do not. They move
along one curve, whose two directions are exact inverses of each other for one predicted noise:

    x_prev = sqrt(alpha_bar_prev) x0 + sqrt(1 - alpha_bar_prev) eps
    x_t    = sqrt(alpha_bar_t)    x0 + sqrt(1 - alpha_bar_t)    eps
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from radedit.lib.edit.radedit import Denoise, EditCancelledError, Hooks
from radedit.lib.edit.schedule import Schedule, Step
from radedit.lib.errors import RadEditError


def ddim_step(x_t: Tensor, eps: Tensor, step: Step) -> Tensor:
    """Go from alpha_bar to alpha_bar_prev, towards the clean image; shapes as `x_t`."""
    return _moved(x_t, eps, step.alpha_bar, step.alpha_bar_prev)


def ddim_unstep(x_prev: Tensor, eps: Tensor, step: Step) -> Tensor:
    """Go from alpha_bar_prev back to alpha_bar, towards noise; undoes `ddim_step`."""
    return _moved(x_prev, eps, step.alpha_bar_prev, step.alpha_bar)


def ddim_invert(denoise: Denoise, x0: Tensor, context: Tensor, schedule: Schedule) -> list[Tensor]:
    """Follow the curve from a clean latent to its noise, one step after the other.

    Parameters
    ----------
    denoise : Denoise
        Asked at the timestep that the curve is on its way to, as the published code does.
    x0 : float [N, C, h, w]
        Clean latents.
    context : float [N, L, D]
        What the image shows, encoded.
    schedule : Schedule
        Its steps are walked from the last to the first.

    Returns
    -------
    list of S + 1 float [N, C, h, w]
        x at the noisiest step first, x0 itself last: entry i is where step i begins.

    Notes
    -----
    Source: arXiv 2211.09794, section 3.1.
    """
    x, path = x0, [x0]
    for step in reversed(list(schedule)):
        x = ddim_unstep(x, denoise(x, step.t, context), step)
        path.append(x)
    return path[::-1]


def tell(hooks: Hooks, step: Step, total: int) -> None:
    """Report a finished step, and stop before the next one if the caller wants to.

    Raises
    ------
    EditCancelledError
        `hooks.cancelled` returned True.
    """
    done = step.index + 1
    if hooks.progress is not None:
        hooks.progress(done, total)
    if done < total and hooks.cancelled is not None and hooks.cancelled():
        raise EditCancelledError(f"The edit was cancelled after {done} steps.")


def finite(delta: Tensor) -> Tensor:
    """Give the difference back if every value is finite.

    Raises
    ------
    RadEditError
        It is not.
    """
    if not bool(torch.isfinite(delta).all()):
        raise RadEditError(
            "The edit diverged to values that are not finite; lower the guidance or run the "
            "model in float32."
        )
    return delta


def _moved(x: Tensor, eps: Tensor, here: float, there: float) -> Tensor:
    x0 = (x - math.sqrt(1 - here) * eps) / math.sqrt(here)
    return math.sqrt(there) * x0 + math.sqrt(1 - there) * eps
