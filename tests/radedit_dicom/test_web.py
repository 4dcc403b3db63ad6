"""A real Orthanc as an archive, over DICOMweb; its faults, the network's and ours."""

from __future__ import annotations

import hashlib
import logging
import shutil
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
import requests
from front import Answer, Cut, Fault, Front, Hang
from orthanc import make_certificates
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from radedit_dicom.access import Access
from radedit_dicom.archive import Instance, Query, Removing, instance_of
from radedit_dicom.errors import ArchiveError
from radedit_dicom.pixels import read_film
from radedit_dicom.readback import difference, part10
from radedit_dicom.web import WebArchive
from radedit_dicom.web_errors import RefusalError
from radedit_dicom.web_session import Backoff, WebAddress

SOON = Backoff(first_s=0.02, longest_s=0.05)
STOWED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s"
)


@pytest.fixture(scope="module")
def server(start_orthanc):
    """One Orthanc that most tests share; each brings objects with UIDs of its own."""
    return start_orthanc()


@pytest.fixture
def own_server(start_orthanc) -> Iterator[Callable]:
    """Start an Orthanc for one test."""
    started = []

    def start(**options):
        started.append(start_orthanc(**options))
        return started[-1]

    yield start
    for orthanc in started:
        orthanc.close()


@pytest.fixture
def front(new_port) -> Iterator[Callable]:
    """Put something in front of a port; give it and its DICOMweb address."""
    fronts = []

    def put(behind: int, *faults: Fault) -> tuple[Front, str]:
        port = new_port()
        fronts.append(Front(port, behind, faults=faults))
        return fronts[-1], f"http://127.0.0.1:{port}/dicom-web"

    yield put
    for one in fronts:
        one.close()


@pytest.fixture
def film(make_dataset) -> Callable[..., Dataset]:
    """Make a film with UIDs of its own."""
    study, series = generate_uid(), generate_uid()

    def make(**attributes) -> Dataset:
        attributes.setdefault("SOPInstanceUID", generate_uid())
        attributes.setdefault("StudyInstanceUID", study)
        return make_dataset(**{"SeriesInstanceUID": series, **attributes})

    return make


def web(url: str, backoff: Backoff = SOON, **access) -> WebArchive:
    return WebArchive(WebAddress(url, Access(**access), backoff))


def json_answer(body: bytes, status: bytes = b"200 OK") -> Answer:
    return Answer((STOWED % (len(body), body)).replace(b"200 OK", status))


def held_of(server, dataset: Dataset) -> list[str]:
    """List what the server holds of the dataset's study, by its own REST API."""
    body = '{"Level":"Instance","Query":{"StudyInstanceUID":"%s"},"Expand":true}'
    rows = server.rest("POST", "/tools/find", body % dataset.StudyInstanceUID).json()
    return sorted(row["MainDicomTags"]["SOPInstanceUID"] for row in rows)


def test_what_is_stored_is_found_and_fetched_byte_for_byte(server, film):
    archive = web(server.dicom_web)
    objects = [film(SeriesNumber=3), film(SeriesNumber=None)]
    stored = archive.store(objects)
    found = archive.find(Query(study_instance_uid=stored[0].study_instance_uid))
    assert found == sorted(stored)
    numbers = {instance.sop_instance_uid: instance.series_number for instance in found}
    assert [numbers[instance.sop_instance_uid] for instance in stored] == [3, None]
    for dataset, content in zip(objects, archive.fetch_all(stored), strict=True):
        assert content == part10(dataset)
        assert content == server.file(dataset.SOPInstanceUID)
    assert read_film(archive.fetch(stored[0])).sop_instance_uid == objects[0].SOPInstanceUID


