"""Everything that a route's file says, as frozen settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.router.outbox import Patience
from radedit_dicom.router.planning import Completeness
from radedit_dicom.router.receiver import Receive
from radedit_dicom.router.rules import Rule
from radedit_dicom.router.sender import Destination


@dataclass(frozen=True)
class Http:
    """Where status, metrics and STOW-RS are; `token_file` holds what callers must show."""

    host: str = "127.0.0.1"
    port: int = 0
    token_file: Path | None = None


@dataclass(frozen=True)
class Jobs:
    """How jobs are run.

    Attributes
    ----------
    workers : int
        Processes, each with its own models.
    time_limit_s : float
        An edit that takes longer has its worker ended, and counts as failed.
    stress_limit_s : float
        The same for a stress suite over a day's cohort.
    patience : Patience
    """

    workers: int = 1
    time_limit_s: float = 900.0
    stress_limit_s: float = 12 * 3600.0
    patience: Patience = field(default_factory=lambda: Patience(refusals=4))


@dataclass(frozen=True)
class Route:
    """Everything that a file says.

    Attributes
    ----------
    spool : pathlib.Path
    receive : Receive
    report_to : mapping
        AE title to where its reports of storage commitment go.
    watch : pathlib.Path or None
    http : Http or None
    completeness : Completeness
    jobs : Jobs
    destinations : mapping
    rules : tuple of Rule
    webhook : str
        Gets dead letters; "" = none.
    keep_days : float
        What is done with is removed after so long.
    digest : str
        Hash of the file.
    """

    spool: Path
    receive: Receive
    report_to: Mapping[str, DimseAddress]
    watch: Path | None
    http: Http | None
    completeness: Completeness
    jobs: Jobs
    destinations: Mapping[str, Destination]
    rules: tuple[Rule, ...]
    webhook: str
    keep_days: float
    digest: str
