"""Every error `radedit_dicom` raises on purpose.

DicomError
    The one type an outermost edge needs to catch. Its text is one sentence for a person:
    what was found, what was expected, what to do. It never holds patient data.

    NotDicomError           the bytes are no readable DICOM Part 10 object (REST: 400)
    UnsupportedImageError   a DICOM object, but not one frontal greyscale chest film (422)
    AlreadySyntheticError   the film says of itself that it is synthetic (409)
    SegmentNotFoundError    a segmentation holds no segment of that name (404)
    ConformanceError        an object to be written breaks the standard or our rules (500)
    ArchiveError            an archive refused, lost or altered an object (502)
    ProvenanceError         the record of an edit is missing or contradicts itself (409)
"""

from __future__ import annotations


class DicomError(Exception):
    """Base of the tree; `http_status` is what a REST edge answers."""

    http_status = 500


class NotDicomError(DicomError):
    """The bytes are no readable DICOM Part 10 object."""

    http_status = 400


class UnsupportedImageError(DicomError):
    """A DICOM object, but not one frontal greyscale chest film that can be decoded."""

    http_status = 422


class AlreadySyntheticError(DicomError):
    """The film says of itself that it is synthetic."""

    http_status = 409


class SegmentNotFoundError(DicomError):
    """A segmentation holds no segment of that label or code."""

    http_status = 404


class ConformanceError(DicomError):
    """An object to be written breaks the standard or our own rules."""

    http_status = 500


class ArchiveError(DicomError):
    """An archive refused, lost or altered an object."""

    http_status = 502


class ProvenanceError(DicomError):
    """The record of an edit is missing or contradicts itself."""

    http_status = 409
