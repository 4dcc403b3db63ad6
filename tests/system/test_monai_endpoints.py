"""What MONAI Label's clients and viewers ask of a server, of a folder and of an archive alike."""

from __future__ import annotations

import io
import json
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from monailabel.client import MONAILabelClient
from PIL import Image
from pydicom.dataset import Dataset
from radedit_server import RadEditServer, radedit_server

from radedit.lib.phantom.studies import Order, write_studies
from radedit.lib.phantom.world import World
from radedit_dicom.film import read_film
from radedit_dicom.pixels import to_display
from radedit_dicom.readback import part10
from radedit_dicom.segment_reader import read_segmentation

TOKEN = "drawn-at-random-0123456789"
UIDS = ("1.2.826.5.1", "1.2.826.5.2")
SIDE = 256
EDIT = {"prompt": "Cardiomegaly", "steps": 4}


@dataclass
class Served:
    """A server, and what its films are called there."""

    server: RadEditServer
    films: tuple[str, str]
    contents: tuple[bytes, bytes]

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self.server.ask(method, path, **options)
        assert answer.status_code == 200, (method, path, answer.status_code, answer.text[:300])
        return answer

    def status(self, method: str, path: str, **options: Any) -> int:
        return self.server.ask(method, path, **options).status_code


def chest(make_dataset: Callable[..., Dataset], folder: Path, uid: str) -> bytes:
    """Give a film with the pixels of a simulated chest, which the lung segmenter knows for one."""
    healthy = World(normal=1.0, second=0.0, findings={}, devices={})
    (row,) = write_studies(Order(9_780_000 + int(uid[-1]), 1, SIDE, healthy), folder)
    drawn = read_film(folder / row["folder"] / "film.dcm")
    rows, columns = drawn.shape  # the longer one is SIDE
    margins = ((0, SIDE - rows), (0, SIDE - columns))
    pixels = np.pad(np.rint(to_display(drawn) * 4095), margins, mode="edge")
    film = make_dataset(
        pixels, SOPInstanceUID=uid, SeriesInstanceUID=f"{uid}.1",
        StudyInstanceUID=f"{uid}.2", PatientID=uid, PixelSpacing=[1.4, 1.4],
        WindowCenter=2048, WindowWidth=4096,
    )  # fmt: skip
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    return part10(film)


@pytest.fixture(scope="module", params=["folder", "archive"])
def served(
    request: pytest.FixtureRequest,
    make_dataset: Callable[..., Dataset],
    tmp_path_factory: pytest.TempPathFactory,
    new_port: Callable[[], int],
) -> Iterator[Served]:
    drawn = tmp_path_factory.mktemp("drawn")
    contents = (chest(make_dataset, drawn, UIDS[0]), chest(make_dataset, drawn, UIDS[1]))
    folder, address, names = tmp_path_factory.mktemp("monai"), "", UIDS
    if request.param == "archive":
        archive = request.getfixturevalue("start_orthanc")()
        for content in contents:
            archive.upload(content)
        address = archive.dicom_web
    else:
        names = ("one.dcm", "two.dcm")
        (folder / "studies").mkdir()
        for name, content in zip(names, contents, strict=True):
            (folder / "studies" / name).write_bytes(content)
    with radedit_server(
        folder, new_port(), "--workers", "0", studies=address, token=TOKEN
    ) as server:
        yield Served(server, (names[0], names[1]), contents)


@pytest.fixture
def label() -> tuple[str, bytes]:
    """Give a label image as a file: 1 and 2 side by side."""
    values = np.zeros((SIDE, SIDE), np.uint8)
    values[60:150, 50:100], values[60:150, 150:200] = 1, 2
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return "label.png", stream.getvalue()


NAMES = {"params": json.dumps({"label_names": {"left": 1, "right": 2}})}


def test_a_saved_label_is_listed_described_and_downloaded_again(
    served: Served, label: tuple[str, bytes]
) -> None:
    film = served.films[0]
    path = f"/datastore/label?image={film}&tag=final"
    assert served.ask("PUT", path, files={"label": label}, data=NAMES).json()["label"] == film
    stats = served.ask("GET", "/datastore/?output=stats").json()
    assert (stats["total"], stats["completed"], stats["label_tags"]) == (2, 1, {"final": 1})
    listed = served.ask("GET", "/datastore/?output=all").json()["objects"][film]
    assert listed["labels"].keys() == {"final"}
    assert served.ask("GET", "/datastore/?output=train").json()
    where = f"label={film}&tag=final"
    assert served.ask("GET", f"/datastore/label?{where}").content
    assert served.ask("GET", f"/datastore/label/info?{where}").json()["name"]
    served.ask("PUT", f"/datastore/label/info?{where}", data={"info": '{"seen": "yes"}'})
    assert served.ask("GET", f"/datastore/label/info?{where}").json()["seen"] == "yes"
    served.ask("HEAD", f"/datastore/label?image={film}&tag=final")
    with zipfile.ZipFile(io.BytesIO(served.ask("GET", "/datastore/dataset").content)) as packed:
        folders = [name.partition("/")[0] for name in packed.namelist()]
        assert folders.count("image") == folders.count("label") == 1


def test_a_removed_label_is_gone_at_once(served: Served, label: tuple[str, bytes]) -> None:
    film = served.films[0]
    for _ in range(3):
        path = f"/datastore/label?image={film}&tag=test"
        served.ask("PUT", path, files={"label": label}, data=NAMES)
        assert served.ask("GET", "/datastore/").json()["label_tags"]["test"] == 1
        served.ask("DELETE", f"/datastore/label?id={film}&tag=test")
        assert "test" not in served.ask("GET", "/datastore/").json()["label_tags"]


