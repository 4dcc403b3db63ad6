"""The record of an edit wherever it is left: in the private block, else in the report.

De-identification takes private attributes and gives new UIDs. The report's text and its
references, which are renamed alike, still say which objects belong to the edit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage

from radedit_dicom import vocabulary as words
from radedit_dicom.errors import ProvenanceError
from radedit_dicom.provenance import Provenance, read_private

#: SOP class to kind of the objects of an edit: edited image, masks and report.
CLASSES: Mapping[str, str] = {
    SecondaryCaptureImageStorage: "sc",
    SegmentationStorage: "seg",
    Comprehensive3DSRStorage: "sr",
}


def read_record(dataset: Dataset) -> Provenance:
    """Read the record of an edit from one of its objects.

    Raises
    ------
    ProvenanceError
        The object holds none that is intact.
    """
    try:
        return read_private(dataset)
    except ProvenanceError:
        if CLASSES.get(dataset.get("SOPClassUID", "")) != "sr":
            raise
    return read_report_provenance(dataset)


def read_report_provenance(report: Dataset) -> Provenance:
    """Read the record back from the text of a report, which de-identification leaves in place.

    Parameters
    ----------
    report : pydicom.Dataset

    Returns
    -------
    Provenance

    Raises
    ------
    ProvenanceError
        The report holds none, or a damaged one.
    """
    for content in _content(report):
        names = content.get("ConceptNameCodeSequence") or [Dataset()]
        code = (names[0].get("CodeValue"), names[0].get("CodingSchemeDesignator"))
        if code == (words.PROVENANCE_JSON.value, words.SCHEME):
            return Provenance.from_json(str(content.get("TextValue", "")))
    raise ProvenanceError(
        "The report holds no provenance of an edit, which RadEdit's reports do; "
        "use the report written beside the edited image."
    )


def reported_uids(report: Dataset) -> dict[str, str]:
    """Give the UIDs of the objects that a report on an edit is about, as they are now.

    Parameters
    ----------
    report : pydicom.Dataset
        Of an edit: it names the edited image before the film it was made of.

    Returns
    -------
    dict of str to str
        "sc", "seg" and "sr" to SOP Instance UID; what the report does not name is left out.

    Raises
    ------
    ProvenanceError
        It is no report on an edit, such as the image itself, or a reader's decision.
    """
    read_report_provenance(report)
    found = {"sr": str(report.get("SOPInstanceUID", ""))}
    for content in _content(report):
        for item in content.get("ReferencedSOPSequence") or []:
            kind = CLASSES.get(str(item.get("ReferencedSOPClassUID", "")))
            if kind is not None:
                found.setdefault(kind, str(item.get("ReferencedSOPInstanceUID", "")))
    return found


def _content(report: Dataset) -> Iterator[Dataset]:
    """Give the content items of a report, as they are read."""
    for element in report.iterall():
        if element.keyword == "ContentSequence":
            yield from element.value