def test_a_real_film_and_the_objects_of_its_edit_come_back_and_the_film_stays(
    server, rg1, make_edit
):
    server.upload(rg1.read_bytes())
    film_uid = pydicom.dcmread(rg1, stop_before_pixels=True).SOPInstanceUID
    before = hashlib.sha256(server.file(film_uid)).hexdigest()
    archive = web(server.dicom_web)
    (original,) = archive.find(Query(sop_instance_uid=film_uid))
    content = archive.fetch(original)
    assert content == rg1.read_bytes()
    _, objects = make_edit(read_film(content))
    made = [objects.sc, objects.seg, objects.sr]
    stored = archive.store(made)
    for dataset, instance in zip(made, stored, strict=True):
        assert difference(dataset, archive.fetch(instance)) is None
    assert hashlib.sha256(server.file(film_uid)).hexdigest() == before


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (Query(patient_id="P-1"), 2),
        (Query(patient_id="P-2"), 0),
        (Query(patient_id="P*"), 0),
        (Query(patient_id="P-1", modality="DX"), 1),
        (Query(accession_number="ACC.1", modality="CR"), 1),
        (Query(accession_number="acc.1"), 0),
        (Query(modality="MG"), 0),
        (Query(study_instance_uid="1.5.1", modality="CR"), 1),
        (Query(study_instance_uid="1.5.1", series_instance_uid="1.5.1.1"), 1),
        (Query(study_instance_uid="1.5.9", series_instance_uid="1.5.1.1"), 0),
        (Query(series_instance_uid="1.5.1.1", patient_id="P-1"), 1),
        (Query(series_instance_uid="1.5.1.1", patient_id="4711"), 0),
        (Query(sop_instance_uid="1.5.1.2.1", modality="CR"), 0),
        (Query(sop_instance_uid="1.5.1.2.1", modality="DX"), 1),
    ],
)
def test_every_field_of_a_query_must_match(server, make_dataset, query, count):
    for number, modality in ((1, "CR"), (2, "DX")):
        dataset = make_dataset(
            SOPInstanceUID=f"1.5.1.{number}.1",
            SeriesInstanceUID=f"1.5.1.{number}",
            StudyInstanceUID="1.5.1",
            PatientID="P-1",
            AccessionNumber="ACC.1",
            Modality=modality,
        )
        server.upload(part10(dataset))
    assert len(web(server.dicom_web).find(query)) == count


@pytest.mark.parametrize("patient_id", ["12 345/78", "A^B", "Ä.1", "a&b=c", "50%", "2*"])
def test_a_patient_id_that_orthanc_does_not_decode_is_found_all_the_same(server, film, patient_id):
    dataset = film(PatientID=patient_id)
    server.upload(part10(dataset))
    (found,) = web(server.dicom_web).find(Query(patient_id=patient_id))
    assert found.sop_instance_uid == dataset.SOPInstanceUID


def test_a_list_longer_than_a_page_comes_whole(server, film, monkeypatch):
    monkeypatch.setattr("radedit_dicom.web._PAGE", 3)
    objects = [film() for _ in range(7)]
    for dataset in objects:
        server.upload(part10(dataset))
    archive = web(server.dicom_web)
    wanted = sorted(map(instance_of, objects))
    assert archive.find(Query(study_instance_uid=objects[0].StudyInstanceUID)) == wanted
    assert archive.find(Query(series_instance_uid=objects[0].SeriesInstanceUID)) == wanted


def test_an_archive_that_cuts_its_lists_short_is_found_out(own_server, film):
    server = own_server(extra={"LimitFindInstances": 2})
    objects = [film() for _ in range(7)]
    for dataset in objects:
        server.upload(part10(dataset))
    with pytest.raises(ArchiveError, match=r"lists \d of the 7 objects of a study; raise"):
        web(server.dicom_web).find(Query(modality="CR"))


def test_a_query_with_a_hostile_uid_is_never_sent(free_port):
    archive = web(f"http://127.0.0.1:{free_port}/dicom-web")  # where nothing listens
    for hostile in ("../x", "1*", "..", "1.2/../.."):
        with pytest.raises(ArchiveError, match="UID holds other characters"):
            archive.find(Query(sop_instance_uid=hostile))
        with pytest.raises(ArchiveError, match="UID holds other characters"):
            archive.fetch(Instance("1.2", "1.2.3", hostile))
        with pytest.raises(ArchiveError, match="UID holds other characters"):
            archive.remove([Instance("1.2", "1.2.3", hostile)])


