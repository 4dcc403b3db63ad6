"""Where the objects of an edit go: a study of their own, or the source's study."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pydicom import config
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from radedit_dicom.film import Film
from radedit_dicom.provenance import Provenance, edit_uid

QA_NAME = "RADEDIT^QA"

#: Patient and study attributes that objects in the source's own study must repeat
#: (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), and no others.
_IDENTITY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "TimezoneOffsetFromUTC",
)
_TEXT_VRS = frozenset({"AS", "CS", "DA", "DS", "IS", "LO", "PN", "SH", "TM", "UI"})
#: Type 2 of the same modules: present in every object, if need be empty.
_ALWAYS = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def is_valid(header: Dataset, keyword: str) -> bool:
    """Tell whether an attribute is present, not empty, and legal for its VR.

    What is not is left out of new objects: they must conform, and pydicom would log the
    offending value, which may be patient data.
    """
    if header.get(keyword) in (None, "", []):
        return False
    element = header[keyword]
    values = element.value if element.VM > 1 else [element.value]
    try:
        for value in values:
            text = str(value) if element.VR in _TEXT_VRS else value
            validate_value(element.VR, text, config.RAISE)
    except (TypeError, ValueError):
        return False
    return True


def qa_patient_id(header: Dataset, pseudonym_key: bytes = b"") -> str:
    """Name the QA patient that edits of a film belong to.

    Parameters
    ----------
    header : pydicom.Dataset
        Of the film.
    pseudonym_key : bytes
        A secret of the site. With it, all films of a patient share one QA patient, and
        nobody without the key can tell which; without it, only the films of one study
        do, since a bare hash of a patient number is found by trying all numbers. The same
        holds for films without a Patient ID: nobody knows whether two are of one patient.

    Returns
    -------
    str
        A Patient ID.
    """
    if pseudonym_key and str(header.get("PatientID") or "").strip():
        known = (header.get("IssuerOfPatientID", ""), header.get("PatientID", ""))
        text = "\x00".join(str(value) for value in known)
        digest = hmac.new(pseudonym_key, text.encode("utf-8"), hashlib.sha256).hexdigest()
    else:
        study_uid = str(header.StudyInstanceUID)
        digest = hashlib.sha256(f"radedit-qa {study_uid}".encode()).hexdigest()
    return f"QA-{digest[:24].upper()}"


@dataclass(frozen=True)
class StudyContext:
    """Patient and study attributes of the objects of one edit.

    Attributes
    ----------
    attributes : mapping of str to value
        Keyword to value; attributes of `_ALWAYS` that are missing are written empty.
    is_source_study : bool
        True: the objects join the source's study and patient.
    """

    attributes: Mapping[str, Any]
    is_source_study: bool

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID of the objects."""
        return str(self.attributes["StudyInstanceUID"])

    @classmethod
    def qa(cls, film: Film, provenance: Provenance, *, pseudonym_key: bytes = b"") -> StudyContext:
        """Make a new study, one per edit, of a QA patient.

        Parameters
        ----------
        film : Film
            The source.
        provenance : Provenance
            Of the edit.
        pseudonym_key : bytes
            See `qa_patient_id`.

        Returns
        -------
        StudyContext
        """
        created = provenance.created_at
        attributes = {
            "PatientName": QA_NAME,
            "PatientID": qa_patient_id(film.header, pseudonym_key),
            "StudyInstanceUID": str(edit_uid(provenance, "study")),
            "StudyDate": created.strftime("%Y%m%d"),
            "StudyTime": created.strftime("%H%M%S.%f"),
            "StudyID": "RADEDIT-QA",
            "StudyDescription": "RadEdit QA: edited radiograph",
            "TimezoneOffsetFromUTC": created.strftime("%z")[:5],
        }
        return cls(MappingProxyType(attributes), is_source_study=False)

    @classmethod
    def same(cls, film: Film) -> StudyContext:
        """Join the study and patient of the source.

        Parameters
        ----------
        film : Film
            The source.

        Returns
        -------
        StudyContext
        """
        found = {name: film.header[name].value for name in _IDENTITY if is_valid(film.header, name)}
        return cls(MappingProxyType(found), is_source_study=True)

    def apply(self, dataset: Dataset) -> None:
        """Write the patient and study attributes into an object, over any it has.

        Parameters
        ----------
        dataset : pydicom.Dataset
            Changed in place.
        """
        for name in _IDENTITY:
            if name in dataset:
                delattr(dataset, name)
        for name in _ALWAYS:
            setattr(dataset, name, None)
        for name, value in self.attributes.items():
            setattr(dataset, name, str(value) if name.endswith("Name") else value)
