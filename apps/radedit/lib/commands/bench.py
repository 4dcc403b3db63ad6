"""`radedit bench`: measurements that ship with the program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from radedit.lib.commands.console import AsJson, bar, print_json, refusals

bench = typer.Typer(help="Measure the program.", no_args_is_help=True)
QUICK = {"steps": 3}
QUICK_SIZE, QUICK_PATIENTS = 192, 4


@bench.callback()
def name_one() -> None:
    """Measure the program."""


@bench.command()
def truth(
    patients: Annotated[int, typer.Option(help="How many, never trained on.")] = 100,
    work: Annotated[Path, typer.Option(help="Folder for what is measured; gone on with.")] = Path(
        "bench-truth"
    ),
    model: Annotated[str | None, typer.Option(help="An entry of the model registry.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one per core")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Four patients, small films, three steps: a trial.")
    ] = False,
    judge: Annotated[
        Path | None, typer.Option(help="Folder of a judge's weights.", show_default="embedded")
    ] = None,
    write_docs: Annotated[
        bool, typer.Option("--write-docs", help="Tables and pictures into docs/ of this folder.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare edits with the phantom's true counterfactuals.

    A stopped run goes on where it was. Software verification, never clinical validity.
    """
    with refusals():
        from dataclasses import replace

        from radedit.lib.bench.pictures import draw_all
        from radedit.lib.bench.report import markdown, write_page
        from radedit.lib.bench.run import (
            PICTURED,
            Plan,
            cores,
            facts,
            open_bench,
            pictured,
            run,
            seconds,
        )
        from radedit.lib.bench.summary import summarise

        plan = Plan(patients, model=model, workers=workers or cores())
        if judge is not None:
            plan = replace(plan, judge=judge.expanduser())
        if quick:
            plan = replace(
                plan, patients=QUICK_PATIENTS, size=QUICK_SIZE, parameters=QUICK,
                workers=workers or 1, timed=2,
            )  # fmt: skip
        work = work.expanduser()
        opened = open_bench(plan)
        with bar("patients") as progress:
            rows = run(plan, opened, work, progress)
        figures = summarise(rows, seconds(plan, opened))
        known = facts(plan, opened)
        kept = [pictured(work, number) for number in range(min(PICTURED, plan.patients))]
        drawn = draw_all(kept, work / "pictures")
        text = markdown(known, figures)
        if write_docs:
            write_page(Path("docs"), text)
            drawn = draw_all(kept, Path("docs") / "pictures")
        result: dict[str, Any] = {**known, **figures, "pictures": [str(path) for path in drawn]}
        print_json(result) if as_json else print(text)
