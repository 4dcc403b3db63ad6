"""How long each stage of the way was busy, by the clock and in CPU time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

STAGES: Final = ("fetch", "masks", "edit", "store")


@dataclass
class Spent:
    """What one stage took.

    Attributes
    ----------
    busy_s : wall time in it, of all its threads together
    cpu_s : CPU time of those threads; not that of threads that a library starts
    films : how many it had
    """

    busy_s: float = 0.0
    cpu_s: float = 0.0
    films: int = 0

    def add(self, other: Spent) -> None:
        """Take another account in."""
        self.busy_s += other.busy_s
        self.cpu_s += other.cpu_s
        self.films += other.films


class Clock:
    """The account of all stages of one process; threads may share it."""

    def __init__(self) -> None:
        self._spent = {name: Spent() for name in STAGES}
        self._lock = threading.Lock()

    @contextmanager
    def busy(self, stage: str, films: int = 1) -> Iterator[None]:
        """Count what is done inside towards a stage."""
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            took = Spent(time.perf_counter() - wall, time.thread_time() - cpu, films)
            with self._lock:
                self._spent[stage].add(took)

    def spent(self) -> Mapping[str, Spent]:
        """Give a copy of the account."""
        with self._lock:
            return {name: Spent(s.busy_s, s.cpu_s, s.films) for name, s in self._spent.items()}
