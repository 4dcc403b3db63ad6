"""The data set of a C-STORE request past pynetdicom, beside pynetdicom's own way with it."""

from __future__ import annotations

import socket
import sqlite3
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import hostile
import pytest
from hostile import Fragment, pdu
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu import P_DATA_TF

from radedit_dicom.readback import part10
from radedit_dicom.router.bounded_socket import Bounds
from radedit_dicom.router.upper_layer import Fragments

STORED, NO_ROOM, OTHER_CLASS, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
FILM = hostile.film()


def command(uid: str) -> Fragment:
    return hostile.store_command(uid), True, True


def cut_at(content: bytes, lengths: Sequence[int]) -> list[bytes]:
    pieces, at = list[bytes](), 0
    for length in lengths:
        pieces.append(content[at : at + length])
        at += length
    return [*pieces, content[at:]]


def read(stream: bytes, lengths: Sequence[int]) -> tuple[bytes, Fragments, bytes]:
    """Give what is found in a stream that comes in pieces, and what is left of it."""
    fragments, found, held = Fragments(1), b"", b""
    for piece in cut_at(stream, lengths):
        held += piece
        if fragments.is_whole or fragments.is_interrupted:
            continue
        pieces, used = fragments.cut(memoryview(held))
        found += b"".join(pieces)
        held = held[used:]
    return found, fragments, held


def read_by_pynetdicom(stream: bytes) -> bytes | None:
    """Give the data set as pynetdicom reads it, None where it waits for more of it."""
    message = DIMSEMessage()
    while stream:
        decoded, length = P_DATA_TF(), 6 + struct.unpack(">xxI", stream[:6])[0]
        decoded.decode(stream[:length])
        stream = stream[length:]
        if message.decode_msg(decoded.to_primitive()):
            assert message.data_set is not None
            return message.data_set.getvalue()
    return None


LENGTHS = st.lists(st.integers(1, 40), max_size=30)


@given(st.binary(max_size=300), LENGTHS, LENGTHS, LENGTHS, st.binary(max_size=30))
def test_a_data_set_is_found_however_sender_and_network_cut_it(
    content: bytes, fragments: list[int], pdus: list[int], network: list[int], behind: bytes
) -> None:
    pieces = cut_at(content, fragments)
    marked = [(p, False, n == len(pieces)) for n, p in enumerate(pieces, 1)]
    stream = b""
    for many in pdus:
        stream, marked = stream + (pdu(marked[:many]) if marked else b""), marked[many:]
    stream += pdu(marked) if marked else b""
    found, state, left = read(stream + behind, network)
    assert state.is_whole
    assert found == content == read_by_pynetdicom(stream)
    assert (left, state.pdu_left) == (behind, 0)


@given(st.binary(min_size=1, max_size=200), LENGTHS, LENGTHS, st.data())
def test_a_data_set_that_is_cut_off_is_never_whole(
    content: bytes, fragments: list[int], network: list[int], data: st.DataObject
) -> None:
    pieces = cut_at(content, fragments)
    stream = b"".join(
        hostile.pdata(p, command=False, last=n == len(pieces)) for n, p in enumerate(pieces, 1)
    )
    cut = data.draw(st.integers(0, len(stream) - 1))
    found, state, _ = read(stream[:cut], network)
    assert not state.is_whole
    assert content.startswith(found)


@given(st.binary(max_size=100), LENGTHS)
def test_what_comes_behind_the_last_fragment_in_its_pdu_is_left(
    content: bytes, network: list[int]
) -> None:
    command = hostile.store_command("1.2.3.5")
    found, state, left = read(pdu([(content, False, True), (command, True, True)]), network)
    assert state.is_whole
    assert found == content
    assert state.pdu_left == len(left) == 6 + len(command)


