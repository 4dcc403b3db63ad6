"""A DICOM peer that keeps to no rule: bytes by hand over a real association."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

CR = "1.2.840.10008.5.1.4.1.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
_APPLICATION = "1.2.840.10008.3.1.1.1"
_PIECE = 16_000
Fragment = tuple[bytes, bool, bool]  # content, whether of the command, whether the last


def element(tag: int, value: bytes) -> bytes:
    """Encode an element in implicit VR, as command sets are."""
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def explicit(tag: int, vr: bytes, value: bytes) -> bytes:
    """Encode an element in explicit VR, little endian."""
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr in (b"OB", b"OW", b"SQ", b"UN", b"UT"):
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def uid(text: str) -> bytes:
    """Encode a UID, or what is none."""
    value = text.encode("latin-1")
    return value + b"\0" * (len(value) % 2)


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(content)) + content


def association_request(
    sop_class: str = CR, syntax: str = EXPLICIT, *, called: str = "RADEDIT", calling: str = "CR1"
) -> bytes:
    """Encode an A-ASSOCIATE-RQ with one presentation context (PS3.8 9.3.2)."""
    context = b"\1\0\0\0" + _item(0x30, sop_class.encode()) + _item(0x40, syntax.encode())
    user = _item(0x51, struct.pack(">I", 1 << 17)) + _item(0x52, b"1.2.3")
    items = _item(0x10, _APPLICATION.encode()) + _item(0x20, context) + _item(0x50, user)
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    content = struct.pack(">HH", 1, 0) + titles + b"\0" * 32 + items
    return struct.pack(">BBI", 1, 0, len(content)) + content


def store_command(sop_instance_uid: str, sop_class: str = CR) -> bytes:
    """Encode the command set of a C-STORE-RQ (PS3.7 table 9.3-1)."""
    elements = (
        element(0x00000002, uid(sop_class))
        + element(0x00000100, struct.pack("<H", 1))
        + element(0x00000110, struct.pack("<H", 1))
        + element(0x00000700, struct.pack("<H", 0))
        + element(0x00000800, struct.pack("<H", 0))
        + element(0x00001000, uid(sop_instance_uid))
    )
    return element(0, struct.pack("<I", len(elements))) + elements


def pdata(content: bytes, *, command: bool, last: bool) -> bytes:
    """Encode a P-DATA-TF with one fragment in context 1."""
    return pdu([(content, command, last)])


def pdu(fragments: Sequence[Fragment]) -> bytes:
    """Encode a P-DATA-TF that holds several fragments in context 1 (PS3.8 9.3.5)."""
    items = b""
    for content, command, last in fragments:
        items += struct.pack(">IBB", len(content) + 2, 1, command | last << 1) + content
    return struct.pack(">BBI", 4, 0, len(items)) + items


@contextmanager
def association(port: int, *, timeout_s: float = 60.0, **named: str) -> Iterator[socket.socket]:
    """Hold an association that was accepted; dropped without a word."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as caller:
        caller.sendall(association_request(**named))
        assert answer(caller)[0] == 2, "the association was not accepted"
        yield caller


def answer(caller: socket.socket) -> bytes:
    """Read one PDU; b"" at the end of the connection."""
    try:
        head = _exactly(caller, 6)
        return head + _exactly(caller, struct.unpack(">I", head[2:])[0]) if head else b""
    except ConnectionError:
        return b""


def _exactly(caller: socket.socket, wanted: int) -> bytes:
    content = b""
    while len(content) < wanted:
        piece = caller.recv(wanted - len(content))
        if not piece:
            return b""
        content += piece
    return content


def store(port: int, content: bytes, sop_instance_uid: str, sop_class: str = CR) -> int | None:
    """Send a data set as it is; the status, or None when the association ended instead."""
    with association(port) as caller:
        try:
            caller.sendall(
                pdata(store_command(sop_instance_uid, sop_class), command=True, last=True)
            )
            pieces = [content[i : i + _PIECE] for i in range(0, len(content), _PIECE)] or [b""]
            for number, piece in enumerate(pieces, 1):
                caller.sendall(pdata(piece, command=False, last=number == len(pieces)))
        except ConnectionError:
            return None
        return status(answer(caller))


def status(pdu: bytes) -> int | None:
    """Find the status (0000,0900) in an answer."""
    if not pdu or pdu[0] != 4:
        return None
    at = pdu.find(b"\x00\x00\x00\x09\x02\x00\x00\x00")
    return None if at < 0 else int(struct.unpack("<H", pdu[at + 8 : at + 10])[0])


def film(
    sop_instance_uid: str = "1.2.3.4", *, sop_class: str = CR, study: str = "1.2", more: bytes = b""
) -> bytes:
    """Encode a small data set; `more` stands behind its UIDs, in the order of tags."""
    return (
        explicit(0x00080016, b"UI", uid(sop_class))
        + explicit(0x00080018, b"UI", uid(sop_instance_uid))
        + explicit(0x00080060, b"CS", b"CR")
        + explicit(0x0020000D, b"UI", uid(study))
        + explicit(0x0020000E, b"UI", uid("1.2.3"))
        + more
    )
