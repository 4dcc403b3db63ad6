"""The command line `radedit`: one module of `commands` for each command.

Exit 0: done. Exit 1: refused or failed, with one sentence on standard error. Exit 2: usage.
"""

from __future__ import annotations

import logging
import warnings

import typer

from radedit.lib.commands.batch import batch
from radedit.lib.commands.bench import bench
from radedit.lib.commands.edit import edit
from radedit.lib.commands.edits import find, retract
from radedit.lib.commands.jobs import jobs
from radedit.lib.commands.measure import add_to
from radedit.lib.commands.models import models
from radedit.lib.commands.phantom import phantom
from radedit.lib.commands.route import route
from radedit.lib.commands.serve import serve
from radedit.lib.commands.stress import stress
from radedit.lib.commands.verify import check, replay
from radedit.lib.commands.worker import worker

app = typer.Typer(
    help="Edit chest X-rays by text and two masks. Research and QA, never diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (edit, batch, check, replay, find, retract, phantom, serve, stress, worker):
    app.command()(command)
add_to(bench)
app.add_typer(bench, name="bench")
app.add_typer(route, name="route")
app.add_typer(jobs, name="jobs")
app.add_typer(models, name="models")


def main() -> None:
    """Run the command line."""
    warnings.simplefilter("ignore")
    for name in ("pydicom", "highdicom", "dicomweb_client", "pynetdicom"):
        logging.getLogger(name).setLevel(logging.ERROR)  # their warnings quote header values
    app()


if __name__ == "__main__":
    main()
