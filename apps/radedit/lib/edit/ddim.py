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

from radedit.lib.edit.course import Denoise
from radedit.lib.edit.radedit import Conditioning
from radedit.lib.edit.schedule import Schedule, Step


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


def paired(conditioning: Conditioning, n: int, device: torch.device) -> Tensor:
    """Stack the empty and the editing prompt for one call of the network, [2N, L, D]."""
    parts = (conditioning.uncond, conditioning.cond)
    return torch.cat([part.to(device).expand(n, -1, -1) for part in parts])


def guided(
    denoise: Denoise, x: Tensor, t: int, context: Tensor, w: float, dtype: torch.dtype
) -> Tensor:
    """Predict noise with classifier-free guidance everywhere, [N, C, h, w], in one call.

    `torch.lerp` is exact at w = 0, at w = 1 and where both predictions are equal.
    """
    e_u, e_c = denoise(torch.cat([x, x]).to(dtype), t, context).to(x.dtype).chunk(2)
    return torch.lerp(e_u, e_c, w)


def _moved(x: Tensor, eps: Tensor, here: float, there: float) -> Tensor:
    x0 = (x - math.sqrt(1 - here) * eps) / math.sqrt(here)
    return math.sqrt(there) * x0 + math.sqrt(1 - there) * eps
