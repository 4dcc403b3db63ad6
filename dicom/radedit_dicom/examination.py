"""What a header says was examined: a person, the chest, from the front.

Texts are looked at for words (`film_words`) and never quoted in an error, since people write
names into them; the attribute is named instead.
"""

from __future__ import annotations

from enum import Enum, auto

from pydicom.dataset import Dataset

from radedit_dicom import film_words as words
from radedit_dicom.errors import UnsupportedImageError

#: Texts on the film itself; (0018,1400) holds the entry of the console's menu.
_FILM_TEXTS = ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription")
#: Texts on the whole study, of which the film may be one part.
_STUDY_TEXTS = (
    "StudyDescription",
    "PerformedProcedureStepDescription",
    "RequestedProcedureDescription",
)
_TEXTS = (*_STUDY_TEXTS, *_FILM_TEXTS)
_SITE_TEXTS = ("InstitutionName", "InstitutionalDepartmentName")

#: Homo sapiens (value, scheme): SNOMED CT and its SRT forerunner, NCI Thesaurus.
_HUMAN_CODES = frozenset({("337915000", "SCT"), ("L-85003", "SRT"), ("C14225", "NCIt")})
#: Anatomic region codes (value, scheme) for the chest: SNOMED CT and its SRT forerunner.
_CHEST_REGIONS = frozenset(
    {("51185008", "SCT"), ("43799004", "SCT"), ("39607008", "SCT"), ("T-D3000", "SRT")}
    | {("T-D3000", "SNM3"), ("T-28000", "SRT")}
)
#: View codes (value, scheme) of frontal films: SNOMED CT and its SRT forerunner (CID 4010).
_AP_VIEWS = frozenset({("399348003", "SCT"), ("R-10206", "SRT"), ("R-10206", "SNM3")})
_PA_VIEWS = frozenset(
    {("272479007", "SCT"), ("R-40888", "SRT"), ("R-10214", "SRT"), ("R-10214", "SNM3")}
)
_FRONTAL_VIEWS = _AP_VIEWS | _PA_VIEWS | {("399033003", "SCT"), ("R-10202", "SRT")}


class _View(Enum):
    NOT_SAID = auto()
    FRONTAL = auto()
    OTHER = auto()
    BOTH = auto()


def check_patient(header: Dataset) -> None:
    """Refuse films of animals, by the attributes of PS3.3 C.7.1.1 and by their menus.

    Raises
    ------
    UnsupportedImageError
    """
    if (keyword := _animal_by(header)) is not None:
        raise UnsupportedImageError(
            f"{keyword} says that the patient is an animal, but only films of people are edited; "
            "choose a chest film of a person."
        )


def check_body_part(header: Dataset) -> None:
    """Refuse what is not said to show a chest.

    Raises
    ------
    UnsupportedImageError
    """
    part, regions = header.get("BodyPartExamined"), _codes(header, "AnatomicRegionSequence")
    if part:
        keyword, is_chest = "BodyPartExamined", _says_chest(part)
    elif regions:
        is_chest = any(region in _CHEST_REGIONS for region in regions)
        keyword = "AnatomicRegionSequence"
    else:
        keyword, is_chest = "", any(_says_chest(header.get(name)) for name in _TEXTS)
    if is_chest:
        return
    if keyword:
        raise UnsupportedImageError(
            f"{keyword} names a body part that is not known as the chest, but only chest films are "
            "edited; choose a chest film, or add the site's word for it to 'chest' in [words] of "
            "the settings."
        )
    raise UnsupportedImageError(
        "Neither BodyPartExamined, AnatomicRegionSequence nor a description says in words that are "
        "known that the film shows a chest; set BodyPartExamined to CHEST if it does, or add the "
        "site's word for it to 'chest' in [words] of the settings."
    )


def check_view(header: Dataset) -> None:
    """Let pass what says that it is frontal, and nowhere of itself says otherwise.

    A console fills ViewPosition with a default, so a text on the film that names another view
    wins over it. A text on the study may be about another film of it.

    Raises
    ------
    UnsupportedImageError
    """
    toward = [str(value)[:1] for value in _values(header.get("PatientOrientation"))]
    _check_upright(toward)
    position = header.get("ViewPosition")
    position = None if words.UNKNOWN.are_in(position) else position
    codes = _codes(header, "ViewCodeSequence")
    if position and _view(position) in (_View.OTHER, _View.BOTH):
        raise _other("ViewPosition")
    for name in _FILM_TEXTS:
        if _view(header.get(name)) is _View.OTHER:
            raise _other(name)
    if position and _view(position) is _View.NOT_SAID:
        raise UnsupportedImageError(
            "ViewPosition names a view that is not known as frontal (AP or PA); choose the frontal "
            "film, or add the site's word for it to 'frontal' in [words] of the settings."
        )
    if not all(code in _FRONTAL_VIEWS for code in codes):
        raise UnsupportedImageError(
            "ViewCodeSequence names a view that is not known as frontal, and may be lateral or "
            "oblique; choose the frontal film (AP or PA)."
        )
    if not position and not codes:
        _check_described(header, any(toward))


