"""A PDF as a DICOM object: Encapsulated PDF Storage (PS3.3 A.45.1), for a report of a test.

The document shows synthetic films, so it says SyntheticData like every other object; its patient
is a QA patient, since a test is about a model and not about anybody.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    PYDICOM_ROOT_UID,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from radedit_dicom import vocabulary as words
from radedit_dicom.study import QA_NAME, one_line, qa_study_id


@dataclass(frozen=True)
class Document:
    """A report to wrap.

    Attributes
    ----------
    content : bytes
        Of the PDF.
    title : str
        Cut to what an ST may hold.
    made : datetime
        With its time zone.
    version : str
        Of the program that made it.
    """

    content: bytes
    title: str
    made: datetime
    version: str


def encapsulated_pdf(document: Document) -> Dataset:
    """Wrap a PDF; the same document gives the same object.

    Raises
    ------
    ValueError
        The content is no PDF, or the moment has no time zone.
    """
    if not document.content.startswith(b"%PDF-"):
        raise ValueError("the content is no PDF")
    if document.made.tzinfo is None:
        raise ValueError("the moment has no time zone")
    digest = hashlib.sha256(document.content).hexdigest()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = EncapsulatedPDFStorage
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        uid = generate_uid(prefix=PYDICOM_ROOT_UID, entropy_srcs=[digest, keyword])
        setattr(dataset, keyword, uid)
    _patient_and_study(dataset, document, digest)
    dataset.Modality = "DOC"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.SeriesDescription = f"{words.WARNING} stress test"[:64]
    dataset.Manufacturer = words.MANUFACTURER
    dataset.ManufacturerModelName = words.MODEL_NAME
    dataset.DeviceSerialNumber = words.SERIAL_NUMBER
    dataset.SoftwareVersions = document.version[:64]
    dataset.ConversionType = "WSD"
    dataset.SyntheticData = "YES"
    dataset.BurnedInAnnotation = "NO"
    dataset.DocumentTitle = document.title[:1024]
    dataset.ConceptNameCodeSequence = []
    dataset.AcquisitionDateTime = document.made.strftime("%Y%m%d%H%M%S.%f%z")
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    padding = b"\0" * (len(document.content) % 2)
    dataset.EncapsulatedDocument = document.content + padding
    dataset.EncapsulatedDocumentLength = len(document.content)
    return dataset


def _patient_and_study(dataset: Dataset, document: Document, digest: str) -> None:
    date, time = document.made.strftime("%Y%m%d"), document.made.strftime("%H%M%S")
    dataset.PatientName = QA_NAME
    dataset.PatientID = f"QA-{digest[:24].upper()}"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = None
    dataset.ReferringPhysicianName = None
    dataset.StudyID = qa_study_id(str(dataset.StudyInstanceUID))
    dataset.StudyDescription = one_line(f"RadEdit QA: {document.title}")
    dataset.TimezoneOffsetFromUTC = document.made.strftime("%z")[:5]
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = date
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = time
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
