"""DIMSE with other peers: dcmtk's archive and receivers, and faults that no real one makes."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import JPEGLSLossless, SecondaryCaptureImageStorage
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    Verification,
)

from radedit_dicom.archive import Instance, Query
from radedit_dicom.dimse import DimseArchive
from radedit_dicom.dimse_address import DimseAddress, DimseTimeouts, DimseTls
from radedit_dicom.dimse_association import associated
from radedit_dicom.dimse_receive import Receiver, listening
from radedit_dicom.errors import ArchiveError
from radedit_dicom.film import read_film
from radedit_dicom.readback import difference

ONLY_CR = r"""
[[TransferSyntaxes]]
[Uncompressed]
TransferSyntax1 = LittleEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[Few]
PresentationContext1 = ComputedRadiographyImageStorage\Uncompressed
[[Profiles]]
[Default]
PresentationContexts = Few
"""


@pytest.fixture
def edit_objects(make_dataset, make_edit) -> list[Dataset]:
    objects = make_edit(read_film(make_dataset()))[1]
    return [objects.seg, objects.sr, objects.sc]


@pytest.fixture
def film_object(make_dataset) -> Callable[[int], Dataset]:
    def make(number: int) -> Dataset:
        dataset = make_dataset(SOPInstanceUID=f"1.2.3.{number}")
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        return dataset

    return make


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert process.poll() is None, "the peer ended at once"
            assert time.monotonic() < deadline, "the peer does not listen"
            time.sleep(0.02)


@pytest.fixture
def run_peer(peer, tmp_path) -> Iterator[Callable[..., None]]:
    """Run a program of dcmtk that listens at a port; ended with the test."""
    running: list[subprocess.Popen[bytes]] = []

    def run(port: int, program: str, *arguments: str) -> None:
        with (tmp_path / f"{program}.log").open("ab") as log:
            process = subprocess.Popen(
                [peer(program), *arguments], stdout=log, stderr=log, cwd=tmp_path
            )
        running.append(process)
        wait_for(port, process)

    yield run
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture
def start_storescp(run_peer, new_port, tmp_path) -> Callable[..., tuple[DimseArchive, Path]]:
    """Start dcmtk's storescp, which only receives; give it as an archive, and its folder."""

    def start(*options: str, **settings: Any) -> tuple[DimseArchive, Path]:
        port, folder = new_port(), tmp_path / "received"
        folder.mkdir()
        run_peer(port, "storescp", *options, "-od", str(folder), str(port))
        return DimseArchive(DimseAddress("127.0.0.1", port, "STORE", retries=0, **settings)), folder

    return start


@pytest.fixture
def start_dcmqrscp(run_peer, new_port, tmp_path) -> Callable[..., DimseArchive]:
    """Start dcmtk's image archive, which asks for the keys of all levels."""

    def start(quota: str = "(9, 1024mb)", known: str = "RADEDIT", **settings: Any) -> DimseArchive:
        port, ours = new_port(), new_port()
        storage = tmp_path / "storage"
        storage.mkdir()
        (tmp_path / "dcmqrscp.cfg").write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
            f"HostTable BEGIN\nus = ({known}, localhost, {ours})\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nARCHIVE {storage} RW {quota} ANY\nAETable END\n"
        )
        run_peer(port, "dcmqrscp", "-c", str(tmp_path / "dcmqrscp.cfg"))
        return DimseArchive(
            DimseAddress("127.0.0.1", port, "ARCHIVE", move_port=ours, retries=0, **settings)
        )

    return start


