"""The data set of a C-STORE request, from the socket to where it is kept, past pynetdicom.

pynetdicom copies every PDU five times on its way through two queues: two thirds of what receiving
costs. Here it still speaks the protocol and reads the command; the fragments of the data set that
follows never meet it but for the last, which it gets empty. See docs/adr/0024.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from io import BytesIO
from typing import Any, Protocol, cast

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from radedit_dicom.router.bounded_socket import MAX_PDU_BYTES, BoundedSocket

_PDU = struct.Struct(">BxL")  # PS3.8 table 9-22: type, length of what follows
_PDV = struct.Struct(">LBB")  # length of what follows it, context, message control header
_P_DATA = 4
_COMMAND, _LAST = 1, 2  # bits of the message control header, PS3.8 E.2
_BUFFER = 1 << 18
_LOOK_S = 0.05  # so long a sender's silence keeps the layer from its other work
_TRANSFER, _INVALID = "Sta6", "Evt19"  # PS3.8 table 9-10: data transfer; an invalid PDU
_AHEAD = 2  # messages that wait for an answer while more is read


class Sink(Protocol):
    """Where a data set goes."""

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Take pieces, which are gone when this returns; raise nothing."""

    def discard(self) -> None:
        """Forget what came; nothing if it is kept already."""


Begin = Callable[[Association, Any, PresentationContext], Sink]
"""Opens a sink: for an association, the command of a C-STORE request, and its context."""


class Received(BytesIO):
    """A data set as pynetdicom is given it: without content, which is in the sink.

    Attributes
    ----------
    sink : Sink
    """

    def __init__(self, sink: Sink) -> None:
        super().__init__()
        self.sink = sink

    def __del__(self) -> None:
        """Discard what no handler has asked for: pynetdicom answers some requests by itself."""
        self.sink.discard()

    def write(self, content: Any) -> int:
        """Pass on what pynetdicom itself has read of the data set."""
        self.sink.write([content])
        return len(content)


class Fragments:
    """Finds one data set in a stream of P-DATA-TF PDUs (PS3.8 9.3.5 and E.2).

    Parameters
    ----------
    context : int
        The id of its presentation context.

    Attributes
    ----------
    is_whole : bool
        The last fragment is complete.
    is_interrupted : bool
        A PDU of another type comes next.
    pdu_left : int
        Bytes to come of the PDU that has begun; 0 between two.
    pdus : int
        So many have begun.
    """

    def __init__(self, context: int) -> None:
        self._context = context
        self.is_whole = self.is_interrupted = False
        self.pdu_left = self._pdv_left = self.pdus = 0
        self._is_last = False

    def cut(self, content: memoryview) -> tuple[list[memoryview], int]:
        """Cut the pieces of the data set out of what came.

        Parameters
        ----------
        content : memoryview of bytes
            What follows on what was used before.

        Returns
        -------
        list of memoryview
            Parts of `content`.
        int
            So many bytes were used; the others belong to something else if `is_whole` or
            `is_interrupted`, and else they are the beginning of a header.

        Raises
        ------
        ValueError
            It breaks the protocol.
        """
        pieces, at, end = list[memoryview](), 0, len(content)
        while True:
            if self._pdv_left and at < end:
                piece = content[at : at + self._pdv_left]
                at += len(piece)
                self.pdu_left -= len(piece)
                self._pdv_left -= len(piece)
                pieces.append(piece)
            if self._is_last and not self._pdv_left:
                self.is_whole = True
            elif self.pdu_left and not self._pdv_left and end - at >= _PDV.size:
                self._open_pdv(*_PDV.unpack_from(content, at))
                at += _PDV.size
                continue
            elif not self.pdu_left and end - at >= _PDU.size:
                self._open_pdu(*_PDU.unpack_from(content, at))
                if not self.is_interrupted:
                    at += _PDU.size
                    continue
            return pieces, at

    def _open_pdu(self, kind: int, length: int) -> None:
        if kind != _P_DATA:
            self.is_interrupted = True
            return
        if not _PDV.size <= length <= MAX_PDU_BYTES:
            raise ValueError("the length of a PDU is not what was agreed")
        self.pdu_left, self.pdus = length, self.pdus + 1

    def _open_pdv(self, length: int, context: int, control: int) -> None:
        self._pdv_left, self._is_last = length - 2, bool(control & _LAST)
        self.pdu_left -= _PDV.size
        if self._pdv_left < 0 or self._pdv_left > self.pdu_left:
            raise ValueError("a fragment is not within its PDU")
        if 0 < self.pdu_left - self._pdv_left < _PDV.size:
            raise ValueError("a PDU ends within a header")
        if context != self._context or control & _COMMAND:
            raise ValueError("a fragment is of another message")


