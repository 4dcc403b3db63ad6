"""The hostile set, against a running node: refused or set apart with a reason, and it stays up."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import hostile
import pytest
import requests
from conftest import make_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian
from route_node import RouteNode, echoes

from radedit_dicom.parsing import MAX_DEPTH
from radedit_dicom.readback import part10
from radedit_dicom.router.bounded_socket import MAX_PDU_BYTES

MEMORY_MB = 700
RECEIVE = "associations = 8\npdu_s = 3\nidle_s = 5\nlargest_mb = 32\n"


@pytest.fixture(scope="module")
def page(new_port: Callable[[], int]) -> int:
    return new_port()


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory, new_port: Callable[[], int], page: int
) -> Iterator[RouteNode]:
    """Give one node for the whole set; what one attack leaves behind, the next one meets."""
    route = RouteNode(
        tmp_path_factory.mktemp("hostile"), new_port(), f"[http]\nport = {page}\n", RECEIVE
    )
    route.start()
    yield route
    route.close()


@pytest.fixture(autouse=True)
def standing(node: RouteNode) -> Iterator[None]:
    """Make sure behind each attack that the same processes run, within their memory."""
    before = {role: node.spool.holder(role) for role in ("receive", "plan")}
    yield
    node.until(lambda: echoes(node.archive), "the node does not answer any more", 120)
    for role, pid in before.items():
        assert node.spool.holder(role) == pid, f"{role} was started again"
        assert pid is not None
        assert peak_mb(pid) < MEMORY_MB, f"{role} took {peak_mb(pid)} MB"


def peak_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


def set_apart(node: RouteNode, uid: str) -> str:
    """Wait until an object is in quarantine, and give the reason."""
    query = "SELECT reason FROM instances WHERE uid = ? AND state = 'quarantined'"
    rows = node.until(lambda: node.rows(query, (uid,)), f"{uid} was not set apart", 120)
    return str(rows[0]["reason"])


def nested(depth: int) -> bytes:
    """Nest sequences of undefined length."""
    begin = struct.pack("<HH2sHI", 0x0040, 0xA730, b"SQ", 0, 0xFFFFFFFF)
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    ends = struct.pack("<HHIHHI", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    return (begin + item) * depth + ends * depth


def image(rows: int, columns: int, pixels: bytes) -> bytes:
    return (
        hostile.explicit(0x00280002, b"US", struct.pack("<H", 1))
        + hostile.explicit(0x00280010, b"US", struct.pack("<H", rows))
        + hostile.explicit(0x00280011, b"US", struct.pack("<H", columns))
        + hostile.explicit(0x00280100, b"US", struct.pack("<H", 16))
        + pixels
    )


def test_sequences_nested_deeper_than_the_limit_are_set_apart(node: RouteNode) -> None:
    content = hostile.film("1.2.3.900", more=nested(MAX_DEPTH + 1))
    assert hostile.store(node.port, content, "1.2.3.900") == 0
    assert "nested" in set_apart(node, "1.2.3.900")


def test_pixel_data_longer_than_the_object_are_set_apart(node: RouteNode) -> None:
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OW", 0, 300) + b"\0" * 200
    content = hostile.film("1.2.3.902", more=image(10, 10, pixels))
    assert hostile.store(node.port, content, "1.2.3.902") == 0
    assert "300 bytes of pixels follow and" in set_apart(node, "1.2.3.902")


def test_fewer_pixels_than_declared_are_set_apart(node: RouteNode) -> None:
    content = hostile.film(
        "1.2.3.903", more=image(100, 100, hostile.explicit(0x7FE00010, b"OW", b"\0" * 64))
    )
    assert hostile.store(node.port, content, "1.2.3.903") == 0
    assert "64 bytes of pixels" in set_apart(node, "1.2.3.903")


def test_an_element_that_claims_more_than_there_is_is_looked_at(node: RouteNode) -> None:
    liar = struct.pack("<HH2sHI", 0x0042, 0x0011, b"OB", 0, 200) + b"x" * 100
    content = hostile.film("1.2.3.904", more=liar)
    assert hostile.store(node.port, content, "1.2.3.904") == 0
    node.until(
        lambda: node.rows(
            "SELECT 1 FROM instances WHERE uid = '1.2.3.904' AND state != 'received'"
        ),
        "it was not looked at",
    )


def test_an_object_that_says_another_class_or_uid_of_itself_is_set_apart(node: RouteNode) -> None:
    other = hostile.film("1.2.3.905", sop_class="1.2.840.10008.5.1.4.1.1.2")
    assert hostile.store(node.port, other, "1.2.3.905") == 0
    assert "another SOP class" in set_apart(node, "1.2.3.905")
    assert hostile.store(node.port, hostile.film("1.2.3.4.5"), "1.2.3.906") == 0
    assert "another SOP instance UID" in set_apart(node, "1.2.3.906")
    assert hostile.store(node.port, hostile.film("1.2.3.907", study="../../x"), "1.2.3.907") == 0
    assert "StudyInstanceUID" in set_apart(node, "1.2.3.907")


def test_what_is_no_data_set_at_all_is_set_apart(node: RouteNode) -> None:
    for number, content in enumerate([b"", b"\0" * 4000, bytes(range(256)) * 40]):
        uid = f"1.2.3.91.{number}"
        if hostile.store(node.port, content, uid) == 0:
            assert set_apart(node, uid)


def test_the_deflated_syntax_is_not_offered_and_is_refused_over_stow(
    node: RouteNode, page: int
) -> None:
    with socket.create_connection(("127.0.0.1", node.port), 60) as caller:
        caller.sendall(hostile.association_request(syntax=DeflatedExplicitVRLittleEndian))
        accepted = hostile.answer(caller)
    # Presentation context item of the answer, its result: 0 would be acceptance (PS3.8 9.3.3.2).
    at = accepted.find(b"\x21\x00", 74)
    assert accepted[at + 6] != 0
    film = make_dataset()
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    body = b"--b\r\n\r\n" + part10(film) + b"\r\n--b--\r\n"
    answer = requests.post(
        f"http://127.0.0.1:{page}/dicom-web/studies",
        body,
        headers={"Content-Type": "multipart/related; boundary=b"},
        timeout=120,
    )
    assert answer.status_code == 409
    assert node.rows("SELECT count FROM refusals WHERE reason LIKE '%deflated%'")


def test_a_pdu_over_the_limit_ends_its_association(node: RouteNode) -> None:
    with hostile.association(node.port) as caller:
        caller.sendall(struct.pack(">BBI", 4, 0, MAX_PDU_BYTES + 1) + b"x" * 1000)
        assert hostile.answer(caller)[:1] in (b"", b"\x07")


def test_a_message_without_end_is_cut_off_at_its_limit(node: RouteNode) -> None:
    with hostile.association(node.port) as caller:
        command = hostile.store_command("1.2.3.93")
        caller.sendall(hostile.pdata(command, command=True, last=True))
        piece = hostile.pdata(b"\0" * 100_000, command=False, last=False)
        sent = 0
        with suppress(OSError):  # reset or broken pipe, as the system likes
            while sent < 200 << 20:
                caller.sendall(piece)
                sent += len(piece)
        assert sent < 64 << 20
    assert not node.rows("SELECT 1 FROM instances WHERE uid = '1.2.3.93'")


def test_garbage_instead_of_a_request_ends_the_connection(node: RouteNode) -> None:
    for content in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 64,
        b"\x01\x00\x00\x00\x00\x08" + b"\xff" * 8,
    ):
        with socket.create_connection(("127.0.0.1", node.port), 60) as caller:
            caller.sendall(content)
            assert hostile.answer(caller)[:1] in (b"", b"\x07", b"\x03")


def test_half_open_connections_and_slow_senders_keep_nobody_out_for_long(node: RouteNode) -> None:
    callers = [socket.create_connection(("127.0.0.1", node.port), 60) for _ in range(60)]
    try:
        for number, caller in enumerate(callers):
            try:
                if number % 2:
                    caller.sendall(hostile.association_request()[:40])
            except OSError:
                continue  # closed at once: too many
        began = time.monotonic()
        node.until(lambda: echoes(node.archive), "half-open connections keep others out", 120)
        assert time.monotonic() - began < 90
    finally:
        for caller in callers:
            caller.close()
    with hostile.association(node.port) as slow:
        slow.sendall(b"\x04\x00\x00\x01\x00\x00")
        dribbled = 0
        with suppress(OSError):  # the node hangs up
            while dribbled < 400:
                slow.sendall(b"\0")
                dribbled += 1
                time.sleep(0.1)
                assert echoes(node.archive)
        assert dribbled < 400, "a slow sender is heard for ever"


def test_hundreds_of_associations_leave_no_thread_and_no_socket_behind(node: RouteNode) -> None:
    pid = node.spool.holder("receive")
    assert pid is not None

    def held() -> tuple[int, int]:
        return len(list(Path(f"/proc/{pid}/task").iterdir())), len(
            list(Path(f"/proc/{pid}/fd").iterdir())
        )

    node.until(lambda: echoes(node.archive), "the node does not answer")
    for number in range(300):
        try:
            with socket.create_connection(("127.0.0.1", node.port), 60) as caller:
                caller.sendall(hostile.association_request())
                if number % 3 == 0:
                    hostile.answer(caller)
        except OSError:
            continue
    node.until(lambda: held()[0] < 40 and held()[1] < 60, f"left behind: {held()}", 120)


def test_what_was_refused_and_set_apart_is_listed(node: RouteNode) -> None:
    listed = node.json("list", "quarantined")["items"]
    assert listed
    assert all(item["reason"] for item in listed)
    assert node.json("status")["refused"]
