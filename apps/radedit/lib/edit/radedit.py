"""RadEdit (arXiv 2312.12865, Algorithm 3) in delta form.

Algorithm 3 follows two trajectories that share their noise: x̂_t of the original image and
x_t of the edited one. Subtracting the first from the second leaves delta_t = x_t - x̂_t,
and with it z_t and the division by sigma_t (0/0 at the last step) disappear:

    x̂_t        = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps̃_t
    e_inv      = f(x̂_t, t, c_inv)
    e_u, e_c   = f(x̂_t + delta_t, t, null), f(x̂_t + delta_t, t, c)
    e_edit     = e_u + m_edit w (e_c - e_u)
    delta_prev = (1 - m_keep) (a_t delta_t + b_t (e_edit - e_inv)),   delta_T = 0

A schedule of second order (`schedule.second_order`) adds c_t (D_t - D_before) to the bracket, with
D_t = (delta_t - sqrt(1 - alpha_bar_t) (e_edit - e_inv)) / sqrt(alpha_bar_t), the difference of the
two clean images that are predicted.

What must be equal is equal bit for bit, see `predictions`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from radedit.lib.edit.course import Denoise, EditCancelledError, Hooks, Resume, check, finite
from radedit.lib.edit.guidance import masked_guidance, release
from radedit.lib.edit.inversion import q_sample
from radedit.lib.edit.predictions import network_of
from radedit.lib.edit.schedule import Schedule, Step
from radedit.lib.errors import MaskError

__all__ = [
    "Conditioning",
    "Denoise",
    "EditCancelledError",
    "EditMasks",
    "Hooks",
    "Plan",
    "Resume",
    "clean_change",
    "delta_step",
    "radedit",
    "resumed",
]


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts, one row per case.

    Attributes
    ----------
    cond : float [N or 1, L, D]
        The editing prompt, c.
    uncond : float [N or 1, L, D]
        The empty prompt.
    inversion : float [N or 1, L, D]
        The inversion prompt, c_inv; usually the same tensor as `uncond`.
    """

    cond: Tensor
    uncond: Tensor
    inversion: Tensor

    def __post_init__(self) -> None:
        """Check that the prompts were encoded alike."""
        shapes = {tuple(c.shape[1:]) for c in (self.cond, self.uncond, self.inversion)}
        if len(shapes) != 1 or self.cond.ndim != 3:
            raise ValueError(f"The prompts must all be [N, L, D] of one L and D, got {shapes}.")


@dataclass(frozen=True)
class EditMasks:
    """Masks on the latent grid, one per case.

    Attributes
    ----------
    edit : bool or float [N, 1, h, w]
        0..1, 1 = the prompt acts here (m_edit, the paper's exclusion mask).
    keep : bool or float [N, 1, h, w], optional
        0..1, 1 = must stay (m_keep, the inclusion mask). Not given = nothing is kept.

    Raises
    ------
    MaskError
        Shapes differ, or a value lies outside 0..1.
    """

    edit: Tensor
    keep: Tensor | None = None

    def __post_init__(self) -> None:
        """Check shapes and ranges."""
        for name, mask in (("edit", self.edit), ("keep", self.keep)):
            if mask is None:
                continue
            if mask.ndim != 4 or mask.shape[1] != 1:
                raise MaskError(f"The {name} mask is {tuple(mask.shape)}; expected [N, 1, h, w].")
            if mask.shape != self.edit.shape:
                raise MaskError(
                    f"The keep mask is {tuple(mask.shape)} and the edit mask "
                    f"{tuple(self.edit.shape)}; they must have one shape."
                )
            values = mask.float()
            if not bool(((values >= 0) & (values <= 1)).all()):
                raise MaskError(f"The {name} mask holds values outside 0 to 1.")


@dataclass(frozen=True)
class Plan:
    """How to edit.

    Attributes
    ----------
    schedule : Schedule
        Steps to run.
    noise : float [S, N, C, h, w]
        eps̃ of every step and case, S = len(schedule); see `draw_noise_batch`.
    guidance : float
        w of classifier-free guidance inside the edit mask.
    e_inv : float [S, N, C, h, w], optional
        Predicted noise of an earlier inversion of the same images with the same schedule,
        noise and inversion prompt. It saves one evaluation in three.
    resume : Resume, optional
        Only the steps behind it are run; the result is that of the whole, to the byte.
    """

    schedule: Schedule
    noise: Tensor
    guidance: float = 7.5
    e_inv: Tensor | None = None
    resume: Resume | None = None


def _check(x0: Tensor, masks: EditMasks, plan: Plan) -> None:
    n, _, height, width = x0.shape
    if masks.edit.shape != (n, 1, height, width):
        raise MaskError(
            f"The masks are {tuple(masks.edit.shape)}; expected {(n, 1, height, width)} "
            "to fit the latents."
        )
    expected = (len(plan.schedule), *x0.shape)
    for name, value in (("noise", plan.noise), ("e_inv", plan.e_inv)):
        if value is not None and tuple(value.shape) != expected:
            raise ValueError(f"{name} is {tuple(value.shape)}; expected {expected}.")


class _State(NamedTuple):
    """What one step hands to the next: delta, and with a second-order schedule D."""

    delta: Tensor
    clean_change: Tensor

    @classmethod
    def begun(cls, resume: Resume | None, schedule: Schedule, x0: Tensor) -> _State:
        zero = torch.zeros_like(x0)
        if resume is None:
            return cls(zero, zero)
        n, channels, height, width = x0.shape
        expected = (n, channels * schedule.order, height, width)
        if resume.delta.shape != expected:
            raise ValueError(f"delta is {tuple(resume.delta.shape)}; expected {expected}.")
        kept = resume.delta.to(x0)
        return cls(*kept.chunk(2, dim=1)) if schedule.order == 2 else cls(kept, zero)

    def kept(self, schedule: Schedule) -> Tensor:
        """Everything that the rest of the edit needs, as `Resume.delta`."""
        return torch.cat(self, dim=1) if schedule.order == 2 else self.delta