@pytest.mark.parametrize(
    "stream",
    [
        pdu([(b"of the command", True, False)]),
        hostile.pdata(b"", command=False, last=True)[:-2] + b"\3\2",  # another context
        struct.pack(">BBI", 4, 0, 5) + b"12345",
        struct.pack(">BBI", 4, 0, (1 << 17) + 1),
        struct.pack(">BBIIBB", 4, 0, 6, 1, 1, 0),
        struct.pack(">BBIIBB", 4, 0, 6, 3, 1, 0),
        struct.pack(">BBIIBB", 4, 0, 10, 3, 1, 0) + b"1234",
    ],
)
def test_what_breaks_the_protocol_is_an_error(stream: bytes) -> None:
    with pytest.raises(ValueError, match=r"fragment|PDU"):
        read(stream, [])


def test_a_pdu_of_another_type_interrupts() -> None:
    abort = struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 0, 0)
    found, state, left = read(hostile.pdata(b"half", command=False, last=False) + abort, [3])
    assert (found, state.is_interrupted, left) == (b"half", True, abort)


def kept(node: Any) -> dict[str, bytes]:
    """Read what the node keeps: the data set of each object."""
    rows = node.journal.rows("SELECT uid, file, bytes FROM instances")
    return {r["uid"]: (node.spool.folder / r["file"]).read_bytes()[-r["bytes"] :] for r in rows}


def test_fragments_of_several_messages_within_one_pdu_are_told_apart(
    make_node: Callable[..., Any],
) -> None:
    node = make_node()
    films = {f"1.2.3.{n}": hostile.film(f"1.2.3.{n}", study="1." * n + "1") for n in range(4)}
    uids = list(films)
    first, second, third, fourth = films.values()
    stream = (
        pdu([command(uids[0]), (first[:7], False, False)])
        + pdu([(first[7:50], False, False), (first[50:], False, True), command(uids[1])])
        + pdu([(second, False, True), command(uids[2]), (third, False, True)])
        + pdu([(hostile.store_command(uids[3])[:9], True, False)])
        + pdu([(hostile.store_command(uids[3])[9:], True, True), (b"", False, False)])
        + pdu([(fourth, False, False)])
        + pdu([(b"", False, True)])
    )
    with hostile.association(node.receiver.port) as caller:
        caller.sendall(stream)
        assert [hostile.status(hostile.answer(caller)) for _ in films] == [STORED] * 4
    assert kept(node) == films


def test_a_stream_that_comes_byte_by_byte_is_kept(make_node: Callable[..., Any]) -> None:
    node = make_node()
    stream = pdu([command("1.2.3.4")]) + pdu([(FILM[:99], False, False), (FILM[99:], False, True)])
    with hostile.association(node.receiver.port) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(stream)):
            caller.sendall(stream[at : at + 1])
        assert hostile.status(hostile.answer(caller)) == STORED
    assert kept(node) == {"1.2.3.4": FILM}


@pytest.mark.parametrize(
    "then",
    [
        b"",  # hangs up
        pdu([(b"\0" * 8, True, False)]),
        struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 0, 0),  # A-ABORT
        struct.pack(">BBII", 5, 0, 4, 0),  # A-RELEASE-RQ
        struct.pack(">BBI", 9, 0, 4),  # of no type
        pdu([(FILM, False, False)])[:-1],
    ],
)
def test_a_data_set_that_is_not_whole_leaves_nothing_behind(
    make_node: Callable[..., Any], then: bytes
) -> None:
    node = make_node(bounds=Bounds(idle_s=2.0, pdu_s=1.0))
    with hostile.association(node.receiver.port) as caller:
        caller.sendall(pdu([command("1.2.3.4")]) + pdu([(FILM, False, False)]) + then)
        if then:
            while hostile.answer(caller):
                pass
    node.archive.echo()
    for _ in range(100):
        if not node.files():
            break
        node.archive.echo()
    assert node.files() == []
    assert node.states() == {}


def test_when_the_room_runs_out_midway_the_rest_is_swallowed_and_the_association_goes_on(
    make_node: Callable[..., Any],
) -> None:
    looks: list[int] = []

    def free() -> int:
        looks.append(1)
        return 0 if len(looks) > 2 else 1 << 30

    node = make_node(free=free, reserve_bytes=1)
    piece = b"\0" * 65_536
    with hostile.association(node.receiver.port) as caller:
        caller.sendall(pdu([command("1.2.3.4")]))
        for number in range(320):  # 20 MiB
            caller.sendall(pdu([(piece, False, number == 319)]))
        assert hostile.status(hostile.answer(caller)) == NO_ROOM
        assert node.files() == []
        looks.clear()
        caller.sendall(pdu([command("1.2.3.5")]) + pdu([(FILM, False, True)]))
        assert hostile.status(hostile.answer(caller)) == STORED
    assert kept(node) == {"1.2.3.5": FILM}


