"""`radedit bench` of whole processes: cold, memory, reedit, batch, serve, ingest, capacity."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radedit.lib.commands.console import AsJson, bar, print_json, refusals

if TYPE_CHECKING:
    from radedit.lib.bench.turns import Way

Repeats = Annotated[int, typer.Option(min=1, help="After one to warm up, where there is that.")]
INGEST_SIZE = 2236  # pixels: 10 MB at 16 bits
MODEL = {"prompt": "Left lung mass", "edit_mask": "ellipse:1470,862,125,140"}


def add_to(bench: typer.Typer) -> None:
    """Add the kinds to `radedit bench`."""
    for kind in (cold, memory, reedit, batch, serve, ingest, capacity):
        bench.command()(kind)


def cold(repeats: Repeats = 5, as_json: AsJson = False) -> None:
    """Time light commands and one edit, each a process of its own, on the real film."""
    with refusals(), _scratch() as scratch:
        import shutil

        from radedit.lib.bench.processes import INTERPRETER, cold_ways, real_film

        film = scratch / "film" / "film.dcm"
        film.parent.mkdir()
        shutil.copyfile(real_film(), film)
        _compare("Cold processes.", cold_ways(film), INTERPRETER, repeats, as_json, warm_up=False)


def memory(
    sizes: Annotated[
        list[int] | None,
        typer.Option("--size", help="Of phantoms.", show_default="256, 1024, 3000"),
    ] = None,
    repeats: Repeats = 3,
    as_json: AsJson = False,
) -> None:
    """Measure the peak memory of one edit by the size of its film, each in its own process."""
    with refusals(), _scratch() as scratch:
        from radedit.lib.bench.processes import LIBRARIES, memory_ways, real_film

        films = {f"{size} pixels": _phantom(scratch, size) for size in sizes or (256, 1024, 3000)}
        ways = memory_ways({**films, "the real film": real_film()})
        _compare("Peak memory.", ways, LIBRARIES, repeats, as_json, warm_up=False)


def reedit(
    model: Annotated[str | None, typer.Option(help="An entry of the model registry.")] = None,
    steps: Annotated[int | None, typer.Option(help="T.", show_default="model's")] = None,
    repeats: Repeats = 5,
    as_json: AsJson = False,
) -> None:
    """Time a film's next edits beside its first, from the read film to the stored values."""
    with refusals():
        from radedit.lib.bench.again import FIRST, ways
        from radedit.lib.bench.processes import real_film
        from radedit.lib.cases import EditRequest
        from radedit.lib.settings import load_settings
        from radedit_dicom.film import read_film

        parameters = {} if steps is None else {"steps": steps}
        request = EditRequest(**MODEL, model=model, parameters=parameters)
        found = ways(load_settings(), read_film(real_film()), request)
        _compare("The real film edited again.", found, FIRST, repeats, as_json)


