"""A folder with films and edits of them, and the review's routes on top of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from radedit.lib.review.desk import ReviewPlace
from radedit.lib.review.events import EventStore
from radedit.lib.review.routes import create_router
from radedit_dicom.folder import FolderArchive
from radedit_dicom.pixels import Film, read_film
from radedit_dicom.readback import part10

PAGES = Path(__file__).resolve().parents[3] / "viewers" / "review"


@dataclass
class Desk:
    """A review with a client.

    Attributes
    ----------
    client : speaks to the routes
    uids : of the edited images, in the order of their making
    store : the readings
    films : pairs of (source, edited image)
    """

    client: TestClient
    uids: list[str]
    store: EventStore
    films: list[tuple[Film, Film]]
    results: FolderArchive

    def say(self, uid: str, **said: str) -> Any:
        """Post an event."""
        return self.client.post(f"/review/api/edits/{uid}/events", json=said)

    def get(self, path: str, **query: Any) -> Any:
        """Get something of the API."""
        return self.client.get(f"/review/api/{path}", params=query)


def two_sided_film(make_dataset: Callable[..., Any], number: int) -> Film:
    """Make a film whose left and right half differ, so that a picture shows what it should."""
    pixels = np.full((60, 48), 1000)
    pixels[:, 24:] = 3000
    return read_film(
        make_dataset(
            pixels,
            SOPInstanceUID=f"1.2.3.{number}",
            WindowCenter=2048,
            WindowWidth=4096,
            PhotometricInterpretation="MONOCHROME1" if number % 2 else "MONOCHROME2",
        )
    )


@pytest.fixture
def open_desk(tmp_path: Path, make_dataset: Any, make_edit: Any) -> Callable[..., Desk]:
    """Open a review over `edits` edits; further arguments go to `ReviewPlace` and the router."""

    def open_it(
        edits: int = 1,
        identify: Any = None,
        sees_all: Any = lambda _: True,
        **place: Any,
    ) -> Desk:
        originals, results = FolderArchive(tmp_path / "films"), FolderArchive(tmp_path / "edited")
        uids, films = [], []
        for number in range(edits):
            source = two_sided_film(make_dataset, number)
            path = tmp_path / "films" / f"{number}.dcm"
            path.parent.mkdir(exist_ok=True)
            whole = make_dataset(source.stored, **_again(source))
            path.write_bytes(part10(whole))
            _, objects = make_edit(source)
            results.store([objects.seg, objects.sr, objects.sc])
            uids.append(str(objects.sc.SOPInstanceUID))
            films.append((source, read_film(objects.sc, allow_synthetic=True)))
        desk = ReviewPlace(
            results, originals, tmp_path / "cache", tmp_path / "readings.sqlite", PAGES, **place
        )
        app = FastAPI()
        app.include_router(create_router(desk, identify, sees_all))
        return Desk(TestClient(app), uids, EventStore(desk.events), films, results)

    return open_it


def _again(film: Film) -> dict[str, Any]:
    names = ("SOPInstanceUID", "WindowCenter", "WindowWidth", "PhotometricInterpretation")
    return {name: film.header[name].value for name in names}