def test_what_is_not_there_is_said_to_be_missing(server):
    with pytest.raises(ArchiveError, match=r"holds no instance 1\.2\.9\.9; look"):
        web(server.dicom_web).fetch(Instance("1.2", "1.2.3", "1.2.9.9"))


def test_storing_the_same_again_sends_nothing(server, film, front):
    relay, url = front(server.http_port)
    objects = [film(), film()]
    web(url).store(objects)
    assert any(b"POST /dicom-web/studies" in sent for sent in relay.sent)
    before = len(relay.sent)
    assert web(url).store(objects) == [instance_of(dataset) for dataset in objects]
    assert len(relay.sent) > before
    assert not any(b"POST /dicom-web/studies" in sent for sent in relay.sent[before:])
    assert held_of(server, objects[0]) == sorted(d.SOPInstanceUID for d in objects)


def test_another_object_under_a_known_uid_is_refused_and_nothing_is_stored(server, film):
    first, other = film(), film()
    archive = web(server.dicom_web)
    archive.store([first])
    changed = film(SOPInstanceUID=first.SOPInstanceUID, ViewPosition="AP")
    with pytest.raises(ArchiveError, match=r"another object under the UID .*ViewPosition has ano"):
        archive.store([other, changed])
    assert held_of(server, first) == [first.SOPInstanceUID]
    assert server.file(first.SOPInstanceUID) == part10(first)


def test_one_changed_pixel_makes_another_object(server, film):
    first = film()
    archive = web(server.dicom_web)
    archive.store([first])
    pixels = first.pixel_array.copy()
    pixels[3, 4] ^= 1
    with pytest.raises(ArchiveError, match="PixelData has another value"):
        archive.store([film(SOPInstanceUID=first.SOPInstanceUID, pixels=pixels)])


def test_reading_back_finds_out_that_orthanc_kept_the_old_object_and_said_success(server, film):
    first = film()
    changed = film(SOPInstanceUID=first.SOPInstanceUID, ViewPosition="AP")
    server.upload(part10(first))
    archive = web(server.dicom_web)
    archive._send(part10(changed))  # success: this is the trap
    with pytest.raises(ArchiveError, match=r"gives back another object \(ViewPosition has an"):
        archive._read_back(changed, instance_of(changed))


def test_a_uid_that_two_patients_share_is_refused(server, film):
    first = film(PatientID="one")
    twin = film(SOPInstanceUID=first.SOPInstanceUID, PatientID="two")
    archive = web(server.dicom_web)
    archive.store([first])
    (held,) = archive.store([twin])  # which may be the same patient, reconciled
    assert held.coerced == ("PatientID",)
    with pytest.raises(ArchiveError, match="PatientID has another value"):
        web(server.dicom_web, strict=True).store([twin])
    server.upload(part10(twin))  # past us, as another system would
    with pytest.raises(ArchiveError, match=r"another object .*\(2 objects\)"):
        archive.store([first])


def test_two_objects_of_one_call_with_one_uid_are_refused(server, film):
    dataset = film()
    with pytest.raises(ArchiveError, match="Two of the objects"):
        web(server.dicom_web).store([dataset, dataset])
    assert held_of(server, dataset) == []


