"""MONAI Label's own server with this app, as a process of its own for the tests that ask it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from monai_server import environment, serving, start_server

Serve = Callable[[Mapping[str, bytes], str], AbstractContextManager["Server"]]


@dataclass(frozen=True)
class Server:
    """A running server: its address and the folders it uses."""

    url: str
    studies: Path
    temporary: Path

    @property
    def edited(self) -> Path:
        return self.studies / "edited"

    @property
    def log(self) -> Path:
        """Everything the server has said so far."""
        return self.studies.parent / "server.log"

    def infer(self, params: Any, model: str = "radedit", **query: str) -> requests.Response:
        """Post one request, params as MONAI Label's form field, answer as JSON only."""
        query = {"image": "film.dcm", "output": "json", **query}
        return requests.post(
            f"{self.url}/infer/{model}",
            params=query,
            data={"params": json.dumps(params)},
            timeout=120,
        )

    def uploads(self) -> list[str]:
        """Name the files that the server put into its temporary folder for a request."""
        return [
            p.name
            for p in self.temporary.iterdir()
            if re.match(r"(tmp\w{8}\.(?!json$)|edited-|lungs-)", p.name)
        ]


@pytest.fixture(name="start_server", scope="session")
def start_server_fixture() -> Callable[..., list[str]]:
    """Give the command that starts the server with this app and more arguments."""
    return start_server


@pytest.fixture(name="environment", scope="session")
def environment_fixture() -> Callable[[Path], dict[str, str]]:
    """Give the environment of a process whose temporary folder is the one named."""
    return environment


@pytest.fixture(scope="session")
def serve(tmp_path_factory: pytest.TempPathFactory, new_port: Callable[[], int]) -> Serve:
    """Serve films, given by file name, with the tasks that are named, until the block ends."""

    def served(films: Mapping[str, bytes], models: str) -> AbstractContextManager[Server]:
        root = tmp_path_factory.mktemp("served")
        studies, temporary = root / "studies", root / "temporary"
        studies.mkdir()
        temporary.mkdir()
        for name, content in films.items():
            (studies / name).write_bytes(content)
        return running(Server(f"http://127.0.0.1:{new_port()}", studies, temporary), models)

    return served


@contextmanager
def running(server: Server, models: str) -> Iterator[Server]:
    """Start the server and end it again by its own process."""
    host, port = server.url.removeprefix("http://").split(":")
    arguments = ["--studies", str(server.studies), "--conf", "models", models]
    command = start_server(*arguments, "--host", host, "--port", port)
    with serving(command, environment(server.temporary), server.log, server.url):
        yield server
