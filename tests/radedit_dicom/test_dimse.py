"""An archive by DIMSE, against a real Orthanc: kept as sent, or one clear sentence."""

from __future__ import annotations

import copy
import os
import re
import signal
import threading
import time
from dataclasses import replace
from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from radedit_dicom.archive import Instance, Query
from radedit_dicom.dimse import DimseArchive
from radedit_dicom.dimse_address import DimseAddress, DimseTimeouts, DimseTls
from radedit_dicom.errors import ArchiveError
from radedit_dicom.film import read_film
from radedit_dicom.readback import difference, part10

pytestmark = pytest.mark.filterwarnings("error")
PATIENT = "4711"


@pytest.fixture(scope="module")
def orthanc(start_orthanc):
    return start_orthanc()


@pytest.fixture(scope="module")
def address(orthanc) -> DimseAddress:
    return DimseAddress(
        "127.0.0.1", orthanc.dicom_port, orthanc.aet, move_port=orthanc.peer_port, retries=0
    )


@pytest.fixture
def archive(address) -> DimseArchive:
    return DimseArchive(address)


@pytest.fixture
def film_object(make_dataset):
    """Make a film that no other test has stored."""

    def make(**attributes) -> Dataset:
        uids = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        fresh = {name: generate_uid() for name in uids}
        dataset = make_dataset(**(fresh | attributes))
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        return dataset

    return make


@pytest.fixture
def edit_objects(film_object, make_edit) -> list[Dataset]:
    objects = make_edit(read_film(film_object()))[1]
    return [objects.seg, objects.sr, objects.sc]


def refusal(archive: DimseArchive, act: str, *arguments: object) -> str:
    """Give the sentence of a refusal: one, and without the patient."""
    with pytest.raises(ArchiveError) as caught:
        getattr(archive, act)(*arguments)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert not re.search(r"\. [A-Z]", sentence), "more than one sentence"
    assert not re.search(rf"(?<!\d){PATIENT}(?!\d)", sentence)  # a port may hold these digits
    assert "Geheim" not in sentence
    return sentence


def in_syntax(dataset: Dataset, syntax: str) -> Dataset:
    """Give a copy in another transfer syntax."""
    changed = pydicom.dcmread(BytesIO(part10(dataset)))
    if syntax in (RLELossless, JPEGLSLossless):
        changed.compress(syntax, generate_instance_uid=False)
    else:
        changed.file_meta.TransferSyntaxUID = syntax
    return pydicom.dcmread(BytesIO(part10(changed)))


def test_the_archive_answers_an_echo(archive):
    archive.echo()


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_all_three_objects_of_an_edit_are_kept_and_given_back_as_sent(
    orthanc, address, edit_objects, retrieve
):
    archive = DimseArchive(replace(address, retrieve=retrieve, commitment=True))
    stored = archive.store(edit_objects)
    assert [i.sop_instance_uid for i in stored] == [d.SOPInstanceUID for d in edit_objects]
    for instance, sent in zip(stored, edit_objects, strict=True):
        assert difference(sent, orthanc.file(instance.sop_instance_uid)) is None
        assert difference(sent, archive.fetch(instance)) is None
    bare = Instance(*(getattr(stored[2], f"{k}_instance_uid") for k in ("study", "series", "sop")))
    assert archive.fetch(bare) == archive.fetch(stored[2]), "its class is looked up"


def test_each_class_arrives_in_the_syntax_it_was_sent_in(orthanc, archive, film_object):
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless, JPEGLSLossless)
    films = [in_syntax(film_object(), syntax) for syntax in syntaxes]
    dx = {"SOPClassUID": DigitalXRayImageStorageForPresentation, "Modality": "DX"}
    films += [in_syntax(film_object(**dx), syntax) for syntax in syntaxes]
    for sent, instance in zip(films, archive.store(films), strict=True):
        held = pydicom.dcmread(BytesIO(orthanc.file(instance.sop_instance_uid)))
        assert held.file_meta.TransferSyntaxUID == sent.file_meta.TransferSyntaxUID
        fetched = read_film(archive.fetch(instance))
        assert (fetched.stored == sent.pixel_array).all()
        assert fetched.transfer_syntax == sent.file_meta.TransferSyntaxUID


