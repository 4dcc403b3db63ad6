"""`radedit bench`: measurements that ship with the program."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from radedit.lib.commands.console import AsJson, bar, print_json, refusals
from radedit.lib.commands.processes import processes
from radedit.lib.json_lines import written_to
from radedit.lib.whole_files import write_file

bench = typer.Typer(help="Measure the program.", no_args_is_help=True)
Workers = Annotated[
    int | None, typer.Option(help="Processes.", show_default="one per core or GPU", min=1)
]
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
    workers: Workers = None,
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
            facts,
            open_bench,
            pictured,
            run,
            seconds,
        )
        from radedit.lib.bench.summary import summarise

        plan = Plan(patients, model=model, devices=processes(workers))
        if judge is not None:
            plan = replace(plan, judge=judge.expanduser())
        if quick:
            plan = replace(
                plan, patients=QUICK_PATIENTS, size=QUICK_SIZE, parameters=QUICK,
                devices=processes(workers or 1), timed=2,
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


@bench.command()
def edit(
    model: Annotated[
        str, typer.Option(help='An entry of the model registry, or "published": its size.')
    ] = "",
    steps: Annotated[
        int | None, typer.Option(help="T.", show_default="the model's default")
    ] = None,
    few_steps: Annotated[
        int | None, typer.Option(help="Of the dpm solver.", show_default="half of T")
    ] = None,
    films: Annotated[int, typer.Option(help="In one batch.")] = 1,
    repeats: Annotated[int, typer.Option(help="After one to warm up.")] = 5,
    warm_up: Annotated[
        bool, typer.Option(help="Do so; not worth it where an edit takes minutes.")
    ] = True,
    bfloat16: Annotated[
        bool | None,
        typer.Option(help="Time bfloat16 beside float32.", show_default="where it is not slow"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Also draw where the time goes, into this PNG.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time full edits and re-edits against the released algorithm, in the same run."""
    with refusals():
        import torch

        from radedit.lib.bench.speed import Load, compare, measure_differences, task_of
        from radedit.lib.bench.speed_films import removals
        from radedit.lib.bench.speed_report import figures, markdown
        from radedit.lib.edit.backbone import load_backbone
        from radedit.lib.edit.backbone.published import published_size
        from radedit.lib.edit.precision import describe, usable
        from radedit.lib.errors import ParameterError
        from radedit.lib.settings import load_settings

        if min(films, repeats, steps or 1, few_steps or 1) < 1:
            raise ParameterError("films, repeats and steps are numbers from 1 up.")
        settings = load_settings()
        where = device or settings.device
        sized = model == "published"
        steps = steps or (100 if sized else settings.defaults_for(model or None).steps)
        load = Load(steps, few_steps or max(1, steps // 2), films=films)
        tasks = {}
        if bfloat16 is None:
            bfloat16 = usable("bfloat16", where)
            if not bfloat16:
                typer.echo(f"bfloat16 is left out. {describe(where)}", err=True)
        for dtype in (torch.float32, torch.bfloat16)[: 1 + bfloat16]:
            name = str(dtype).removeprefix("torch.")
            if sized:
                tasks[name] = task_of(published_size(dtype, where), load)
                continue
            backbone = load_backbone(settings.model(model or None), dtype=dtype, device=where)
            tasks[name] = removals(backbone, load)
        with bar("edits") as progress:
            timed, pictures = compare(tasks, load.few, repeats, progress, warm_up)
        # Random weights make no edit that another schedule could come close to.
        apart = None if sized else measure_differences(tasks["float32"], timed, pictures)
        found = figures(load, tasks, timed, apart)
        if profile is not None:
            from radedit.lib.bench.profile import draw, operators

            found["profile"] = {name: operators(task) for name, task in tasks.items()}
            draw(found["profile"], profile.expanduser())
        print_json(found) if as_json else print(markdown(found))


@bench.command()
def methods(
    patients: Annotated[int, typer.Option(help="How many, never trained on.", min=1)] = 30,
    size: Annotated[int, typer.Option(help="Pixels of a film's longer side.")] = 512,
    work: Annotated[Path, typer.Option(help="Folder for what is measured; gone on with.")] = Path(
        "bench-methods"
    ),
    steps: Annotated[int | None, typer.Option(help="T.", show_default="the model's")] = None,
    workers: Workers = None,
    picture: Annotated[Path | None, typer.Option(help="Where to draw one patient.")] = None,
) -> None:
    """Compare RadEdit, DiffEdit, LANCE, image to image and the oracle on the same films."""
    with refusals():
        from radedit.lib.bench.methods import Compared, compare, load, table
        from radedit.lib.bench.methods import picture as draw

        given = {} if steps is None else {"steps": steps}
        plan = Compared(patients, size, given, processes(workers))
        with bar("patients") as progress:
            rows, films = compare(plan, load(), work.expanduser(), progress)
        print(table(rows))
        if picture is not None:
            print(f"\n{draw(films, picture.expanduser())}")


@bench.command()
def real(
    films: Annotated[Path, typer.Argument(help="Folder with index.csv and images/.")],
    out: Annotated[Path, typer.Option(help="Folder for the contact sheet.")] = Path(
        "docs/pictures"
    ),
    model: Annotated[str | None, typer.Option(help="An entry of the model registry.")] = None,
    as_json: AsJson = False,
) -> None:
    """Edit real films for a contact sheet, and send all through the autoencoder."""
    with refusals():
        from radedit.lib.bench.real import measure, read_films
        from radedit.lib.bench.real_report import draw, markdown
        from radedit.lib.pipeline import Editor

        read = read_films(films.expanduser())
        with bar("films") as progress:
            rows, edits = measure(Editor(), model, read, progress)
        drawn = str(draw(edits, out.expanduser())) if edits else None  # each may be refused
        print_json({"films": rows, "picture": drawn}) if as_json else print(markdown(rows))


@bench.command()
def verdicts(
    draws: Annotated[int, typer.Option(help="Cohorts of each cell and vendor.", min=1)] = 1000,
    rows: Annotated[
        int, typer.Option(help="Of them, that also go through rows as a run does.", min=0)
    ] = 1,
    out: Annotated[Path | None, typer.Option(help="File for every cell, as JSON.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say how often a stress test's verdict is false, on vendors whose truth is known."""
    with refusals():
        import json

        from radedit.lib.bench.verdict_table import markdown
        from radedit.lib.bench.verdicts import Zoo, all_cells, judge_zoo, summary_of

        with bar("cells") as progress:
            found = judge_zoo(Zoo(draws, min(rows, draws), all_cells()), progress)
        if out is not None:
            with written_to("--out"):
                write_file(out.expanduser(), json.dumps(found, indent=1) + "\n")
        print_json(summary_of(found)) if as_json else print(markdown(found))
