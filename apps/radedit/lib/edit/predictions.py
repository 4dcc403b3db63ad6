"""The three predictions of a step, in one call of the network.

Two of them that have the same input are one row of the call, not two that might round
differently: what must be equal is equal bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from radedit.lib.edit.course import Denoise


class Predictions(NamedTuple):
    """What the network predicts of a step, each [N, C, h, w]."""

    inv: Tensor
    uncond: Tensor
    cond: Tensor


@dataclass(frozen=True)
class Network:
    """The denoiser with its prompts, asked once per step for everything it needs.

    `ids[k][n]` numbers the prompt of slot k (0 = inversion, 1 = uncond, 2 = cond) for case
    n, so that equal prompts have equal numbers.
    """

    denoise: Denoise
    contexts: Tensor  # [3N, L, D]: inversion, uncond, cond
    ids: tuple[tuple[int, ...], ...]
    dtype: torch.dtype

    def __call__(self, t: int, x_hat: Tensor, delta: Tensor, e_inv: Tensor | None) -> Predictions:
        """Predict at x̂_t and at x̂_t + delta; `e_inv`, where given, is not asked for again."""
        n = len(x_hat)
        moved = delta.flatten(1).any(dim=1).tolist()
        pool = [] if e_inv is None else [e_inv]
        position: dict[tuple[int, bool, int], int] = {}
        if e_inv is not None:
            position = {(i, False, self.ids[0][i]): i for i in range(n)}
        offset = len(position)
        wanted = [
            (i, bool(slot and moved[i]), self.ids[slot][i]) for slot in range(3) for i in range(n)
        ]
        rows: list[int] = []
        for row, key in enumerate(wanted):
            if key not in position:
                position[key] = offset + len(rows)
                rows.append(row)
        if rows:
            x_t = x_hat + delta
            x = torch.cat([x_hat, x_t, x_t])[rows].to(self.dtype)
            pool.append(self.denoise(x, t, self.contexts[rows]).to(x_hat.dtype))
        eps = torch.cat(pool)[[position[key] for key in wanted]]
        return Predictions(eps[:n], eps[n : 2 * n], eps[2 * n :])


def network_of(denoise: Denoise, x0: Tensor, prompts: tuple[Tensor, Tensor, Tensor]) -> Network:
    """Join a denoiser and its prompts, those of `Predictions` in their order."""
    n = len(x0)
    parts = [prompt.to(x0.device).expand(n, -1, -1) for prompt in prompts]

    def same(j: int, k: int) -> list[bool]:
        return [bool(torch.equal(parts[j][i], parts[k][i])) for i in range(n)]

    cond = tuple(1 if equal else 2 for equal in same(2, 1))
    inversion = tuple(
        1 if as_uncond else (2 if as_cond else 0)
        for as_uncond, as_cond in zip(same(0, 1), same(0, 2), strict=True)
    )
    return Network(denoise, torch.cat(parts), (inversion, (1,) * n, cond), x0.dtype)
