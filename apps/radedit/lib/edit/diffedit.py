"""DiffEdit (arXiv 2210.11427, as Algorithm 2 of arXiv 2312.12865) in delta form.

Its one mask says both where the prompt acts and what may change: guidance works everywhere,
and after every step all outside the mask goes back to the inverted trajectory,

    delta_prev = m_edit (a_t delta_t + b_t (e_u + w (e_c - e_u) - e_inv)).

That is RadEdit's step with an edit mask of ones and a keep mask of 1 - m_edit. It is here to be
compared with: what lies outside cannot answer to what is drawn inside, so borders show.
"""

from __future__ import annotations

import torch
from torch import Tensor

from radedit.lib.edit.radedit import Conditioning, Denoise, EditMasks, Hooks, Plan, radedit


def as_diffedit(masks: EditMasks) -> EditMasks:
    """Masks by which `radedit` runs DiffEdit.

    Parameters
    ----------
    masks : EditMasks
        Its edit mask less its keep mask is DiffEdit's only mask.
    """
    inside = masks.edit.float()
    if masks.keep is not None:
        inside = inside * (1 - masks.keep.float())
    return EditMasks(edit=torch.ones_like(inside), keep=1 - inside)


def diffedit(
    denoise: Denoise,
    x0: Tensor,
    conditioning: Conditioning,
    masks: EditMasks,
    plan: Plan,
    hooks: Hooks | None = None,
) -> Tensor:
    """Edit latents inside one mask; arguments, result and errors as those of `radedit`."""
    return radedit(denoise, x0, conditioning, as_diffedit(masks), plan, hooks)
