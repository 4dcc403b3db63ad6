"""DICOMweb passed on to a real Orthanc and back."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from hypothesis import given
from hypothesis import strategies as st
from orthanc import Orthanc
from pydicom.dataset import Dataset
from radedit_server import RadEditServer, radedit_server
from requests import HTTPError

from radedit.lib.serving.dicom_proxy import readdressed, rewritten_query
from radedit.lib.serving.dicom_web import PATHS

USERS = {"physicist": "s3cret"}


@pytest.fixture(scope="module")
def archive(start_orthanc: Callable[..., Orthanc], rg1: Path) -> Orthanc:
    orthanc = start_orthanc(users=USERS)
    orthanc.upload(rg1.read_bytes())
    return orthanc


@pytest.fixture(scope="module")
def password_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secret") / "password"
    file.write_text(USERS["physicist"])
    return file


@pytest.fixture(scope="module")
def server(
    archive: Orthanc,
    password_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
    new_port: Callable[[], int],
) -> Iterator[RadEditServer]:
    """Serve the archive; its password stays with the server."""
    folder = tmp_path_factory.mktemp("proxy")
    environ = {
        "RADEDIT_ARCHIVE_USERNAME": "physicist",
        "RADEDIT_ARCHIVE_PASSWORD_FILE": str(password_file),
        "RADEDIT_ARCHIVE_ATTEMPTS": "1",
    }
    with pytest.MonkeyPatch.context() as patched:
        for name, value in environ.items():
            patched.setenv(name, value)
        options = ("--workers", "0", "--conf", f"cache={folder / 'films'}")
        with radedit_server(folder, new_port(), *options, studies=archive.dicom_web) as server:
            yield server


@pytest.fixture(scope="module")
def web(server: RadEditServer) -> DICOMwebClient:
    return DICOMwebClient(f"{server.url}/dicom-web")


def test_a_password_that_is_renewed_in_its_file_is_shown_by_the_running_server(
    server: RadEditServer, password_file: Path
) -> None:
    password_file.write_text("that of last year")
    refused = requests.get(f"{server.url}/dicom-web/studies", timeout=60)
    password_file.write_text(USERS["physicist"])
    assert refused.status_code == 502
    assert "does not let this server in" in refused.json()["detail"]
    assert requests.get(f"{server.url}/dicom-web/studies", timeout=60).status_code == 200


@pytest.fixture(scope="module")
def film(rg1: Path) -> Dataset:
    return pydicom.dcmread(rg1)


def uids(dataset: Dataset) -> tuple[str, str, str]:
    return dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID


def test_a_film_is_found_and_comes_back_whole(web: DICOMwebClient, film: Dataset) -> None:
    study, series, instance = uids(film)
    (row,) = web.search_for_studies(search_filters={"StudyInstanceUID": study})
    assert row["0020000D"]["Value"] == [study]
    held = web.retrieve_instance(study, series, instance)
    assert held.PixelData == film.PixelData
    octets = ("application/octet-stream",)  # what the client asks for by itself, Orthanc refuses
    (frame,) = web.retrieve_instance_frames(study, series, instance, [1], octets)
    assert film.PixelData.startswith(frame)


def test_the_query_reaches_the_archive(server: RadEditServer, film: Dataset) -> None:
    at = f"/dicom-web/studies?StudyInstanceUID={film.StudyInstanceUID}"
    assert len(server.get(at).json()) == 1
    assert server.get("/dicom-web/studies?StudyInstanceUID=1.2.3").json() == []
    several = "includefield=00081030,00180015&limit=1"
    (row,) = server.get(f"/dicom-web/instances?{several}").json()
    assert row["00180015"]["Value"] == [film.BodyPartExamined]
    assert row["00081030"]["Value"] == [film.StudyDescription]


def test_a_wildcard_at_the_end_of_a_query_reaches_the_archive(
    server: RadEditServer, film: Dataset
) -> None:
    for pattern, found in ((f"{film.PatientID[:-1]}?", 1), (f"{film.PatientID}?", 0)):
        assert len(server.get(f"/dicom-web/studies?PatientID={pattern}").json()) == found


def test_no_answer_names_the_archives_own_address(
    server: RadEditServer, archive: Orthanc, film: Dataset
) -> None:
    for path in ("studies", "series", f"studies/{film.StudyInstanceUID}/metadata"):
        text = server.get(f"/dicom-web/{path}").text
        assert f":{archive.http_port}/" not in text
        if "http" in text:
            assert f"{server.url}/dicom-web/studies/" in text


def test_bulk_data_is_reached_by_its_rewritten_address(
    server: RadEditServer, film: Dataset
) -> None:
    told = server.get(f"/dicom-web/studies/{film.StudyInstanceUID}/metadata").json()[0]
    address = told["7FE00010"]["BulkDataURI"]
    assert address.startswith(server.url)
    answer = requests.get(address, headers={"Accept": "*/*"}, timeout=60)
    assert answer.status_code == 200
    assert len(answer.content) >= film.Rows * film.Columns * 2


def test_what_is_stored_through_the_proxy_is_in_the_archive_and_listed(
    server: RadEditServer,
    web: DICOMwebClient,
    archive: Orthanc,
    make_dataset: Callable[..., Dataset],
) -> None:
    before = server.get("/datastore/?output=all").json()["objects"]  # a listing is kept 10 s
    stream = io.BytesIO()
    sent = make_dataset(SOPInstanceUID="1.2.3.77", StudyInstanceUID="1.2.77")
    pydicom.dcmwrite(stream, sent, enforce_file_format=True)
    web.store_instances([pydicom.dcmread(io.BytesIO(stream.getvalue()))])
    assert "1.2.3.77" in archive.held()
    assert "1.2.3.77" not in before
    assert "1.2.3.77" in server.get("/datastore/?output=all").json()["objects"]


@pytest.mark.parametrize(
    "path",
    [
        "/studies/../../system",
        "/studies/%2e%2e/%2e%2e/system",
        "/studies/..%2f..%2fsystem",
        "/..%2finstances",
        "/studies/1.2/../../../system",
        "/servers",
        "/studies/1.2@evil.example/metadata",
        "/studies/1.2?/metadata",
        "/studies/1.2%3f/metadata",
        "/studies/1.2%23/metadata",
        "//evil.example/studies",
        "/studies/1.2%0d%0aX:%20y",
    ],
)
def test_nothing_but_dicomweb_can_be_reached(server: RadEditServer, path: str) -> None:
    request = requests.Request("GET", server.url).prepare()
    request.url = f"{server.url}/dicom-web{path}"  # requests would tidy it up
    with requests.Session() as session:
        answer = session.send(request, timeout=60)
    assert answer.status_code in (404, 422)
    assert "DatabaseVersion" not in answer.text


def test_the_archive_is_written_to_only_by_storing(server: RadEditServer, film: Dataset) -> None:
    at = f"/dicom-web/studies/{film.StudyInstanceUID}"
    assert server.ask("DELETE", at).status_code == 405
    assert server.ask("PUT", at).status_code == 405
    assert server.post(f"{at}/series").status_code == 404
    assert len(server.get("/dicom-web/studies").json()) >= 1


def test_what_the_archive_does_not_hold_is_a_404(web: DICOMwebClient) -> None:
    with pytest.raises(HTTPError, match="404"):
        web.retrieve_instance("1.2.3.4.5", "1.2", "1.2")


def test_an_archive_that_is_down_is_said_in_a_sentence(
    server: RadEditServer, archive: Orthanc
) -> None:
    archive.kill()
    try:
        answer = server.get("/dicom-web/studies")
        assert (answer.status_code, "cannot be reached" in answer.json()["detail"]) == (502, True)
        assert server.get("/health").status_code == 200
    finally:
        archive.start()
    assert server.get("/dicom-web/studies").status_code == 200


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ""),
        ("a=1&b=%20x,y&c", "a=1&b=%20x,y&c"),
        ("includefield=1,2&a=b%2Cc", "includefield=1&includefield=2&a=b%2Cc"),
        ("includefield=all", "includefield=all"),
    ],
)
def test_only_lists_of_fields_are_rewritten(query: str, expected: str) -> None:
    assert rewritten_query(query) == expected


@given(st.data())
def test_an_address_is_replaced_wherever_the_network_cuts_it(data: st.DataObject) -> None:
    theirs = (
        b'[{"a":"http://10.0.0.7:8042/dicom-web/studies/1"},{"b":"https://x/dicom-web/y"},"http"]'
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(theirs)), max_size=9)))
    pieces = [theirs[a:b] for a, b in zip([0, *cuts], [*cuts, len(theirs)], strict=True)]

    async def given_pieces() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def joined() -> bytes:
        ours = "http://us/dicom-web/"
        return b"".join([p async for p in readdressed(given_pieces(), "/dicom-web", ours)])

    expected = b'[{"a":"http://us/dicom-web/studies/1"},{"b":"http://us/dicom-web/y"},"http"]'
    assert anyio.run(joined) == expected


@given(st.text(alphabet="studieseriesntacfrm/.%?#@:0123456789\\ \n", max_size=60))
def test_no_path_that_passes_can_leave_dicomweb(path: str) -> None:
    if PATHS.fullmatch(path):
        assert not set(path) & set("%?#@:\\ \n")
        assert path.split("/")[0] in ("studies", "series", "instances")
