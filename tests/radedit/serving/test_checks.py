"""A request is refused in the words that a worker would fail with, over real folders of films."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydicom.dataset import Dataset

from radedit.lib.errors import MaskError, RadEditError
from radedit.lib.jobs.films import Films
from radedit.lib.jobs.model import JobRequest
from radedit.lib.lungs import LABELS
from radedit.lib.mask_names import EMBEDDED_LABELS
from radedit.lib.served import ServedPlace, served_place
from radedit.lib.serving import checks
from radedit.lib.serving.checks import JobCheck
from radedit.lib.settings import load_settings
from radedit.lib.shelf import Shelf
from radedit.lib.sources import EMBEDDED_TASKS
from radedit_dicom.archive import Instance, Query
from radedit_dicom.errors import DicomError
from radedit_dicom.folder import FolderArchive


def mask(rows: int, cols: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (cols, rows), 255).save(stream, "png")
    return stream.getvalue()


@pytest.fixture
def serve(tmp_path: Path, make_dataset: Callable[..., Dataset]) -> Callable[..., Path]:
    """Put a film with some values changed into a folder that is served."""

    def served(**values: Any) -> Path:
        make_dataset(**values).save_as(tmp_path / "film.dcm", enforce_file_format=True)
        return tmp_path

    return served


def said_by(call: Callable[[], Any]) -> str:
    with pytest.raises((RadEditError, DicomError)) as refusal:
        call()
    assert 400 <= refusal.value.http_status < 500
    return str(refusal.value)


@pytest.mark.parametrize(
    ("values", "request_of"),
    [
        ({"PatientSpeciesDescription": "Canis lupus familiaris"}, {}),
        ({"ViewPosition": "LL"}, {}),
        ({"BodyPartExamined": "KNEE"}, {}),
        ({"BurnedInAnnotation": "YES"}, {}),
        ({}, {"edit_mask": "uploaded:a", "masks": {"a": mask(4, 4)}}),
        ({}, {"edit_mask": "uploaded:a", "masks": {"a": b"\x89PNG\r\n\x1a\n"}}),
        ({}, {"edit_mask": "box:0,0,9,9", "masks": {"unused": mask(4, 4)}}),
    ],
)
def test_a_request_is_refused_with_the_sentence_that_its_job_would_fail_with(
    serve: Callable[..., Path], values: dict[str, Any], request_of: dict[str, Any]
) -> None:
    folder, settings = serve(**values), load_settings()
    wanted = JobRequest("film.dcm", "Left pneumothorax", **request_of)
    place = served_place(str(folder), {})
    at_once = said_by(lambda: JobCheck(settings, place).check(wanted, EMBEDDED_LABELS))
    later = said_by(lambda: Films.open(str(folder), {}, settings).case(wanted))
    assert at_once == later


def test_the_labels_that_are_known_beforehand_are_those_that_the_tasks_give() -> None:
    assert EMBEDDED_LABELS.keys() == EMBEDDED_TASKS.keys()
    given = [label for labels in EMBEDDED_LABELS.values() for label in labels]
    assert sorted(given) == sorted(LABELS)


class Hanging(FolderArchive):
    """The films of a folder, whose headers do not come until they are let."""

    let = threading.Event()

    def headers(self, instances: Sequence[Instance]) -> dict[str, Dataset]:
        self.let.wait(30)
        return {}


def test_a_request_does_not_wait_for_an_archive_that_gives_no_header(
    serve: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = Hanging(serve(ViewPosition="LL"))
    (film,) = archive.find(Query())
    shelf = Shelf(archive, Query(), tmp_path / "cache", 10**9)
    monkeypatch.setattr(shelf._cache, "held", lambda instance: None)
    monkeypatch.setattr(checks, "HEADER_S", 0.2)
    check = JobCheck(load_settings(), ServedPlace(archive, archive, shelf))
    began = time.monotonic()
    check.check(JobRequest(film.sop_instance_uid, "Left pneumothorax"), EMBEDDED_LABELS)
    assert time.monotonic() - began < 5
    broken = {"a": b"\x89PNG\r\n\x1a\n"}
    wanted = JobRequest(film.sop_instance_uid, "Mass", edit_mask="uploaded:a", masks=broken)
    with pytest.raises(MaskError, match="cannot be read as a PNG"):
        check.check(wanted, EMBEDDED_LABELS)
    Hanging.let.set()


def test_the_header_of_an_archived_film_that_was_fetched_before_is_looked_at(
    serve: Callable[..., Path], tmp_path: Path
) -> None:
    archive = FolderArchive(serve(ViewPosition="LL"))
    (film,) = archive.find(Query())
    shelf = Shelf(archive, Query(), tmp_path / "cache", 10**9)
    check = JobCheck(load_settings(), ServedPlace(archive, archive, shelf))
    with pytest.raises(DicomError, match="frontal"):
        check.check(JobRequest(film.sop_instance_uid, "Mass"), EMBEDDED_LABELS)