def test_a_films_notes_are_kept(served: Served) -> None:
    film = served.films[1]
    served.ask("PUT", f"/datastore/image/info?image={film}")
    assert served.ask("GET", f"/datastore/image/info?image={film}").json()["name"]
    sample = served.ask("POST", "/activelearning/random").json()
    assert sample["id"] in served.films
    assert sample["name"]


@pytest.mark.parametrize("params", [None, {"max_workers": 2}, {"device": "cpu", "multi_gpu": True}])
def test_batch_inference_runs_at_once_for_all_films(
    served: Served, params: dict[str, Any] | None
) -> None:
    done = served.ask(
        "POST", "/batch/infer/lung_segmentation?images=all&run_sync=true", json=params
    ).json()
    assert done.keys() == set(served.films)
    assert all(one["params"]["pixels"]["left"] > 0 for one in done.values())
    assert served.ask("GET", "/datastore/").json()["label_tags"]["original"] == 2


def test_batch_inference_runs_in_the_background_and_is_told_of(served: Served) -> None:
    started = served.ask("POST", "/batch/infer/lung_segmentation?images=all").json()
    assert started["status"] in ("SUBMITTED", "RUNNING")
    end = time.monotonic() + 180
    for path in ("/batch/infer", "/batch/infer/"):
        while (told := served.ask("GET", path).json())["status"] in ("SUBMITTED", "RUNNING"):
            assert time.monotonic() < end
            time.sleep(0.5)
        assert told["status"] == "DONE", told
    assert served.status("DELETE", "/batch/infer/") == 200
    log = served.server.log.read_text()
    assert not [film for film in (*served.films, *UIDS) if film in log]


def test_a_task_answers_with_a_dicom_seg(served: Served) -> None:
    asked = {"label_info": [{"name": "linke Lunge", "idx": 1}, {"name": "rechte Lunge", "idx": 2}]}
    for params, names in (
        (asked, ["linke Lunge", "rechte Lunge"]),
        ({}, ["left", "right"]),
    ):
        answer = served.ask(
            "POST",
            f"/infer/lung_segmentation?image={served.films[0]}&output=dicom_seg",
            data={"params": json.dumps(params)},
        )
        assert answer.headers["content-type"] == "application/dicom"
        film = read_film(served.contents[0])
        masks = read_segmentation(pydicom.dcmread(io.BytesIO(answer.content)), film)
        assert list(masks) == names
        assert all(mask.sum() > 100 for mask in masks.values())


def test_masks_come_as_the_bytes_of_ohifs_plugin(served: Served) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[40:90, 60:200] = 1

    def edited(edit_mask: str, **files: Any) -> Any:
        return served.server.post(
            f"/infer/radedit?image={served.films[0]}&output=image",
            data={"params": json.dumps({**EDIT, "edit_mask": edit_mask})},
            files=files or None,
        )

    sent = edited("uploaded:label", label=("label.bin", mask.tobytes()))
    drawn = edited("box:60,40,200,90")
    assert sent.status_code == drawn.status_code == 200, sent.text[:300]
    one, other = (pydicom.dcmread(io.BytesIO(answer.content)) for answer in (sent, drawn))
    np.testing.assert_array_equal(one.pixel_array, other.pixel_array)
    refused = edited("uploaded:label", label=("label.bin", b"1234"))
    assert refused.status_code == 400
    assert "one byte for each pixel" in refused.json()["detail"]


def test_the_viewer_the_archive_and_the_log_are_where_monai_label_has_them(served: Served) -> None:
    page = served.ask("GET", "/ohif/viewer?StudyInstanceUIDs=1.2", headers={"accept": "text/html"})
    assert "text/html" in page.headers["content-type"]
    assert page.url.endswith("/viewer?StudyInstanceUIDs=1.2")
    found = served.ask("GET", "/proxy/dicom/studies?limit=1").json()
    assert len(found) == 1
    assert "GET" in served.ask("GET", "/logs/").text
    assert len(served.ask("GET", "/logs/?lines=3").text.splitlines()) == 3
    assert not re.search(r"1\.2\.826\.5", served.ask("GET", "/logs/?lines=0").text)
    assert served.ask("GET", "/model/info/lung_segmentation").json()["checksum"]
    assert served.ask("GET", "/model/lung_segmentation").content
    assert served.status("GET", "/model/radedit") == 404, "an editor's weights are not handed out"


# Its client leaves its sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_its_client_offers_to_sign_in_and_works_with_the_token(served: Served) -> None:
    client = MONAILabelClient(served.server.url)
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    with pytest.raises(Exception, match="401"):
        client.auth_token("anybody", "a wrong token of some length")
    client.update_auth(client.auth_token("anybody", TOKEN))
    assert client.auth_valid_token()
    assert "radedit" in client.info()["models"]


def test_a_film_is_named_by_its_series_where_that_has_no_other(
    served: Served, label: tuple[str, bytes]
) -> None:
    if served.films[0] not in UIDS:
        assert served.status("POST", f"/infer/lung_segmentation?image={UIDS[0]}.1") == 404
        return
    series = f"{UIDS[1]}.1"
    served.ask("POST", f"/infer/lung_segmentation?image={series}&output=json")
    info = served.ask("GET", f"/datastore/image/info?image={series}").json()
    assert info["SOPInstanceUID"] == UIDS[1]
    path = f"/datastore/label?image={series}&tag=series"
    served.ask("PUT", path, files={"label": label}, data=NAMES)
    assert served.ask("GET", f"/datastore/label?label={UIDS[1]}&tag=series").content
    assert served.ask("GET", f"/datastore/label?label={series}&tag=series").content
