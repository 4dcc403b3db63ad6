"""A worker process: models loaded once, then one turn of the queue after the other.

It may be ended at any moment, and how does not matter: everything that was finished is in the
database. Asked to end, it hands its turn on and is gone.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from threading import Event
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import sqlalchemy as sa

from radedit.lib.errors import JobsError, ParameterError
from radedit.lib.jobs.database import open_engine
from radedit.lib.jobs.heartbeat import BEAT_S, Heartbeat
from radedit.lib.jobs.model import TOGETHER
from radedit.lib.jobs.queue import APPLICATION, TURN, JobQueue
from radedit.lib.settings import Settings, load_settings

if TYPE_CHECKING:
    from radedit.lib.jobs.batch import Batches

VERSION: Final = "1"  # of the turn's workflow: workers of one version run each other's turns
POLL_S: Final = 0.25  # how soon a waiting job is seen
LOOK_S: Final = 3.0  # how often dead workers are looked for
ADOPT_S: Final = 15.0  # and jobs that were left behind
CONF_KEYS: Final = ("output", "cache", "cache_gb", "bundles")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WorkerConfig:
    """What one worker needs to know.

    Attributes
    ----------
    database : of the queue, as `JobQueue` takes it
    studies, conf : what is served, as `served_place` takes it; keys are `CONF_KEYS`
    device : torch device; None = the one of the settings
    most : jobs of one batch
    name : of this worker, another one at each start
    parent : process that started it, with which it ends; None = it runs alone
    """

    database: str
    studies: str
    conf: Mapping[str, str] = field(default_factory=dict)
    device: str | None = None
    most: int = TOGETHER
    name: str = field(default_factory=lambda: uuid4().hex[:12])
    parent: int | None = None


def run_worker(config: WorkerConfig) -> None:
    """Load the models, then run jobs until SIGTERM, SIGINT or the parent's end; never returns.

    Raises
    ------
    RadEditError, DicomError
        The model, the studies or the database are not to be had; nothing was begun.
    """
    settings = _settings(config)
    stopping = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    queue = JobQueue(config.database)
    queue.start()
    batches = _batches(config, settings)
    heartbeat, device = Heartbeat(queue), settings.device
    heartbeat.beat(config.name, device)
    _listen(config, queue, batches)
    logger.info("worker %s is ready on %s", config.name, device)
    looked = adopted = 0.0
    while not stopping.wait(BEAT_S) and not _is_orphan(config):
        try:
            heartbeat.beat(config.name, device)
            if time.monotonic() - looked > LOOK_S:
                heartbeat.bury()
                looked = time.monotonic()
            if time.monotonic() - adopted > ADOPT_S:
                heartbeat.adopt()
                adopted = time.monotonic()
        except (sa.exc.SQLAlchemyError, JobsError) as error:
            logger.warning("the jobs' database does not answer (%s)", type(error).__name__)
    try:
        heartbeat.hand_on(config.name)
    except sa.exc.SQLAlchemyError as error:  # who finds this worker silent does it
        logger.warning("the jobs' database does not answer (%s)", type(error).__name__)
    logger.info("worker %s ends", config.name)
    logging.shutdown()
    os._exit(0)  # a turn may still be in the middle of a step, which nobody waits for


def _settings(config: WorkerConfig) -> Settings:
    """Read the settings, and see that their device is there."""
    import torch

    settings = load_settings()
    if config.device is not None:
        settings = replace(settings, device=config.device)
    try:
        torch.zeros(1, device=settings.device)
    except (RuntimeError, AssertionError):  # the latter where torch knows no GPU at all
        raise ParameterError(
            f"the device '{settings.device}' is not there; name another one in --device."
        ) from None
    return settings


def _batches(config: WorkerConfig, settings: Settings) -> Batches:
    """Load what every job needs, so that the first one does not wait for it."""
    from radedit.lib.jobs.batch import Batches
    from radedit.lib.jobs.films import Films
    from radedit.lib.pipeline import Editor

    films = Films.open(config.studies, config.conf, settings)
    editor = Editor(settings)
    editor.scorer()  # and with it the model
    return Batches(editor, films, config.most)


def _listen(config: WorkerConfig, queue: JobQueue, batches: Batches) -> None:
    """Let DBOS give this process one turn after the other."""
    from dbos import DBOS, DBOSConfig

    from radedit.lib.jobs.turns import Turn

    DBOS(
        config=DBOSConfig(
            name=APPLICATION,
            system_database_engine=open_engine(config.database),
            executor_id=config.name,
            application_version=VERSION,
            log_level="WARNING",
        )
    )

    @DBOS.step(name="run", retries_allowed=False)
    def run(job: str, ticket: str) -> None:
        turn = Turn(queue.engine, ticket)
        batches.run(turn, turn.take(job, batches.most))

    @DBOS.workflow(name=TURN, max_recovery_attempts=None)
    def one_turn(job: str) -> None:
        ticket = DBOS.workflow_id
        assert ticket is not None
        run(job, ticket)

    DBOS.launch()
    DBOS.register_queue(
        TURN, worker_concurrency=1, polling_interval_sec=POLL_S, on_conflict="always_update"
    )


def _is_orphan(config: WorkerConfig) -> bool:
    return config.parent is not None and os.getppid() != config.parent
