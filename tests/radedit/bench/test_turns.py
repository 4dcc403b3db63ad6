"""Ways timed in turn: warm-up left out, medians with their spread, and a ratio."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from radedit.lib.bench.processes import run
from radedit.lib.bench.turns import Quantities, figures, markdown, quantiles_ms, take_turns
from radedit.lib.errors import RadEditError


def way(values: list[float], log: list[str], name: str) -> Callable[[], Quantities]:
    def call() -> Quantities:
        log.append(name)
        return {"s": values[log.count(name) - 1]}

    return call


def test_ways_take_turns_and_the_first_round_is_left_out() -> None:
    log: list[str] = []
    ways = {"slow": way([99, 4, 6, 8], log, "slow"), "fast": way([99, 2, 3, 1], log, "fast")}
    seen: list[tuple[int, int]] = []
    taken = take_turns(ways, 3, lambda done, total: seen.append((done, total)))
    assert log == ["slow", "fast"] * 4
    assert seen[-1] == (8, 8)
    found = figures(taken, "slow")
    assert found["ways"]["slow"]["quantities"]["s"] == {"median": 6, "min": 4, "max": 8}
    assert found["ways"]["fast"]["ratio"] == 3
    assert found["repeats"] == 3
    assert "| fast | 2 (1 to 3) | 3 |" in markdown(found, "Ways.")


def test_without_a_warm_up_every_call_counts_and_more_may_be_better() -> None:
    log: list[str] = []
    ways = {"base": way([10, 10], log, "base"), "other": way([30, 50], log, "other")}
    found = figures(take_turns(ways, 2, lambda *_: None, warm_up=False), "base", True)
    assert found["ways"]["other"]["ratio"] == 4
    assert len(log) == 4


def test_a_process_is_measured_from_start_to_end() -> None:
    held = run([sys.executable, "-c", "x = b'x' * 200 * 2**20; sum(range(10**7))"])
    idle = run([sys.executable, "-c", "pass"])
    assert held["peak MiB"] - idle["peak MiB"] > 150
    assert held["CPU s"] > idle["CPU s"]
    assert held["wall s"] > 0


def test_a_process_that_fails_gives_no_figure() -> None:
    with pytest.raises(RadEditError, match="ended with 3"):
        run([sys.executable, "-c", "raise SystemExit(3)"])


def test_times_are_told_in_ms() -> None:
    told = quantiles_ms([0.001 * n for n in range(1, 102)])
    assert told["p50 ms"] == pytest.approx(51)
    assert told["max ms"] == pytest.approx(101)
