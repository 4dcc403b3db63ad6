"""The marks every written object carries, and how objects refer to each other."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import TYPE_CHECKING

from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from radedit_dicom import vocabulary as words
from radedit_dicom.provenance import Provenance, contributing_equipment, write_private
from radedit_dicom.study import StudyContext, one_line

if TYPE_CHECKING:
    from highdicom.sr.coding import CodedConcept


@dataclass(frozen=True)
class Reference:
    """One SOP instance and where it lives."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str

    @classmethod
    def to(cls, dataset: Dataset) -> Reference:
        """Refer to a dataset."""
        return cls(
            sop_class_uid=str(dataset.SOPClassUID),
            sop_instance_uid=str(dataset.SOPInstanceUID),
            series_instance_uid=str(dataset.SeriesInstanceUID),
            study_instance_uid=str(dataset.StudyInstanceUID),
        )


def mark(dataset: Dataset, provenance: Provenance, study: StudyContext, what: str) -> None:
    """Put on an object whatever says that it is synthetic, by whom, and to which study it goes.

    Dates come from ``provenance.created``, not from the clock, so that building the same
    edit twice gives the same bytes.

    Parameters
    ----------
    dataset : pydicom.Dataset
        Changed in place.
    provenance : Provenance
    study : StudyContext
    what : str
        Short name of the object for the series description ("" for the image itself).
    """
    study.apply(dataset)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SyntheticData = "YES"
    dataset.ContentQualification = "RESEARCH"
    dataset.SeriesDescription = one_line(f"{words.WARNING} {what} {provenance.prompt}")
    dataset.Manufacturer = words.MANUFACTURER
    dataset.ManufacturerModelName = words.MODEL_NAME
    dataset.SoftwareVersions = provenance.tool_version[:64]
    dataset.DeviceSerialNumber = words.SERIAL_NUMBER
    dataset.CodingSchemeIdentificationSequence = words.scheme_identification()
    dataset.ContributingEquipmentSequence = [contributing_equipment(provenance)]
    created = local_time(provenance, study)
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S.%f")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.ContentDate, dataset.ContentTime = date, time
    dataset.SeriesDate, dataset.SeriesTime = date, time
    write_private(dataset, provenance)


def local_time(provenance: Provenance, study: StudyContext) -> datetime:
    """Time of the edit in the time zone the study declares, else in the record's own."""
    return in_zone(provenance.created_at, study)


def in_zone(moment: datetime, study: StudyContext) -> datetime:
    """Give a moment in the time zone the study declares, else in its own."""
    offset = str(study.attributes.get("TimezoneOffsetFromUTC") or "")
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdigit():
        return moment
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    if minutes > 14 * 60:
        return moment
    return moment.astimezone(timezone(timedelta(minutes=minutes if offset[0] == "+" else -minutes)))


def series_number(provenance: Provenance, offset: int = 0) -> int:
    """Series number of the edited image (offset 0), its SEG (1) and its SR (2).

    From 9000 up, past what consoles number, and three to an edit so that several edits in
    one study seldom share a number (which the standard allows).
    """
    return next(first_series_numbers(provenance)) + offset


def first_series_numbers(provenance: Provenance) -> Iterator[int]:
    """Give the numbers that the edited image's series may have, the one to try first in front.

    Without end: first 300 from 9000 to 9897 that start where the edit falls, then on upwards.
    """
    start = zlib.crc32(provenance.edit_id.encode("utf-8")) % 300
    yield from (9000 + 3 * ((start + step) % 300) for step in range(300))
    yield from count(9900, 3)


def code_item(code: Code) -> CodedConcept:
    """Make a code sequence item of a code."""
    from highdicom.sr.coding import CodedConcept  # who reads needs none

    return CodedConcept.from_code(code)


def refer(dataset: Dataset, references: Sequence[Reference]) -> None:
    """List what an object refers to, by series and study (PS3.3 C.12.2, Common Instance Reference).

    Parameters
    ----------
    dataset : pydicom.Dataset
        Changed in place: ReferencedSeriesSequence for its own study, else
        StudiesContainingOtherReferencedInstancesSequence.
    references : sequence of Reference
    """
    own = [ref for ref in references if ref.study_instance_uid == dataset.StudyInstanceUID]
    if own:
        dataset.ReferencedSeriesSequence = _series_items(own)
    studies = []
    others = [ref for ref in references if ref not in own]
    for uid in dict.fromkeys(ref.study_instance_uid for ref in others):
        item = Dataset()
        item.StudyInstanceUID = uid
        item.ReferencedSeriesSequence = _series_items(
            [ref for ref in others if ref.study_instance_uid == uid]
        )
        studies.append(item)
    if studies:
        dataset.StudiesContainingOtherReferencedInstancesSequence = studies


def _series_items(references: Sequence[Reference]) -> list[Dataset]:
    items = []
    for uid in dict.fromkeys(ref.series_instance_uid for ref in references):
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedInstanceSequence = [
            instance_item(ref) for ref in references if ref.series_instance_uid == uid
        ]
        items.append(item)
    return items


def instance_item(reference: Reference) -> Dataset:
    """Make a SOP instance reference (PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    return item


def anonymous(image: Dataset) -> Dataset:
    """Copy an object without pixels and identity: highdicom logs names it finds odd."""
    copied = Dataset()
    for element in image:
        if element.tag.group not in (0x0010, 0x7FE0):
            copied[element.tag] = element
    copied.file_meta = image.file_meta
    names = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName")
    for name in names:  # a new element each, since the others are the image's own
        copied.add_new(name, dictionary_VR(name), None)
    return copied
