"""`radedit phantom`: studies of simulated patients whose truth is known, and their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radedit.lib.commands.console import AsJson, bar, print_json, refusals
from radedit.lib.errors import OutputError, ParameterError
from radedit.lib.whole_files import write_file

if TYPE_CHECKING:
    from radedit.lib.phantom.world import World

SUMMARY = "phantoms.json"
SIZE = 1024


def phantom(
    out: Annotated[Path | None, typer.Option(help="Folder for the studies; made.")] = None,
    count: Annotated[int, typer.Option(help="How many patients.")] = 1,
    seed: Annotated[int, typer.Option(help="Of the first patient; the next has the next.")] = 0,
    size: Annotated[int, typer.Option(help="Pixels of a film's longer side.")] = SIZE,
    finding: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Every patient has one of these; may be repeated."),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Every patient has all of these; may be repeated."),
    ] = None,
    site: Annotated[str | None, typer.Option(help="Where all films are taken.")] = None,
    normal: Annotated[bool, typer.Option("--normal", help="Nobody has a finding.")] = False,
    drain_given_pneumothorax: Annotated[
        float | None, typer.Option(metavar="P", help="Probability, 0 to 1.", show_default="0.95")
    ] = None,
    credibility: Annotated[
        bool, typer.Option("--credibility", help="Measure the phantom; with --out also draw.")
    ] = False,
    films: Annotated[
        Path | None, typer.Option(help="Real films (PNG) to draw beside the phantoms.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="FILM", help="A real film to put findings and devices into."),
    ] = None,
    picture: Annotated[
        bool, typer.Option("--picture", help="With --into: also draw before and after.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write studies of simulated patients: film, true masks (SEG), true counterfactual, truth.

    With --into FILM: the film with one of the findings and all of the devices put in, and their
    masks; the film itself, which is never changed, is the true counterfactual.

    The same seed gives the same bytes. Complete studies are skipped, so a stopped run goes on
    where it was. Software verification only, never clinical validity.
    """
    with refusals():
        if credibility:
            _credibility(out, count, films, as_json)
            return
        if out is None:
            raise ParameterError("--out is missing; name the folder that the studies go to.")
        if films is not None:
            raise ParameterError("--films goes with --credibility; give both or neither.")
        if into is not None:
            if site is not None or normal or drain_given_pneumothorax is not None or size != SIZE:
                raise ParameterError(
                    "--size, --site, --normal and --drain-given-pneumothorax are of simulated "
                    "patients; leave them out with --into."
                )
            _into(into, out, count, seed, (finding or [], device or []), (picture, as_json))
            return
        if picture:
            raise ParameterError("--picture goes with --into; give both or neither.")
        world = dials(finding or [], device or [], site, normal, drain_given_pneumothorax)
        _studies(out, count, seed, size, world, as_json)


def dials(
    finding: Sequence[str],
    device: Sequence[str],
    site: str | None,
    normal: bool,
    drain_given_pneumothorax: float | None,
) -> World:
    """Set the world's dials from what was asked for.

    Raises
    ------
    ParameterError
        A kind or a site is unknown, a probability is none, or two wishes contradict.
    """
    from dataclasses import replace

    from radedit.lib.phantom.exposure import SITES
    from radedit.lib.phantom.sentences import DEVICE_NAMES, NAMES
    from radedit.lib.phantom.world import World

    world, p = World(), drain_given_pneumothorax
    if normal and finding:
        raise ParameterError("--normal and --finding contradict each other; give one of them.")
    if normal:
        world = replace(world, normal=1.0)
    if finding:
        kinds = {_named("finding", word, NAMES) for word in finding}
        shares = {kind: share for kind, share in world.findings.items() if kind in kinds}
        world = replace(world, normal=0.0, findings=shares)
    if site is not None:
        name = _named("site", site, {known: (known,) for known in SITES})
        world = replace(world, sites={name: 1.0})
    if p is not None:
        if not 0 <= p <= 1:
            raise ParameterError(f"--drain-given-pneumothorax is {p}; give 0 to 1.")
        world = replace(world, drain_given_pneumothorax=p)
    worn = {_named("device", word, DEVICE_NAMES) for word in device}
    if "chest drain" in worn:
        if p is not None:
            raise ParameterError(
                "--device 'chest drain' gives everybody a drain, so --drain-given-pneumothorax "
                "means nothing beside it; give one of them."
            )
        world = replace(world, drain_given_pneumothorax=1.0, drain_otherwise=1.0)
    always = {kind: 1.0 for kind in world.devices if kind in worn}
    return replace(world, devices={**world.devices, **always})


def _into(
    film: Path,
    out: Path,
    count: int,
    seed: int,
    kinds: tuple[Sequence[str], Sequence[str]],
    told: tuple[bool, bool],
) -> None:
    from radedit.lib.commands.insertion import write_into
    from radedit.lib.phantom.insertion_studies import Wish
    from radedit.lib.phantom.sentences import DEVICE_NAMES, NAMES

    found = dict.fromkeys(_named("finding", word, NAMES) for word in kinds[0])
    worn = dict.fromkeys(_named("device", word, DEVICE_NAMES) for word in kinds[1])
    write_into(film.expanduser(), Wish(tuple(found), tuple(worn), seed, count), out.expanduser(),
               *told)  # fmt: skip


def _named(what: str, word: str, names: Mapping[str, Sequence[str]]) -> str:
    """Find a kind by any of its names, in any case."""
    for kind, others in names.items():
        if word.strip().casefold() in {name.casefold() for name in (kind, *others)}:
            return kind
    known = ", ".join(names)
    raise ParameterError(f"the phantom has no {what} of that name; choose one of {known}.")


def _studies(out: Path, count: int, seed: int, size: int, world: World, as_json: bool) -> None:
    import json

    from radedit.lib.phantom.studies import Order, write_studies

    order, rows = Order(seed, count, size, world), []
    with bar("phantoms") as progress:
        progress(0, count)
        for row in write_studies(order, out.expanduser()):
            rows.append(row)
            progress(len(rows), count)
    resumed = sum(bool(row["resumed"]) for row in rows)
    summary = {"written": len(rows) - resumed, "already_there": resumed, "studies": rows}
    try:
        write_file(out.expanduser() / SUMMARY, json.dumps(summary, indent=2) + "\n")
    except OSError as error:
        raise OutputError(f"the summary cannot be written ({error.strerror}).") from None
    if as_json:
        print_json(summary)
        return
    for row in rows:
        state = "there already" if row["resumed"] else "written"
        print(f"{state:14} {row['folder']}  {row['site']:8} {row['sentence']}")
    print(f"{len(rows) - resumed} written, {resumed} there already; truth in {SUMMARY}")


def _credibility(out: Path | None, count: int, films: Path | None, as_json: bool) -> None:
    from radedit.lib.phantom.credibility import measure

    with bar("measuring") as progress:
        figures = measure(max(count, 60), progress)
    pictures: list[str] = []
    if out is not None:
        from radedit.lib.phantom.credibility_pictures import draw

        with bar("drawing") as progress:
            pictures = [str(path) for path in draw(figures, out.expanduser(), films, progress)]
    elif films is not None:
        raise ParameterError("--films needs --out, the folder that the pictures go to.")
    if as_json:
        result: dict[str, Any] = {**figures.summary(), "pictures": pictures}
        print_json(result)
        return
    for line in figures.table():
        print(line)
    for path in pictures:
        print(f"picture  {path}")
