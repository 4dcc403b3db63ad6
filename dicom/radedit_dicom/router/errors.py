"""What the router refuses, in one sentence without patient data."""

from __future__ import annotations

from radedit_dicom.errors import DicomError

#: C-STORE statuses (PS3.4 table B.2-1, PS3.7 annex C).
OUT_OF_RESOURCES, CANNOT_UNDERSTAND, DUPLICATE = 0xA700, 0xC000, 0x0111


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
