"""What it costs an archive to be asked, in requests: counted in front of a real Orthanc."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from front import Front
from orthanc import Orthanc
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from radedit.lib.review.desk import ReviewPlace
from radedit.lib.review.routes import create_router
from radedit.lib.selection import of_archive
from radedit_dicom.access import Access
from radedit_dicom.archive import Archive, Query
from radedit_dicom.cache import Cache
from radedit_dicom.edits import Ledger
from radedit_dicom.film import read_film
from radedit_dicom.locate import open_archive
from radedit_dicom.objects import EditObjects
from radedit_dicom.readback import part10

MakeEdit = Callable[..., tuple[object, EditObjects]]


class Counted:
    """An archive, and what it was asked.

    Attributes
    ----------
    archive : over DICOMweb
    """

    def __init__(self, orthanc: Orthanc, port: int) -> None:
        self.orthanc = orthanc
        self.front = Front(port, orthanc.http_port)
        self.archive: Archive = open_archive(
            f"http://127.0.0.1:{port}/dicom-web", Access(attempts=2)
        )
        self._before = 0

    def asked(self) -> list[str]:
        """Give the paths that were asked for since the last look."""
        sent = b"".join(self.front.sent).decode("latin-1")
        paths = re.findall(r"(?:GET|POST|DELETE) (?:/dicom-web)?(\S*) HTTP/1.1", sent)
        before, self._before = self._before, len(paths)
        return paths[before:]


@pytest.fixture
def counted(
    start_orthanc: Callable[..., Orthanc], new_port: Callable[[], int]
) -> Iterator[Counted]:
    made = Counted(start_orthanc(), new_port())
    yield made
    made.front.close()


@pytest.fixture
def film(make_dataset: Callable[..., Dataset]) -> Callable[..., Dataset]:
    """Make a film of a study, a series and an instance of their own."""

    def make(**attributes: object) -> Dataset:
        fresh = {
            name: generate_uid()
            for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        }
        dataset = make_dataset(**(fresh | attributes))
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        return dataset

    return make


def objects_fetched(paths: list[str]) -> list[str]:
    return [path for path in paths if re.fullmatch(r"/studies/.*/instances/[0-9.]+", path)]


def add_edit(counted: Counted, film: Dataset, make_edit: MakeEdit) -> EditObjects:
    _, made = make_edit(read_film(film))
    for dataset in (film, made.seg, made.sr, made.sc):
        counted.orthanc.upload(part10(dataset))
    return made


def test_looking_for_edits_asks_by_study_and_again_only_for_what_has_changed(
    counted: Counted, film: Callable[..., Dataset], make_edit: MakeEdit
) -> None:
    for _ in range(8):
        counted.orthanc.upload(part10(film()))
    first = add_edit(counted, film(), make_edit)
    ledger = Ledger(counted.archive)
    (found,) = ledger.edits(Query())
    assert found.instances["sc"].sop_instance_uid == first.sc.SOPInstanceUID
    asked = counted.asked()
    assert objects_fetched(asked) == []  # one header is read; no pixel is
    assert len([path for path in asked if path.endswith("/metadata")]) == 1
    for _ in range(5):
        assert ledger.edits(Query()) == [found]
        again = counted.asked()
        assert len(again) <= 4  # masks and reports, and the page behind the last one
        assert all(path.startswith("/studies?") for path in again)
    add_edit(counted, film(), make_edit)
    assert len(ledger.edits(Query())) == 2
    new = counted.asked()
    assert len([path for path in new if not path.startswith("/studies?")]) <= 3
    assert objects_fetched(new) == []


def test_an_unknown_uid_on_the_review_page_is_one_question(
    counted: Counted, film: Callable[..., Dataset], make_edit: MakeEdit, tmp_path: Path
) -> None:
    add_edit(counted, film(), make_edit)
    place = ReviewPlace(
        counted.archive, counted.archive, tmp_path / "cache", tmp_path / "said.sqlite", tmp_path
    )
    app = FastAPI()
    app.include_router(create_router(place))
    client = TestClient(app)
    assert len(client.get("/review/api/edits?reader=Anna").json()["edits"]) == 1
    counted.asked()
    for number in range(3):
        uid = f"1.2.77.{number}"
        assert client.get(f"/review/api/edits/{uid}?reader=Anna").status_code == 404
        (asked,) = counted.asked()
        assert uid in asked
    assert client.get("/review/api/edits/1..2?reader=Anna").status_code == 404
    assert counted.asked() == []
    made = add_edit(counted, film(), make_edit)  # since the listing: found by itself
    answer = client.get(f"/review/api/edits/{made.sc.SOPInstanceUID}?reader=Anna")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("series", [1, 40])
def test_headers_of_a_large_study_are_read_at_once_and_only_what_is_chosen_is_fetched(
    counted: Counted, film: Callable[..., Dataset], tmp_path: Path, series: int
) -> None:
    study, names = generate_uid(), [generate_uid() for _ in range(series)]
    for number in range(40):
        dataset = film(
            StudyInstanceUID=study,
            SeriesInstanceUID=names[number % series],
            ViewPosition="PA" if number == 7 else "LL",
        )
        counted.orthanc.upload(part10(dataset))
    scope = Query(study_instance_uid=study)
    selection = of_archive(Cache(counted.archive, tmp_path / "web"), scope)
    asked = counted.asked()
    assert len(objects_fetched(asked)) == 1
    assert len([path for path in asked if path.endswith("/metadata")]) == 1
    assert len(asked) <= 8
    # By DIMSE, which has no headers to give, every object is fetched: the choice is the same.
    address = f"dimse://{counted.orthanc.aet}@127.0.0.1:{counted.orthanc.dicom_port}"
    by_dimse = of_archive(Cache(open_archive(address), tmp_path / "dimse"), scope)
    assert list(selection.films) == list(by_dimse.films)
    assert len(selection.films) == 1
    assert selection.passed_over == by_dimse.passed_over
    assert selection.failed == by_dimse.failed == {}


def test_an_archive_that_tells_main_attributes_only_has_its_objects_fetched(
    start_orthanc: Callable[..., Orthanc],
    new_port: Callable[[], int],
    film: Callable[..., Dataset],
    tmp_path: Path,
) -> None:
    web = {"Enable": True, "Root": "/dicom-web/", "StudiesMetadata": "MainDicomTags",
           "SeriesMetadata": "MainDicomTags"}  # fmt: skip
    counted = Counted(start_orthanc(extra={"DicomWeb": web}), new_port())
    study = generate_uid()
    for position in ("PA", "LL"):
        dataset = film(StudyInstanceUID=study, SeriesInstanceUID="1.2.5", ViewPosition=position)
        counted.orthanc.upload(part10(dataset))
    scope = Query(study_instance_uid=study)
    try:
        selection = of_archive(Cache(counted.archive, tmp_path), scope)
    finally:
        counted.front.close()
    assert len(selection.films) == 1
    assert len(objects_fetched(counted.asked())) == 2


def test_studies_are_listed_by_dimse_with_how_much_they_hold(
    counted: Counted, film: Callable[..., Dataset], make_edit: MakeEdit
) -> None:
    counted.orthanc.upload(part10(film()))
    made = add_edit(counted, film(), make_edit)
    address = f"dimse://{counted.orthanc.aet}@127.0.0.1:{counted.orthanc.dicom_port}"
    (found,) = Ledger(open_archive(address)).edits(Query())
    assert found.is_complete
    (study,) = open_archive(address).studies(Query(modality="SR"))
    assert (study.uid, study.size) == (made.sr.StudyInstanceUID, 3)