def frontal_view(header: Dataset) -> str:
    """Give the view of a film that `check_view` lets pass, in a value that it lets pass again.

    Returns
    -------
    str
        AP or PA as far as that is said anywhere on the film, else FRONTAL.
    """
    codes = set(_codes(header, "ViewCodeSequence"))
    for view, phrases, coded in (("AP", words.AP, _AP_VIEWS), ("PA", words.PA, _PA_VIEWS)):
        if phrases.are_in(header.get("ViewPosition")) or codes & coded:
            return view
    for names in (_FILM_TEXTS, _STUDY_TEXTS):
        texts = [header.get(name) for name in names]
        is_ap, is_pa = (any(map(phrases.are_in, texts)) for phrases in (words.AP, words.PA))
        if is_ap != is_pa:
            return "AP" if is_ap else "PA"
    return "FRONTAL"


def _check_described(header: Dataset, is_oriented: bool) -> None:
    """Decide by descriptions, or by an orientation in the frontal plane that none contradicts."""
    said = {name: _view(header.get(name)) for name in _TEXTS}
    for name, view in said.items():
        if view in (_View.OTHER, _View.BOTH):
            raise _other(name)
    if not is_oriented and _View.FRONTAL not in said.values():
        raise UnsupportedImageError(
            "Neither ViewPosition, ViewCodeSequence, PatientOrientation nor a description says in "
            "words that are known that the film is frontal; set ViewPosition to AP or PA if it is, "
            "or add the site's word for it to 'frontal' in [words] of the settings."
        )


def _check_upright(toward: list[str]) -> None:
    """Check the first letters of PatientOrientation: where rows, then columns, lead to."""
    if any(toward) and toward not in (["L", "F"], ["R", "F"]):
        raise UnsupportedImageError(
            "PatientOrientation says that the film is lateral, rotated or upside down, but rows "
            "along left or right and columns towards the feet are needed; choose the frontal "
            "film, or have it stored upright."
        )


def _animal_by(header: Dataset) -> str | None:
    """Name the attribute that says that the patient is an animal; None: there is none."""
    species = header.get("PatientSpeciesDescription")
    if species and not words.HUMAN.are_in(species) and not words.UNKNOWN.are_in(species):
        return "PatientSpeciesDescription"
    for item in header.get("PatientSpeciesCodeSequence") or []:
        if _code(item) not in _HUMAN_CODES and not words.HUMAN.are_in(item.get("CodeMeaning")):
            return "PatientSpeciesCodeSequence"
    # PS3.3 C.7.1.1: these are of organisms that are not human.
    breed = header.get("PatientBreedDescription")
    if breed and not words.HUMAN.are_in(breed) and not words.UNKNOWN.are_in(breed):
        return "PatientBreedDescription"
    for name in ("PatientBreedCodeSequence", "BreedRegistrationSequence", "PatientSexNeutered"):
        if header.get(name):
            return name
    if str(header.get("ResponsiblePersonRole", "")).upper() == "OWNER":
        return "ResponsiblePersonRole"
    for name in ("BodyPartExamined", "ViewPosition", *_TEXTS):
        if words.ANIMAL.are_in(header.get(name)):
            return name
    return next((n for n in _SITE_TEXTS if words.ANIMAL_SITE.are_in(header.get(n))), None)


def _says_chest(text: object) -> bool:
    if words.site_words().chest.are_in(text):
        return True
    return words.CHEST.are_in(text) and not words.NOT_CHEST.are_in(text)


def _view(text: object) -> _View:
    """Tell which view a text names; "PA and lateral" names both."""
    own = words.site_words()
    if own.other_views.are_in(text):
        return _View.OTHER
    if own.frontal.are_in(text):
        return _View.FRONTAL
    if words.TURNED.are_in(text):
        return _View.OTHER
    frontal, lateral = words.FRONTAL.are_in(text), words.LATERAL.are_in(text)
    if frontal and lateral:
        return _View.BOTH
    return _View.FRONTAL if frontal else _View.OTHER if lateral else _View.NOT_SAID


def _other(keyword: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"{keyword} names a lateral, oblique, decubitus or other view, but a frontal one (AP or "
        "PA) is needed; choose the frontal film."
    )


def _codes(header: Dataset, keyword: str) -> list[tuple[str, str]]:
    return [_code(item) for item in header.get(keyword) or []]


def _code(item: Dataset) -> tuple[str, str]:
    return str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", ""))


def _values(value: object) -> list[object]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)  # type: ignore[call-overload]