def received(folder: Path) -> dict[str, bytes]:
    """Map the UIDs of what storescp wrote, which are in the names, to the contents."""
    return {path.name.partition(".")[2]: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("retrieve", ["get", "move"])
def test_another_archive_gives_back_what_it_was_sent(start_dcmqrscp, edit_objects, retrieve):
    archive = start_dcmqrscp(retrieve=retrieve)
    stored = archive.store(edit_objects)
    for instance, sent in zip(stored, edit_objects, strict=True):
        assert difference(sent, archive.fetch(instance)) is None
    listed = [replace(instance, sop_class_uid="") for instance in stored]  # it tells no classes
    assert archive.find(Query()) == sorted(listed)
    assert archive.find(Query(sop_instance_uid=stored[1].sop_instance_uid)) == [listed[1]]
    assert archive.find(Query(modality="SEG")) == [listed[0]]
    assert archive.fetch(listed[0]) == archive.fetch(stored[0])
    with pytest.raises(ArchiveError, match="holds no instance"):
        archive.fetch(replace(stored[0], sop_instance_uid="1.2.9"))


def test_a_move_destination_that_the_archive_does_not_know_is_said_so(start_dcmqrscp, film_object):
    archive = start_dcmqrscp(known="SOMEBODY")
    (instance,) = archive.store([film_object(1)])
    moving = DimseArchive(replace(archive.address, retrieve="move"))
    with pytest.raises(ArchiveError, match=r"does not know our AE title as a move .*0xA801"):
        moving.fetch(instance)


def test_an_archive_whose_quota_is_used_up_is_out_of_resources(start_dcmqrscp, rg1):
    archive = start_dcmqrscp(quota="(9, 1mb)")
    with pytest.raises(ArchiveError, match=r"out of resources; free space .*0xA7"):
        archive.store([pydicom.dcmread(rg1)])
    assert archive.find(Query()) == []


def test_a_called_title_that_another_archive_does_not_have_is_refused(start_dcmqrscp):
    archive = start_dcmqrscp()
    wrong = DimseArchive(replace(archive.address, called_ae_title="OTHER"))
    with pytest.raises(ArchiveError, match="AE title OTHER"):
        wrong.echo()


def test_a_rejection_is_told_however_late_we_look_for_it(start_dcmqrscp):
    """The archive has rejected and closed before pynetdicom looks whether it is connected."""
    address = replace(start_dcmqrscp().address, called_ae_title="OTHER")
    contexts = [build_context(Verification)]

    def dawdle(event: Any) -> None:
        time.sleep(1)

    with (
        pytest.raises(ArchiveError, match="AE title OTHER"),
        associated(address, contexts, [(evt.EVT_REQUESTED, dawdle)]),
    ):
        pytest.fail("there is no such archive")


def test_a_receiver_of_implicit_vr_only_gets_the_same_content(start_storescp, edit_objects):
    archive, folder = start_storescp("+xi")
    archive.send(edit_objects)
    contents = received(folder)
    for sent in edit_objects:
        assert difference(sent, contents[sent.SOPInstanceUID]) is None


def test_what_is_compressed_is_not_sent_to_who_takes_it_uncompressed_only(
    start_storescp, film_object
):
    archive, folder = start_storescp("+x=")
    film = film_object(1)
    film.compress(JPEGLSLossless, generate_instance_uid=False)
    with pytest.raises(ArchiveError, match="accepts no presentation context for Computed"):
        archive.send([film])
    assert received(folder) == {}


def test_a_class_that_is_refused_is_named_and_nothing_is_sent(
    start_storescp, film_object, edit_objects, tmp_path
):
    (tmp_path / "few.cfg").write_text(ONLY_CR)
    archive, folder = start_storescp("-xf", str(tmp_path / "few.cfg"), "Default")
    with pytest.raises(ArchiveError, match="context for Segmentation Storage in Explicit VR"):
        archive.send([film_object(1), *edit_objects])
    assert received(folder) == {}
    with pytest.raises(ArchiveError, match=r"accepts no presentation context for Comp.*Segm"):
        archive.send(edit_objects)
    archive.send([film_object(1)])
    assert list(received(folder)) == ["1.2.3.1"]
    with pytest.raises(ArchiveError, match="no presentation context for Study Root"):
        archive.find(Query())


def test_a_receiver_behind_tls_takes_objects_from_who_shows_a_certificate(
    start_storescp, certificates, edit_objects
):
    tls = DimseTls(certificates.ca, certificates.client, certificates.client_key)
    keys = ("+tls", str(certificates.server_key), str(certificates.server))
    archive, folder = start_storescp(*keys, "+cf", str(certificates.ca), tls=tls)
    archive.send(edit_objects)
    assert set(received(folder)) == {d.SOPInstanceUID for d in edit_objects}
    unknown = DimseArchive(replace(archive.address, tls=DimseTls(certificates.ca)))
    with pytest.raises(ArchiveError, match="agree on no TLS connection"):
        unknown.send(edit_objects)


# From here on: what no real peer here can be asked to do.


@pytest.fixture
def start_fake(new_port) -> Iterator[Callable[..., DimseAddress]]:
    """Start a peer of the test's own that answers as its handlers say."""
    entities: list[AE] = []

    def start(**handlers: Callable[[Any], Any]) -> DimseAddress:
        entity, port = AE("FAKE"), new_port()
        entities.append(entity)
        for sop_class in (Verification, ComputedRadiographyImageStorage):
            entity.add_supported_context(sop_class)
        entity.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
        bound = [(getattr(evt, f"EVT_{name}"), handler) for name, handler in handlers.items()]
        entity.start_server(("127.0.0.1", port), block=False, evt_handlers=bound)
        return DimseAddress("127.0.0.1", port, "FAKE", retries=0, backoff_s=0.01)

    yield start
    for entity in entities:
        entity.shutdown()


def test_an_abort_in_the_middle_is_said_so_and_a_retry_sends_the_rest(start_fake, film_object):
    seen: list[str] = []

    def store(event: Any) -> int:
        seen.append(str(event.request.AffectedSOPInstanceUID))
        if len(seen) in (2, 5):
            event.assoc.abort()
        return 0x0000

    address = start_fake(C_STORE=store)
    films = [film_object(n) for n in (1, 2, 3)]
    with pytest.raises(ArchiveError, match="ended the association in the middle"):
        DimseArchive(address).send(films)
    assert seen == ["1.2.3.1", "1.2.3.2"]
    DimseArchive(replace(address, retries=1)).send(films)
    assert seen[2:4] == ["1.2.3.1", "1.2.3.2"]
    assert seen[4:] == ["1.2.3.3", "1.2.3.3"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA700, "is out of resources"),
        (0xA900, "does not match its SOP class"),
        (0xC123, "cannot understand it"),
        (0x0111, "already holds an object under this UID"),
        (0x0124, "does not let us store"),
        (0x0211, "answered with status 0x0211"),
    ],
)
def test_every_refusal_of_an_object_has_its_sentence(start_fake, film_object, status, words):
    address = start_fake(C_STORE=lambda event: status)
    with pytest.raises(ArchiveError, match=f"{words}.*0x{status:04X}|{words}"):
        DimseArchive(address).send([film_object(1)])


