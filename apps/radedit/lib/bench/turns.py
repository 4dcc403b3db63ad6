"""Several ways to do the same, timed in turn, so that whatever else the machine does meets all.

A way is called once to warm up, then as often as asked; each call gives its quantities, the first
of which is compared with that of the baseline in the same run.
"""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Quantities = Mapping[str, float]
Way = Callable[[], Quantities]
Progress = Callable[[int, int], None]


@dataclass
class Taken:
    """What the calls of one way gave.

    Attributes
    ----------
    values : by quantity, one value for each repeat
    """

    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, quantities: Quantities) -> None:
        """Take up one call."""
        for name, value in quantities.items():
            self.values.setdefault(name, []).append(float(value))


def take_turns(
    ways: Mapping[str, Way], repeats: int, progress: Progress, warm_up: bool = True
) -> dict[str, Taken]:
    """Call every way in turn.

    Parameters
    ----------
    repeats : after one to warm up, unless `warm_up` is False: a process has nothing to warm
    progress : called with (done, total) calls
    """
    taken = {name: Taken() for name in ways}
    rounds = repeats + warm_up
    for turn in range(rounds):
        for number, (name, way) in enumerate(ways.items()):
            progress(turn * len(ways) + number, rounds * len(ways))
            found = way()
            if turn >= warm_up:
                taken[name].add(found)
    progress(rounds * len(ways), rounds * len(ways))
    return taken


def figures(
    taken: Mapping[str, Taken], baseline: str, larger_is_better: bool = False
) -> dict[str, Any]:
    """Ready for JSON: where it ran, and of every way medians with their spread, and its ratio.

    The ratio is above 1 where a way is better than the baseline in its first quantity.
    """
    base = _first(taken[baseline])
    ways = {}
    for name, entry in taken.items():
        own = _first(entry)
        better = own / base if larger_is_better else base / own
        ways[name] = {
            "quantities": {
                quantity: {
                    "median": statistics.median(values), "min": min(values), "max": max(values),
                }
                for quantity, values in entry.values.items()
            },
            "ratio": better,
        }  # fmt: skip
    return {
        "machine": machine(),
        "baseline": baseline,
        "repeats": max(len(values) for e in taken.values() for values in e.values.values()),
        "ways": ways,
    }


def machine() -> dict[str, Any]:
    """What a figure depends on beside the program: the machine, and how busy it was with others."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "processor": platform.machine(),
        "python": platform.python_version(),
        "load_1_min": round(os.getloadavg()[0], 1),
    }


def markdown(found: Mapping[str, Any], title: str) -> str:
    """Tell figures as a table with the conditions above it."""
    at = found["machine"]
    names = list(dict.fromkeys(q for way in found["ways"].values() for q in way["quantities"]))
    lines = [
        f"{title} {found['repeats']} repeats in turn; {at['cores']} cores {at['processor']}, load "
        f"{at['load_1_min']}; ratio to: {found['baseline']}.",
        "",
        f"| way | {' | '.join(names)} | ratio |",
        f"|---|{'---|' * len(names)}---|",
    ]
    for name, way in found["ways"].items():
        cells = [_cell(way["quantities"].get(quantity)) for quantity in names]
        lines.append(f"| {name} | {' | '.join(cells)} | {_short(way['ratio'])} |")
    return "\n".join(lines)


def _first(taken: Taken) -> float:
    return statistics.median(next(iter(taken.values.values())))


def _cell(found: Mapping[str, float] | None) -> str:
    if found is None:
        return ""
    return f"{_short(found['median'])} ({_short(found['min'])} to {_short(found['max'])})"


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def quantiles_ms(times_s: Sequence[float]) -> dict[str, float]:
    """Median, 99th percentile and largest of some times, in ms."""
    cuts = statistics.quantiles(times_s, n=100, method="inclusive")
    return {"p50 ms": cuts[49] * 1e3, "p99 ms": cuts[98] * 1e3, "max ms": max(times_s) * 1e3}