def test_a_full_disk_that_orthanc_answers_success_to_is_reported(own_server, film):
    server = own_server(storage_mb=1)
    pixels = film().pixel_array.repeat(20, 0).repeat(20, 1)
    server.upload(part10(film(pixels=pixels, PatientID="1")))
    server.protect_all()
    server.upload(part10(film(pixels=pixels, PatientID="1")))
    held = server.held()
    lost = film(pixels=pixels, PatientID="2", StudyInstanceUID=generate_uid())
    with pytest.raises(ArchiveError, match=r"answered that it had stored .* storage is not full"):
        web(server.dicom_web).store([lost])
    assert server.held() == held


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (json_answer(b"{}", b"507 Insufficient Storage"), "no space left"),
        (
            json_answer(
                b'{"00081198":{"vr":"SQ","Value":[{"00081197":{"vr":"US","Value":[42752]}}]}}'
            ),
            "failure reason A700: it is out of space",
        ),
        (json_answer(b"{}", b"409 Conflict"), "refuses the object"),
        (json_answer(b"{}", b"413 Too Large"), "objects of this size"),
    ],
)
def test_an_archive_that_refuses_an_object_is_quoted_with_its_reason(
    server, film, front, answer, said
):
    _, url = front(server.http_port, answer)
    with pytest.raises(ArchiveError, match=said):
        web(url)._send(part10(film()))


def test_the_password_is_checked_and_wrong_ones_are_one_clear_sentence(own_server, film):
    server = own_server(users={"physicist": "se cret:ü"})
    right = web(server.dicom_web, username="physicist", password="se cret:ü")
    assert right.store([film()]) == right.find(Query())
    for access in (
        {},
        {"username": "physicist", "password": "guess"},
        {"token": "not-a-password"},
    ):
        with pytest.raises(ArchiveError, match=r"does not accept our user name and password.*401"):
            web(server.dicom_web, **access).find(Query())


def test_a_bearer_token_is_sent_with_every_request(server, film, front):
    relay, url = front(server.http_port)
    web(url, token="t0k3n").store([film()])
    sent = b"".join(relay.sent)
    assert sent.count(b" HTTP/1.1\r\n") == sent.count(b"\r\nAuthorization: Bearer t0k3n\r\n") > 2


def test_a_token_that_is_renewed_in_its_file_is_shown_and_a_refused_one_is_read_again(
    server, front, tmp_path
):
    file = tmp_path / "token"
    file.write_text("first")
    refused = Answer(BUSY % (b"401 Unauthorized", b""))
    relay, url = front(server.http_port, refused)
    archive = web(url, token_file=file, attempts=2)
    in_flight = archive._session._once

    def renew(request, arguments):
        """Let the issuer renew the token while a request is on its way."""
        answer = in_flight(request, arguments)
        file.write_text("second")
        return answer

    archive._session._once = renew
    archive.find(Query(sop_instance_uid="1.2.7.7"))
    assert b"Authorization: Bearer first\r\n" in relay.sent[0]
    assert b"Authorization: Bearer second\r\n" in relay.sent[1]
    relay, url = front(server.http_port, refused, refused)
    with pytest.raises(ArchiveError, match="401"):  # no guessing with a secret that is the same
        web(url, token_file=file, attempts=2).find(Query(sop_instance_uid="1.2.7.7"))
    assert len(relay.sent) == 1


