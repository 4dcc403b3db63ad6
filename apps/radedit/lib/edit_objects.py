"""The objects of one edit in a folder, found by its image or by its report.

De-identification takes the record out of the image and may give all objects other UIDs; the
report still holds the record, and refers to the others by the UIDs that they have now.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from radedit.lib.errors import ReplayError
from radedit_dicom.archive import Query
from radedit_dicom.errors import DicomError, ProvenanceError
from radedit_dicom.film import Film, read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.parsing import parse
from radedit_dicom.provenance import Provenance, edit_uid, read_private
from radedit_dicom.record_reading import read_record, reported_uids
from radedit_dicom.vocabulary import PRIVATE_GROUP


@dataclass(frozen=True, eq=False)
class FoundEdit:
    """An edit as far as it is known from its files.

    Attributes
    ----------
    folder : where its objects lie
    segmentation : SOP Instance UID of its SEG
    is_renamed : UIDs may be others than the record names, as after de-identification
    """

    image: Film
    record: Provenance
    folder: FolderArchive
    segmentation: str
    is_renamed: bool = False


def find_edit(edited: Path) -> FoundEdit:
    """Find an edit by its image or its report, which de-identification leaves the record in.

    Raises
    ------
    ReplayError
        What it needs does not lie in the folder of the file, or below.
    DicomError
        The file cannot be read.
    """
    folder = FolderArchive(edited.parent)
    header = parse(edited, pixels=False)
    try:
        uids = reported_uids(header)
    except ProvenanceError:
        return _of_image(folder, read_film(edited, allow_synthetic=True))
    path = object_in(folder, uids.get("sc", ""), "The edited image that this report is about is")
    image = read_film(path, allow_synthetic=True)
    return FoundEdit(image, read_record(header), folder, uids.get("seg", ""), is_renamed=True)


def _of_image(folder: FolderArchive, image: Film) -> FoundEdit:
    """Go by the image's own record, or by its report where that is lost or its UID replaced."""
    record = damaged = None
    try:
        record = read_private(image.header)
    except ProvenanceError as error:
        if any(element.tag.group == PRIVATE_GROUP for element in image.header):
            damaged = error
    if record is not None and image.sop_instance_uid == edit_uid(record, "sc"):
        return FoundEdit(image, record, folder, record.seg_sop_instance_uid)
    for path in folder.held():
        try:
            header = parse(path, pixels=False)
            uids = reported_uids(header)
        except DicomError:
            continue
        if uids.get("sc") == image.sop_instance_uid:
            return FoundEdit(
                image, read_record(header), folder, uids.get("seg", ""), is_renamed=True
            )
    if record is not None:
        return FoundEdit(image, record, folder, record.seg_sop_instance_uid, is_renamed=True)
    if damaged is not None:
        raise damaged
    raise ReplayError(
        "The image has lost its record, as de-identification takes it, and no report on it that "
        "still holds one lies in its folder; put the report (a Comprehensive 3D SR) of the same "
        "edit there."
    )


def object_in(folder: FolderArchive, uid: str, what: str) -> Path:
    """Give the file of an object; `what` begins the sentence that says it is not there."""
    instances = folder.find(Query(sop_instance_uid=uid))
    if not instances:
        raise ReplayError(f"{what} {uid or 'not named'}, which is not in its folder; put it there.")
    return folder.path_of(instances[0])