def batch(
    films: Annotated[int, typer.Option(min=2, help="Phantoms, each a study.")] = 200,
    size: Annotated[int, typer.Option(help="Pixels of a film's longer side.")] = 256,
    steps: Annotated[int | None, typer.Option(help="T.", show_default="model's")] = None,
    together: Annotated[int, typer.Option("--batch", min=1, help="Films edited together.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="That fetch, and that store.")] = 2,
    device: Annotated[list[str] | None, typer.Option(help="A process for each.")] = None,
    baseline: Annotated[int, typer.Option(min=0, help="Films for the baseline; 0: none.")] = 20,
    work: Annotated[Path, typer.Option(help="Folder for films, results and figures.")] = Path(
        "bench-batch"
    ),
    picture: Annotated[Path | None, typer.Option(help="Where to draw the memory.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run phantoms through the pipeline of `radedit batch`: time by stage, memory, ratio.

    The baseline edits one film after the other, as `radedit edit FOLDER` does, in the same run.
    """
    with refusals():
        import shutil

        from radedit.lib.batch.plan import Pace
        from radedit.lib.bench import many
        from radedit.lib.commands.options import folder

        work = folder(work)
        pace = Pace(together, threads, threads)
        load = many.Load(films, size, steps, pace, tuple(device or ["cpu"]))
        with bar("phantoms") as progress:
            names = many.make_films(load, work / many.FILMS, progress)
        for left in (many.RESULTS, many.WORK):
            shutil.rmtree(work / left, ignore_errors=True)
        with bar("films") as progress:
            found = many.pipeline(load, work, names, lambda news: progress(news.ended, news.total))
        if baseline:
            alone = many.one_after_the_other(load, work, baseline)["s per film"]
            ratio = alone * found["made"] / found["seconds"]
            found["baseline"] = {"films": baseline, "s_per_film": alone, "ratio": ratio}
        if picture is not None:
            found["picture"] = str(many.draw_memory(found, picture.expanduser()))
        _keep(found, work / "figures.json")
        print_json(found) if as_json else print(many.table(found))


def serve(
    edits: Annotated[int, typer.Option(min=1, help="At once.")] = 8,
    steps: Annotated[int, typer.Option(min=1, help="Of each.")] = 60,
    repeats: Repeats = 1,
    as_json: AsJson = False,
) -> None:
    """Time `/info/` and `/health` while edits run, beside a server at rest."""
    with refusals(), _scratch() as scratch:
        from radedit.lib.bench.served import AT_REST, Served, server

        with server(scratch) as url:
            ways = Served(url, edits, steps).ways()
            _compare("Answers of the server.", ways, AT_REST, repeats, as_json)


def ingest(
    films: Annotated[int, typer.Option(min=4, help="Sent to each receiver.")] = 200,
    size: Annotated[int, typer.Option(help="Pixels of a film's longer side.")] = INGEST_SIZE,
    repeats: Repeats = 3,
    work: Annotated[
        Path | None,
        typer.Option(help="Scratch folder, on the disk meant.", show_default="temporary"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure how fast a routing node takes films in, beside dcmtk's storescp and Orthanc."""
    with refusals(), _scratch(work) as scratch:
        from radedit.lib.bench.intake import BASELINE, copies, ways

        receivers = ways(scratch / "films", scratch)
        copies(_phantom(scratch, size), scratch / "films", films)
        _compare("Receiving.", receivers, BASELINE, repeats, as_json, larger_is_better=True)


def capacity(
    figures: Annotated[Path, typer.Argument(help="figures.json of `radedit bench batch`.")],
    devices: Annotated[int, typer.Option(min=0, help="GPUs; 0: the cores edit.")] = 0,
    cores: Annotated[int, typer.Option(min=1, help="Of the CPU.")] = 2,
    archive_mb_s: Annotated[float | None, typer.Option(help="Of the archive, MB/s.")] = None,
    film_mb: Annotated[float, typer.Option(help="Of one film.")] = 10.0,
    stored_mb: Annotated[float, typer.Option(help="Of an edit's three objects.")] = 12.0,
    answers: Annotated[int, typer.Option(min=0, help="Of victims, for each film.")] = 0,
    victim_s: Annotated[float, typer.Option(help="Seconds of one answer.")] = 0.0,
    at_once: Annotated[int, typer.Option(min=1, help="Answers awaited together.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Say how many films per hour a machine will edit, from what was measured on it.

    docs/capacity.md has the model and its limits.
    """
    with refusals():
        import json

        from radedit.lib.bench.capacity import Cost, Site, bottleneck, films_per_hour, table
        from radedit.lib.errors import NotFoundError, ParameterError

        try:
            cost = Cost.of(json.loads(figures.expanduser().read_text("utf-8")))
        except (OSError, ValueError, KeyError):
            raise NotFoundError("these are no figures of `radedit bench batch`.") from None
        if answers and not victim_s > 0:
            raise ParameterError("--answers goes with --victim-s, the seconds of one.")
        site = Site(devices, cores, archive_mb_s, film_mb, stored_mb, answers, victim_s, at_once)
        rates = films_per_hour(cost, site)
        name, rate = bottleneck(rates)
        if as_json:
            print_json({"parts": rates, "films_per_hour": rate, "bound_by": name})
        else:
            print(table(cost, [("as given", site)]))


def _compare(
    title: str, ways: Mapping[str, Way], baseline: str, repeats: int, as_json: bool, **how: bool
) -> None:
    from radedit.lib.bench.turns import figures, markdown, take_turns

    larger = how.pop("larger_is_better", False)
    with bar("turns") as progress:
        taken = take_turns(ways, repeats, progress, **how)
    found = figures(taken, baseline, larger)
    print_json(found) if as_json else print(markdown(found, title))


def _phantom(scratch: Path, size: int) -> Path:
    from radedit.lib.phantom.studies import Order, write_studies
    from radedit.lib.phantom.world import World

    (row,) = write_studies(Order(21_000_000, 1, size, World(normal=1.0)), scratch / f"p{size}")
    return scratch / f"p{size}" / str(row["folder"]) / "film.dcm"


def _keep(found: Mapping[str, Any], path: Path) -> None:
    from radedit.lib.batch.summary import write

    write(found, path)


@contextmanager
def _scratch(under: Path | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="radedit-bench-", dir=under) as name:
        yield Path(name)
