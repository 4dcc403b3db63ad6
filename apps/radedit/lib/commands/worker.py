"""`radedit worker`: a process that runs the jobs of a queue."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from radedit.lib.commands.console import refusals
from radedit.lib.commands.jobs import Database
from radedit.lib.jobs.model import TOGETHER


def worker(
    studies: Annotated[str, typer.Option(help="Folder or ADDRESS of the films, as served.")],
    database: Database = None,
    output: Annotated[str | None, typer.Option(help="Folder or ADDRESS of results.")] = None,
    cache: Annotated[str | None, typer.Option(help="Folder for fetched films.")] = None,
    cache_gb: Annotated[str | None, typer.Option(help="Size of the cache.")] = None,
    bundles: Annotated[str | None, typer.Option(help="Folders of MONAI bundles.")] = None,
    device: Annotated[
        str | None, typer.Option(help="torch device.", show_default="setting")
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, help="Waiting jobs that may run together.")
    ] = TOGETHER,
    name: Annotated[str | None, typer.Option(hidden=True)] = None,
    parent: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the jobs of a queue until stopped; the models are loaded once.

    `radedit serve` starts its own. Start this on a further machine with the same studies, and
    with --database (or RADEDIT_JOBS_DATABASE) naming the same Postgres, to share the queue.
    """
    with refusals():
        from radedit.lib.jobs.database import default_database
        from radedit.lib.jobs.worker import CONF_KEYS, WorkerConfig, run_worker
        from radedit.lib.log_output import log_to

        log_to("radedit: %(message)s")
        for noisy in ("dbos", "pydicom", "highdicom"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        given = dict(zip(CONF_KEYS, (output, cache, cache_gb, bundles), strict=True))
        config = WorkerConfig(
            database=database or default_database(studies),
            studies=studies,
            conf={key: value for key, value in given.items() if value is not None},
            device=device,
            most=batch,
            parent=parent,
            **({} if name is None else {"name": name}),
        )
        run_worker(config)
