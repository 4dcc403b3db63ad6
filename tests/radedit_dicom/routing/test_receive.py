"""Receiving over real sockets: what is acknowledged is on disk, and nothing else is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pydicom
import pytest
import requests
from conftest import missing
from orthanc import Certificates, Orthanc, make_certificates
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
)
from pynetdicom.status import code_to_category

from radedit_dicom.archive import Instance
from radedit_dicom.dimse import DimseArchive
from radedit_dicom.dimse_address import DimseAddress, DimseTls
from radedit_dicom.dimse_association import associated
from radedit_dicom.errors import ArchiveError
from radedit_dicom.readback import difference
from radedit_dicom.router.bounded_socket import Bounds
from radedit_dicom.router.commitment import Reporter
from radedit_dicom.router.desk import Desk
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.receiver import Receive, Receiver, ReceiveTls
from radedit_dicom.router.retention import clean_up
from radedit_dicom.router.sorting import Sorter
from radedit_dicom.router.spool import Spool
from radedit_dicom.router.watch import Watch

MakeDataset = Callable[..., Dataset]


def test_what_storescu_sends_is_kept_byte_for_byte(
    make_node: Callable[..., Any], peer: Callable[[str], str], part10_file: Callable[..., Path]
) -> None:
    node = make_node()
    sent = part10_file()
    done = node.storescu(peer("storescu"), str(sent))
    assert done.returncode == 0, done.stdout + done.stderr
    (kept,) = node.files()
    assert difference(pydicom.dcmread(sent), kept.read_bytes()) is None
    assert node.states() == {"1.2.3.4": "received"}
    assert "1.2.3.4" not in kept.name


def test_a_film_in_implicit_vr_and_a_compressed_one_are_kept_in_their_own_syntax(
    make_node: Callable[..., Any], make_dataset: MakeDataset
) -> None:
    node = make_node()
    plain = make_dataset()
    plain.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    packed = make_dataset(SOPInstanceUID="1.2.3.5")
    packed.compress("1.2.840.10008.1.2.5", generate_instance_uid=False)
    node.archive.send([plain, packed])
    kept = {pydicom.dcmread(path).SOPInstanceUID: path for path in node.files()}
    assert difference(plain, kept["1.2.3.4"].read_bytes()) is None
    assert difference(packed, kept["1.2.3.5"].read_bytes()) is None


def test_an_echo_is_answered(make_node: Callable[..., Any]) -> None:
    make_node().archive.echo()


@pytest.mark.parametrize(("called", "calling"), [("RADEDIT", "NOBODY"), ("OTHER", "CR1")])
def test_a_caller_with_another_title_is_rejected(
    make_node: Callable[..., Any], called: str, calling: str
) -> None:
    node = make_node()
    address = replace(node.address, called_ae_title=called, calling_ae_title=calling)
    with pytest.raises(ArchiveError, match="AE title"):
        DimseArchive(address).echo()


def test_the_same_object_again_is_a_success_and_kept_once(
    make_node: Callable[..., Any], make_dataset: MakeDataset
) -> None:
    node = make_node()
    for _ in range(3):
        node.archive.send([make_dataset()])
    assert len(node.files()) == 1
    assert node.refusals() == {}


def test_another_object_under_a_known_uid_is_refused_and_set_apart_once(
    make_node: Callable[..., Any], make_dataset: MakeDataset
) -> None:
    node = make_node()
    node.archive.send([make_dataset()])
    for _ in range(2):
        with pytest.raises(
            ArchiveError, match=r"already holds another object under this UID.*0xC111"
        ):
            node.archive.send([make_dataset(PatientID="Fremd")])
    (row,) = node.journal.rows("SELECT * FROM quarantine")
    apart = node.spool.folder / row["file"]
    assert pydicom.dcmread(apart).PatientID == "Fremd"
    assert row["uid"] == "1.2.3.4"
    assert "Fremd" not in row["reason"] + apart.name
    (kept,) = node.files()
    assert pydicom.dcmread(kept).PatientID == "4711"


def test_a_refusal_is_a_failure_on_the_wire_and_says_why(
    make_node: Callable[..., Any],
    make_dataset: MakeDataset,
    start_orthanc: Callable[..., Orthanc],
    part10_file: Callable[..., Path],
) -> None:
    node = make_node(callers=("CR1", "ORTHANC"))
    node.archive.send([make_dataset()])
    other = make_dataset(PatientID="Fremd")
    context = build_context(other.SOPClassUID, other.file_meta.TransferSyntaxUID)
    with associated(node.address, [context]) as association:
        answer = association.send_c_store(other)
    assert answer.Status == 0xC111
    assert code_to_category(answer.Status) == "Failure"
    assert str(answer.ErrorComment) == (
        "Another object is here under this SOP instance UID, which..."
    )
    # A PACS that sends the other one is told, too.
    modality = {"AET": "RADEDIT", "Host": "127.0.0.1", "Port": node.receiver.port}
    orthanc = start_orthanc(extra={"DicomModalities": {"node": modality}})
    orthanc.upload(part10_file(PatientID="Fremd").read_bytes())
    with pytest.raises(requests.HTTPError):
        orthanc.rest("POST", "/modalities/node/store", json.dumps(ids(orthanc)))


def test_of_one_uid_from_several_senders_at_once_no_part_is_left_and_one_object_is_kept(
    make_node: Callable[..., Any], make_dataset: MakeDataset
) -> None:
    callers = ("CR1", "DX2", "DX3")
    node = make_node(callers=callers)
    pixels = np.full((900, 900), 7)
    same = [make_dataset(pixels) for _ in range(6)]
    others = [make_dataset(pixels, PatientID=f"other {n % 2}") for n in range(4)]
    outcomes: dict[int, bool] = {}

    def send(number: int, dataset: Dataset) -> None:
        address = replace(node.address, calling_ae_title=callers[number % len(callers)])
        try:
            DimseArchive(address).send([dataset])
            outcomes[number] = True
        except ArchiveError:
            outcomes[number] = False

    sent = [*same, *others]
    threads = [threading.Thread(target=send, args=each) for each in enumerate(sent)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (kept,) = node.files()  # parts that are on their way lie there as well
    first = pydicom.dcmread(kept)
    assert not kept.name.startswith(".")
    for number, dataset in enumerate(sent):
        assert outcomes[number] == (dataset.PatientID == first.PatientID)
    apart = [
        node.spool.folder / row["file"] for row in node.journal.rows("SELECT * FROM quarantine")
    ]
    found = sorted(str(pydicom.dcmread(path).PatientID) for path in [kept, *apart])
    assert found == sorted({str(dataset.PatientID) for dataset in sent})
    assert sorted(apart) == sorted((node.spool.folder / "quarantine").iterdir())


def test_a_certificate_that_is_renewed_in_its_file_is_shown_to_the_next_caller(
    make_node: Callable[..., Any],
    certificates: Certificates,
    peer: Callable[[str], str],
    tmp_path: Path,
) -> None:
    def put(made: Certificates) -> None:
        for path in (made.ca, made.server, made.server_key):
            shutil.copyfile(path, tmp_path / path.name)

    put(certificates)
    files = ReceiveTls(tmp_path / "server.crt", tmp_path / "server.key", tmp_path / "ca.crt")
    node = make_node(tls=files)
    renewed = make_certificates(tmp_path / "renewed", peer("openssl"))

    def call(held: Certificates) -> None:
        known = DimseTls(held.ca, held.client, held.client_key)
        DimseArchive(replace(node.address, tls=known)).echo()

    call(certificates)
    (tmp_path / "server.key").write_text("half wri")
    call(certificates)
    put(renewed)
    call(renewed)
    with pytest.raises(ArchiveError):
        call(certificates)


def test_of_many_different_objects_sent_at_once_under_one_uid_one_is_kept(
    make_node: Callable[..., Any], make_dataset: MakeDataset
) -> None:
    node = make_node()
    outcomes: list[bool] = []

    def send(number: int) -> None:
        try:
            node.archive.send([make_dataset(PatientID=str(number))])
            outcomes.append(True)
        except ArchiveError:
            outcomes.append(False)

    threads = [threading.Thread(target=send, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 5 + [True]
    assert len(node.files()) == 1
    assert len(node.journal.rows("SELECT * FROM quarantine")) == 5


def test_under_the_watermark_an_object_is_refused_and_taken_when_there_is_room(
    make_node: Callable[..., Any], make_dataset: MakeDataset
) -> None:
    room = [10_000]
    node = make_node(free=lambda: room[0], reserve_bytes=20_000)
    with pytest.raises(ArchiveError, match=r"out of resources.*0xA700"):
        node.archive.send([make_dataset()])
    assert node.files() == []
    assert node.states() == {}
    room[0] = 100_000
    node.archive.send([make_dataset()])
    assert node.states() == {"1.2.3.4": "received"}


@pytest.mark.filterwarnings("ignore")  # pydicom's, of what is malformed
@pytest.mark.parametrize(
    "uid", ["../../x", "1.2.3;$(id)", "1" * 64 + ".1", "", "..", "1..2", "1.2."]
)
def test_a_malformed_uid_is_refused_and_names_no_file(
    make_node: Callable[..., Any], uid: str
) -> None:
    node = make_node(bounds=Bounds(idle_s=2.0))
    assert hostile.store(node.receiver.port, hostile.film(), uid) != 0x0000
    assert node.files() == []
    assert node.states() == {}
    node.archive.echo()


def test_another_class_than_that_of_its_context_is_refused(make_node: Callable[..., Any]) -> None:
    node = make_node()
    ct = "1.2.840.10008.5.1.4.1.1.2"
    assert hostile.store(node.receiver.port, hostile.film(), "1.2.3.4", ct) == 0xA900
    assert node.files() == []
    assert "SOP class" in next(iter(node.refusals()))


def test_with_tls_only_a_caller_with_a_trusted_certificate_is_heard(
    make_node: Callable[..., Any], certificates: Certificates, make_dataset: MakeDataset
) -> None:
    held = certificates
    node = make_node(tls=ReceiveTls(held.server, held.server_key, held.ca))
    with pytest.raises(ArchiveError):
        DimseArchive(node.address).echo()
    nameless = replace(node.address, tls=DimseTls(held.ca))
    with pytest.raises(ArchiveError):
        DimseArchive(nameless).echo()
    known = replace(node.address, tls=DimseTls(held.ca, held.client, held.client_key))
    DimseArchive(known).send([make_dataset()])
    assert node.states() == {"1.2.3.4": "received"}


def test_storage_commitment_is_answered_from_the_journal_on_the_same_association(
    make_node: Callable[..., Any], make_dataset: MakeDataset
) -> None:
    node = make_node()
    reporter = Reporter(node.intake, {}, node.receiver.asking)
    reporter.start()
    try:
        stored = node.archive.send([make_dataset()])
        node.archive.commit(stored)
        with pytest.raises(ArchiveError, match="does not hold it"):
            node.archive.commit([replace(stored[0], sop_instance_uid="1.2.9")])
        other = Instance("1.2", "1.2.3", "1.2.3.4", "1.2.840.10008.5.1.4.1.1.7")
        with pytest.raises(ArchiveError, match="another SOP class"):
            node.archive.commit([other])
    finally:
        reporter.stop()


@pytest.mark.filterwarnings("ignore")  # pydicom's, of what is malformed
def test_a_commitment_request_with_a_malformed_uid_is_refused(
    make_node: Callable[..., Any], make_dataset: MakeDataset
) -> None:
    node = make_node()
    node.archive.send([make_dataset()])
    information = Dataset()
    information.TransactionUID = "2.25.1"
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = hostile.CR, ".."
    information.ReferencedSOPSequence = [item]
    with associated(node.address, [build_context(StorageCommitmentPushModel)]) as association:
        answer, _ = association.send_n_action(
            information, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    assert answer.Status == 0x0115
    assert node.journal.rows("SELECT * FROM reports") == []


def test_orthanc_gets_its_commitment_at_the_address_that_the_route_names(
    make_node: Callable[..., Any],
    start_orthanc: Callable[..., Orthanc],
    part10_file: Callable[..., Path],
    peer: Callable[[str], str],
) -> None:
    node = make_node(callers=("ORTHANC", "CR1"))
    modality = {"AET": "RADEDIT", "Host": "127.0.0.1", "Port": node.receiver.port}
    allowed = {"AllowStorageCommitment": True, "AllowTranscoding": False}
    orthanc = start_orthanc(extra={"DicomModalities": {"node": modality | allowed}})
    there = DimseAddress("127.0.0.1", orthanc.dicom_port, orthanc.aet, "RADEDIT", retries=0)
    reporter = Reporter(node.intake, {"ORTHANC": there}, node.receiver.asking)
    reporter.start()
    try:
        orthanc.upload(part10_file().read_bytes())
        answer = orthanc.rest(
            "POST",
            "/modalities/node/store",
            json.dumps({"Resources": ids(orthanc), "StorageCommitment": True}),
        ).json()
        found = wait_for_report(orthanc, answer["StorageCommitmentTransactionUID"])
        deadline = time.monotonic() + 60
        while node.journal.rows("SELECT * FROM reports") and time.monotonic() < deadline:
            time.sleep(0.05)  # it is taken off the list behind Orthanc's answer
    finally:
        reporter.stop()
    assert found["Status"] == "Success"
    assert [item["SOPInstanceUID"] for item in found["Success"]] == ["1.2.3.4"]
    assert node.journal.rows("SELECT * FROM reports") == []


def ids(orthanc: Orthanc) -> Any:
    return orthanc.rest("GET", "/instances").json()


def wait_for_report(orthanc: Orthanc, transaction: str) -> Any:
    deadline = time.monotonic() + 60
    while True:
        found = orthanc.rest("GET", f"/storage-commitment/{transaction}").json()
        if found["Status"] != "Pending" or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


def test_a_sender_that_goes_away_in_the_middle_leaves_nothing(
    make_node: Callable[..., Any],
) -> None:
    node = make_node()
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", node.receiver.port)) as caller:
            caller.sendall(b"\x01\x00\x00\x00\x10\x00 half of a request")
    node.archive.echo()
    assert node.files() == []


def test_a_killed_receiver_leaves_no_part_and_loses_nothing_acknowledged(tmp_path: Path) -> None:
    program = (
        "import sys, os, hashlib\n"
        "from pathlib import Path\n"
        "from radedit_dicom.flushed import write\nfrom radedit_dicom.router.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "def chunks():\n"
        "    yield b'half'\n"
        "    os.kill(os.getpid(), 9)\n"
        "write(spool.incoming('1.2.3'), chunks())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "spool")], check=False, timeout=120
    )
    assert done.returncode == -9
    spool = Spool(tmp_path / "spool")
    left = [p for p in (spool.folder / "incoming").rglob("*") if p.is_file()]
    assert len(left) == 1
    assert left[0].name.startswith(".part-")
    assert spool.sweep([]) == 1
    assert not left[0].exists()


def test_a_watched_folder_is_emptied_into_the_journal(
    make_node: Callable[..., Any], part10_file: Callable[..., Path], tmp_path: Path
) -> None:
    node = make_node()
    folder = tmp_path / "inbox"
    (folder / "study").mkdir(parents=True)
    film = part10_file().read_bytes()
    (folder / "study" / "Geheim^Name.dcm").write_bytes(film)
    (folder / "notes.txt").write_text("no DICOM")
    (folder / ".copying").write_bytes(b"not yet")
    watch = Watch(folder, node.intake)
    assert watch.look() == 0  # seen for the first time: it may still be growing
    assert watch.look() == 2
    assert [p.name for p in folder.rglob("*") if p.is_file()] == [".copying"]
    assert node.states() == {"1.2.3.4": "received"}
    (row,) = node.journal.rows("SELECT * FROM quarantine")
    assert (node.spool.folder / row["file"]).read_text() == "no DICOM"
    assert "Geheim" not in node.spool.audit.read_text()


def test_a_file_that_cannot_be_taken_keeps_no_other_from_being_taken(
    make_node: Callable[..., Any], part10_file: Callable[..., Path], tmp_path: Path
) -> None:
    node = make_node()
    folder = tmp_path / "inbox"
    (folder / "a").mkdir(parents=True)
    stays, goes = folder / "a" / "film.dcm", folder / "b.dcm"
    stays.write_bytes(part10_file().read_bytes())
    goes.write_bytes(part10_file(SOPInstanceUID="1.2.3.5").read_bytes())
    watch = Watch(folder, node.intake)
    watch.look()
    with unremovable(stays):
        assert [watch.look(), watch.look()] == [1, 0]
    assert stays.exists()
    assert not goes.exists()
    assert set(node.states()) == {"1.2.3.4", "1.2.3.5"}
    (reason,) = node.refusals()
    assert "cannot be read or removed" in reason
    assert node.refusals() == {reason: 1}
    assert watch.look() == 1  # known already, so it only goes
    assert not stays.exists()


@contextmanager
def unremovable(path: Path) -> Iterator[None]:
    """Let nobody remove a file: root by an attribute of the file, others by its folder."""
    if os.geteuid() == 0:
        hold, release = ["chattr", "+i", str(path)], ["chattr", "-i", str(path)]
        done = subprocess.run(hold, capture_output=True, check=False, timeout=60)
        if done.returncode != 0:
            missing("needs a file system that can make a file immutable, or a user other than root")
        try:
            yield
        finally:
            subprocess.run(release, check=True, timeout=60)
        return
    path.parent.chmod(0o500)
    try:
        yield
    finally:
        path.parent.chmod(0o700)


def test_what_was_set_apart_cleaned_up_and_comes_again_is_known(
    make_node: Callable[..., Any],
) -> None:
    node = make_node()
    lying = hostile.film("1.2.3.5")
    assert hostile.store(node.receiver.port, lying, "1.2.3.4") == 0
    Sorter(node.spool, node.journal, node.audit).sort()
    assert node.states() == {"1.2.3.4": "quarantined"}
    Desk(node.spool, node.journal, node.audit).discard("object-1.2.3.4")
    assert clean_up(node.spool, node.journal, node.audit, -1.0) == 1
    assert hostile.store(node.receiver.port, lying, "1.2.3.4") == 0
    assert node.files() == []
    assert node.states() == {"1.2.3.4": "removed"}


def test_a_file_that_still_grows_is_left_alone(
    make_node: Callable[..., Any], part10_file: Callable[..., Path], tmp_path: Path
) -> None:
    node = make_node()
    folder = tmp_path / "inbox"
    folder.mkdir()
    film = part10_file().read_bytes()
    target = folder / "film.dcm"
    watch = Watch(folder, node.intake)
    for end in (len(film) // 3, len(film) // 2, len(film)):
        target.write_bytes(film[:end])
        assert watch.look() == 0
    assert watch.look() == 1
    assert node.states() == {"1.2.3.4": "received"}


def test_a_second_process_cannot_take_a_role_that_is_held(
    make_spool: Callable[[], tuple[Spool, Any, Any]],
) -> None:
    spool, _, _ = make_spool()
    with spool.sole("receive"), pytest.raises(RouteError, match="Another process"):
        spool.sole("receive")
    spool.sole("receive").close()


def test_a_taken_port_is_refused_in_one_sentence(make_node: Callable[..., Any]) -> None:
    node = make_node()
    with pytest.raises(RouteError, match="cannot be listened on"):
        Receiver(Receive(port=node.receiver.port, callers=("A",)), node.intake)


def test_the_audit_log_takes_no_field_that_could_hold_patient_data(
    make_spool: Callable[[], tuple[Any, Any, Any]],
) -> None:
    _, _, audit = make_spool()
    with pytest.raises(ValueError, match="has no field patient"):
        audit.write("received", patient="Geheim")
