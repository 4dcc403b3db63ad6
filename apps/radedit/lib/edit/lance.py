"""LANCE (arXiv 2305.19164): DDIM inversion and a global prompt, with null texts as an option.

The film is followed to its noise under the text of what it shows, then denoised towards the
prompt. There are no masks. With guidance the way back is another curve than the way there, so
much more than the prompt's finding changes. Null-text optimisation (arXiv 2211.09794) bends it
back: for each step an own "empty" prompt is learned with which the guided step, asked for what
the film shows already, meets the curve of the inversion.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from radedit.lib.edit.course import Denoise, Hooks, finite, tell
from radedit.lib.edit.ddim import ddim_invert, ddim_step, guided, paired
from radedit.lib.edit.radedit import Conditioning, EditMasks, Plan
from radedit.lib.edit.schedule import Step

NULL_TEXT_ITERATIONS = 10  # of each step; the paper's upper bound
_RATE = 1e-2  # the paper's, of Adam; it falls by a hundredth with each step


@torch.no_grad()
def lance(
    denoise: Denoise,
    x0: Tensor,
    conditioning: Conditioning,
    masks: EditMasks,
    plan: Plan,
    hooks: Hooks | None = None,
) -> Tensor:
    """Edit latents by text alone; arguments, result and errors as those of `radedit`.

    Parameters
    ----------
    conditioning : Conditioning
        `inversion` is the text of what the film shows.
    masks : EditMasks
        Not used: the method has none. What reaches the film is up to the composite.
    plan : Plan
        Neither its noise nor its `e_inv` is used: the method draws none.
    """
    hooks = hooks or Hooks()
    clean = x0.to(torch.promote_types(x0.dtype, torch.float32))
    x = _path(denoise, x0, clean, conditioning, plan)[0]
    context, steps = paired(conditioning, len(x0), x0.device), list(plan.schedule)
    for step in steps:
        x = ddim_step(x, guided(denoise, x, step.t, context, plan.guidance, x0.dtype), step)
        tell(hooks, step.index + 1, len(steps))
    return finite(x - clean)


def lance_null_text(
    denoise: Denoise,
    x0: Tensor,
    conditioning: Conditioning,
    masks: EditMasks,
    plan: Plan,
    hooks: Hooks | None = None,
) -> Tensor:
    """Edit as `lance` does, with an empty prompt learned for every step.

    Parameters
    ----------
    denoise : Denoise
        Must be differentiable in its context.
    """
    hooks = hooks or Hooks()
    x0 = x0.clone()  # tensors made in inference mode cannot be differentiated
    source, edit, null = (
        part.to(x0.device).expand(len(x0), -1, -1).clone()
        for part in (conditioning.inversion, conditioning.cond, conditioning.uncond)
    )
    clean = x0.to(torch.promote_types(x0.dtype, torch.float32))
    with torch.no_grad():
        path = _path(denoise, x0, clean, conditioning, plan)
    x_source = x = path[0]
    steps = list(plan.schedule)
    for step in steps:
        wanted = path[step.index + 1]

        def miss(
            null: Tensor,
            here: Tensor = x_source,
            step: Step = step,
            wanted: Tensor = wanted,
        ) -> Tensor:
            return _step(denoise, here, step, (null, source), plan.guidance) - wanted

        rate = _RATE * max(0.0, 1 - step.index / 100)
        null = _fitted(null, miss, rate)
        with torch.no_grad():
            x_source = _step(denoise, x_source, step, (null, source), plan.guidance)
            x = _step(denoise, x, step, (null, edit), plan.guidance)
        tell(hooks, step.index + 1, len(steps))
    return finite(x - clean)


def _path(
    denoise: Denoise, x0: Tensor, clean: Tensor, conditioning: Conditioning, plan: Plan
) -> list[Tensor]:
    """Invert in full precision, with the network fed in the dtype of `x0`."""
    context = conditioning.inversion.to(x0.device).expand(len(x0), -1, -1)

    def eps(x: Tensor, t: int, c: Tensor) -> Tensor:
        return denoise(x.to(x0.dtype), t, c).to(clean.dtype)

    return ddim_invert(eps, clean, context, plan.schedule)


def _step(
    denoise: Denoise, x: Tensor, step: Step, prompts: tuple[Tensor, Tensor], w: float
) -> Tensor:
    return ddim_step(x, guided(denoise, x, step.t, torch.cat(prompts), w, x.dtype), step)


def _fitted(null: Tensor, miss: Callable[[Tensor], Tensor], rate: float) -> Tensor:
    """Learn one step's empty prompt; the rows of a batch do not see each other."""
    learned = null.detach().clone().requires_grad_(True)
    optimizer = torch.optim.Adam([learned], lr=rate)
    for _ in range(NULL_TEXT_ITERATIONS):
        with torch.enable_grad():
            # A mean over each case alone, so that a batch learns what its cases would.
            loss = miss(learned).pow(2).mean(dim=(1, 2, 3)).sum()
        (learned.grad,) = torch.autograd.grad(loss, learned)  # and none for the weights
        optimizer.step()
    return learned.detach()
