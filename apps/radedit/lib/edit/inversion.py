"""DDPM inversion: the case's noise, the noised image, and a cache for the next edit.

Source: arXiv 2312.12865, Algorithm 1 (edit-friendly DDPM inversion, arXiv 2304.06140). In
the delta form the isolated noise z_t cancels, so all that an inversion has to provide is
e_inv = f(x̂_t, t, c_inv), which depends on the image but not on the edit: it is what the
cache keeps for the next prompt on the same image.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from radedit.lib.edit.schedule import Schedule, Step

ROWS = 16  # rows of one call; more gains nothing on a CPU and fits any GPU


def draw_noise(shape: Sequence[int], num_steps: int, generator: torch.Generator) -> Tensor:
    """Draw the independent noise of every step of one case.

    Parameters
    ----------
    shape : sequence of int
        (C, h, w) of the case's latent.
    num_steps : int
        Steps that are run (`len(schedule)`).
    generator : torch.Generator
        The case's own generator, on the CPU: the draw is then the same whatever device
        the model runs on and wherever the case sits in a batch.

    Returns
    -------
    float32 [num_steps, C, h, w], on the CPU

    Raises
    ------
    ValueError
        The generator is not on the CPU.
    """
    if generator.device.type != "cpu":
        raise ValueError(f"draw_noise needs a CPU generator, got one on {generator.device}.")
    return torch.randn((num_steps, *shape), generator=generator, dtype=torch.float32)


def draw_noise_batch(shape: Sequence[int], num_steps: int, seeds: Sequence[int]) -> Tensor:
    """Draw the noise of several cases, each from a fresh generator of its own seed.

    Returns
    -------
    float32 [num_steps, N, C, h, w], on the CPU
        Slice [:, n] equals `draw_noise` with the seed of case n.
    """
    draws = [
        draw_noise(shape, num_steps, torch.Generator("cpu").manual_seed(seed)) for seed in seeds
    ]
    return torch.stack(draws, dim=1)


def q_sample(x0: Tensor, eps: Tensor, step: Step) -> Tensor:
    """Noise the clean latent to one timestep, in the dtype of `x0`.

    Returns
    -------
    float, shape of x0
        x̂_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps (Eq. 2).
    """
    return math.sqrt(step.alpha_bar) * x0 + math.sqrt(1.0 - step.alpha_bar) * eps


@torch.no_grad()
def invert(
    denoise: Callable[[Tensor, Tensor, Tensor], Tensor],
    x0: Tensor,
    context: Tensor,
    schedule: Schedule,
    noise: Tensor,
) -> Tensor:
    """Predict the noise in every x̂_t, ahead of the edit.

    The predictions do not depend on each other, so timesteps share calls of up to `ROWS`
    rows. How they share them follows from the schedule and the batch alone: the same bytes
    come out whether an edit computes them or takes them from the cache.

    Parameters
    ----------
    denoise : callable
        eps = denoise(x_t [R, C, h, w], t long [R], context [R, L, D]).
    x0 : float [N, C, h, w]
        Clean latents.
    context : float [N, L, D]
        The inversion prompts.
    schedule : Schedule
        Only its steps are evaluated; skipped ones are not in it.
    noise : float [S, N, C, h, w]
        eps̃ of every step and case.

    Returns
    -------
    float32 (float64 for float64 x0) [S, N, C, h, w]
        e_inv = f(x̂_t, t, c_inv), on the device of `x0`.

    Notes
    -----
    Source: arXiv 2312.12865, Algorithm 1, the first line of its second loop.
    """
    n = len(x0)
    dtype = torch.promote_types(x0.dtype, torch.float32)
    clean = x0.to(dtype)
    steps = list(schedule)
    share = max(1, ROWS // n)
    found = []
    for first in range(0, len(steps), share):
        group = steps[first : first + share]
        x_hat = torch.cat([q_sample(clean, noise[s.index].to(clean), s) for s in group])
        t = torch.tensor([s.t for s in group], device=x0.device).repeat_interleave(n)
        eps = denoise(x_hat.to(x0.dtype), t, context.repeat(len(group), 1, 1))
        found.append(eps.to(dtype).reshape(len(group), n, *x0.shape[1:]))
    return torch.cat(found)


@dataclass(frozen=True)
class InversionKey:
    """Everything e_inv depends on.

    Attributes
    ----------
    image_sha256 : str
        Of the pixels (or latent) that were encoded.
    model_sha256 : str
        `Backbone.sha256`.
    schedule : tuple
        `Schedule.key`.
    invert_prompt : str
        Text of c_inv; empty = unconditional.
    seed : int
        Of the case's noise.
    precision : str
        dtype and device kind the network ran in, e.g. "float32/cpu".
    """

    image_sha256: str
    model_sha256: str
    schedule: tuple[tuple[int, float], ...]
    invert_prompt: str
    seed: int
    precision: str = "float32/cpu"


class TensorCache:
    """Least-recently-used cache of tensors, bounded in bytes and safe between threads.

    Parameters
    ----------
    max_bytes : int
        Upper bound of all tensors held. An entry larger than this is not kept.
    """

    def __init__(self, max_bytes: int = 256 * 1024 * 1024) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, Tensor] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def get(self, key: Hashable) -> Tensor | None:
        """Return a tensor on the CPU, or None; marks it as used."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def put(self, key: Hashable, value: Tensor) -> None:
        """Keep a CPU copy of a tensor, dropping the least recently used ones."""
        copy = value.detach().to("cpu", copy=True).contiguous()
        size = copy.numel() * copy.element_size()
        with self._lock:
            self._drop(key)
            if size > self.max_bytes:
                return
            self._entries[key] = copy
            self._bytes += size
            while self._bytes > self.max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= old.numel() * old.element_size()
