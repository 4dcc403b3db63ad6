"""`radedit jobs ... --route CONFIG`: the same commands for the jobs of a routing node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from radedit.lib.commands.console import print_json, refusals

if TYPE_CHECKING:
    from radedit_dicom.router.desk import Desk

_TIMES = ("created", "started", "ended", "not_before")


@contextmanager
def open_desk(config: Path) -> Iterator[Desk]:
    """Open the desk of a route by its file; refusals end the command in one sentence."""
    with refusals():
        from radedit_dicom.router.audit import Audit
        from radedit_dicom.router.desk import Desk
        from radedit_dicom.router.journal import Journal
        from radedit_dicom.router.route_file import spool_of
        from radedit_dicom.router.spool import Spool

        spool = Spool(spool_of(config))  # rules that are wrong keep nobody from looking
        journal = Journal(spool.journal)
        try:
            yield Desk(spool, journal, Audit(spool.audit))
        finally:
            journal.close()


def list_jobs(
    config: Path, states: Sequence[str], film: str | None, limit: int, as_json: bool
) -> None:
    """List jobs of a route, the newest first; `film` is a SOP instance UID."""
    with open_desk(config) as desk:
        found = [_shown(job) for job in desk.jobs(states, film, limit)]
        counts = desk.status()["jobs"]
    if as_json:
        print_json({"jobs": found, "counts": counts})
        return
    for job in found:
        print(f"{job['id']}  {job['state']:9} {job['created']}  {job['kind']} by {job['rule']}")
        print(f"    {job['subject']}, {job['attempts']} attempts{_because(job)}")
    print(", ".join(f"{count} {name}" for name, count in counts.items()) or "no jobs")


def show(config: Path, job: str, as_json: bool) -> None:
    """Show one job of a route whole, with its deliveries."""
    with open_desk(config) as desk:
        _print(_shown(desk.job(job)), as_json)


def act(config: Path, job: str, what: Literal["retry", "cancel", "discard"], as_json: bool) -> None:
    """Retry, cancel or discard a job of a route, and show it."""
    with open_desk(config) as desk:
        name = desk.job(job)["id"]
        getattr(desk, what)(f"job-{name}")
        _print(_shown(desk.job(name)), as_json)


def _shown(job: dict[str, Any]) -> dict[str, Any]:
    """Give times in ISO 8601, as `radedit jobs` does elsewhere."""
    times = {name: job[name] for name in _TIMES}
    return job | {name: _iso(seconds) for name, seconds in times.items()}


def _iso(seconds: float | None) -> str | None:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds") if seconds else None


def _because(job: dict[str, Any]) -> str:
    return f": {job['error']}" if job["error"] else ""


def _print(job: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(job)
        return
    for name, value in job.items():
        if name == "deliveries":
            for each in value:
                to = f"delivery-{each['id']} to {each['destination']}"
                print(f"{to}: {each['state']}, {each['uid']}{_because(each)}")
        elif value not in (None, "", {}):
            print(f"{name:11} {value}")