def test_queries_match_exactly_at_every_level(archive, film_object):
    study, series = generate_uid(), generate_uid()
    ids = {"PatientID": "Ünï*7", "SpecificCharacterSet": "ISO_IR 192", "AccessionNumber": "A-7"}
    here = {"StudyInstanceUID": study, "SeriesInstanceUID": series} | ids
    one = film_object(**here, SeriesNumber=5)
    two = film_object(**here, SeriesNumber=5)
    other = film_object(**ids, StudyInstanceUID=study, Modality="DX")
    stranger = film_object(PatientID="Ünï77", SpecificCharacterSet="ISO_IR 192")
    stored = archive.store([one, two, other, stranger])
    pair = sorted(stored[:2])
    assert archive.find(Query(study_instance_uid=study)) == sorted(stored[:3])
    assert archive.find(Query(study, series)) == pair
    assert archive.find(Query(series_instance_uid=series)) == pair
    assert archive.find(Query(study, sop_instance_uid=two.SOPInstanceUID)) == [stored[1]]
    assert archive.find(Query(sop_instance_uid=stranger.SOPInstanceUID)) == [stored[3]]
    assert archive.find(Query(study, modality="DX")) == [stored[2]]
    assert archive.find(Query(patient_id="Ünï*7")) == sorted(stored[:3]), "no wildcard"
    assert archive.find(Query(patient_id="Ünï*7", accession_number="A-7", modality="CR")) == pair
    assert archive.find(Query(patient_id="Ünï?7")) == []
    assert archive.find(Query(study, generate_uid())) == []
    assert {i.series_number for i in archive.find(Query(study, series))} == {5}
    assert set(stored) <= set(archive.find(Query()))


def test_storing_the_same_again_makes_no_second_object(orthanc, archive, edit_objects):
    archive.store(edit_objects)
    archive.store(edit_objects)
    assert [orthanc.held().count(d.SOPInstanceUID) for d in edit_objects] == [1, 1, 1]


def test_other_content_under_a_known_uid_is_an_error_though_the_archive_says_success(
    orthanc, archive, film_object
):
    film = film_object()
    (instance,) = archive.store([film])
    before = orthanc.file(instance.sop_instance_uid)
    changed = copy.deepcopy(film)
    changed.PixelData = bytes(len(film.PixelData))
    assert "PixelData has another value" in refusal(archive, "store", [changed])
    assert orthanc.file(instance.sop_instance_uid) == before


def test_two_objects_with_one_uid_are_refused_before_anything_is_sent(
    orthanc, archive, film_object
):
    film = film_object()
    assert "one SOP instance UID" in refusal(archive, "store", [film, copy.deepcopy(film)])
    assert film.SOPInstanceUID not in orthanc.held()


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_what_is_not_there_too_large_or_no_uid_is_said_so(address, film_object, retrieve):
    archive = DimseArchive(replace(address, retrieve=retrieve))
    (instance,) = archive.store([film_object()])
    gone = replace(instance, sop_instance_uid=generate_uid())
    assert "holds no instance" in refusal(archive, "fetch", gone)
    small = DimseArchive(replace(archive.address, limit_bytes=1000))
    started = time.monotonic()
    assert "larger than 1000 bytes" in refusal(small, "fetch", instance)
    assert time.monotonic() - started < 20, "it is not waited for what will not come"


def test_commitment_is_refused_for_what_the_archive_does_not_hold(archive, film_object):
    (instance,) = archive.store([film_object()])
    archive.commit([instance])
    gone = replace(instance, sop_instance_uid=generate_uid())
    assert "does not hold it" in refusal(archive, "commit", [instance, gone])


def test_a_commitment_that_is_never_reported_is_an_error(address, film_object):
    deaf = replace(address, move_port=None, timeouts=DimseTimeouts(commit_s=0.5))
    (instance,) = DimseArchive(deaf).store([film_object()])
    assert "sent no report" in refusal(DimseArchive(deaf), "commit", [instance])


def test_a_port_of_ours_that_is_taken_is_said_so(orthanc, address, film_object):
    (instance,) = DimseArchive(address).store([film_object()])
    taken = replace(address, retrieve="move", move_port=orthanc.http_port)
    assert "cannot be listened on" in refusal(DimseArchive(taken), "fetch", instance)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"called_ae_title": "OTHER"}, "does not answer to the AE title OTHER"),
        ({"calling_ae_title": "STRANGER"}, "lets our AE title STRANGER do this"),
        ({"host": "no-such-host.invalid"}, "host name no-such-host.invalid of the archive is not"),
    ],
)
def test_a_wrong_address_is_one_clear_sentence(address, wrong, sentence):
    assert sentence in refusal(DimseArchive(replace(address, **wrong)), "find", Query())


def test_a_port_where_nobody_or_no_dicom_listens_is_said_so(orthanc, address, free_port):
    closed = DimseArchive(replace(address, port=free_port))
    assert "refuses connections" in refusal(closed, "find", Query())
    web = DimseArchive(replace(address, port=orthanc.http_port))
    assert "check that it speaks DICOM at this port, without TLS" in refusal(web, "echo")


