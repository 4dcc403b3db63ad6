"""`radedit route`: run a routing node, see what it does, mend what came to nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from radedit.lib.commands.console import AsJson, print_json, refusals
from radedit.lib.commands.route_jobs import open_desk
from radedit.lib.log_output import log_to

if TYPE_CHECKING:
    from radedit_dicom.router.desk import Desk


class _RunByDefault(TyperGroup):
    """`radedit route CONFIG.toml` means `radedit route run CONFIG.toml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


route = typer.Typer(
    cls=_RunByDefault,
    no_args_is_help=True,
    help="Route films from a PACS by rules: radedit route CONFIG.toml [--dry-run].",
)
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The route's TOML file.")]
Ids = Annotated[list[str], typer.Argument(metavar="ID...", help="As `radedit route list` says.")]


@route.command("run")
def run_route(
    config: Config,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="[PATH...]", help="With --dry-run: DICOM files.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say which rule would fire, and why; do nothing.")
    ] = False,
    source: Annotated[
        str, typer.Option("--from", help="With --dry-run and PATH: the sender's AE title.")
    ] = "",
    role: Annotated[
        str | None, typer.Option(help="Be one process only: receive, plan, send, work-0, ...")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a route until stopped, or say what it would do with stored objects."""
    with refusals():
        if dry_run:
            _explain(config, paths or [], source, as_json)
            return
        log_to("%(message)s")
        for name in ("pydicom", "pynetdicom", "highdicom", "dicomweb_client", "uvicorn"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # they quote what they read
        if role is not None:
            from radedit.lib.routing.roles import run

            run(role, config)
        else:
            from radedit.lib.routing.supervise import supervise

            supervise(config)


@route.command()
def status(config: Config, as_json: AsJson = False) -> None:
    """Count what came, what waits, and what came to nothing."""
    with open_desk(config) as desk:
        found = desk.status()
        if as_json:
            print_json(found)
            return
        for name, value in found.items():
            if name == "destinations":
                for destination, states in value.items():
                    print(f"to {destination:20} {_counts(states)}")
            else:
                print(f"{name:23} {_counts(value) if isinstance(value, dict) else value}")


@route.command("list")
def list_items(
    config: Config,
    states: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STATE...]", help="Such as dead, held, waiting; all: everything."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what needs a person: dead letters, held, quarantined and unmatched objects."""
    from radedit_dicom.router.desk import TROUBLE

    wanted = TROUBLE if not states else () if states == ["all"] else tuple(states)
    with open_desk(config) as desk:
        items = desk.items(wanted)
        if as_json:
            print_json({"items": [asdict(item) for item in items]})
            return
        for item in items:
            at = datetime.fromtimestamp(item.at).isoformat(sep=" ", timespec="seconds")
            print(f"{item.id}\n    {item.state}, {at}, {item.about}\n    {item.reason}")
        print(f"{len(items)} rows")


@route.command()
def retry(config: Config, ids: Ids) -> None:
    """Try again what came to nothing."""
    _act(config, ids, lambda desk: desk.retry)


@route.command()
def discard(config: Config, ids: Ids) -> None:
    """Give something up for good; its row stays in the journal."""
    _act(config, ids, lambda desk: desk.discard)


@route.command()
def release(config: Config, ids: Ids) -> None:
    """Let go what waits for review: a delivery, or all deliveries of a job."""
    _act(config, ids, lambda desk: desk.release)


def _act(config: Path, ids: list[str], method: Callable[[Desk], Callable[[str], None]]) -> None:
    with open_desk(config) as desk:
        for name in ids:
            method(desk)(name)
        print(f"{len(ids)} done")


def _counts(states: dict[str, Any]) -> str:
    said = [
        f"{name} {value:.0f}" if isinstance(value, float) else f"{name} {value}"
        for name, value in states.items()
    ]
    return ", ".join(said) or "none"


def _explain(config: Path, paths: list[Path], source: str, as_json: bool) -> None:
    from radedit.lib.routing.dry_run import check_words, explain_files, explain_stored
    from radedit.lib.routing.settings import load_route
    from radedit.lib.settings import load_settings

    loaded = load_route(config)
    check_words(loaded, load_settings())
    told = list(explain_files(loaded, paths, source) if paths else explain_stored(loaded))
    if as_json:
        print_json({"objects": told})
        return
    for each in told:
        print(f"{each.get('file') or each['uid']}\n    {each['outcome']}")
        for rule in each["rules"]:
            print(f"    rule '{rule['name']}' {'fires' if rule['fires'] else 'does not fire'}")
            for asked in rule["asked"]:
                print(f"        {'yes' if asked['is so'] else 'no '}  {asked['what']}")
    print(f"{len(told)} objects; nothing was done")
