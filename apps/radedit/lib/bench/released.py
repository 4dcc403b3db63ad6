"""The released algorithm as its users run it: the baseline that speed is measured against.

Textbook form in one precision, one network call at a time: every step of the schedule is
inverted, those that the edit then skips too; each step asks for its unconditional and its
conditional prediction in turn; nothing is batched, shared or kept for the next edit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from radedit.lib.edit.backbone import Backbone
from radedit.lib.edit.guidance import masked_guidance
from radedit.lib.edit.inversion import q_sample
from radedit.lib.edit.radedit import Conditioning, EditMasks
from radedit.lib.edit.schedule import Schedule, Step


@dataclass(frozen=True, eq=False)
class Task:
    """One edit as the model sees it.

    Attributes
    ----------
    backbone : the networks
    image : float32 [N, 1, S, S], -1 to 1
    prompts : of N rows
    masks : on the latent grid
    whole, schedule : all steps, and those that the edit runs
    noise : float32 [len(whole), N, C, h, w]; the last are those of `schedule`
    guidance : w
    """

    backbone: Backbone
    image: Tensor
    prompts: Conditioning
    masks: EditMasks
    whole: Schedule
    schedule: Schedule
    noise: Tensor
    guidance: float

    @property
    def skipped(self) -> int:
        """How many steps of the whole schedule are not run."""
        return len(self.whole) - len(self.schedule)


@torch.inference_mode()
def released_edit(task: Task) -> Tensor:
    """Edit and decode, float32 [N, 1, S, S]."""
    denoise, prompts = task.backbone.denoise, task.prompts
    x0 = task.backbone.encode(task.image)
    steps = list(task.whole)
    x_hats = [q_sample(x0, e.to(x0), s) for e, s in zip(task.noise, steps, strict=True)]
    x_hats.append(x0)
    z = []
    for step, x_hat, x_hat_prev in zip(steps, x_hats[:-1], x_hats[1:], strict=True):
        missed = x_hat_prev - _mean(x_hat, denoise(x_hat, step.t, prompts.inversion), step)
        z.append(missed / step.sigma if step.sigma > 0 else torch.zeros_like(x0))
    m_edit = task.masks.edit.to(x0)
    m_keep = torch.zeros_like(m_edit) if task.masks.keep is None else task.masks.keep.to(x0)
    x = x_hats[task.skipped]
    for index in range(task.skipped, len(steps)):
        step = steps[index]
        uncond = denoise(x, step.t, prompts.uncond)
        cond = denoise(x, step.t, prompts.cond)
        eps = masked_guidance(uncond, cond, m_edit, task.guidance)
        x = _mean(x, eps, step) + step.sigma * z[index]
        x = m_keep * x_hats[index + 1] + (1 - m_keep) * x
    return task.backbone.decode(x)


def _mean(x: Tensor, eps: Tensor, step: Step) -> Tensor:
    """mu_t(x, eps) of DDPM (eta = 1), as printed."""
    clean = (x - math.sqrt(1 - step.alpha_bar) * eps) / math.sqrt(step.alpha_bar)
    direction = math.sqrt(max(0.0, 1 - step.alpha_bar_prev - step.sigma**2))
    return math.sqrt(step.alpha_bar_prev) * clean + direction * eps
