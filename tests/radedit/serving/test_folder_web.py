"""DICOMweb of a folder, over the network, by the client that others use."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from radedit_server import RadEditServer
from requests import HTTPError

from radedit.lib.serving.folder_web import parts
from radedit_dicom.compression import compress
from radedit_dicom.film import read_film
from radedit_dicom.pixels import to_display


@pytest.fixture(scope="module")
def server(listen: Callable[..., AbstractContextManager[RadEditServer]]) -> Iterator[RadEditServer]:
    """Serve one film."""
    with listen() as server:
        yield server


@pytest.fixture(scope="module")
def web(server: RadEditServer) -> DICOMwebClient:
    return DICOMwebClient(f"{server.url}/dicom-web")


@pytest.fixture(scope="module")
def film(rg1: Path) -> Dataset:
    return pydicom.dcmread(rg1)


def uids(dataset: Dataset) -> tuple[str, str, str]:
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def test_a_film_is_found_at_every_level(web: DICOMwebClient, film: Dataset) -> None:
    study, series, instance = uids(film)
    (row,) = web.search_for_studies(search_filters={"StudyInstanceUID": study})
    assert row["00080061"]["Value"] == ["CR"]
    (row,) = web.search_for_series(study)
    assert row["0020000E"]["Value"] == [series]
    (row,) = web.search_for_instances(study, series)
    assert row["00080018"]["Value"] == [instance]
    assert web.search_for_instances(search_filters={"StudyInstanceUID": "1.2.3"}) == []


def test_metadata_is_the_header(web: DICOMwebClient, film: Dataset) -> None:
    (told,) = web.retrieve_study_metadata(film.StudyInstanceUID)
    header = Dataset.from_json(told)
    expected = [element for element in film if element.tag < 0x7FE00010]
    assert [e.tag for e in expected] == [e.tag for e in header]
    for element in expected:
        assert element.VR == "SQ" or header[element.tag].value == element.value


def test_an_object_comes_back_to_the_byte(server: RadEditServer, film: Dataset, rg1: Path) -> None:
    study, series, instance = uids(film)
    for path in ("", f"/series/{series}", f"/series/{series}/instances/{instance}"):
        answer = server.get(f"/dicom-web/studies/{study}{path}")
        assert parts(answer.headers["content-type"], answer.content) == [rg1.read_bytes()]


def test_frames_are_the_stored_pixels(web: DICOMwebClient, film: Dataset, rg1: Path) -> None:
    (frame,) = web.retrieve_instance_frames(*uids(film), frame_numbers=[1])
    stored = pydicom.dcmread(rg1).PixelData
    assert frame == stored[: len(frame)]
    assert len(stored) - len(frame) <= 1
    with pytest.raises(HTTPError, match="404"):
        web.retrieve_instance_frames(*uids(film), frame_numbers=[2])


def test_a_picture_is_the_film_as_a_reader_sees_it(
    server: RadEditServer, film: Dataset, rg1: Path
) -> None:
    study, series, instance = uids(film)
    at = f"/dicom-web/studies/{study}/series/{series}/instances/{instance}"
    answer = server.get(f"{at}/rendered", headers={"Accept": "image/png"})
    shown = np.asarray(Image.open(io.BytesIO(answer.content)))
    expected = to_display(read_film(rg1))  # MONOCHROME1: lungs must be dark
    assert np.abs(shown / 255 - expected).max() <= 0.5 / 255 + 1e-6
    small = Image.open(io.BytesIO(server.get(f"{at}/thumbnail").content))
    assert (small.format, max(small.size)) == ("JPEG", 256)


def copy_of(make_dataset: Callable[..., Dataset], number: int, **more: Any) -> Dataset:
    """Make a film as it would be read from a file."""
    made = make_dataset(
        SOPInstanceUID=f"1.2.3.9.{number}",
        SeriesInstanceUID=f"1.2.3.9.{number}.1",
        StudyInstanceUID="1.2.3.9",
        **more,
    )
    return written(made)


def written(dataset: Dataset) -> Dataset:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, dataset, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(stream.getvalue()))


def test_what_is_stored_is_found_and_listed_as_a_film(
    server: RadEditServer, web: DICOMwebClient, make_dataset: Callable[..., Dataset]
) -> None:
    sent = copy_of(make_dataset, 1)
    answer = web.store_instances([sent])
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == ["1.2.3.9.1"]
    assert "FailedSOPSequence" not in answer
    assert web.retrieve_instance(*uids(sent)).PixelData == sent.PixelData
    assert "1.2.3.9.1.dcm" in server.get("/datastore/?output=all").json()["objects"]
    named = server.get("/radedit/images?sop_instance_uid=1.2.3.9.1").json()
    assert named == {"image": "1.2.3.9.1.dcm"}


def test_a_film_is_not_stored_over_another(
    web: DICOMwebClient, make_dataset: Callable[..., Dataset]
) -> None:
    web.store_instances([copy_of(make_dataset, 2)])
    other = copy_of(make_dataset, 2, PatientID="other")
    with pytest.raises(HTTPError, match="409"):
        web.store_instances([other])
    assert web.retrieve_instance_metadata(*uids(other))["00100020"]["Value"] == ["4711"]


def test_a_film_is_not_stored_beside_another_of_its_uid_whose_file_has_any_name(
    server: RadEditServer, web: DICOMwebClient, film: Dataset
) -> None:
    before = server.get("/datastore/?output=all").json()["objects"].keys()
    assert f"{film.SOPInstanceUID}.dcm" not in before
    other = written(film)
    other.PatientID = "other"
    with pytest.raises(HTTPError, match="409"):
        web.store_instances([other])
    assert server.get("/datastore/?output=all").json()["objects"].keys() == before
    assert web.retrieve_instance(*uids(film)).PatientID == film.PatientID


@pytest.mark.parametrize("form", ["jpegls", "rle"])
def test_a_compressed_frame_is_given_as_it_is_stored(
    web: DICOMwebClient, make_dataset: Callable[..., Dataset], form: str
) -> None:
    sent = copy_of(make_dataset, 10 + len(form))
    pixels = sent.pixel_array.copy()
    compress(sent, form)
    sent = written(sent)
    web.store_instances([sent])
    held = web.retrieve_instance(*uids(sent))
    assert held.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
    assert np.array_equal(held.pixel_array, pixels)
    (frame,) = web.retrieve_instance_frames(*uids(sent), frame_numbers=[1])
    assert frame in sent.PixelData


def test_an_implicit_film_is_served_too(
    web: DICOMwebClient, make_dataset: Callable[..., Dataset]
) -> None:
    sent = copy_of(make_dataset, 30)
    sent.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    sent["PixelData"].VR = "OW"
    web.store_instances([sent])
    (frame,) = web.retrieve_instance_frames(*uids(sent), frame_numbers=[1])
    assert frame == sent.PixelData


def test_what_is_no_object_is_refused(server: RadEditServer) -> None:
    multipart = 'multipart/related; type="application/dicom"; boundary=b'
    for kind, body, status in (
        ("application/dicom", b"x", 415),
        ("multipart/related; boundary=b", b"--b--", 415),
        (multipart, b"", 400),
        (multipart, b"--b\r\n\r\nx", 400),
        (multipart, b"--b\r\n\r\nno object\r\n--b--", 409),
    ):
        answer = server.post("/dicom-web/studies", data=body, headers={"Content-Type": kind})
        assert answer.status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/studies/..%2f..%2fetc%2fpasswd",
        "/studies/%2e%2e/metadata",
        "/studies/1.2/series/..%2f..%2fx/instances",
        "/studies/1.2.3.4.5/metadata",
        "/studies/1.2/series/1.2/instances/1.2/frames/0,-1",
        "/studies/1.2/series/1.2/instances/1.2/frames/1",
        "/../../health",
        "/nothing",
    ],
)
def test_a_path_that_names_nothing_is_refused(server: RadEditServer, path: str) -> None:
    request = requests.Request("GET", f"{server.url}/").prepare()
    request.url = f"{server.url}/dicom-web{path}"  # requests would tidy it up
    with requests.Session() as session:
        answer = session.send(request, timeout=60)
    assert answer.status_code in (404, 422)