def test_memory_does_not_grow_with_the_object(
    make_node: Callable[..., Any], make_dataset: Callable[..., Any], tmp_path: Path
) -> None:
    """A large object goes to disk as it comes; the process holds a buffer of it."""
    import tracemalloc

    node = make_node()
    large = part10(make_dataset())[-1000:] * 40_000  # 40 MB
    piece = 120_000
    tracemalloc.start()
    try:
        with hostile.association(node.receiver.port) as caller:
            caller.sendall(pdu([command("1.2.3.4")]))
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            for at in range(0, len(large), piece):
                last = at + piece >= len(large)
                caller.sendall(pdu([(large[at : at + piece], False, last)]))
            assert hostile.status(hostile.answer(caller)) == STORED
            grown = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert kept(node) == {"1.2.3.4": large}
    assert grown < 4_000_000


def test_a_data_set_may_take_longer_than_a_caller_may_be_silent(
    make_node: Callable[..., Any],
) -> None:
    node = make_node(bounds=Bounds(idle_s=1.0))
    with hostile.association(node.receiver.port) as caller:
        caller.sendall(pdu([command("1.2.3.4")]))
        for number in range(100):  # 2 s, without a pause
            time.sleep(0.02)
            caller.sendall(pdu([(b"\0" * 500, False, number == 99)]))
        assert hostile.status(hostile.answer(caller)) == STORED
    assert kept(node) == {"1.2.3.4": b"\0" * 50_000}


@pytest.mark.parametrize(
    "stream",
    [
        pdu([(b"of another object", False, False)])
        + pdu([command("1.2.3.4")])
        + pdu([(FILM, False, True)]),
        pdu([command("1.2.3.5"), (b"of another object", False, False), command("1.2.3.4")])
        + pdu([(FILM, False, True)]),
        pdu([command("1.2.3.5"), command("1.2.3.4")]) + pdu([(FILM, False, True)]),
    ],
)
def test_fragments_out_of_order_end_the_association(
    make_node: Callable[..., Any], stream: bytes
) -> None:
    node = make_node()
    with hostile.association(node.receiver.port) as caller:
        caller.sendall(stream)
        assert hostile.status(hostile.answer(caller)) is None
    node.archive.echo()
    assert node.states() == {}
    assert node.files() == []


@pytest.mark.parametrize("other", ["1.2.840.10008.1.1", "1.2.840.10008.1.20.1", "1.2.3.4.5", ""])
def test_a_request_of_a_class_that_is_none_of_storage_is_refused_and_leaves_nothing(
    make_node: Callable[..., Any], other: str
) -> None:
    node = make_node()
    assert hostile.store(node.receiver.port, FILM, "1.2.3.4", other) == OTHER_CLASS
    assert node.files() == []


@pytest.mark.parametrize("flagged", [True, False])
def test_a_request_without_a_data_set_is_refused_and_its_uid_stays_free(
    make_node: Callable[..., Any], flagged: bool
) -> None:
    node = make_node()
    asked = hostile.store_command("1.2.3.4")
    if flagged:  # CommandDataSetType: there is none
        head = hostile.element(0x00000800, b"")[:4] + struct.pack("<I", 2)
        asked = asked.replace(head + b"\0\0", head + b"\1\1")
    with hostile.association(node.receiver.port) as caller:
        caller.sendall(pdu([(asked, True, True)]) + (b"" if flagged else pdu([(b"", False, True)])))
        assert hostile.status(hostile.answer(caller)) == CANNOT_UNDERSTAND
        assert node.files() == []
        caller.sendall(pdu([command("1.2.3.4")]) + pdu([(FILM, False, True)]))
        assert hostile.status(hostile.answer(caller)) == STORED


