"""A batch run in figures: films per hour, seconds by stage, and the stage that bounds it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radedit.lib.batch.plan import Pace
from radedit.lib.batch.stages import STAGES, Spent
from radedit.lib.batch.worker import Vitals
from radedit.lib.errors import OutputError
from radedit.lib.whole_files import write_file

MIB = 2**20
MOST_SAMPLES = 400  # of the memory


@dataclass
class Account:
    """What a run took, of all its processes together.

    Attributes
    ----------
    wall_s : from when the first process was ready
    made : films edited, or found there, in this very run
    spent : by stage
    memory : (films ended, MiB of all processes) now and then
    in_flight : the most films that one process had in memory
    """

    processes: int
    pace: Pace
    wall_s: float = 0.0
    made: int = 0
    spent: dict[str, Spent] = field(default_factory=lambda: {name: Spent() for name in STAGES})
    memory: list[tuple[int, float]] = field(default_factory=list)
    in_flight: int = 0
    _every: int = 1

    def take(self, ended: int, vitals: Sequence[Vitals], resident: int) -> None:
        """Bring it up to date: what every process so far said last, and those alive now hold."""
        self.spent = {name: Spent() for name in STAGES}
        for each in vitals:
            for name, spent in each.spent.items():
                self.spent[name].add(spent)
            self.in_flight = max(self.in_flight, each.most_in_memory)
        if (
            resident
            and ended - (self.memory[-1][0] if self.memory else -self._every) >= self._every
        ):
            self.memory.append((ended, resident / MIB))
            if len(self.memory) > MOST_SAMPLES:
                self.memory = self.memory[::2]
                self._every *= 2

    @property
    def films_per_hour(self) -> float:
        """Edits of this run per hour."""
        return 3600 * self.made / self.wall_s if self.wall_s > 0 else 0.0

    def threads(self, stage: str) -> int:
        """How many threads a stage has; feeders fetch and draw masks."""
        each = {"edit": 1, "store": self.pace.storers}.get(stage, self.pace.feeders)
        return each * self.processes

    def share(self, stage: str) -> float:
        """The part of its threads' time, 0 to 1, that a stage was busy."""
        time_s = self.threads(stage) * self.wall_s
        return self.spent[stage].busy_s / time_s if time_s > 0 else 0.0

    @property
    def bounding(self) -> str:
        """The stage that was busy for the largest part of its time."""
        return max(STAGES, key=self.share)

    def as_json(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "seconds": round(self.wall_s, 1),
            "made": self.made,
            "films_per_hour": round(self.films_per_hour, 1),
            "processes": self.processes,
            "pace": vars(self.pace) | {"seats": self.pace.seats},
            "stages": {stage: self._stage(stage) for stage in STAGES},
            "bounding_stage": self.bounding,
            "most_films_in_memory_of_a_process": self.in_flight,
            "memory_mib": [[films, round(mib, 1)] for films, mib in self.memory],
        }

    def _stage(self, stage: str) -> dict[str, float]:
        spent = self.spent[stage]
        films = max(self.made, 1)
        return {
            "busy_s_per_film": round(spent.busy_s / films, 4),
            "cpu_s_per_film": round(spent.cpu_s / films, 4),
            "threads": self.threads(stage),
            "share_of_time": round(self.share(stage), 4),
        }


def lines(counts: Mapping[str, int], account: Mapping[str, Any]) -> Sequence[str]:
    """Tell a run to a person."""
    said = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
    rows = [said or "no film was found"]
    if account["made"]:
        stages = "; ".join(
            f"{name} {row['busy_s_per_film']:.2f} s, busy {row['share_of_time']:.0%}"
            for name, row in account["stages"].items()
        )
        rows.append(
            f"{account['films_per_hour']:.0f} films/h, bound by {account['bounding_stage']} "
            f"(per film: {stages})"
        )
    return rows


def write(summary: Mapping[str, Any], path: Path) -> None:
    """Write a run's summary as JSON.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    try:
        write_file(path, json.dumps(summary, indent=2) + "\n")
    except OSError as error:
        raise OutputError(
            f"the summary cannot be written ({error.strerror or type(error).__name__})."
        ) from None
