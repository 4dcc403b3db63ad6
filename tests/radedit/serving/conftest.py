"""The application in this process, with real films and a real queue, and no model loaded."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest
import uvicorn
from fastapi import FastAPI
from radedit_server import RadEditServer
from starlette.testclient import TestClient

from radedit.lib.jobs.queue import JobQueue
from radedit.lib.serving.application import Parts, create_app
from radedit.lib.serving.config import ServerConfig
from radedit.lib.serving.labelling import label_app
from radedit.lib.serving.run import quiet

TOKEN = "tH1s-is-drawn-at-random-0123456789"
FILM = "film.dcm"
MakeApp = Callable[..., FastAPI]
Listen = Callable[..., AbstractContextManager[RadEditServer]]
MakeClient = Callable[..., TestClient]


@pytest.fixture(scope="session")
def make_app(tmp_path_factory: pytest.TempPathFactory, rg1: Path) -> MakeApp:
    """Make an application that serves a folder with one film."""
    quiet()

    def made(**config: Any) -> FastAPI:
        folder = tmp_path_factory.mktemp("serving")
        studies = folder / "studies"
        studies.mkdir()
        shutil.copyfile(rg1, studies / FILM)
        wanted = ServerConfig(str(studies), **config)
        queue = JobQueue(str(folder / "jobs.sqlite"))
        return create_app(wanted, Parts(label_app(wanted), queue, folder / "state"))

    return made


@pytest.fixture(scope="session")
def make_client(make_app: MakeApp) -> Iterator[MakeClient]:
    """Make a client of such an application; ended with the session."""
    with ExitStack() as stack:

        def made(headers: dict[str, str] | None = None, **config: Any) -> TestClient:
            client = TestClient(
                make_app(**config),
                base_url="http://127.0.0.1",
                headers=headers,
                follow_redirects=False,
            )
            return stack.enter_context(client)

        yield made


@pytest.fixture(scope="session")
def listen(
    make_app: MakeApp, new_port: Callable[[], int], tmp_path_factory: pytest.TempPathFactory
) -> Listen:
    """Serve such an application over the network, in a thread, until the block ends."""

    @contextmanager
    def listening(**config: Any) -> Iterator[RadEditServer]:
        folder = tmp_path_factory.mktemp("listening")
        asked = RadEditServer(folder, new_port(), token=config.get("token", ""))
        wanted = uvicorn.Config(
            make_app(**config), port=asked.port, log_config=None, access_log=False,
            server_header=False,
        )  # fmt: skip
        server = uvicorn.Server(wanted)
        thread = threading.Thread(target=server.run)
        thread.start()
        end = time.monotonic() + 60
        while not server.started and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.02)
        try:
            yield asked
        finally:
            server.should_exit = True
            thread.join()

    return listening


@pytest.fixture(scope="session")
def token() -> str:
    return TOKEN


@pytest.fixture(scope="session")
def film() -> str:
    """Give the image id of the served film."""
    return FILM


@pytest.fixture(scope="session")
def film_uid(rg1: Path) -> str:
    """Give its SOP Instance UID."""
    return str(pydicom.dcmread(rg1, stop_before_pixels=True).SOPInstanceUID)


@pytest.fixture(scope="session")
def client(make_client: MakeClient) -> TestClient:
    """Give a client of a server without a token."""
    return make_client()


@pytest.fixture(scope="session")
def guarded(make_client: MakeClient) -> TestClient:
    """Give a client of a server with a token, which it does not send."""
    return make_client(token=TOKEN)
