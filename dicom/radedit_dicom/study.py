"""Where the objects of an edit go: a study of their own, or the source's study."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from unicodedata import category

from pydicom import config
from pydicom.charset import python_encoding
from pydicom.datadict import dictionary_VM
from pydicom.dataset import Dataset
from pydicom.valuerep import validate_value

from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.film import Film
from radedit_dicom.parsing import unreadable
from radedit_dicom.provenance import Provenance, edit_uid

QA_NAME = "RADEDIT^QA"

#: Patient and study attributes that objects in the source's own study must repeat
#: (PS3.3 C.7.1.1, C.7.2.1, C.7.2.2), and no others.
_IDENTITY = (
    "PatientName",
    "PatientID",
    "TypeOfPatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "PatientBirthDate",
    "PatientSex",
    "QualityControlSubject",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
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
#: Whose letters the character set declares (PS3.5 6.2).
_CODED_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
#: The sets that declare no letters but those of ASCII.
_ASCII_SETS = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_SEXES = frozenset({"M", "F", "O"})


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


def check_identity(header: Dataset) -> None:
    """Refuse a film whose identity cannot be repeated as it is by new objects of its study.

    Left out, an identifier would be lost; written otherwise, it would split the patient or the
    study; as it is, it would break the object.

    Raises
    ------
    UnsupportedImageError
        Names the attributes, not their values.
    """
    declared = header.get("SpecificCharacterSet") or ""
    sets = {declared} if isinstance(declared, str) else {str(name) for name in declared}
    has_letters = not sets <= _ASCII_SETS and sets <= set(python_encoding)
    broken = [
        name
        for name in _IDENTITY
        if name in unreadable(header) or not _is_repeatable(header, name, has_letters)
    ]
    if broken:
        raise UnsupportedImageError(
            f"Objects in the film's own study must repeat its {', '.join(broken)}, but what the "
            "film holds there is too long, ill-formed, or in letters that its SpecificCharacterSet "
            "does not declare; have the film corrected, or store the edit in a study of its own "
            "(study mode new)."
        )


def _is_repeatable(header: Dataset, keyword: str, has_letters: bool) -> bool:
    """Tell whether an attribute is absent, or can be written again as it is."""
    if header.get(keyword) in (None, "", []):
        return True
    element = header[keyword]
    if element.VR == "SQ":
        named = ((item, each.keyword) for item in element.value for each in item)
        return all(_is_repeatable(item, name, has_letters) for item, name in named if name)
    text = str(element.value)
    return (
        is_valid(header, keyword)
        and (element.VM == 1 or dictionary_VM(element.tag) != "1")
        and (keyword != "PatientSex" or text in _SEXES)
        and (text.isascii() or element.VR not in _CODED_VRS or has_letters)
        # The replacement character stands for bytes that are none of the declared set.
        and not any(letter == "\ufffd" or category(letter) == "Cc" for letter in text)
    )


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


def qa_study_id(study_instance_uid: str) -> str:
    """Name a QA study: worklists and archives that go by the Study ID must not merge two."""
    digest = hashlib.sha256(study_instance_uid.encode("ascii")).hexdigest()
    return f"QA-{digest[:13].upper()}"


def one_line(text: str, most: int = 64) -> str:
    """Shorten a text to what a description may hold (VR LO), in bytes as some count."""
    plain = "".join(" " if category(letter) == "Cc" else letter for letter in text)
    short = " ".join(plain.replace("\\", "/").split()).encode()[:most]
    return short.decode(errors="ignore").rstrip()


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
        uid = str(edit_uid(provenance, "study"))
        attributes = {
            "PatientName": QA_NAME,
            "PatientID": qa_patient_id(film.header, pseudonym_key),
            "StudyInstanceUID": uid,
            "StudyDate": created.strftime("%Y%m%d"),
            "StudyTime": created.strftime("%H%M%S.%f"),
            "StudyID": qa_study_id(uid),
            "StudyDescription": one_line(f"RadEdit QA: {provenance.prompt or 'no prompt'}"),
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

        Raises
        ------
        UnsupportedImageError
            See `check_identity`.
        """
        check_identity(film.header)
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
