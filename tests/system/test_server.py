"""MONAI Label's own server with this app, asked by MONAI Label's own client and plain HTTP."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
import requests
from monailabel.client import MONAILabelClient
from PIL import Image

from radedit.lib.errors import PromptError
from radedit.lib.parameters import PARAMETERS
from radedit.lib.pipeline import Editor
from radedit_dicom.pixels import read_film

if TYPE_CHECKING:
    from tests.system.conftest import Serve, Server

# MONAILabelClient leaves each of its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
)

FILM = "film.dcm"
EXTREMITY = "extremity.dcm"
EDIT: dict[str, Any] = {
    "prompt": "No acute cardiopulmonary process",
    "edit_mask": "ellipse:1470,862,125,140",
    "keep_mask": "box:1270,600,1440,820",
    "steps": 4,
    "seed": 3,
}


@pytest.fixture(scope="module")
def server(serve: Serve, rg1: Path, rg3: Path) -> Iterator[Server]:
    """Serve a chest film and an extremity, with `radedit` alone chosen."""
    chest = rg1.read_bytes()
    # The same stem: ids that drop the suffix would collide.
    films = {FILM: chest, EXTREMITY: rg3.read_bytes(), "film.dicom": chest}
    with serve(films, "radedit") as started:
        yield started


@pytest.fixture(scope="module")
def full_server(serve: Serve, rg1: Path) -> Iterator[Server]:
    """Serve one chest film with every task."""
    with serve({FILM: rg1.read_bytes()}, "all") as started:
        yield started


def test_info_lists_every_parameter_with_its_type_and_range(server: Server) -> None:
    info = MONAILabelClient(server.url).info()
    assert set(info["models"]) == {"radedit"}
    assert info["models"]["radedit"]["type"] == "others"
    described = info["models"]["radedit"]["config"]["parameters"]
    for name, allowed in PARAMETERS.items():
        assert described[name]["type"] == allowed.type.__name__
        assert described[name]["minimum"] == allowed.minimum
        assert described[name]["maximum"] == allowed.maximum
        assert described[name]["choices"] == list(allowed.choices)
        assert described[name]["help"]


def test_films_are_listed_by_their_whole_file_names_and_results_are_not(server: Server) -> None:
    listed = requests.get(f"{server.url}/datastore/", params={"output": "all"}, timeout=30).json()
    assert set(listed["objects"]) == {FILM, EXTREMITY, "film.dicom"}


def test_a_listed_film_downloads_unchanged(server: Server, rg1: Path) -> None:
    got = requests.get(f"{server.url}/datastore/image", params={"image": FILM}, timeout=30)
    assert got.content == rg1.read_bytes()


def test_a_film_put_into_the_folder_is_listed_without_a_restart(
    full_server: Server, rg1: Path
) -> None:
    shutil.copyfile(rg1, full_server.studies / "later.dcm")
    end = time.monotonic() + 20
    listed: set[str] = set()
    while "later.dcm" not in listed and time.monotonic() < end:
        answer = requests.get(f"{full_server.url}/datastore/?output=all", timeout=30)
        listed = set(answer.json()["objects"])
        time.sleep(0.2)
    assert "later.dcm" in listed


REFUSALS = [
    ({}, {}, 400, "There is no prompt"),
    ({"prompt": "x", "stepz": 9}, {}, 400, "There is no parameter 'stepz'"),
    ({"prompt": "x", "steps": 0}, {}, 400, "steps is 0; expected 1 to 1000."),
    ({"prompt": "x", "steps": "many"}, {}, 400, "steps is of type str; expected int."),
    ({"prompt": "x", "skip": 1.0}, {}, 400, "skip is 1.0"),
    ({"prompt": "x", "guidance": -1}, {}, 400, "guidance is -1"),
    ({"prompt": "x", "seed": -1}, {}, 400, "seed is -1"),
    ({"prompt": "x", "method": "paint"}, {}, 400, "method is paint; expected one of radedit"),
    ({"prompt": 3}, {}, 400, "prompt is of type int; expected text."),
    ({"prompt": "x", "study_mode": "old"}, {}, 400, "study_mode is old"),
    ({"prompt": "x", "edit_model": "nope"}, {}, 404, "There is no model 'nope'"),
    ({"prompt": "x"}, {"image": "nope"}, 404, "There is no image 'nope'"),
    ({"prompt": "x"}, {"image": "/etc/hostname"}, 404, "There is no image '/etc/hostname'"),
    ({"prompt": "x", "image": "/etc/hostname"}, {}, 404, "There is no image"),
    ({"prompt": "x", "label": "/etc/hostname"}, {}, 400, "label is a path"),
    ({"prompt": "x"}, {"model": "nope"}, 404, "There is no model 'nope' here; there are radedit."),
    ({"prompt": "Mass"}, {"image": EXTREMITY}, 422, "not known as the chest"),
    ({"prompt": "x", "model": ["radedit"]}, {}, 404, "There is no model"),
    ({"prompt": "Mass", "masks": [1]}, {}, 400, "masks is no object"),
    ({"prompt": "Mass", "masks": {"a": "!"}}, {}, 400, "the mask 'a' is no PNG file"),
]


@pytest.mark.parametrize(("params", "query", "status", "sentence"), REFUSALS)
def test_bad_input_is_refused_with_its_sentence_and_writes_nothing(
    server: Server, params: dict[str, Any], query: dict[str, str], status: int, sentence: str
) -> None:
    before = {p for p in server.edited.rglob("*") if p.is_file()}
    query = dict(query)
    answer = server.infer(params, query.pop("model", "radedit"), **query)
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]
    assert "\n" not in answer.json()["detail"]
    assert {p for p in server.edited.rglob("*") if p.is_file()} == before


MASK_REFUSALS = [
    ({"edit_mask": "file:/etc/hostname"}, 400, "refused over REST"),
    ({"edit_mask": "uploaded:none"}, 404, "no mask named 'none'"),
    ({"edit_mask": "task:none"}, 404, "no mask task 'none'"),
    ({"edit_mask": "task:lung_segmentation:spleen"}, 404, "no label 'spleen'"),
    ({"edit_mask": "box:5000,5000,5010,5010"}, 400, "edit mask is empty"),
    (
        {"edit_mask": "box:10,10,20,20", "keep_mask": "box:0,0,30,30"},
        400,
        "wholly inside the keep mask",
    ),
]


@pytest.mark.parametrize(("params", "status", "sentence"), MASK_REFUSALS)
def test_a_bad_mask_is_refused_with_its_sentence(
    server: Server, params: dict[str, str], status: int, sentence: str
) -> None:
    answer = server.infer({"prompt": EDIT["prompt"], "steps": 1, **params})
    assert (answer.status_code, sentence in answer.json()["detail"]) == (status, True), answer.text


def test_a_prompt_longer_than_the_encoder_takes_is_refused(server: Server) -> None:
    prompt = "pleural effusion " * 400
    with pytest.raises(PromptError) as caught:
        Editor().backbone().check_prompt(prompt)
    answer = server.infer({"prompt": prompt, "steps": 1})
    assert answer.status_code == 400
    assert answer.json()["detail"] == str(caught.value)


def test_a_refused_upload_does_not_stay_on_the_server(server: Server, rg3: Path) -> None:
    before = server.uploads()
    with rg3.open("rb") as file:
        answer = requests.post(
            f"{server.url}/infer/radedit",
            files={"file": ("film.dcm", file)},
            data={"params": '{"prompt": "Mass"}'},
            timeout=60,
        )
    assert answer.status_code == 422
    assert server.uploads() == before


def test_the_client_gets_the_edited_film_and_what_was_written(server: Server, rg1: Path) -> None:
    before = server.uploads()
    file, params = MONAILabelClient(server.url, tmpdir=str(server.studies.parent)).infer(
        "radedit", FILM, dict(EDIT)
    )
    written = server.edited / params["sc"]
    assert Path(file).read_bytes() == written.read_bytes()
    assert params["changed_outside_support"] == 0
    assert params["score"]["changed_pixels"] > 0
    assert params["seconds"]["total"] > 0
    for kind in ("sc", "seg", "sr"):
        dataset = pydicom.dcmread(server.edited / params[kind])
        assert dataset.SOPInstanceUID == params["uids"][kind]
        assert dataset.StudyInstanceUID == params["uids"]["study"]
        assert dataset.SyntheticData == "YES"
    source, edited = read_film(rg1), read_film(written, allow_synthetic=True)
    assert (edited.shape, edited.bits_stored, edited.photometric) == (
        source.shape,
        source.bits_stored,
        source.photometric,
    )
    assert server.uploads() == before


def test_the_server_gives_the_pixels_that_the_command_line_gives(
    server: Server, rg1: Path, tmp_path: Path, environment: Callable[[Path], dict[str, str]]
) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in EDIT.items()]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("radedit")), "edit", str(rg1), *options,
         "--output", str(tmp_path), "--json"],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )  # fmt: skip
    here = read_film(Path(json.loads(done.stdout)["sc"]), allow_synthetic=True)
    answer = server.infer(EDIT)
    there = read_film(server.edited / answer.json()["sc"], allow_synthetic=True)
    np.testing.assert_array_equal(there.stored, here.stored)


def test_edits_do_not_become_studies(server: Server) -> None:
    assert server.infer(EDIT).ok
    listed = requests.get(f"{server.url}/datastore/?output=all", timeout=30).json()
    assert set(listed["objects"]) == {FILM, EXTREMITY, "film.dicom"}


def test_originals_are_safe_from_the_network(server: Server, rg1: Path, rg3: Path) -> None:
    def listed() -> set[Path]:
        return {p for p in server.studies.parent.rglob("*") if p.is_file()}

    before = listed()
    store = f"{server.url}/datastore"
    evil = "../../evil.dcm"
    names = [(evil, 400), ("../evil.dcm", 400), (FILM, 409), ("film", 409)]
    for name, status in names:
        with rg3.open("rb") as file:
            answer = requests.put(
                f"{store}/image",
                params={"image": name},
                files={"file": ("x.dcm", file)},
                timeout=60,
            )
        assert answer.status_code == status, answer.text
        assert answer.json()["detail"].endswith(".")
    for name in (FILM, evil):
        answer = requests.delete(f"{store}/image", params={"id": name}, timeout=60)
        assert (answer.status_code, answer.json()["detail"].endswith(".")) == (403, True)
    for query in ({"image": FILM, "tag": "../../../x"}, {"image": evil, "tag": "final"}):
        answer = requests.put(
            f"{store}/label", params=query, files={"label": ("x.png", b"x")}, timeout=60
        )
        assert answer.status_code in (400, 404), answer.text
        assert answer.json()["detail"].endswith(".")
    assert (server.studies / FILM).read_bytes() == rg1.read_bytes()
    assert {p for p in listed() - before if server.temporary not in p.parents} == set()


def test_the_log_holds_no_film_names_of_the_datastore(server: Server, rg1: Path) -> None:
    with rg1.open("rb") as file:
        requests.put(f"{server.url}/datastore/image", files={"file": (FILM, file)}, timeout=60)
    # What the HTTP server itself logs of a request's address is for its operator to set.
    lines = server.log.read_text().splitlines()
    assert lines
    assert not [line for line in lines if FILM in line and "HTTP/1.1" not in line]


def png(mask: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, format="PNG")
    return buffer.getvalue()


def test_uploaded_masks_do_what_the_same_shapes_do(server: Server) -> None:
    shape = (1955, 1841)
    edit, keep = np.zeros(shape, bool), np.zeros(shape, bool)
    edit[700:900, 1300:1600] = True
    keep[600:820, 1270:1440] = True
    small = {name: EDIT[name] for name in ("prompt", "steps", "seed")}
    by_shapes = server.infer(
        {**small, "edit_mask": "box:1300,700,1600,900", "keep_mask": "box:1270,600,1440,820"}
    )
    by_name = server.infer(
        {
            **small,
            "edit_mask": "uploaded:region",
            "keep_mask": "uploaded:stay",
            "masks": {
                "region": base64.b64encode(png(edit)).decode(),
                "stay": base64.b64encode(png(keep)).decode(),
            },
        }
    )
    by_form = requests.post(
        f"{server.url}/infer/radedit",
        params={"image": FILM, "output": "json"},
        data={"params": json.dumps({**small, "keep_mask": "box:1270,600,1440,820"})},
        files={"label": ("mask.png", png(edit))},
        timeout=120,
    )
    answers = [by_shapes, by_name, by_form]
    assert [a.status_code for a in answers] == [200, 200, 200], [a.text for a in answers]
    assert len({a.json()["pixel_sha256"] for a in answers}) == 1


def test_an_uploaded_mask_of_another_size_is_refused(server: Server) -> None:
    masks = {"small": base64.b64encode(png(np.ones((8, 8), bool))).decode()}
    answer = server.infer({**EDIT, "edit_mask": "uploaded:small", "masks": masks})
    assert answer.status_code == 400
    assert "8" in answer.json()["detail"]


def test_radedit_alone_still_takes_masks_from_the_lung_segmenter(server: Server) -> None:
    answer = server.infer({**EDIT, "edit_mask": "task:lung_segmentation:left", "keep_mask": ""})
    assert answer.ok, answer.text
    assert answer.json()["parameters"]["edit_mask"] == "task:lung_segmentation:left"


def test_lung_segmentation_answers_a_label_image_of_the_films_size(full_server: Server) -> None:
    answer = full_server.infer({}, "lung_segmentation", output="image")
    assert answer.headers["content-type"] == "image/png"
    labels = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert labels.shape == (1955, 1841)
    assert set(np.unique(labels)) == {0, 1, 2}
    columns = np.arange(labels.shape[1])
    left, right = ((labels == value).sum(axis=0) for value in (1, 2))
    # A PA film is looked at from the front: the patient's left is on the right.
    assert np.average(columns, weights=left) > np.average(columns, weights=right)


@pytest.mark.parametrize("extension", [".nii.gz", ".nrrd"])
def test_lung_segmentation_gives_the_same_labels_in_every_format(
    full_server: Server, extension: str, tmp_path: Path
) -> None:
    import itk

    name, params = MONAILabelClient(full_server.url, tmpdir=str(tmp_path)).infer(
        "lung_segmentation", FILM, {"result_extension": extension}
    )
    labels = np.asarray(itk.array_from_image(itk.imread(name)))
    assert labels.shape == (1955, 1841)
    found = {label: int((labels == n).sum()) for label, n in params["label_names"].items()}
    assert found == params["pixels"]


def test_a_saved_label_image_stands_beside_its_film(full_server: Server) -> None:
    assert full_server.infer({"save_label": True}, "lung_segmentation").ok
    label = full_server.studies / "labels" / "original" / f"{FILM}.png"
    assert np.asarray(Image.open(label)).max() == 2
    listed = requests.get(f"{full_server.url}/datastore/?output=all", timeout=30).json()
    assert "original" in listed["objects"][FILM]["labels"]


@pytest.mark.parametrize(
    ("conf", "sentence"),
    [
        ([], "No models are chosen; add --conf models"),
        (["--conf", "models", "nope"], "There is no model 'nope'; known are radedit"),
        (["--conf", "models", "radedit", "--conf", "modells", "x"], "no --conf key 'modells'"),
    ],
)
def test_a_wrong_conf_ends_the_server_with_the_sentence(
    conf: list[str],
    sentence: str,
    tmp_path: Path,
    free_port: int,
    start_server: Callable[..., list[str]],
    environment: Callable[[Path], dict[str, str]],
) -> None:
    done = subprocess.run(
        start_server("--studies", str(tmp_path / "s"), *conf,
                "--host", "127.0.0.1", "--port", str(free_port)),
        env=environment(Path(tempfile.gettempdir())),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert sentence in done.stderr + done.stdout
