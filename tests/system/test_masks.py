"""An edit through one real server whose mask another real server draws."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from radedit.lib.sources import embedded_lungs
from radedit_dicom.film import read_film
from radedit_dicom.parsing import parse
from radedit_dicom.segment_reader import read_segmentation

if TYPE_CHECKING:
    from tests.system.conftest import Serve, Server


@pytest.fixture(scope="module")
def pair(serve: Serve, rg1: Path) -> Iterator[tuple[Server, Server]]:
    """Serve the edit here and the lungs there; only that address may be called."""
    with serve({}, "lung_segmentation") as there, pytest.MonkeyPatch.context() as patch:
        patch.setenv("RADEDIT_REMOTE_SERVERS", there.url)
        with serve({"film.dcm": rg1.read_bytes()}, "radedit") as here:
            yield here, there


def test_an_edit_takes_its_mask_from_a_task_of_another_server(
    pair: tuple[Server, Server], rg1: Path
) -> None:
    here, there = pair
    task = f"remote:{there.url}/lung_segmentation"
    wanted = {"edit_mask": f"{task}:right", "keep_mask": f"{task}:left", "steps": 4}
    answer = here.infer({"prompt": "right pneumothorax", **wanted})
    assert answer.status_code == 200, answer.text
    assert answer.json()["score"]["changed_outside_support"] == 0
    film = read_film(rg1)
    masks = read_segmentation(parse(here.edited / answer.json()["seg"], pixels=True), film)
    lungs = embedded_lungs(film)
    np.testing.assert_array_equal(masks["edit mask"], lungs["right"])
    np.testing.assert_array_equal(masks["keep mask"], lungs["left"] & ~lungs["right"])
    assert not there.uploads()
    # What the other server was shown bears none of the film's own UIDs.
    assert film.sop_instance_uid not in there.log.read_text()


def test_a_request_cannot_make_the_server_call_another_address(
    pair: tuple[Server, Server],
) -> None:
    here, there = pair
    port = int(re.sub(r".*:", "", there.url))
    for url in (f"http://localhost:{port}", f"http://127.0.0.1:{port}0", here.url):
        answer = here.infer(
            {"prompt": "right pneumothorax", "edit_mask": f"remote:{url}/lung_segmentation"}
        )
        assert answer.status_code == 400
        assert "the setting remote_servers does not list" in answer.json()["detail"]
