"""Every editing method on one interface, by the name that the parameter `method` has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from torch import Tensor

from radedit.lib.edit.diffedit import diffedit
from radedit.lib.edit.img2img import img2img
from radedit.lib.edit.lance import lance, lance_null_text
from radedit.lib.edit.radedit import Conditioning, Denoise, EditMasks, Hooks, Plan, radedit

Run = Callable[[Denoise, Tensor, Conditioning, EditMasks, Plan, Hooks | None], Tensor]
"""delta = run(denoise, x0, conditioning, masks, plan, hooks), as `radedit` describes them."""


@dataclass(frozen=True)
class Method:
    """One way to edit latents.

    Attributes
    ----------
    run : the algorithm
    uses_masks : whether it knows masks at all; else they only limit what reaches the film
    inverts_ahead : whether it takes `Plan.e_inv`, so that an inversion can be shared
    differentiates : whether the network must be differentiable in its context
    """

    run: Run
    uses_masks: bool = True
    inverts_ahead: bool = False
    differentiates: bool = False


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "radedit": Method(radedit, inverts_ahead=True),
        "diffedit": Method(diffedit, inverts_ahead=True),
        "lance": Method(lance, uses_masks=False),
        "lance-null-text": Method(lance_null_text, uses_masks=False, differentiates=True),
        "img2img": Method(img2img, uses_masks=False),
    }
)
