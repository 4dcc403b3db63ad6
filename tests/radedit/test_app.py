"""The app's outermost edge: refusals, and errors that nobody foresaw."""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pydicom
import pytest
from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from radedit.lib.app import RadEditApp

APP = Path(__file__).resolve().parents[2] / "apps" / "radedit"
SECRET = "Geheim^Name"


class Failing(InferTask):
    """A task with a fault in it, whose error quotes what it read."""

    def __init__(self) -> None:
        super().__init__(InferType.SEGMENTATION, None, 2, "fails")

    def is_valid(self) -> bool:
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        raise ZeroDivisionError(f"{SECRET} {request['image']}")


@pytest.fixture
def app(tmp_path: Path, rg1: Path, monkeypatch: pytest.MonkeyPatch) -> RadEditApp:
    monkeypatch.setattr("monailabel.config.settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copyfile(rg1, studies / "film.dcm")
    made = RadEditApp(str(APP), str(studies), {"models": "all"})
    made._infers["lung_segmentation"] = Failing()
    return made


def upload(content: bytes) -> str:
    """Put a file where MONAI Label puts those of a form."""
    with tempfile.NamedTemporaryFile(suffix=".dcm", delete=False) as file:
        file.write(content)
    return file.name


def test_an_error_nobody_foresaw_is_one_sentence_without_what_it_quotes(
    app: RadEditApp, rg1: Path, caplog: pytest.LogCaptureFixture
) -> None:
    film, mask = upload(rg1.read_bytes()), upload(b"mask")
    with caplog.at_level(logging.INFO), pytest.raises(HTTPException) as refused:
        app.infer({"model": "lung_segmentation", "image": film, "label": mask})
    assert refused.value.status_code == 500
    assert refused.value.detail.endswith(".")
    assert SECRET not in refused.value.detail + caplog.text
    assert "ZeroDivision" not in refused.value.detail
    assert "ZeroDivisionError in" in caplog.text
    assert not Path(film).exists()
    assert not Path(mask).exists()


def test_a_label_tag_that_is_no_name_is_refused_before_the_work(app: RadEditApp) -> None:
    request = {
        "model": "lung_segmentation",
        "image": "film.dcm",
        "save_label": True,
        "label_tag": "../../../x",
    }
    with pytest.raises(HTTPException, match="label_tag is no plain name") as refused:
        app.infer(request)
    assert refused.value.status_code == 400


def test_the_names_of_films_are_not_logged(
    app: RadEditApp, rg1: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        app.datastore().add_image("Geheim", str(rg1), {})
        app.datastore().refresh()
    assert "Geheim" in app.datastore().list_images()[-1]
    assert "Geheim" not in caplog.text


def test_a_film_with_a_name_in_its_pixels_is_refused_before_the_edit(
    app: RadEditApp, rg1: Path, tmp_path: Path
) -> None:
    dataset = pydicom.dcmread(rg1)
    dataset.BurnedInAnnotation = "YES"
    dataset.save_as(tmp_path / "burned.dcm")
    app.datastore().add_image("burned", str(tmp_path / "burned.dcm"), {})
    request = {"model": "radedit", "image": "burned.dcm", "prompt": "Large left lung mass"}
    with pytest.raises(HTTPException, match="use study mode same") as refused:
        app.infer(request)
    assert refused.value.status_code == 422
    assert not list((tmp_path / "studies").glob("edited/**/*.dcm"))
