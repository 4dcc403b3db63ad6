"""A call that can take long, which many wait for together and nobody longer than they want to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """One call at a time, in a thread of its own; its value is believed for a while.

    Parameters
    ----------
    call : callable
        Gives the value, or fails.
    fresh_s : float
        How long a value is believed without asking anew.
    slow_s : float
        How long a call may take until `trouble` says so.
    """

    def __init__(self, call: Callable[[], T], fresh_s: float, slow_s: float) -> None:
        self._call, self._fresh_s, self._slow_s = call, fresh_s, slow_s
        self._lock = threading.Lock()
        self._flight: Future[T] | None = None
        self._begun = 0.0
        self._known: tuple[float, T] | None = None
        self._failed = False

    def value(self, wait_s: float) -> T:
        """Give the value: a fresh one, or after `wait_s` the last one there was.

        Raises
        ------
        TimeoutError
            The call has taken longer, and there is no earlier value.
        Exception
            What the call raised.
        """
        with self._lock:
            known, now = self._known, time.monotonic()
            if known is not None and now - known[0] < self._fresh_s:
                return known[1]
            flight = self._under_way()
            left = max(0.0, self._begun + wait_s - now)
        try:
            return flight.result(left)
        except TimeoutError:
            if flight.done() or known is None:  # a call may fail with a TimeoutError of its own
                raise
            return known[1]

    def start(self) -> None:
        """Begin a call, and wait for nothing, unless one runs or the value is fresh."""
        with self._lock:
            if self._known is None or time.monotonic() - self._known[0] >= self._fresh_s:
                self._under_way()

    def _under_way(self) -> Future[T]:
        if self._flight is None:
            self._flight, self._begun = Future(), time.monotonic()
            threading.Thread(target=self._run, args=(self._flight,), daemon=True).start()
        return self._flight

    def forget(self) -> None:
        """Believe neither the value nor a call that runs: what they say may be over."""
        with self._lock:
            self._known = self._flight = None

    def is_in_trouble(self) -> bool:
        """Say whether the call takes too long, or failed the last time."""
        with self._lock:
            slow = self._flight is not None and time.monotonic() - self._begun > self._slow_s
            return slow or self._failed

    def _run(self, flight: Future[T]) -> None:
        try:
            value = self._call()
        except BaseException as error:  # whoever waits gets it
            with self._lock:
                self._failed = True
                self._flight = None if self._flight is flight else self._flight
            flight.set_exception(error)
            return
        with self._lock:
            self._failed = False
            if self._flight is flight:
                self._known, self._flight = (time.monotonic(), value), None
        flight.set_result(value)