def test_certificates_that_are_renewed_in_their_files_are_read_again(
    server, peer, tmp_path, new_port
):
    port, held = new_port(), tmp_path / "held"
    names = ("ca.crt", "client.crt", "client.key")
    access = dict(
        zip(("ca_file", "client_cert", "client_key"), map(held.joinpath, names), strict=True)
    )
    archive = None
    for year in ("first", "second"):
        files = make_certificates(tmp_path / year, peer("openssl"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.server, files.server_key)
        context.load_verify_locations(files.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        held.mkdir(exist_ok=True)
        for name in names:
            shutil.copyfile(tmp_path / year / name, held / name)
        archive = archive or web(f"https://127.0.0.1:{port}/dicom-web", **access)
        relay = Front(port, server.http_port, context)
        try:
            archive.find(Query(sop_instance_uid="1.2.7.7"))
        finally:
            relay.close()


def test_tls_is_trusted_by_the_given_authority_only(own_server, film):
    server = own_server(tls=True)
    files = server.certificates
    assert web(server.dicom_web, ca_file=files.ca).store([film()])
    for access in ({}, {"ca_file": files.client}):
        with pytest.raises(ArchiveError, match=r"certificate that is not trusted.*CA_FILE"):
            web(server.dicom_web, **access).find(Query())
    with pytest.raises(ArchiveError, match="cannot agree on TLS; check http or https"):
        web(server.dicom_web.replace(str(server.https_port), str(server.http_port))).find(Query())


def test_a_certificate_of_ours_is_shown_where_it_is_asked_for(own_server, film):
    server = own_server(client_certificates=True)
    files = server.certificates
    access = {"ca_file": files.ca, "client_cert": files.client, "client_key": files.client_key}
    assert web(server.dicom_web, **access).store([film()])
    with pytest.raises(ArchiveError, match=r"give our certificate in RADEDIT_ARCHIVE_CLIENT_C"):
        web(server.dicom_web, ca_file=files.ca).find(Query())


def test_a_certificate_for_another_host_is_not_trusted(own_server):
    server = own_server(tls=True)
    url = server.dicom_web.replace("127.0.0.1", "127.1")
    with pytest.raises(ArchiveError, match="not trusted for this host"):
        web(url, ca_file=server.certificates.ca).find(Query())


def test_an_address_that_is_no_dicomweb_is_said_to_be_wrong(server, film, front):
    root = server.dicom_web.removesuffix("/dicom-web")
    with pytest.raises(ArchiveError, match="no DICOMweb there"):
        web(root + "/pacs").find(Query())
    with pytest.raises(ArchiveError, match="does not understand this request"):
        web(root).find(Query())  # Orthanc's own REST API, which has /studies as well
    page = b"<html><body>Welcome</body></html>"
    for answer in (page, b'{"studies": 3}', b'["a", "b"]', b"[1]"):
        _, url = front(server.http_port, json_answer(answer))
        with pytest.raises(ArchiveError, match="does not speak DICOM JSON"):
            web(url).find(Query())


def test_a_redirect_is_not_followed_with_the_password(server, front):
    other, _ = front(server.http_port)
    port = other._server.sockets[0].getsockname()[1]
    moved = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n"
    _, url = front(server.http_port, Answer(moved % port))
    with pytest.raises(ArchiveError, match=r"redirects to another address \(HTTP 307\)"):
        web(url, username="physicist", password="secret").find(Query())
    assert other.sent == []


def test_hosts_that_are_not_there_are_one_clear_sentence_each(free_port, server, front):
    with pytest.raises(ArchiveError, match="host name that is not known"):
        web("http://no-such-host.invalid/dicom-web").find(Query())
    with pytest.raises(ArchiveError, match="nothing listens there"):
        web(f"http://127.0.0.1:{free_port}/dicom-web", attempts=2).find(Query())
    _, url = front(server.http_port, *[Hang()] * 2)
    with pytest.raises(ArchiveError, match="does not answer in time"):
        web(url, attempts=2, timeout_s=0.3).find(Query())


BUSY = b"HTTP/1.1 %s\r\n%sContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "faults",
    [
        [Answer(BUSY % (b"429 Too Many Requests", b"Retry-After: 0\r\n"))] * 3,
        [Answer(BUSY % (b"503 Busy", b"")), Answer(BUSY % (b"500 Failed", b""))],
        [Cut(0), Cut(0), Cut(10)],
        [Cut(300)] * 4,
        [Hang()],
    ],
)
def test_passing_faults_are_tried_again_until_all_is_stored(server, film, front, faults):
    relay, url = front(server.http_port, *faults)
    dataset = film()
    (stored,) = web(url, timeout_s=2.0).store([dataset])
    assert web(url).fetch(stored) == part10(dataset)
    assert held_of(server, dataset) == [dataset.SOPInstanceUID]
    assert len(relay.sent) > len(faults)


def test_an_object_sent_twice_because_the_answer_was_lost_is_held_once(server, film, front):
    dataset = film()
    _, url = front(server.http_port, Cut(0))
    web(url)._send(part10(dataset))
    assert held_of(server, dataset) == [dataset.SOPInstanceUID]


def test_what_cannot_pass_is_not_tried_again(server, own_server):
    patient = Backoff(first_s=60.0, longest_s=60.0)
    began = time.monotonic()
    for url in (
        "http://no-such-host.invalid/dicom-web",
        own_server(tls=True).dicom_web,
        own_server(users={"a": "b"}).dicom_web,
        server.dicom_web + "/none",
    ):
        with pytest.raises(ArchiveError):
            web(url, patient).find(Query())
    assert time.monotonic() - began < 30


def test_the_host_is_named_with_its_port(server, front):
    relay, url = front(server.http_port)
    web(url).find(Query(sop_instance_uid="1.2.7.7"))
    assert f"\r\nHost: {url.split('/')[2]}\r\n".encode() in relay.sent[0]


def test_a_study_with_a_sloppy_uid_is_found_and_fetched(server, film):
    with pydicom.config.disable_value_validation():
        dataset = film(StudyInstanceUID="1.2.037")
        server.upload(part10(dataset))
        archive = web(server.dicom_web)
        (found,) = archive.find(Query(study_instance_uid="1.2.037"))
        assert archive.fetch(found) == part10(dataset)


def test_faults_that_do_not_pass_end_after_the_given_attempts(server, front):
    relay, url = front(server.http_port, *[Answer(BUSY % (b"503 Busy", b""))] * 9)
    with pytest.raises(RefusalError, match="busy or not ready"):
        web(url, attempts=3).find(Query())
    assert len(relay.sent) == 3


def test_what_the_archive_asks_to_wait_is_waited_but_not_for_ever(server, front):
    _, url = front(server.http_port, Answer(BUSY % (b"429 No", b"Retry-After: 1\r\n")))
    began = time.monotonic()
    web(url).find(Query(sop_instance_uid="1.2.7.7"))
    assert time.monotonic() - began >= 1.0
    _, url = front(server.http_port, Answer(BUSY % (b"429 No", b"Retry-After: 7200\r\n")))
    with pytest.raises(ArchiveError, match="left alone for 7200 s"):
        web(url).find(Query())


def test_waits_double_up_to_a_limit_and_differ_by_chance():
    backoff = Backoff(first_s=1.0, longest_s=5.0)
    waits = {n: [backoff.wait_s(n, None) for _ in range(50)] for n in range(1, 7)}
    for attempt, longest in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (6, 5.0)):
        assert longest / 2 <= min(waits[attempt]) < max(waits[attempt]) <= longest
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    assert all(backoff.wait_s(1, odd) <= 1.0 for odd in (past, "soon", "-5", "0", "nan"))


