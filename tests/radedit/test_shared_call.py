"""A slow call is made once for all who wait, and nobody waits longer than they said."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from radedit.lib.shared_call import SharedCall


class Slow:
    """Answers with the number of the call, once let go."""

    def __init__(self) -> None:
        self.go, self.calls = threading.Event(), 0

    def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        assert self.go.wait(30)
        return number


def test_all_who_ask_meanwhile_share_one_call() -> None:
    slow = Slow()
    shared = SharedCall(slow, fresh_s=60, slow_s=5)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(shared.value, 30) for _ in range(8)]
        time.sleep(0.1)
        slow.go.set()
        assert [one.result() for one in asked] == [1] * 8
    assert shared.value(0) == slow.calls == 1


def test_nobody_waits_longer_than_since_the_call_began() -> None:
    shared = SharedCall(Slow(), fresh_s=60, slow_s=0.05)
    for waits in (0.2, 0.0):  # the second one comes when the call is late already
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            shared.value(0.2)
        assert time.monotonic() - began < waits + 0.15
    assert shared.is_in_trouble()


def test_a_late_call_is_answered_with_what_was_known() -> None:
    slow = Slow()
    slow.go.set()
    shared = SharedCall(slow, fresh_s=0, slow_s=60)
    assert shared.value(30) == 1
    slow.go.clear()
    assert shared.value(0.05) == 1
    assert not shared.is_in_trouble()
    slow.go.set()
    assert shared.value(30) == 2


def test_after_forgetting_no_earlier_call_counts() -> None:
    slow = Slow()
    shared = SharedCall(slow, fresh_s=60, slow_s=60)
    shared.start()
    shared.forget()
    slow.go.set()
    assert shared.value(30) == 2


def test_a_failure_is_told_to_those_who_wait_and_asked_anew_by_the_next() -> None:
    failures = [KeyError("once")]

    def call() -> str:
        if failures:
            raise failures.pop()
        return "there"

    shared = SharedCall(call, fresh_s=60, slow_s=60)
    with pytest.raises(KeyError):
        shared.value(30)
    assert shared.is_in_trouble()
    assert shared.value(30) == "there"
    assert not shared.is_in_trouble()
