"""Start the server, and end it in good order."""

from __future__ import annotations

import logging
import signal
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn

from radedit.lib.errors import OutputError
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.supervisor import Crew, devices
from radedit.lib.jobs.worker import CONF_KEYS
from radedit.lib.log_output import log_to
from radedit.lib.punctual import PunctualProtocol
from radedit.lib.serving.config import ServerConfig
from radedit.lib.serving.tls_files import TlsFiles
from radedit.lib.settings import Settings

_LOOK_TICKS: Final = 50  # of uvicorn, between two looks at the files of the certificate
GRACE_S: Final = 10  # how long requests may take to end when the server is told to
_CHATTY: Final = (
    "dbos", "httpcore2", "httpx2", "monailabel", "multipart", "task_batch_infer", "timeloop",
    "uvicorn.error",
)  # fmt: skip
_QUOTING: Final = ("dicomweb_client", "highdicom", "pydicom", "pynetdicom")
_LOG: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class Running:
    """What a server keeps on disk.

    Attributes
    ----------
    state : folder of the queue and the readings
    database : of the queue
    workers : how many worker processes to start for each device; 0: they are started elsewhere
    """

    state: Path
    database: str
    workers: int = 1


def serve(config: ServerConfig, running: Running) -> None:
    """Serve until told to stop (SIGINT, SIGTERM).

    Raises
    ------
    RadEditError, DicomError
        The configuration is refused, the port is taken, or the jobs' database cannot be opened.
    SystemExit
        MONAI Label's part of the configuration is refused.
    """
    log_to(_LOG)
    quiet()
    listening = _listen(config)
    from radedit.lib.serving.application import Parts, create_app
    from radedit.lib.serving.labelling import label_app

    stopping = threading.Event()
    queue = JobQueue(running.database)
    queue.start()  # before MONAI Label starts threads that would keep a refused server from ending
    labels = label_app(config)
    crew = _crew(config, running, labels.editor.settings)
    app = create_app(config, Parts(labels, queue, running.state, crew, stopping.is_set))
    host, port = listening.getsockname()[:2]
    scheme = "https" if config.certificate else "http"
    print(f"radedit: serving at {scheme}://{host}:{port}; stop with Ctrl-C", flush=True)
    server = _Server(
        uvicorn.Config(
            app,
            http=PunctualProtocol,
            log_config=None,
            access_log=False,  # it writes paths, which hold ids; watch.py writes routes
            server_header=False,
            ssl_certfile=config.certificate,
            ssl_keyfile=config.key,
            timeout_graceful_shutdown=GRACE_S,
        ),
        stopping,
    )
    for known in (signal.SIGINT, signal.SIGTERM):
        # uvicorn ends in good order, then sends itself the signal again: that shall end nothing.
        signal.signal(known, lambda *_: None)
    server.run([listening])


def quiet() -> None:
    """Silence what would log paths, header values or whole requests."""
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _QUOTING:
        logging.getLogger(name).setLevel(logging.ERROR)


def _crew(config: ServerConfig, running: Running, settings: Settings) -> Crew | None:
    """Say which workers to start: they serve the same studies with the same settings."""
    if not running.workers:
        return None
    conf = {name: value for name, value in config.conf.items() if name in CONF_KEYS}
    return Crew(config.studies, conf, [*devices(settings.device)] * running.workers)


def _listen(config: ServerConfig) -> socket.socket:
    """Take the port now, so that a taken one is said in a sentence."""
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((config.host, config.port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or "the port is out of range"
        raise OutputError(
            f"the server cannot listen at {config.host}:{config.port} ({reason}); choose another "
            "--port, or stop what listens there."
        ) from error
    return listening


class _Server(uvicorn.Server):
    """Tells streams that would never end by themselves that the server is about to.

    Its certificate may be renewed in its files.
    """

    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._tls: TlsFiles | None = None

    async def on_tick(self, counter: int) -> bool:
        """Look after the certificate, beside what uvicorn does ten times a second."""
        if self.config.ssl is not None and counter % _LOOK_TICKS == 0:
            if self._tls is None:
                files = [Path(str(f)) for f in (self.config.ssl_certfile, self.config.ssl_keyfile)]
                self._tls = TlsFiles(self.config.ssl, None, *files)
            self._tls.renew()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.set()
        super().handle_exit(sig, frame)
