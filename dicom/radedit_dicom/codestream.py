"""Inside a compressed frame: its size, and two deviations that viewers read and decoders do not."""

from __future__ import annotations

import struct
from collections.abc import Iterator

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"  # JPEG 2000 calls the second EOC
_SOF_SEQUENTIAL = (0xFFC0, 0xFFC1)
_SOS, _SOT, _COM = 0xFFDA, 0xFF90, b"\xff\x64"
_LAST_COEFFICIENT = 63


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns as a JPEG, JPEG-LS or JPEG 2000 codestream declares them.

    Source: ISO/IEC 10918-1 B.2.2 (SOFn), 14495-1 C.2.2 (SOF55), 15444-1 A.5.1 (SIZ). None
    for anything else (RLE, whose output is bounded by the header).

    Raises
    ------
    ValueError, IndexError, struct.error
        It ends before it says so.
    """
    start = frame.find(b"\xff\x4f\xff\x51")
    if start >= 0 and (start == 0 or frame[4:8] == b"jP  "):
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return bottom - top, right - left
    if not frame.startswith(_SOI):
        return None
    for marker, position in _segments(frame):
        is_sof = 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC)
        if is_sof or marker == 0xFFF7:
            rows, columns = struct.unpack_from(">HH", frame, position + 5)
            return rows, columns
    raise ValueError("no frame header")


def mended(frame: bytes) -> bytes:
    """Give a frame as decoders want it; the same where there is nothing to mend.

    Two deviations of real devices, neither of which holds a coefficient:

    - A sequential JPEG whose scan says that it ends with coefficient 0. It has to say 63
      (ISO/IEC 10918-1 B.2.3), and holds all of them.
    - A JPEG 2000 with comments behind its last tile-part (15444-1 A.4.2 ends it there).

    Raises
    ------
    ValueError, IndexError, struct.error
        As `codestream_size`.
    """
    if frame.startswith(_SOI):
        return _with_whole_scan(frame)
    if frame.startswith(b"\xff\x4f\xff\x51"):
        return _without_late_comments(frame)
    return frame


def _segments(frame: bytes) -> Iterator[tuple[int, int]]:
    """Give the marker segments of a JPEG up to its first scan: marker, and where it begins."""
    position = 2
    while True:
        while frame[position] == 0xFF and frame[position + 1] == 0xFF:
            position += 1
        marker, length = struct.unpack_from(">HH", frame, position)
        if marker < 0xFF01:
            raise ValueError("no marker")
        yield marker, position
        if marker == _SOS:
            return
        position += 2 + length


def _with_whole_scan(frame: bytes) -> bytes:
    is_sequential = False
    for marker, position in _segments(frame):
        is_sequential |= marker in _SOF_SEQUENTIAL
        if marker == _SOS and is_sequential:
            at = position + 5 + 2 * frame[position + 4]  # Ss and Se, behind the components
            if frame[at : at + 2] == b"\0\0":
                return frame[: at + 1] + bytes([_LAST_COEFFICIENT]) + frame[at + 2 :]
    return frame


def _without_late_comments(frame: bytes) -> bytes:
    position = 2
    while (found := struct.unpack_from(">HH", frame, position))[0] != _SOT:
        position += 2 + found[1]  # of the main header
    while frame[position : position + 2] == struct.pack(">H", _SOT):
        (length,) = struct.unpack_from(">I", frame, position + 6)
        if length == 0:  # up to the end
            return frame
        position += length
    end = position
    while frame[end : end + 2] == _COM:
        end += 2 + struct.unpack_from(">H", frame, end + 2)[0]
    return frame[:position] + frame[end:]