class Messages(DIMSEServiceProvider):
    """Makes messages of fragments, one fragment after the other and in their order.

    Parameters
    ----------
    assoc : pynetdicom.association.Association
    begin : callable
        Opens the sink of a data set.
    """

    def __init__(self, assoc: Association, begin: Begin) -> None:
        super().__init__(assoc)
        self._begin = begin

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take the fragments of a PDU; one that is out of order ends the association."""
        for context, value in primitive.presentation_data_value_list:
            message: Any = self.message
            commanded = isinstance(message, DIMSEMessage) and type(message) is not DIMSEMessage
            is_other = commanded and context != message.context_id
            if not value or is_other or bool(value[0] & _COMMAND) == commanded:
                self.dul.event_queue.put(_INVALID)
                return
            part = P_DATA()
            part.presentation_data_value_list = [[context, value]]  # type: ignore[list-item]
            try:
                super().receive_primitive(part)
            except Exception:  # whatever pydicom raises on a stranger's command
                self.dul.event_queue.put(_INVALID)
                return
            if self.message is None:
                cast(BoundedSocket, self.dul.socket).served()
            elif isinstance(self.message, C_STORE_RQ) and not commanded:
                self._open_sink(self.message)

    def _open_sink(self, message: Any) -> None:
        context = self.assoc._accepted_cx.get(message.context_id)
        if context is not None:
            message.data_set = Received(self._begin(self.assoc, message.command_set, context))
            # pynetdicom chooses by the class who answers; that shall always be the Storage SCP.
            message.command_set.AffectedSOPClassUID = context.abstract_syntax


class UpperLayer(DULServiceProvider):
    """The upper layer of one association, which has `Messages`."""

    socket: Any

    @cached_property
    def _buffer(self) -> memoryview:
        return memoryview(bytearray(_BUFFER))

    def run_reactor(self) -> None:
        """Serve until the association ends; then forget what nobody will answer."""
        try:
            super().run_reactor()
        finally:
            dimse = self.assoc.dimse
            dimse.message = None
            dimse.msg_queue.queue.clear()
            dimse.msg_queue.put((None, None))  # for who waits for a message
            if self.socket is not None:
                self.socket.served()

    def _is_transport_event(self) -> bool:
        """Read on, unless the messages that have come are not yet answered."""
        is_behind = self.assoc.dimse.msg_queue.qsize() >= _AHEAD
        if is_behind and self.state_machine.current_state == _TRANSFER:
            self._idle_timer.restart()
            return False
        return super()._is_transport_event()

    def _read_pdu_data(self) -> None:
        expected = self._expected()
        if expected is None:
            return super()._read_pdu_data()
        context, sink = expected
        fragments = Fragments(context)
        try:
            self._pass_on(fragments, sink)
        except OSError:
            self.event_queue.put("Evt17")  # the connection is lost
        except ValueError:
            self.event_queue.put(_INVALID)
        else:
            if fragments.is_whole:
                last = _PDU.pack(_P_DATA, _PDV.size) + _PDV.pack(2, context, _LAST)
                pdu, event = self._decode_pdu(bytearray(last))
                self._recv_pdu.put(pdu)
                self.event_queue.put(event)
            elif fragments.is_interrupted:
                super()._read_pdu_data()
        return None

    def _expected(self) -> tuple[int, Sink] | None:
        """Give the context and the sink of the data set of which fragments come next."""
        message: Any = self.assoc.dimse.message
        if (
            message is None
            or not isinstance(message.data_set, Received)
            or self.state_machine.current_state != _TRANSFER
            or not self.event_queue.empty()
        ):
            return None
        return message.context_id, message.data_set.sink

    def _pass_on(self, fragments: Fragments, sink: Sink) -> None:
        """Pass fragments on until the data set is whole, or there is something else to do.

        Raises
        ------
        OSError
            The connection is lost, or a bound is reached.
        ValueError
            What came breaks the protocol.
        """
        held: BoundedSocket = self.socket
        buffer, filled, begun = self._buffer, 0, time.monotonic()
        while not (fragments.is_whole or fragments.is_interrupted):
            if not filled and not fragments.pdu_left:
                if self._kill_thread or self.to_provider_queue.queue or not held.wait(_LOOK_S):
                    return
                begun = time.monotonic()
            count = held.recv_some(buffer[filled:], begun)
            self._idle_timer.restart()
            if not count:
                raise OSError("the caller hung up")
            filled, pdus = filled + count, fragments.pdus
            pieces, used = fragments.cut(buffer[:filled])
            if fragments.pdus > pdus:
                begun = time.monotonic()
            if pieces:
                sink.write(pieces)
            filled -= used
            buffer[:filled] = buffer[used : used + filled]
        left = bytes(buffer[:filled])
        if fragments.pdu_left:  # what else was in the PDU, as one of its own
            left = _PDU.pack(_P_DATA, fragments.pdu_left) + left
        held.unread(left)
