"""Which images of a study to edit: the newest frontal originals, and why not the others.

A hospital's study holds more than one film: a lateral, a bone-suppressed or annotated copy,
the raw image for processing, a prior that was loaded beside it. `gate` judges each alone;
what only shows beside the others is judged here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydicom.dataset import Dataset
from pydicom.uid import DigitalXRayImageStorageForProcessing

from radedit_dicom import vocabulary as words
from radedit_dicom.errors import DicomError
from radedit_dicom.film import MAX_PIXELS
from radedit_dicom.gate import check_film

K = TypeVar("K", bound=Hashable)

SECONDARY = "The image is a secondary one (ImageType), not the original; ask for derived images."
COPY = (
    "The image was derived from another film of the study, which is edited instead; "
    "ask for derived images."
)
PRIOR = "The film is a prior: the patient has a newer frontal one; ask for priors."
PROCESSING = (
    "The image is for processing, not for presentation; take the processed image of the exposure."
)
NO_IMAGE = "The object is no radiograph but accompanies one."


@dataclass(frozen=True)
class Wanted:
    """What to choose beside the newest frontal originals.

    Attributes
    ----------
    priors : bool
        Also films that a newer one of the same patient exists of.
    derived : bool
        Also secondary images and images derived from another film of the study.
    """

    priors: bool = False
    derived: bool = False


@dataclass(frozen=True)
class View:
    """What the header of one object says that decides whether it is edited.

    Attributes
    ----------
    refusal : str
        Why it is no film to edit, in one sentence; empty when it is one.
    sop_instance_uid, study_instance_uid : str
    patient : tuple of str
        What two films of one patient share; kept in memory only.
    study_date, acquired : str
        YYYYMMDD or empty.
    position : str
        View position, such as PA.
    image_type : tuple of str
    sources : frozenset of str
        Images it says it was derived from.
    """

    refusal: str
    sop_instance_uid: str
    study_instance_uid: str
    patient: tuple[str, ...]
    study_date: str
    acquired: str
    position: str
    image_type: tuple[str, ...]
    sources: frozenset[str]

    @classmethod
    def of(cls, header: Dataset) -> View:
        """Read a view from a header that `parsing` has settled; pixels may be absent."""
        study = str(header.get("StudyInstanceUID", ""))
        patient = str(header.get("PatientID", "") or "").strip()
        issuer = str(header.get("IssuerOfPatientID", "") or "").strip()
        return cls(
            refusal=_refusal(header),
            sop_instance_uid=str(header.get("SOPInstanceUID", "")),
            study_instance_uid=study,
            patient=(issuer, patient) if patient else ("study", study),
            study_date=_day(header, "StudyDate"),
            acquired=_day(header, "AcquisitionDate"),
            position=str(header.get("ViewPosition", "") or "").strip().upper(),
            image_type=tuple(str(value).upper() for value in _values(header.get("ImageType"))),
            sources=frozenset(
                str(item.get("ReferencedSOPInstanceUID", ""))
                for item in header.get("SourceImageSequence") or []
            ),
        )


@dataclass(frozen=True)
class Choice(Generic[K]):
    """The films to edit, in the order they were given, and a sentence on each other object."""

    chosen: tuple[K, ...]
    passed_over: Mapping[K, str]


def choose_frontal(views: Mapping[K, View], wanted: Wanted | None = None) -> Choice[K]:
    """Choose the newest frontal originals.

    Parameters
    ----------
    views : mapping of key to View
        Of one study, or of many; the key (a path, an instance) is given back.
    wanted : Wanted, optional

    Returns
    -------
    Choice
        Every key is in one of its two parts.
    """
    wanted = wanted or Wanted()
    reasons = {key: view.refusal for key, view in views.items() if view.refusal}
    films = {key: view for key, view in views.items() if not view.refusal}
    if not wanted.derived:
        reasons |= {key: SECONDARY for key, view in films.items() if _is_secondary(view)}
        films = {key: view for key, view in films.items() if key not in reasons}
        reasons |= {
            key: COPY
            for key, view in films.items()
            if any(_is_derived_from(view, other) for other in films.values())
        }
        films = {key: view for key, view in films.items() if key not in reasons}
    if not wanted.priors:
        by_patient: dict[tuple[str, ...], list[View]] = {}
        for view in films.values():
            by_patient.setdefault(view.patient, []).append(view)
        reasons |= {
            key: PRIOR
            for key, view in films.items()
            if any(_is_newer(other, view) for other in by_patient[view.patient])
        }
    return Choice(tuple(key for key in views if key not in reasons), reasons)


def _refusal(header: Dataset) -> str:
    sop_class = str(header.get("SOPClassUID", ""))
    if sop_class == DigitalXRayImageStorageForProcessing:
        return PROCESSING
    if sop_class not in words.FILM_CLASSES and "Rows" not in header:
        return NO_IMAGE
    try:
        check_film(header, allow_synthetic=False, max_pixels=MAX_PIXELS)
    except DicomError as error:
        return str(error)
    return ""


def _is_secondary(view: View) -> bool:
    """PS3.3 C.7.6.1.1.2: value 2 says whether the image came from an examination as such."""
    return view.image_type[1:2] == ("SECONDARY",)


def _is_derived_from(view: View, other: View) -> bool:
    """Tell whether a view is a worked-over copy of another one.

    Consoles call what they show DERIVED (from the raw image) too, so that alone says nothing;
    it does beside an ORIGINAL film of the same view in the same study.
    """
    if view.sop_instance_uid == other.sop_instance_uid:
        return False
    if other.sop_instance_uid in view.sources:
        return True
    types = (view.image_type[:1], other.image_type[:1])
    same_place = (view.study_instance_uid, view.position) == (
        other.study_instance_uid,
        other.position,
    )
    return types == (("DERIVED",), ("ORIGINAL",)) and same_place


def _is_newer(other: View, view: View) -> bool:
    if other.study_instance_uid == view.study_instance_uid:
        return bool(view.acquired) and other.acquired > view.acquired
    return bool(view.study_date) and other.study_date > view.study_date


def _day(header: Dataset, keyword: str) -> str:
    text = str(header.get(keyword, "") or "").strip()
    return text if len(text) == 8 and text.isdigit() else ""


def _values(value: object) -> list[object]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
