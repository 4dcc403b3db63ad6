"""What a batch run shall do: plain values, for a process that holds no model to hand to others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

JOURNAL: Final = "outcomes.jsonl"
TABLE: Final = "outcomes.csv"
SUMMARY: Final = "summary.json"
FETCHED: Final = "fetched"


@dataclass(frozen=True)
class Pace:
    """How many films are on their way at once, in each process.

    Attributes
    ----------
    films : edited in one batch of the network
    feeders : threads that fetch films and draw masks
    storers : threads that build, store and read back
    """

    films: int = 1
    feeders: int = 2
    storers: int = 2

    @property
    def seats(self) -> int:
        """Films whose pixels are in memory: a batch in the network, one waiting, and the stored."""
        return 2 * self.films + self.storers

    @property
    def outstanding(self) -> int:
        """Studies that a process is given at once: enough that it never runs dry."""
        return self.seats + self.feeders


@dataclass(frozen=True)
class BatchPlan:
    """What is the same for every film.

    Attributes
    ----------
    source : folder or address that films and `seg:` masks come from
    output : folder or address that results go to
    request : what to do, the fields of `cases.EditRequest`
    study, compression : how results are written, as in `deliver.Manner`
    work : the run's own folder: journal, table, summary, films on their way
    devices : torch devices, a process for each
    pace : of each process
    derived : whether secondary and derived images are edited too
    """

    source: str
    output: str
    request: Mapping[str, Any]
    work: Path
    study: Literal["new", "same"] = "new"
    compression: str = "none"
    devices: tuple[str, ...] = ("cpu",)
    pace: Pace = field(default_factory=Pace)
    derived: bool = False

    def facts(self) -> Mapping[str, Any]:
        """All that the outcomes follow from, but the model's weights; nothing secret."""
        return {
            "source": self.source,
            "output": self.output,
            "request": dict(self.request),
            "study": self.study,
            "compression": self.compression,
            "derived": self.derived,
        }
