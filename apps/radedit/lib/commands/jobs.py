"""`radedit jobs`: what waits, runs and ended, and what can be done about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radedit.lib.commands import route_jobs
from radedit.lib.commands.console import AsJson, print_json, refusals

if TYPE_CHECKING:
    from radedit.lib.jobs.model import Job
    from radedit.lib.jobs.queue import JobQueue

jobs = typer.Typer(help="List, show, retry, cancel and discard jobs.", no_args_is_help=True)
Database = Annotated[
    str | None,
    typer.Option(metavar="URL", help="postgresql://... or a file.", show_default="by --studies"),
]
Studies = Annotated[
    str | None, typer.Option(metavar="PLACE", help="What is served; each place has a queue.")
]
RouteFile = Annotated[
    Path | None,
    typer.Option("--route", metavar="CONFIG", help="A route's TOML file: the jobs of that node."),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="As `radedit jobs list` says.")]


@jobs.command("list")
def list_jobs(
    state: Annotated[
        list[str] | None,
        typer.Option(help="queued, running, done, failed, cancelled; of a route dead, discarded."),
    ] = None,
    image: Annotated[str | None, typer.Option(help="Only jobs of this film.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    studies: Studies = None,
    database: Database = None,
    route: RouteFile = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, the newest first, and the workers."""
    if route is not None:
        route_jobs.list_jobs(route, state or [], image, limit, as_json)
        return
    with _queue(studies, database) as queue:
        found = queue.list(state or [], image, limit)  # type: ignore[arg-type]
        if as_json:
            listed = [job.as_json() for job in found]
            print_json({"jobs": listed, "counts": queue.counts(), "workers": queue.workers()})
        else:
            _print_table(found)
            counts = ", ".join(f"{count} {name}" for name, count in queue.counts().items())
            print(f"{counts}; {len(queue.workers())} workers")


@jobs.command()
def show(
    job: JobId,
    studies: Studies = None,
    database: Database = None,
    route: RouteFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one job whole."""
    if route is not None:
        route_jobs.show(route, job, as_json)
        return
    _act(lambda queue: queue.get(job), studies, database, as_json)


@jobs.command()
def retry(
    job: JobId,
    studies: Studies = None,
    database: Database = None,
    route: RouteFile = None,
    as_json: AsJson = False,
) -> None:
    """Queue a failed or cancelled job again; it goes on at its last finished step."""
    if route is not None:
        route_jobs.act(route, job, "retry", as_json)
        return
    _act(lambda queue: queue.retry(job), studies, database, as_json)


@jobs.command()
def cancel(
    job: JobId,
    studies: Studies = None,
    database: Database = None,
    route: RouteFile = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a job that waits or runs; a running one stops within one step."""
    if route is not None:
        route_jobs.act(route, job, "cancel", as_json)
        return
    _act(lambda queue: queue.cancel(job), studies, database, as_json)


@jobs.command()
def discard(
    job: JobId,
    studies: Studies = None,
    database: Database = None,
    route: RouteFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget a job that has ended; its objects stay in the archive (`radedit retract`)."""
    if route is not None:
        route_jobs.act(route, job, "discard", as_json)
        return
    with _queue(studies, database) as queue:
        queue.discard(job)
        print_json({"discarded": job}) if as_json else print(f"discarded {job}")


@contextmanager
def _queue(studies: str | None, database: str | None) -> Iterator[JobQueue]:
    with refusals():
        import os

        from radedit.lib.errors import ParameterError
        from radedit.lib.jobs.database import VARIABLE, default_database
        from radedit.lib.jobs.queue import JobQueue

        named = database or (default_database(studies) if studies else os.environ.get(VARIABLE))
        if not named:
            raise ParameterError(
                f"which queue is meant? Give --studies, --database, or set {VARIABLE}."
            )
        queue = JobQueue(named)
        queue.start()
        try:
            yield queue
        finally:
            queue.stop()


def _act(
    do: Callable[[JobQueue], Job], studies: str | None, database: str | None, as_json: bool
) -> None:
    with _queue(studies, database) as queue:
        job = do(queue)
        print_json(job.as_json()) if as_json else _print_job(job.as_json())


def _print_table(found: list[Job]) -> None:
    """Print a row on each job; wide where nobody watches, as for a file."""
    import sys

    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("job", no_wrap=True)
    for name in ("state", "steps", "tries", "created", "film", "what"):
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    for job in found:
        said = job.as_json()
        what = job.error or job.stage or (said["result"] or {}).get("edit_id", "")
        steps = f"{job.done}/{job.total}" if job.total else ""
        created = job.created.strftime("%m-%d %H:%M") if job.created else ""
        table.add_row(job.id, job.state, steps, str(job.attempts), created, said["image"], what)
    width = None if sys.stdout.isatty() else 240
    Console(width=width, markup=False, highlight=False, emoji=False).print(table)


def _print_job(job: dict[str, Any]) -> None:
    request, result = job.pop("request"), job.pop("result")
    for name, value in {**job, **{k: v for k, v in request.items() if k not in job}}.items():
        if value not in (None, "", {}):
            print(f"{name:14} {value}")
    for name, value in (result or {}).items():
        print(f"result.{name:7} {value}")