def test_an_answer_that_breaks_off_for_good_is_an_error(server, film, front):
    dataset = film()
    server.upload(part10(dataset))
    _, url = front(server.http_port, *[Cut(900)] * 3)
    with pytest.raises(ArchiveError, match="breaks off in the middle"):
        web(url, attempts=3).fetch(instance_of(dataset))


def multipart(*contents: bytes, end: bytes = b"--") -> Answer:
    body = b"".join(b"--x\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % c for c in contents)
    head = b'HTTP/1.0 200 OK\r\nContent-Type: multipart/related; boundary="x"\r\n\r\n'
    return Answer(head + body + b"--x" + end)


def test_a_multipart_answer_without_its_end_is_not_taken_for_whole(server, film, front):
    dataset = film()
    content = part10(dataset)
    _, url = front(server.http_port, multipart(content, end=b""), multipart(content))
    assert web(url).fetch(instance_of(dataset)) == content
    _, url = front(server.http_port, multipart(content, end=b""))
    with pytest.raises(ArchiveError, match="breaks off"):
        web(url, attempts=1).fetch(instance_of(dataset))


def test_an_answer_that_is_no_dicom_or_another_object_is_refused(server, film, front):
    dataset, other = film(), film()
    for answer in (
        multipart(b"hello"),
        multipart(part10(dataset), part10(dataset)),
        multipart(),
        json_answer(b"<html>"),
    ):
        _, url = front(server.http_port, answer)
        with pytest.raises(ArchiveError, match="is no readable DICOM object"):
            web(url).fetch(instance_of(dataset))
    _, url = front(server.http_port, multipart(part10(other)))
    with pytest.raises(ArchiveError, match="gives another object"):
        web(url).fetch(instance_of(dataset))


def test_an_object_whose_uids_are_malformed_hides_no_other(server, front):
    row = (
        b'{"0020000D":{"vr":"UI","Value":["1.2"]},"0020000E":{"vr":"UI","Value":["1.3"]},'
        b'"00080018":{"vr":"UI","Value":["%s"]}}'
    )
    page = b"[%s,%s,%s,{}]" % (row % b"1.7.1", row % b"1.7/../..", row % b"..")
    _, url = front(server.http_port, json_answer(page), json_answer(b"[]"))
    (found,) = web(url).find(Query(study_instance_uid="1.2", series_instance_uid="1.3"))
    assert found.sop_instance_uid == "1.7.1"


def test_an_answer_longer_than_the_limit_is_not_read(server, film):
    dataset = film()
    server.upload(part10(dataset))
    archive = WebArchive(WebAddress(server.dicom_web, limit_bytes=1000))
    with pytest.raises(ArchiveError, match="longer than 1000 bytes"):
        archive.fetch(instance_of(dataset))


def test_no_more_requests_run_at_once_than_are_allowed(server, film, front):
    objects = [film() for _ in range(12)]
    for dataset in objects:
        server.upload(part10(dataset))
    relay, url = front(server.http_port)
    archive = WebArchive(replace(WebAddress(url), concurrency=3))
    instances = [instance_of(dataset) for dataset in objects]
    got: list[list[bytes]] = []
    threads = [
        threading.Thread(target=lambda: got.append(list(archive.fetch_all(instances))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [[part10(dataset) for dataset in objects]] * 4
    assert 1 < relay.most_open <= 3


def test_an_orthanc_that_is_killed_and_started_again_loses_and_doubles_nothing(own_server, film):
    server = own_server()
    objects = [film() for _ in range(8)]
    archive = web(server.dicom_web, Backoff(first_s=0.2, longest_s=1.0), attempts=60)
    stored_by_then: list[int] = []

    def interrupt() -> None:
        while len(held := server.held()) < 2:
            time.sleep(0.005)
        stored_by_then.append(len(held))
        server.kill()
        time.sleep(0.5)
        server.start()

    power_cut = threading.Thread(target=interrupt)
    power_cut.start()
    stored = archive.store(objects)
    power_cut.join()
    assert 2 <= stored_by_then[0] < 8, "it was killed in the middle"
    assert server.held() == sorted(d.SOPInstanceUID for d in objects)
    assert [server.file(d.SOPInstanceUID) for d in objects] == [part10(d) for d in objects]
    assert archive.find(Query()) == sorted(stored)


def test_a_run_that_gave_up_is_completed_by_the_same_run_again(own_server, film):
    server = own_server()
    objects = [film() for _ in range(4)]
    archive = web(server.dicom_web, attempts=2)
    archive.store(objects[:2])
    server.kill()
    with pytest.raises(ArchiveError, match="nothing listens there"):
        archive.store(objects)
    server.start()
    assert archive.store(objects) == [instance_of(dataset) for dataset in objects]
    assert server.held() == sorted(d.SOPInstanceUID for d in objects)


def test_what_is_removed_is_gone_and_the_rest_of_the_study_stays(server, film):
    archive = web(server.dicom_web)
    stored = archive.store([film(), film()])
    assert isinstance(archive, Removing)
    archive.remove([stored[0], replace(stored[0], sop_instance_uid="1.2.8.8")])
    assert archive.find(Query(study_instance_uid=stored[0].study_instance_uid)) == [stored[1]]
    archive.remove([stored[0]])  # what is not there is no error


def test_an_archive_that_does_not_remove_is_an_error(server, film, front):
    (stored,) = web(server.dicom_web).store([film()])
    not_offered = Answer(BUSY % (b"405 Method Not Allowed", b""))
    for lookup in (
        not_offered,
        json_answer(b"{}"),
        json_answer(b'[{"ID":"../x","Type":"Instance"}]'),
    ):
        _, url = front(server.http_port, not_offered, lookup)
        with pytest.raises(ArchiveError, match="does not allow removing"):
            web(url).remove([stored])
    done = Answer(BUSY % (b"200 OK", b""))
    _, url = front(server.http_port, done)
    with pytest.raises(ArchiveError, match="still holds it"):
        web(url).remove([stored])
    forbidden = Answer(BUSY % (b"403 Forbidden", b""))
    _, url = front(server.http_port, forbidden)
    with pytest.raises(ArchiveError, match="forbids"):
        web(url).remove([stored])


def test_a_uid_that_two_patients_share_is_not_removed(server, film):
    first = film(PatientID="one")
    for dataset in (first, film(SOPInstanceUID=first.SOPInstanceUID, PatientID="two")):
        server.upload(part10(dataset))
    with pytest.raises(ArchiveError, match="holds 2 objects under the UID"):
        web(server.dicom_web).remove([instance_of(first)])
    assert held_of(server, first) == [first.SOPInstanceUID] * 2


def test_neither_secrets_nor_patients_are_in_messages_logs_and_addresses(
    own_server, film, front, caplog
):
    caplog.set_level(logging.DEBUG)
    server = own_server(users={"physicist": "s3cr3t"})
    dataset = film(PatientID="Patient-4711", PatientName="Geheim^Name")
    server.upload(part10(dataset))
    relay, url = front(server.http_port, *[Answer(BUSY % (b"503 Busy", b""))] * 2)
    right = web(url, username="physicist", password="s3cr3t")
    assert right.find(Query(patient_id="Patient-4711"))
    said = []
    for archive, query in (
        (web(url, username="physicist", password="s3cr3t-not"), Query(patient_id="Patient-4711")),
        (web(url, token="s3cr3t-token"), Query(patient_id="Patient-4711")),
    ):
        with pytest.raises(ArchiveError) as caught:
            archive.find(query)
        said += [str(caught.value), repr(caught.value.__cause__), repr(archive.address)]
    text = "\n".join([*said, caplog.text])
    assert "attempt 1 failed" in text
    for secret in ("s3cr3t", "Patient-4711", "Geheim"):
        assert secret not in text
    addresses = [sent.split(b" HTTP/1.1")[0] for sent in relay.sent]
    assert addresses
    assert not any(b"s3cr3t" in address for address in addresses)


def test_an_address_with_a_password_or_without_a_host_is_refused():
    with pytest.raises(ArchiveError, match="holds a user or password") as caught:
        WebAddress("http://me:s3cr3t@pacs/dicom-web")
    assert "s3cr3t" not in str(caught.value)
    for url in ("http:///dicom-web", "http://pacs:99999/", "ftp://pacs/", "http://pacs/?a=b"):
        with pytest.raises(ArchiveError, match="address"):
            WebAddress(url)
    assert WebAddress("http://pacs/dicom-web/").url == "http://pacs/dicom-web"


def test_an_environment_with_a_netrc_or_a_proxy_changes_nothing(
    own_server, film, monkeypatch, tmp_path, free_port
):
    server = own_server(users={"physicist": "secret"})
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login physicist password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.get(server.dicom_web + "/studies", timeout=10).status_code == 200
    with pytest.raises(ArchiveError, match="401"):
        web(server.dicom_web).find(Query())
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port}")
    monkeypatch.setenv("no_proxy", "")
    assert web(server.dicom_web, username="physicist", password="secret").find(Query()) == []


def test_originals_are_not_changed_by_storing(server, film):
    dataset = film()
    before = BytesIO()
    dataset.save_as(before, enforce_file_format=True)
    copied = pydicom.dcmread(BytesIO(before.getvalue()))
    web(server.dicom_web).store([copied])
    after = BytesIO()
    copied.save_as(after, enforce_file_format=True)
    assert after.getvalue() == before.getvalue()
