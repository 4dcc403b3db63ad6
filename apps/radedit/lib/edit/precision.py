"""Which precisions this device computes fast and right; measured once in a process.

Half precision is a gain only where the device has units for it. Without them a bfloat16 product is
emulated, on older x86 processors hundreds of times slower than float32, so that an edit of seconds
takes the better part of an hour and nothing says why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from radedit.lib.errors import ParameterError
from radedit.lib.parameters import AUTO, PRECISIONS

logger = logging.getLogger(__name__)

SLOW = 1.5
"""From this many times the time of float32 on, a precision that was asked for is warned of."""

REFUSED = 30.0
"""From this many on it is refused: nobody means to wait for that."""

RIGHT = 0.02
"""Largest error (root mean square, of the result's) at which rounding is all that differs."""

REPEATS = 5


@dataclass(frozen=True)
class Speed:
    """What one precision did here.

    Attributes
    ----------
    times_float32 : time it took over the time of float32; 2 = half as fast
    error : root mean square difference from float32's result, as a fraction of that result's
    """

    times_float32: float
    error: float

    @property
    def right(self) -> bool:
        """Whether it differs from float32 by rounding alone."""
        return self.error <= RIGHT


@cache
def measure(name: str, device: str = "cpu") -> Speed:
    """Time a small matrix product and a small convolution, in turn with float32.

    Parameters
    ----------
    name : one of `PRECISIONS`
    device : torch device
    """
    exact, half = _work(torch.float32, device), _work(getattr(torch, name), device)
    best = [float("inf"), float("inf")]
    with torch.inference_mode(), _one_thread():
        true, found = exact().float(), half().float()  # and warm
        for _ in range(REPEATS):
            for n, work in enumerate((exact, half)):
                best[n] = min(best[n], _seconds(work, device))
    error = (found - true).square().mean().sqrt() / true.square().mean().sqrt()
    return Speed(best[1] / best[0], float(error))


def resolve(asked: str, device: str = "cpu") -> str:
    """Turn the setting `dtype` into a precision.

    Parameters
    ----------
    asked : one of `PRECISIONS`, or "auto": bfloat16 where the device has units for it, is right
        with them and not slow; float32 elsewhere. The units decide, for times swing with what
        else a machine does, and one machine must make the same pixels every day
    device : torch device

    Raises
    ------
    ParameterError
        It is at least `REFUSED` times slower than float32 here.
    """
    if asked == AUTO:
        if not has_bfloat16_units(device):
            return "float32"
        speed = measure("bfloat16", device)
        return "bfloat16" if speed.right and speed.times_float32 < SLOW else "float32"
    if asked != "float32":
        slower = measure(asked, device).times_float32
        if slower >= REFUSED:
            raise ParameterError(
                f"The dtype '{asked}' takes {slower:.0f} times as long as float32 on this device "
                f"({device}), which has no units for it; set RADEDIT_DTYPE={AUTO}."
            )
        if slower >= SLOW:
            logger.warning(
                "%s takes %.1f times as long as float32 on this device (%s); RADEDIT_DTYPE=%s "
                "chooses what is fast here",
                asked,
                slower,
                device,
                AUTO,
            )
    return asked


def usable(name: str, device: str = "cpu") -> bool:
    """Whether a precision is no slower here than one would notice (below `SLOW`)."""
    return name == "float32" or measure(name, device).times_float32 < SLOW


def describe(device: str = "cpu") -> str:
    """Say in one sentence what each precision does on a device, and what "auto" takes."""
    speeds = {name: measure(name, device) for name in PRECISIONS if name != "float32"}
    told = [
        f"{name} takes {speed.times_float32:.2g} times as long as float32"
        + ("" if speed.right else f" and is wrong by {speed.error:.0%}")
        for name, speed in speeds.items()
    ]
    return f"On this device ({device}) {' and '.join(told)}; {AUTO} takes {resolve(AUTO, device)}."


def has_bfloat16_units(device: str) -> bool:
    """Whether the device multiplies bfloat16 itself: a GPU that does, AMX or AVX512-BF16."""
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return device == "cpu" and bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def _work(dtype: torch.dtype, device: str) -> Callable[[], Tensor]:
    """A product and a convolution of about 20 MFLOP each, the same numbers each time."""
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(208, 208, generator=rng).to(device, dtype) for _ in range(2))
    x = torch.randn(1, 64, 16, 16, generator=rng).to(device, dtype)
    w = torch.randn(64, 64, 3, 3, generator=rng).to(device, dtype)
    x = x.to(memory_format=torch.channels_last)
    return lambda: torch.cat([(a @ b).flatten(), conv2d(x, w, padding=1).flatten()])


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute in this thread alone: waiting for others of a busy machine would be measured too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _seconds(work: Callable[[], Tensor], device: str) -> float:
    """Take the time of the device: on a CPU this thread's own, which no neighbour can stretch."""
    if not device.startswith("cuda"):
        begun = time.thread_time()
        work()
        return time.thread_time() - begun
    torch.cuda.synchronize(device)
    begun = time.perf_counter()
    work()
    torch.cuda.synchronize(device)
    return time.perf_counter() - begun