def test_an_answer_that_never_comes_is_not_waited_for_without_end(start_fake, film_object):
    def slow(event: Any) -> int:
        time.sleep(1.5)
        return 0x0000

    address = start_fake(C_STORE=slow)
    hasty = replace(address, timeouts=DimseTimeouts(response_s=0.5))
    with pytest.raises(ArchiveError, match=r"did not answer within 0\.5 s"):
        DimseArchive(hasty).send([film_object(1)])


def test_a_busy_archive_is_tried_again_and_a_strange_one_is_not(start_fake):
    tries: list[float] = []
    answers = [(0x02, 0x03, 0x02), (0x02, 0x03, 0x01)]

    def refuse(event: Any) -> None:
        tries.append(time.monotonic())
        if answers:
            event.assoc.acse.send_reject(*answers.pop(0))
            time.sleep(0.3)  # it is closed behind this, sent or not

    address = start_fake(REQUESTED=refuse)
    DimseArchive(replace(address, retries=3, backoff_s=0.2)).echo()
    assert len(tries) == 3
    assert tries[2] - tries[1] > 0.2, "the second pause is twice the first, less half at most"
    answers.append((0x01, 0x01, 0x03))
    with pytest.raises(ArchiveError, match="does not know our AE title RADEDIT"):
        DimseArchive(replace(address, retries=3)).echo()
    assert len(tries) == 4


def test_a_report_of_commitment_on_the_same_association_counts(start_fake):
    """As PS3.4 J.3.3 allows; Orthanc and dcmtk do not do it."""
    failing = {"1.2.3.2"}

    def act(event: Any) -> tuple[int, None]:
        event.assoc.reported = event.action_information
        return 0x0000, None

    def report(event: Any) -> None:
        wanted = getattr(event.assoc, "reported", None)
        if wanted is None or event.message.__class__.__name__ != "N_ACTION_RSP":
            return
        event.assoc.reported = None
        threading.Thread(target=_report, args=(event.assoc, wanted, failing)).start()

    address = start_fake(N_ACTION=act, DIMSE_SENT=report)
    patient = replace(address, timeouts=DimseTimeouts(commit_s=20))
    ok, bad = (Instance("1.2", "1.2.3", f"1.2.3.{n}", SecondaryCaptureImageStorage) for n in (1, 2))
    DimseArchive(patient).commit([ok])
    with pytest.raises(ArchiveError, match=r"does not commit to 1\.2\.3\.2: it is out of resou"):
        DimseArchive(patient).commit([ok, bad])


def _report(association: Any, wanted: Dataset, failing: set[str]) -> None:
    items = {str(item.ReferencedSOPInstanceUID): item for item in wanted.ReferencedSOPSequence}
    information = Dataset()
    information.TransactionUID = wanted.TransactionUID
    information.ReferencedSOPSequence = [v for k, v in items.items() if k not in failing]
    failed = [v for k, v in items.items() if k in failing]
    for item in failed:
        item.FailureReason = 0x0213
    if failed:
        information.FailedSOPSequence = failed
    association.send_n_event_report(
        information,
        2 if failed else 1,
        StorageCommitmentPushModel,
        StorageCommitmentPushModelInstance,
    )


def test_a_stranger_cannot_push_an_object_while_one_is_awaited(start_dcmqrscp, film_object):
    """The port of a C-MOVE is open while a stranger calls: only what was asked for comes in."""
    archive = start_dcmqrscp(retrieve="move")
    (instance,) = archive.store([film_object(1)])
    port = archive.address.move_port
    answers: list[int | None] = []

    def push(calling: str) -> None:
        entity = AE(calling)
        context = [build_context(ComputedRadiographyImageStorage, "1.2.840.10008.1.2.1")]
        association = entity.associate("127.0.0.1", port, context, ae_title="RADEDIT")
        if association.is_established:
            answers.append(association.send_c_store(film_object(2)).Status)
            association.release()
        else:
            answers.append(None)

    receiver = Receiver(1 << 20)
    receiver.expect(instance.sop_instance_uid)
    with listening(archive.address, receiver.handlers(), [ComputedRadiographyImageStorage]):
        push("STRANGER")
        push("ARCHIVE")
    assert answers == [None, 0x0124]
    assert receiver.taken() is None
