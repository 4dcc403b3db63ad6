"""DDPM inversion: the case's noise, the noised image, and a cache of predicted noise.

Source: arXiv 2312.12865, Algorithm 1 (edit-friendly DDPM inversion, arXiv 2304.06140). In
the delta form the isolated noise z_t cancels, so all that an inversion has to provide is
e_inv = f(x̂_t, t, c_inv), which depends on the image but not on the edit: it is what the
cache keeps for the next prompt on the same image.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from radedit.lib.edit.schedule import Step


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


class InversionCache:
    """Least-recently-used cache of e_inv, bounded in bytes and safe between threads.

    Parameters
    ----------
    max_bytes : int
        Upper bound of all tensors held. An entry larger than this is not kept.
    """

    def __init__(self, max_bytes: int = 256 * 1024 * 1024) -> None:
        self.max_bytes = max_bytes
        self._entries: OrderedDict[InversionKey, Tensor] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._bytes

    def get(self, key: InversionKey) -> Tensor | None:
        """Return e_inv [S, C, h, w] of one case on the CPU, or None; marks it as used."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
            return entry

    def put(self, key: InversionKey, e_inv: Tensor) -> None:
        """Keep a CPU copy of e_inv [S, C, h, w], dropping the least recently used entries."""
        copy = e_inv.detach().to("cpu", copy=True).contiguous()
        size = copy.numel() * copy.element_size()
        with self._lock:
            self._drop(key)
            if size > self.max_bytes:
                return
            self._entries[key] = copy
            self._bytes += size
            while self._bytes > self.max_bytes:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: InversionKey) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= old.numel() * old.element_size()
