"""`radedit batch`: one edit for each of many films, overlapped, and gone on with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radedit.lib.commands import options as asked
from radedit.lib.commands.console import AsJson, fail, print_json, refusals
from radedit.lib.commands.places import destination, place
from radedit_dicom.locate import is_server

if TYPE_CHECKING:
    from radedit.lib.batch.crew import News
    from radedit.lib.batch.journal import Journal
    from radedit.lib.batch.plan import BatchPlan
    from radedit.lib.batch.summary import Account

TOLD_S = 60.0  # how often a line is written where no bar is shown


def batch(
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="Folder, or ADDRESS#StudyUID/SeriesUID.")
    ],
    prompt: asked.Prompt,
    output: asked.Output,
    edit_mask: asked.EditMask = None,
    keep_mask: asked.KeepMask = None,
    only: Annotated[
        Path | None,
        typer.Option(
            "--list", help="Only these: files; or UIDs or accession numbers, a line each."
        ),
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder of the run; gone on with.")] = Path(
        "radedit-batch"
    ),
    device: Annotated[
        list[str] | None,
        typer.Option(help="A process for each; may be repeated.", show_default="setting"),
    ] = None,
    films: Annotated[
        int | None,
        typer.Option("--batch", min=1, help="Films edited together.", show_default="1, on a GPU 8"),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1, help="That fetch, and as many that store.", show_default="2, on a GPU 4"
        ),
    ] = None,
    invert_prompt: asked.InvertPrompt = "",
    film_text: asked.FilmText = "",
    model: asked.Model = None,
    method: asked.Method = None,
    solver: asked.Solver = None,
    steps: asked.Steps = None,
    skip: asked.Skip = None,
    guidance: asked.Guidance = None,
    seed: asked.Seed = None,
    support: asked.Support = None,
    keep: asked.Keep = None,
    study: asked.InStudy = "new",
    compress: asked.Compress = "none",
    derived: asked.Derived = False,
    as_json: AsJson = False,
) -> None:
    """Edit the frontal films of a folder, an archive or a list, as a pipeline.

    Stopped or killed, the same command goes on: what is done is not done again. A film that
    cannot be edited is listed with its reason and the run goes on. The outcomes are in
    outcomes.csv and summary.json of --work.
    """
    with refusals():
        from radedit.lib.batch.plan import BatchPlan, Pace
        from radedit.lib.settings import load_settings

        destination(output)
        asked.check_compression(compress)
        request = {
            "prompt": prompt,
            "edit_mask": edit_mask,
            "keep_mask": keep_mask,
            "invert_prompt": invert_prompt,
            "film_text": film_text,
            "model": model,
            "parameters": asked.parameters(
                method=method, solver=solver, steps=steps, skip=skip, guidance=guidance, seed=seed,
                support=support, keep=keep,
            ),
        }  # fmt: skip
        devices = _devices(device, load_settings().device)
        gpu = any(name.startswith("cuda") for name in devices)
        each = threads or (4 if gpu else 2)
        plan = BatchPlan(
            source=_whole(source),
            output=_whole(output),
            request=request,
            work=asked.folder(work),
            study=asked.study_mode(study),
            compression=compress,
            devices=devices,
            pace=Pace(films or (8 if gpu else 1), each, each),
            derived=derived,
        )
        _run(plan, only, as_json)


def _whole(text: str) -> str:
    return text if is_server(text) else str(asked.folder(Path(text)))


def _devices(given: list[str] | None, setting: str) -> tuple[str, ...]:
    named = given or [setting]
    if "cuda" in named:
        from radedit.lib.jobs.supervisor import devices

        named = [one for name in named for one in devices(name)]
    return tuple(named)


def _run(plan: BatchPlan, only: Path | None, as_json: bool) -> None:
    from radedit.lib.batch.cohort import Cohort, read_list
    from radedit.lib.batch.crew import Crew

    at = place(plan.source)
    cohort = Cohort(at.archive, at.scope, None if only is None else read_list(only.expanduser()))
    with _progress() as hear:
        crew = Crew(plan, cohort, hear)
        stopped = False
        try:
            crew.run()
        except KeyboardInterrupt:
            stopped = True
    if crew.journal is None:
        fail("stopped before the models were loaded; nothing was begun.")
    _tell(crew.journal, crew.account, stopped, as_json)


def _tell(journal: Journal, account: Account, stopped: bool, as_json: bool) -> None:
    from radedit.lib.batch.plan import SUMMARY
    from radedit.lib.batch.summary import lines, write

    counts, failures, unchanged = journal.counts(), journal.failures(), journal.unchanged()
    table = journal.write_table()
    figures = account.as_json()
    summary: dict[str, Any] = {
        "counts": counts, "stopped": stopped, "failed": failures, "unchanged": unchanged,
        **figures, "table": str(table),
    }  # fmt: skip
    write(summary, journal.folder / SUMMARY)
    if as_json:
        print_json(summary)
    else:
        for row in failures:
            print(f"failed  {row['input']}: {row['why']}")
        for row in unchanged:
            print(f"unchanged  {row['input']}: {row['why']}")
        for line in lines(counts, figures):
            print(line)
        print(f"outcomes in {table}")
    if stopped:
        fail("stopped; run it again to go on.")
    if failures:
        fail(f"{len(failures)} films failed; run it again to try those once more.")
    if not counts.get("edited", 0) + counts.get("already there", 0):
        fail("no film was edited.")


@contextmanager
def _progress() -> Iterator[Callable[[News], None]]:
    """Show films per hour and the time that is left: a bar, or a line now and then in a log."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
    watched = sys.stderr.isatty()
    columns = (
        TextColumn("films"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
    )
    told = time.monotonic()
    failed = 0
    with Progress(*columns, console=console, disable=not watched) as bars:
        task = bars.add_task("", total=None)

        def hear(news: News) -> None:
            nonlocal told, failed
            failed += news.row["state"] == "failed"
            said = _pace(news, failed)
            bars.update(task, completed=news.ended, total=news.total, description=said)
            if not watched and time.monotonic() - told > TOLD_S:
                told = time.monotonic()
                console.print(f"radedit: {news.ended} of {news.total} films, {said}", markup=False)

        yield hear


def _pace(news: News, failed: int) -> str:
    """Say how fast it goes and how long it will take, by all films that ended in this run."""
    account = news.account
    rate = news.ended / account.wall_s if account.wall_s > 0 else 0.0
    parts = [f"{3600 * rate:.0f} films/h"]
    if rate > 0 and news.complete:
        left = round((news.total - news.ended) / rate / 60)
        parts.append(f"{left // 60} h {left % 60:02} min left")
    if failed:
        parts.append(f"{failed} failed")
    return ", ".join(parts)
