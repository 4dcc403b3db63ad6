"""Independent pieces of work, shared among processes that each load their models once.

One process belongs to one device: a core, or a GPU. Whoever gives out the work notes what came
of each piece; a run that was ended goes on with the pieces that are left.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from typing import Any, TypeVar

from radedit.lib.errors import RadEditError

T = TypeVar("T")
W = TypeVar("W")
R = TypeVar("R")


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def spread(
    do: Callable[[T, W], R],
    work: Sequence[W],
    here: T,
    load: Callable[[str], T],
    devices: Sequence[str],
) -> Iterator[R]:
    """Do every piece of work; give what comes of each as soon as it is there.

    Parameters
    ----------
    do : from what is loaded and a piece to what comes of it; like `load` it can be pickled
    here : what this process has loaded; with one device or one piece nothing else is needed
    load : from a device to the same for another process
    devices : one process for each, such as ("cpu", "cpu") or ("cuda:0", "cuda:1")

    Raises
    ------
    RadEditError
        A process was ended from outside.
    Exception
        Whatever `load` or `do` raises; the pieces that are left are not begun.
    """
    count = min(len(devices), len(work))
    if count < 2:
        yield from (do(here, piece) for piece in work)
        return
    context = get_context("spawn")
    free: SimpleQueue[str] = context.SimpleQueue()
    for device in devices[:count]:
        free.put(device)
    pool = ProcessPoolExecutor(count, context, _enter, (free, load))
    try:
        for future in as_completed([pool.submit(_one, do, piece) for piece in work]):
            yield future.result()
    except BrokenProcessPool:
        raise RadEditError(
            "a process of the run was ended from outside, perhaps for want of memory; run it "
            "again to go on, with --workers 1 if need be."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_loaded: list[Any] = []


def _enter(free: SimpleQueue[str], load: Callable[[str], Any]) -> None:
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who gave out the work stops it
    torch.set_num_threads(1)
    _loaded.append(load(free.get()))


def _one(do: Callable[[Any, W], R], piece: W) -> R:
    return do(_loaded[0], piece)
