"""What the router refuses, in one sentence without patient data."""

from __future__ import annotations

from textwrap import shorten

from radedit_dicom.errors import DicomError

#: C-STORE statuses (PS3.4 table B.2-1): failures all, since a sender may take a warning for stored.
#: So it is not 0x0111 (PS3.7 C.4.2) for another object under a known UID: Orthanc passes over that.
OUT_OF_RESOURCES, CANNOT_UNDERSTAND, DUPLICATE = 0xA700, 0xC000, 0xC111
_COMMENT = 64  # characters of an Error Comment (0000,0902)


class RouteError(DicomError):
    """A route's file, spool or journal is not as it must be, or a command names nothing there."""

    http_status = 409


class RefusedError(DicomError):
    """An object that is not taken in.

    Attributes
    ----------
    status : int
        The C-STORE status to answer.
    """

    http_status = 409

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def comment(self) -> str:
        """The beginning of the sentence, as long as an Error Comment may be (PS3.7 table E.1-1)."""
        return shorten(str(self).encode("ascii", "replace").decode(), _COMMENT, placeholder="...")
