"""What an editor keeps of a film for its next edit: latent, decoding and inversion.

None of it depends on the prompt. Taken from here or computed anew, an edit has the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import torch

from radedit.lib.cases import Prepared
from radedit.lib.edit.backbone import Backbone
from radedit.lib.edit.inversion import InversionKey, TensorCache
from radedit.lib.edit.schedule import Schedule
from radedit.lib.record import Run

PICTURES_MB: Final = 64  # latents and decodings: a hundred films of 256 pixels


class Kept:
    """The films edited last, in bounded memory.

    Parameters
    ----------
    inversions_mb : for the predicted noise of every step, by far the largest part; 0 = nothing is
        kept at all, where a film comes once
    """

    def __init__(self, inversions_mb: int) -> None:
        self._inversions = TensorCache(inversions_mb * 2**20)
        self._pictures = TensorCache(min(PICTURES_MB, inversions_mb) * 2**20)

    def encoded(self, p: Prepared, backbone: Backbone) -> torch.Tensor:
        """Latent of the film, float32 [1, C, h, w]."""
        image = torch.from_numpy(p.image)[None, None]
        return self._once("latent", p, backbone, lambda: backbone.encode(image))

    def decoded(self, p: Prepared, backbone: Backbone, z: torch.Tensor) -> torch.Tensor:
        """Decoding of the film's own latent z, float32 [1, 1, S, S]."""
        return self._once("decoded", p, backbone, lambda: backbone.decode(z))

    def inverted(
        self, keys: Sequence[InversionKey], compute: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Predicted noise of every step [S, N, C, h, w]; computed unless all cases are kept."""
        kept = [e for e in map(self._inversions.get, keys) if e is not None]
        if len(kept) == len(keys):
            return torch.stack(kept, dim=1)
        e_inv = compute()
        for key, case_e_inv in zip(keys, e_inv.cpu().unbind(1), strict=True):
            self._inversions.put(key, case_e_inv)
        return e_inv

    def _once(
        self, what: str, p: Prepared, backbone: Backbone, make: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        key = (what, _sha256(p), backbone.sha256, str(backbone.device))
        found = self._pictures.get(key)
        if found is None:
            found = make()
            self._pictures.put(key, found)
        return found.to(backbone.device)


def inversion_key(p: Prepared, run: Run, schedule: Schedule) -> InversionKey:
    """Everything that a case's inversion depends on."""
    return InversionKey(
        image_sha256=_sha256(p),
        model_sha256=run.model_sha256,
        schedule=schedule.key,
        invert_prompt=p.case.request.invert_prompt,
        seed=p.parameters.seed,
        precision=f"{run.dtype}/{run.device}/{run.batch}",
    )


def _sha256(p: Prepared) -> str:
    return hashlib.sha256(p.image.tobytes()).hexdigest()
