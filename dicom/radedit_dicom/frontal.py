"""Which images of a study to edit: the newest frontal original, and why not the others.

A hospital's study holds more than one film: a lateral, a bone-suppressed or annotated copy,
the raw image for processing, a prior that was loaded beside it. `gate` judges each alone;
what only shows beside the others is judged here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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
TIED = "Another frontal film of the patient and the same time is edited instead; ask for priors."
PROCESSING = (
    "The image is for processing, not for presentation; take the processed image of the exposure."
)
NO_IMAGE = "The object is no radiograph but accompanies one."


@dataclass(frozen=True)
class Wanted:
    """What to choose beside each patient's newest frontal original.

    Attributes
    ----------
    priors : bool
        Also every other original of the patient.
    derived : bool
        Also secondary images and images derived from another film, of the study chosen.
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
    taken : tuple of str
        When: date and time of the study, then of the acquisition; digits, empty where not said.
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
    taken: tuple[str, ...]
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
            taken=(
                _day(header, "StudyDate"),
                _clock(header, "StudyTime"),
                *_acquired(header),
            ),
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
    """Choose the newest frontal original of each patient: of two of one day the later.

    What has no date or time is taken for older than what has one; between films of the same time
    the UID decides, so that the choice does not hang on the order in which they are found.

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
    refused = {key: view.refusal for key, view in views.items() if view.refusal}
    films = {key: view for key, view in views.items() if not view.refusal}
    derived = _derived(films)
    reasons = refused if wanted.derived else {**refused, **derived}
    if not wanted.priors:
        newest: dict[tuple[str, ...], View] = {}
        # Originals come last, so that one of them is the newest where there is one.
        for key in sorted(films, key=lambda key: (key not in derived, _order(films[key]))):
            if key not in reasons:
                newest[films[key].patient] = films[key]
        for key, view in films.items():
            if key not in reasons and view is not (last := newest[view.patient]):
                is_of_it = key in derived and view.study_instance_uid == last.study_instance_uid
                if not is_of_it:
                    reasons[key] = TIED if view.taken == last.taken else PRIOR
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


def _derived(films: Mapping[K, View]) -> dict[K, str]:
    """Give the films that are secondary, or copies of one that is not, each with the reason."""
    reasons = {key: SECONDARY for key, view in films.items() if _is_secondary(view)}
    first = {key: view for key, view in films.items() if key not in reasons}
    return reasons | {
        key: COPY
        for key, view in first.items()
        if any(_is_derived_from(view, other) for other in first.values())
    }


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


def _order(view: View) -> tuple[Any, ...]:
    """Sort by time, then by UID, number by number, as machines count them up."""
    return view.taken, [int(n) for n in re.findall(r"\d+", view.sop_instance_uid)]


def _acquired(header: Dataset) -> tuple[str, str]:
    """Date and time of the acquisition, else of the image; both of one source."""
    whole = "".join(itertools.takewhile(str.isdigit, str(header.get("AcquisitionDateTime") or "")))
    if len(whole) >= 8:
        return whole[:8], whole[8:14].ljust(12, "0")
    for kind in ("Acquisition", "Content"):
        if day := _day(header, f"{kind}Date"):
            return day, _clock(header, f"{kind}Time")
    return "", _clock(header, "AcquisitionTime")


def _day(header: Dataset, keyword: str) -> str:
    text = str(header.get(keyword, "") or "").strip()
    return text if len(text) == 8 and text.isdigit() else ""


def _clock(header: Dataset, keyword: str) -> str:
    """HHMMSSFFFFFF of a time that may be cut short or written with colons; empty when absent."""
    whole, _, fraction = str(header.get(keyword, "") or "").replace(":", "").strip().partition(".")
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        return ""
    return whole.ljust(6, "0") + fraction[:6].ljust(6, "0")


def _values(value: object) -> list[object]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
