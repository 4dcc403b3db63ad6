"""A queue in each kind of database, and films to run its jobs on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radedit.lib.jobs.model import JobRequest
from radedit.lib.jobs.queue import JobQueue

Ask = Callable[..., JobRequest]


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "queue" / "jobs.sqlite")
    url: str = request.getfixturevalue("postgres").database(f"jobs-{uuid4().hex}")
    return url


@pytest.fixture
def queue(database: str) -> Iterator[JobQueue]:
    queue = JobQueue(database)
    queue.start()
    yield queue
    queue.stop()


@pytest.fixture
def ask() -> Ask:
    """Make a request that differs in its seed from all others, with any field replaced."""
    seeds = iter(range(1000))

    def make(steps: int = 4, **change: object) -> JobRequest:
        fields: dict[str, object] = {
            "image": "film.dcm",
            "prompt": "Large left lung mass",
            "edit_mask": "box:100,40,170,120",
            "parameters": {"steps": steps, "seed": next(seeds)},
        }
        return JobRequest(**{**fields, **change})  # type: ignore[arg-type]

    return make


@pytest.fixture
def studies(tmp_path: Path, make_dataset: Callable[..., Dataset]) -> Path:
    """Give a folder with one small film, film.dcm."""
    folder = tmp_path / "studies"
    folder.mkdir()
    pixels = np.random.default_rng(5).integers(0, 4096, (240, 200))
    make_dataset(pixels).save_as(folder / "film.dcm", enforce_file_format=True)
    return folder