def resumed(resume: Resume, schedule: Schedule, x0: Tensor) -> Tensor:
    """Give delta_0 of an edit that was interrupted behind its last step.

    What `radedit` returns then, without a prompt, a mask or an inversion.

    Parameters
    ----------
    resume : Resume
        Its `done` is the number of steps of the schedule.
    schedule : Schedule
    x0 : float [N, C, h, w]

    Returns
    -------
    As that of `radedit`.

    Raises
    ------
    RadEditError
        The result is not finite.
    ValueError
        The resumed delta has another shape than schedule and latents ask for.
    """
    clean = x0.to(torch.promote_types(x0.dtype, torch.float32))
    return finite(_State.begun(resume, schedule, clean).delta)


def clean_change(delta: Tensor, eps_change: Tensor, step: Step) -> Tensor:
    """Predict the clean images' difference, D_t; arguments and shape as those of `delta_step`."""
    noise = math.sqrt(1 - step.alpha_bar) * eps_change
    return (delta - noise) / math.sqrt(step.alpha_bar)


def delta_step(
    delta: Tensor, eps_change: Tensor, m_keep: Tensor, step: Step, ahead: Tensor | None = None
) -> Tensor:
    """Take one step of the edit's difference.

    Parameters
    ----------
    delta : float [N, C, h, w]
        x_t - x̂_t.
    eps_change : float [N, C, h, w]
        e_edit - e_inv.
    m_keep : float [N, 1, h, w]
        1 = must stay.
    step : Step
        Its a and b are used.
    ahead : float [N, C, h, w], optional
        c_t (D_t - D_before) of a second-order step.

    Returns
    -------
    float [N, C, h, w]
        x_prev - x̂_prev = (1 - m_keep) (a_t delta + b_t eps_change + ahead).
    """
    moved = step.a * delta + step.b * eps_change
    return release(moved if ahead is None else moved + ahead, m_keep)


@torch.no_grad()
def radedit(
    denoise: Denoise,
    x0: Tensor,
    conditioning: Conditioning,
    masks: EditMasks,
    plan: Plan,
    hooks: Hooks | None = None,
) -> Tensor:
    """Edit latents by text and two masks; `x0 + result` is the edited latent.

    Every step is one call of `denoise`, of up to 3N rows: inversion, unconditional and
    conditional. It is 2N with `plan.e_inv`, and smaller where inputs coincide (the first
    step with an empty inversion prompt).

    Parameters
    ----------
    denoise : Denoise
        The network; its rows must not depend on each other.
    x0 : float [N, C, h, w]
        Clean latents. The network is fed in this dtype; the difference is accumulated in
        float32 or better.
    conditioning : Conditioning
        Encoded prompts.
    masks : EditMasks
        On the latent grid. Where both are 1, keep wins.
    plan : Plan
        Schedule, noise, guidance, cached inversion.
    hooks : Hooks, optional
        Progress, cancelling, collecting the inversion.

    Returns
    -------
    float32 (float64 for float64 x0) [N, C, h, w]
        delta_0, exactly 0 where m_keep is 1. The same batch on the same hardware gives the
        same bytes; another batch shape, which includes cached or not, may round otherwise.

    Raises
    ------
    MaskError
        A mask does not fit the latents.
    EditCancelledError
        `hooks.cancelled` returned True.
    RadEditError
        The result is not finite.
    ValueError
        Noise, cached inversion or resumed delta has another shape than schedule and latents
        ask for.

    Notes
    -----
    Source: arXiv 2312.12865, Algorithm 3, minus Algorithm 1's trajectory.
    """
    hooks = hooks or Hooks()
    _check(x0, masks, plan)
    dtype, device = torch.promote_types(x0.dtype, torch.float32), x0.device
    prompts = (conditioning.inversion, conditioning.uncond, conditioning.cond)
    network = network_of(denoise, x0, prompts)
    clean = x0.to(dtype)
    m_edit = masks.edit.to(device, dtype)
    m_keep = torch.zeros_like(m_edit) if masks.keep is None else masks.keep.to(device, dtype)
    done = 0 if plan.resume is None else plan.resume.done
    state = _State.begun(plan.resume, plan.schedule, clean)
    for step in plan.schedule:
        if step.index < done:
            continue
        check(hooks, step.index)
        x_hat = q_sample(clean, plan.noise[step.index].to(device, dtype), step)
        cached = None if plan.e_inv is None else plan.e_inv[step.index].to(device, dtype)
        eps = network(step.t, x_hat, state.delta, cached)
        e_edit = masked_guidance(eps.uncond, eps.cond, m_edit, plan.guidance)
        state = _advance(state, e_edit - eps.inv, m_keep, step)
        if hooks.inverted is not None:
            hooks.inverted(step.index, eps.inv)
        if hooks.stepped is not None:
            hooks.stepped(step.index + 1, state.kept(plan.schedule))
        if hooks.progress is not None:
            hooks.progress(step.index + 1, len(plan.schedule))
    return finite(state.delta)


def _advance(state: _State, eps_change: Tensor, m_keep: Tensor, step: Step) -> _State:
    change = clean_change(state.delta, eps_change, step)
    ahead = step.c * (change - state.clean_change) if step.c else None
    return _State(delta_step(state.delta, eps_change, m_keep, step, ahead), change)