def test_who_sends_ahead_of_the_answers_is_read_no_further_and_keeps_to_his_bounds(
    make_node: Callable[..., Any],
) -> None:
    node = make_node(bounds=Bounds(object_bytes=200_000))
    small = b"".join(
        pdu([command(f"1.2.3.{n}"), (hostile.film(f"1.2.3.{n}"), False, True)]) for n in range(60)
    )
    opened: list[int] = []

    def count() -> int:
        parts = [p for p in node.files() if p.name.startswith(".part-")]
        opened.append(len(parts))
        return 1 << 40

    node.intake._free = count
    with hostile.association(node.receiver.port) as caller:
        caller.sendall(small)
        assert [hostile.status(hostile.answer(caller)) for _ in range(60)] == [STORED] * 60
        assert 0 < max(opened) <= 5
        caller.sendall(small.replace(b"1.2.3.", b"1.2.4.") + pdu([command("1.2.5.1")]))
        with suppress(ConnectionError):
            for _ in range(10):
                caller.sendall(pdu([(b"\0" * 60_000, False, False)]))
        while hostile.answer(caller):
            pass
    assert "1.2.5.1" not in node.states()


def test_however_an_association_ends_its_bytes_are_no_longer_counted(
    make_node: Callable[..., Any],
) -> None:
    bounds = Bounds(associate_s=0.5, pdu_s=2.0, idle_s=2.0)
    node = make_node(bounds=bounds)
    request = hostile.association_request()
    with socket.create_connection(("127.0.0.1", node.receiver.port), 60) as caller:
        caller.sendall(request[:20])  # half a request, then silence
        begun = time.monotonic()
        assert hostile.answer(caller) == b""
        assert time.monotonic() - begun < 10
    with hostile.association(node.receiver.port) as caller:
        caller.sendall(pdu([(b"\xff" * 50_000, True, False)]) + pdu([(b"\xff" * 9, True, True)]))
        while hostile.answer(caller):
            pass
    with hostile.association(node.receiver.port) as caller:
        caller.sendall(pdu([command("1.2.3.4")]) + pdu([(FILM, False, False)]))
    for _ in range(200):
        if bounds._held == 0:
            break
        time.sleep(0.05)
    assert bounds._held == 0
    assert node.files() == []


def test_a_report_that_waits_for_its_answer_is_woken_when_the_caller_aborts(
    make_node: Callable[..., Any],
) -> None:
    """Who waits is woken with an empty message by pynetdicom, which must not be thrown away."""
    node = make_node()
    woken: list[object] = []
    with hostile.association(node.receiver.port) as caller:
        (association,) = node.receiver._listener.active_associations
        waiting = threading.Thread(
            target=lambda: woken.append(association.dimse.get_msg(block=True)), daemon=True
        )
        association._reactor_checkpoint.clear()  # as `send_n_event_report` does
        while not association._is_paused:
            time.sleep(0.01)
        waiting.start()
        caller.sendall(struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 0, 0))
        waiting.join(20)
        association._reactor_checkpoint.set()
    assert woken == [(None, None)]


def test_a_commit_that_fails_leaves_no_file_unless_it_may_have_been_one(
    make_node: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = make_node()
    journalled = node.journal.change

    def broken(*, committed: bool) -> Callable[[], AbstractContextManager[Any]]:
        error = sqlite3.OperationalError("disk I/O error")

        @contextmanager
        def change() -> Iterator[Any]:
            with journalled() as inner:
                yield inner
                if not committed:
                    raise error
            raise error

        return change

    monkeypatch.setattr(node.journal, "change", broken(committed=False))
    assert hostile.store(node.receiver.port, FILM, "1.2.3.4") == NO_ROOM
    assert node.files() == []
    monkeypatch.setattr(node.journal, "change", broken(committed=True))
    assert hostile.store(node.receiver.port, FILM, "1.2.3.4") == NO_ROOM
    monkeypatch.undo()
    assert kept(node) == {"1.2.3.4": FILM}
    assert hostile.store(node.receiver.port, FILM, "1.2.3.4") == STORED
