"""Image to image (SDEdit, arXiv 2108.01073), as RoentMod (arXiv 2509.08640) edits chest films.

The clean latent is noised to a part of the schedule, its `strength`, and denoised again towards
the prompt. Nothing is inverted and there are no masks: whatever the noise hid may come back
otherwise. RoentMod found strength 0.4 with guidance 4; a schedule that leaves out the noisiest
60 % (`skip` 0.6) has that strength.

What comes back differs from the film even where nothing was asked for, so this method has no
identity for an empty prompt; it has one only for a network that knows the film.
"""

from __future__ import annotations

import torch
from torch import Tensor

from radedit.lib.edit.course import Denoise, Hooks, finite, tell
from radedit.lib.edit.ddim import ddim_step, guided, paired
from radedit.lib.edit.inversion import q_sample
from radedit.lib.edit.radedit import Conditioning, EditMasks, Plan


@torch.no_grad()
def img2img(
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
    masks : EditMasks
        Not used: the method has none. What reaches the film is up to the composite.
    plan : Plan
        Its noise of the first step is the starting noise; `e_inv` is not used.
    """
    hooks = hooks or Hooks()
    dtype = torch.promote_types(x0.dtype, torch.float32)
    clean, steps = x0.to(dtype), list(plan.schedule)
    context = paired(conditioning, len(x0), x0.device)
    x = q_sample(clean, plan.noise[0].to(clean), steps[0])
    for step in steps:
        x = ddim_step(x, guided(denoise, x, step.t, context, plan.guidance, x0.dtype), step)
        tell(hooks, step.index + 1, len(steps))
    return finite(x - clean)
