"""A real Orthanc as MONAI Label's datastore: films in, labels out, nothing replaced or lost."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pydicom
import pytest
from fastapi import HTTPException
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForPresentation

from radedit.lib.archived_studies import ArchivedStudies
from radedit.lib.served import served_place
from radedit.lib.shelf import Shelf
from radedit_dicom.archive import Query
from radedit_dicom.conformance import passes, run_dciodvfy
from radedit_dicom.film import read_film
from radedit_dicom.locate import open_archive
from radedit_dicom.readback import part10

PA, LATERAL, DX = "1.2.3.1", "1.2.3.2", "1.2.4.1"


def content(dataset: Dataset) -> bytes:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return part10(dataset)


@pytest.fixture(scope="module")
def films(make_dataset: Callable[..., Dataset], make_edit: Callable[..., Any]) -> dict[str, bytes]:
    """Give a study of two films in one series, another one, and what is no film of its own."""
    tall = np.random.default_rng(1).integers(0, 1 << 16, (40, 30))
    pa = make_dataset(tall, 16, SOPInstanceUID=PA, PhotometricInterpretation="MONOCHROME1")
    pa.PixelSpacing = [0.2, 0.1]
    lateral = make_dataset(SOPInstanceUID=LATERAL, ViewPosition="LL", PatientOrientation=["A", "F"])
    dx = make_dataset(
        SOPClassUID=DigitalXRayImageStorageForPresentation, SOPInstanceUID=DX, Modality="DX",
        SeriesInstanceUID="1.2.4", StudyInstanceUID="1.4", StudyDate="20240506",
    )  # fmt: skip
    ct = make_dataset(
        SOPInstanceUID="1.2.9", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2"
    )
    _, objects = make_edit(read_film(pa), "same")
    held = (pa, lateral, dx, ct, objects.sc, objects.seg, objects.sr)
    return {str(dataset.SOPInstanceUID): content(dataset) for dataset in held}


@pytest.fixture
def server(start_orthanc: Callable[..., Any], films: dict[str, bytes]) -> Any:
    server = start_orthanc()
    for film in films.values():
        server.upload(film)
    return server


@pytest.fixture
def studies(server: Any, tmp_path: Path) -> ArchivedStudies:
    return ArchivedStudies(
        Shelf(open_archive(server.dicom_web), Query(), tmp_path / "cache", 10**9)
    )


def label_file(folder: Path, shape: tuple[int, int], labels: dict[int, tuple[slice, slice]]) -> str:
    image = np.zeros(shape, np.uint8)
    for number, place in labels.items():
        image[place] = number
    path = folder / "label.png"
    Image.fromarray(image).save(path)
    return str(path)


def test_cr_and_dx_are_listed_and_nothing_else(studies: ArchivedStudies) -> None:
    assert studies.list_images() == sorted([PA, LATERAL, DX], key=lambda u: (u == DX, u))
    assert studies.status() == {"total": 3, "completed": 0, "label_tags": {}}
    info = studies.get_image_info(DX)
    assert (info["StudyInstanceUID"], info["Modality"]) == ("1.4", "DX")
    assert "Geheim" not in str(studies.json())
    assert "4711" not in str(studies.json())


def test_a_film_comes_through_with_its_values_polarity_and_spacing(
    studies: ArchivedStudies, films: dict[str, bytes]
) -> None:
    fetched = read_film(Path(studies.get_image_uri(PA)))
    original = read_film(films[PA])
    assert np.array_equal(fetched.stored, original.stored)
    assert (fetched.bits_stored, fetched.photometric) == (16, "MONOCHROME1")
    assert fetched.spacing_mm == (0.2, 0.1)
    assert read_film(studies.get_image(PA).read()).sop_instance_uid == PA


def test_a_film_is_fetched_once_and_the_cache_keeps_its_size(server: Any, tmp_path: Path) -> None:
    shelf = Shelf(open_archive(server.dicom_web), Query(), tmp_path / "cache", 1)
    first = shelf.path(PA)
    written = first.stat().st_ino
    assert shelf.path(PA).stat().st_ino == written
    assert shelf.path(DX).exists()
    assert not first.exists(), "the cache takes one byte: only the last film stays"
    assert (tmp_path / "cache").stat().st_mode & 0o077 == 0


def test_a_label_is_stored_as_a_seg_that_conforms_and_is_read_back(
    studies: ArchivedStudies, server: Any, films: dict[str, bytes], tmp_path: Path, peer: Any
) -> None:
    peer("dciodvfy")
    before = {uid: server.file(uid) for uid in films}
    place = (slice(5, 20), slice(3, 9))
    file = label_file(tmp_path, (40, 30), {1: place, 2: (slice(25, 30), slice(0, 4))})
    info = {"model": "lung_segmentation", "params": {"label_names": {"left": 1, "right lung": 2}}}
    assert studies.save_label(PA, file, "final", info) == PA

    [new] = set(server.held()) - set(films)
    (tmp_path / "label.dcm").write_bytes(server.file(new))
    assert passes(run_dciodvfy(tmp_path / "label.dcm")), run_dciodvfy(tmp_path / "label.dcm")
    seg = pydicom.dcmread(tmp_path / "label.dcm")
    assert (seg.StudyInstanceUID, seg.PatientID, seg.Modality) == ("1.2", "4711", "SEG")
    assert "SyntheticData" not in seg, "a label of an original is no synthetic object"
    assert [str(s.SegmentLabel) for s in seg.SegmentSequence] == ["left", "right lung"]
    assert seg.SegmentSequence[1].SegmentedPropertyTypeCodeSequence[0].CodeValue == "39607008"

    assert studies.get_labels_by_image_id(PA) == {"final": PA}
    assert studies.get_labels_by_image_id(DX) == {}
    assert studies.get_labeled_images("final") == [PA]
    assert studies.get_unlabeled_images() == [LATERAL, DX]
    assert studies.get_label_info(PA, "final")["label_names"] == {"left": 1, "right lung": 2}
    image = itk.imread(studies.get_label_uri(PA, "final"))
    labels = itk.array_from_image(image)
    assert (labels[place] == 1).all()
    assert (labels == 1).sum() == 15 * 6
    assert list(image.GetSpacing())[:2] == pytest.approx([0.1, 0.2])
    [pair] = studies.datalist()
    assert read_film(Path(pair["image"])).sop_instance_uid == PA
    assert {uid: server.file(uid) for uid in films} == before, "originals are as they were"


def test_a_later_label_of_a_tag_wins_and_the_earlier_one_stays(
    studies: ArchivedStudies, server: Any, films: dict[str, bytes], tmp_path: Path
) -> None:
    for rows in (5, 9):
        file = label_file(tmp_path, (40, 30), {1: (slice(0, rows), slice(0, 10))})
        studies.save_label(PA, file, "final", {"label_info": [{"name": "heart", "idx": 1}]})
    assert len(set(server.held()) - set(films)) == 2
    labels = itk.array_from_image(itk.imread(studies.get_label_uri(PA, "final")))
    assert (labels != 0).sum() == 90
    studies.remove_label(PA, "final")
    labels = itk.array_from_image(itk.imread(studies.get_label_uri(PA, "final")))
    assert (labels != 0).sum() == 50
    assert set(films) < set(server.held())


def test_what_would_change_an_original_is_refused(
    studies: ArchivedStudies, server: Any, films: dict[str, bytes], tmp_path: Path
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: studies.remove_image(PA),
        lambda: studies.add_image("x", str(tmp_path), {}),
    ]
    for call in calls:
        with pytest.raises(HTTPException) as refused:
            call()
        assert refused.value.status_code == 403
        assert str(refused.value.detail).endswith(".")
    assert set(server.held()) == set(films)


def test_what_is_not_there_and_what_is_no_label_is_said_in_a_sentence(
    studies: ArchivedStudies, tmp_path: Path
) -> None:
    empty = label_file(tmp_path, (40, 30), {})
    calls: list[tuple[int, str, Callable[[], object]]] = [
        (404, "no such image", lambda: studies.get_image_uri("1.9")),
        (404, "no such image", lambda: studies.get_image_uri("../../etc/passwd")),
        (404, "no label", lambda: studies.get_label_uri(PA, "final")),
        (400, "no plain name", lambda: studies.save_label(PA, empty, "../x", {})),
        (400, "30", lambda: studies.save_label(PA, str(wrong(tmp_path)), "final", {})),
        (400, "nothing in it", lambda: studies.save_label(PA, empty, "final", {})),
        (422, "lateral", lambda: studies.save_label(LATERAL, empty, "final", {})),
    ]
    for status, says, call in calls:
        with pytest.raises(HTTPException, match=says) as refused:
            call()
        assert refused.value.status_code == status


def wrong(folder: Path) -> Path:
    buffer = io.BytesIO()
    Image.fromarray(np.ones((9, 9), np.uint8)).save(buffer, "PNG")
    (folder / "wrong.png").write_bytes(buffer.getvalue())
    return folder / "wrong.png"


def test_an_archive_that_went_away_is_a_502_with_a_sentence(
    studies: ArchivedStudies, server: Any
) -> None:
    server.stop()
    with pytest.raises(HTTPException, match="cannot be reached") as refused:
        studies.list_images()
    assert refused.value.status_code == 502


def test_an_address_is_served_from_the_archive_and_results_go_back_to_it(
    server: Any, tmp_path: Path
) -> None:
    place = served_place(f"{server.dicom_web}#1.4", {"cache": str(tmp_path)})
    assert place.shelf is not None
    assert list(place.shelf.films()) == [DX]
    assert place.output is place.archive
    assert served_place(str(tmp_path), {}).shelf is None


def test_a_dimse_address_that_was_taken_for_a_path_is_understood(
    server: Any, tmp_path: Path
) -> None:
    made = tmp_path / "dimse:" / f"{server.aet}@127.0.0.1:{server.dicom_port}"
    made.mkdir(parents=True)
    place = served_place(str(made), {"cache": str(tmp_path / "cache")})
    assert place.shelf is not None
    assert set(place.shelf.films()) == {PA, LATERAL, DX}
    assert read_film(place.shelf.path(PA)).sop_instance_uid == PA
    assert not made.parent.exists()
