"""What an archive sends us by itself: objects that were asked for, reports that are awaited."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from socketserver import BaseServer

from pydicom.uid import (
    JPEG2000,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import evt
from pynetdicom.events import Event, EventHandlerType
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.sop_class import StorageCommitmentPushModel  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from radedit_dicom.dimse_address import DimseAddress
from radedit_dicom.dimse_association import application_entity
from radedit_dicom.errors import ArchiveError

#: What we read and write; other classes are proposed when an object of one is asked for.
STORAGE_CLASSES = (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
)
#: All that can be read here; no deflate, which can hide very large data.
RECEIVED_SYNTAXES = (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)
_HANDSHAKE_S = 10.0
_POLL_S = 0.02
_SUCCESS, _NOT_AUTHORISED = 0x0000, 0x0124


class Receiver:
    """Takes in the one object that is asked for, up to a size, and refuses every other.

    Parameters
    ----------
    limit_bytes : int
        More than this for one object ends the association. It is counted by PDUs: on an
        association that the archive opened, pynetdicom reads each one whole, as long as it says.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.too_large = False
        self._wanted = ""
        self._content: bytes | None = None
        self._counted = 0
        self._lock = threading.Lock()

    def expect(self, sop_instance_uid: str) -> None:
        """Wait for this object from now on."""
        with self._lock:
            self._wanted, self._content, self._counted = sop_instance_uid, None, 0

    def taken(self) -> bytes | None:
        """Give the Part 10 bytes of the object, undecoded as they came; None while it is not here.

        Nothing is accepted behind it until `expect` is called again.
        """
        with self._lock:
            if self._content is not None:
                self._wanted = ""
            return self._content

    def handlers(self) -> list[EventHandlerType]:
        """List what to bind to an association on which objects come."""
        return [(evt.EVT_C_STORE, self._store), (evt.EVT_DATA_RECV, self._count)]

    def _store(self, event: Event) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)  # type: ignore[union-attr]
        with self._lock:
            if uid != self._wanted or self._content is not None:
                return _NOT_AUTHORISED
            self._content = event.encoded_dataset()
        return _SUCCESS

    def _count(self, event: Event) -> None:
        with self._lock:
            self._counted += len(event.data)
            if not self._wanted or self._counted <= self.limit_bytes:
                return
            self.too_large = True
        # As if the line were cut: an abort would leave who waits for the object waiting.
        if held := event.assoc.dul.socket:
            held.close()


def received_contexts(classes: Sequence[str]) -> list[PresentationContext]:
    """Propose each class in each syntax by itself, so that the archive need not transcode."""
    return [build_context(c, syntax) for c in classes for syntax in RECEIVED_SYNTAXES]


class _Server(ThreadedAssociationServer):
    """A server on which one caller that says nothing cannot keep the others out."""

    callers: tuple[socket.socket, ...] = ()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        assert self.socket is not None
        caller, where = self.socket.accept()
        caller.settimeout(_HANDSHAKE_S)
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.ssl_context:
            caller = self.ssl_context.wrap_socket(caller, server_side=True)
        caller.settimeout(None)
        self.callers += (caller,)
        return caller, where

    def end(self) -> None:
        """Stop, and close what pynetdicom leaves open of callers that hung up first."""
        BaseServer.shutdown(self)
        self.server_close()
        self.ae.shutdown()
        for caller in self.callers:
            caller.close()


@contextmanager
def listening(
    address: DimseAddress, handlers: Sequence[EventHandlerType], classes: Sequence[str] = ()
) -> Iterator[None]:
    """Let the archive call us at `address.move_port`, and nobody else, for a while.

    Parameters
    ----------
    address : DimseAddress
        With a ``move_port``. The caller must use the archive's AE title and ours, and with TLS
        show a certificate that the CA vouches for.
    handlers : sequence of (event, callable)
    classes : sequence of str
        SOP classes of objects that may come, beside reports of storage commitment.

    Raises
    ------
    ArchiveError
        The port cannot be listened on.
    """
    assert address.move_port is not None
    entity = application_entity(address)
    entity.require_called_aet = True
    entity.require_calling_aet = [address.called_ae_title]
    for storage_class in classes:
        entity.add_supported_context(storage_class, list(RECEIVED_SYNTAXES))
    entity.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    secure = address.tls.server() if address.tls else None
    try:
        server = entity.make_server(
            (address.move_host, address.move_port),
            ssl_context=secure,
            evt_handlers=list(handlers),
            server_class=_Server,
        )
    except OSError as error:
        raise ArchiveError(
            f"Port {address.move_port} of {address.move_host}, where the archive is to call us, "
            f"cannot be listened on ({error.strerror}); end what uses it, or choose another."
        ) from None
    assert isinstance(server, _Server)
    thread = threading.Thread(target=server.serve_forever, args=(_POLL_S,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.end()
        thread.join()
