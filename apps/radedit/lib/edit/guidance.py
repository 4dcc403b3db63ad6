"""Classifier-free guidance where the edit mask says so, and masked mixing.

`torch.lerp(x, y, w)` is used on purpose: unlike `x + w * (y - x)` it returns exactly `x`
at w = 0, exactly `y` at w = 1 and exactly `x` where x = y, for any w. The identities of
`radedit.lib.edit.radedit` rest on that.
"""

from __future__ import annotations

import torch
from torch import Tensor


def masked_guidance(eps_uncond: Tensor, eps_cond: Tensor, m_edit: Tensor, w: float) -> Tensor:
    """Guide by `w` inside the edit mask and not at all outside.

    Parameters
    ----------
    eps_uncond, eps_cond : float [N, C, h, w]
        Predicted noise without and with the editing prompt.
    m_edit : float [N, 1, h, w]
        0..1; 1 = guide fully.
    w : float
        Guidance weight; 1 gives the conditional prediction, 0 the unconditional one.

    Returns
    -------
    float [N, C, h, w]
        eps_uncond + m_edit * w * (eps_cond - eps_uncond).

    Notes
    -----
    Source: arXiv 2312.12865, Algorithm 3, the two lines that define eps_t.
    """
    weight = (m_edit * w).expand_as(eps_uncond)
    return torch.lerp(eps_uncond, eps_cond, weight)


def release(delta: Tensor, m_keep: Tensor) -> Tensor:
    """Undo the change where the keep mask says so.

    Parameters
    ----------
    delta : float [N, C, h, w]
        Difference to the unedited trajectory.
    m_keep : float [N, 1, h, w]
        0..1; 1 = must stay.

    Returns
    -------
    float [N, C, h, w]
        (1 - m_keep) * delta, and exactly +0 where m_keep is 1, whatever delta holds.

    Notes
    -----
    Source: arXiv 2312.12865, Algorithm 3, last line of the loop, minus x̂_{t-1}.
    """
    return torch.where(m_keep == 1, torch.zeros_like(delta), (1 - m_keep) * delta)