def test_an_archive_that_hangs_is_given_up_in_time(orthanc, address):
    archive = DimseArchive(replace(address, timeouts=DimseTimeouts(associate_s=0.5)))
    os.kill(orthanc.pid, signal.SIGSTOP)
    try:
        assert "gave no answer to an association request within 0.5 s" in refusal(archive, "echo")
    finally:
        os.kill(orthanc.pid, signal.SIGCONT)
    archive.echo()


@pytest.mark.parametrize(
    "wrong",
    [
        {"called_ae_title": ""},
        {"calling_ae_title": "SEVENTEEN_LETTERS"},
        {"called_ae_title": "BACK\\SLASH"},
        {"port": 0},
        {"retrieve": "push"},
        {"retrieve": "move", "move_port": None},
    ],
)
def test_an_address_that_cannot_work_is_refused_at_once(address, wrong):
    with pytest.raises(ArchiveError, match=r"\.$"):
        replace(address, **wrong)


def test_several_threads_share_one_archive_by_move(address, film_object):
    archive = DimseArchive(replace(address, retrieve="move"))
    films = [film_object() for _ in range(4)]
    problems: list[BaseException] = []

    def work(film: Dataset) -> None:
        try:
            (instance,) = archive.store([film])
            assert difference(film, archive.fetch(instance)) is None
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(film,)) for film in films]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_full_disk_is_said_so(start_orthanc, film_object, rg1):
    full = start_orthanc(storage_mb=1)
    address = DimseAddress("127.0.0.1", full.dicom_port, full.aet, retries=0)
    full.upload(part10(film_object()))
    full.protect_all()
    film = pydicom.dcmread(rg1)
    sentence = refusal(DimseArchive(address), "store", [film])
    assert "did not store the Computed Radiography Image Storage" in sentence
    assert "out of resources; free space on its disk" in sentence
    assert str(film.SOPInstanceUID) not in full.held()


def test_an_archive_that_stops_in_the_middle_and_starts_again_ends_complete(
    start_orthanc, film_object
):
    server = start_orthanc()
    address = DimseAddress("127.0.0.1", server.dicom_port, server.aet, retries=8, backoff_s=0.25)
    archive = DimseArchive(address)
    films = [film_object() for _ in range(30)]

    def interrupt() -> None:
        while not server.held():
            time.sleep(0.01)
        server.kill()
        server.start()

    thread = threading.Thread(target=interrupt)
    thread.start()
    stored = archive.store(films)
    thread.join()
    assert server.held() == sorted(i.sop_instance_uid for i in stored)


@pytest.fixture(scope="module")
def secure(start_orthanc):
    return start_orthanc(dicom_tls=True)


@pytest.fixture(scope="module")
def tls(certificates) -> DimseTls:
    return DimseTls(certificates.ca, certificates.client, certificates.client_key)


@pytest.fixture
def secured(secure, tls) -> DimseAddress:
    return DimseAddress(
        "127.0.0.1",
        secure.dicom_port,
        secure.aet,
        move_port=secure.peer_port,
        tls=tls,
        retries=0,
    )


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_objects_go_there_and_back_over_tls(secured, edit_objects, retrieve):
    archive = DimseArchive(replace(secured, retrieve=retrieve, commitment=True))
    for instance, sent in zip(archive.store(edit_objects), edit_objects, strict=True):
        assert difference(sent, archive.fetch(instance)) is None


def test_a_certificate_that_is_not_trusted_is_said_so(secured, tls, certificates):
    stranger = replace(tls, ca_file=certificates.client)
    sentence = refusal(DimseArchive(replace(secured, tls=stranger)), "echo")
    assert "TLS certificate that is not trusted" in sentence
    named = replace(tls, server_name="pacs.example")
    sentence = refusal(DimseArchive(replace(secured, tls=named)), "echo")
    assert "TLS certificate that is not trusted" in sentence


def test_a_client_without_a_certificate_is_refused_with_a_sentence(secured, tls):
    unknown = replace(secured, move_port=None, tls=DimseTls(tls.ca_file))
    assert "agree on no TLS connection" in refusal(DimseArchive(unknown), "echo")


def test_plain_against_tls_and_tls_against_plain_are_said_so(secured, address, tls):
    plain = DimseArchive(replace(secured, tls=None))
    assert "at this port, without TLS" in refusal(plain, "echo")
    assert "agree on no TLS connection" in refusal(DimseArchive(replace(address, tls=tls)), "echo")


def test_tls_files_that_cannot_be_read_are_said_so(secured, tls, tmp_path):
    missing = replace(secured, tls=replace(tls, ca_file=tmp_path / "none"))
    assert "TLS files for the archive cannot be used" in refusal(DimseArchive(missing), "echo")
    with pytest.raises(ArchiveError, match="certificate of ours"):
        replace(secured, tls=DimseTls(tls.ca_file))
