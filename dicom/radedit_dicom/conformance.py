"""The gate every written object passes: dciodvfy, and rules of our own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from radedit_dicom import vocabulary as words
from radedit_dicom.dciodvfy import Finding, Severity, run_dciodvfy
from radedit_dicom.errors import DicomError
from radedit_dicom.film import read_film
from radedit_dicom.gate import is_phantom
from radedit_dicom.parsing import parse
from radedit_dicom.provenance import pixel_sha256, read_private
from radedit_dicom.vocabulary import LABEL_MAP_CLASS

_REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"


def check_file(path: Path) -> list[Finding]:
    """Check one DICOM file with dciodvfy and, if anything on it says RadEdit, with our rules.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    list of Finding
        No finding of severity ERROR = the file passes. A file without any sign of ours
        (`claims_ours`) gets a warning that our rules were not asked.

    Raises
    ------
    ConformanceError
        dciodvfy is not installed or did not finish.
    NotDicomError
        The file is no readable DICOM object.
    UnsupportedImageError
        Its transfer syntax is deflated.
    """
    dataset = parse(path, pixels=True)
    if not claims_ours(dataset):
        sentence = "The object was not written by RadEdit, so its rules do not apply."
        return [*run_dciodvfy(path), Finding(Severity.WARNING, "foreign", sentence)]
    return run_dciodvfy(path) + check_dataset(dataset)


def claims_ours(dataset: Dataset) -> bool:
    """Tell whether any mark that RadEdit writes is on an object.

    One is enough, so that an object of ours is still held to our rules after a mark or the
    provenance was taken off. SyntheticData counts whoever set it: what is called synthetic
    must say how it was made.

    Parameters
    ----------
    dataset : pydicom.Dataset

    Returns
    -------
    bool
    """
    equipment = [dataset, *(dataset.get("ContributingEquipmentSequence") or [])]
    return (
        dataset.get("SyntheticData") == "YES"
        or words.WARNING in str(dataset.get("SeriesDescription", ""))
        or any(item.get("Manufacturer") == words.MANUFACTURER for item in equipment)
        or any(item.get("ManufacturerModelName") == words.MODEL_NAME for item in equipment)
        or _scheme_is_declared(dataset)
        or _has_private_block(dataset)
    )


def passes(findings: list[Finding]) -> bool:
    """Tell whether findings hold no error."""
    return all(finding.severity is not Severity.ERROR for finding in findings)


def check_dataset(dataset: Dataset) -> list[Finding]:
    """Check an object against our own rules.

    Parameters
    ----------
    dataset : pydicom.Dataset
        With pixel data where the class has them.

    Returns
    -------
    list of Finding
        Only what is broken.
    """
    edited = _has_private_block(dataset)  # in a phantom's own study it is a phantom's as well
    rules = list(_PHANTOM if is_phantom(dataset) and not edited else _EVERY_OBJECT)
    if dataset.get("SOPClassUID") == SecondaryCaptureImageStorage:
        rules += _IMAGE
    broken = []
    for name, sentence, holds in rules:
        if not holds(dataset):
            broken.append(Finding(Severity.ERROR, name, sentence))
    return broken


def _has_provenance(dataset: Dataset) -> bool:
    try:
        read_private(dataset)
    except DicomError:
        return False
    return True


def _has_private_block(dataset: Dataset) -> bool:
    try:
        dataset.private_block(words.PRIVATE_GROUP, words.PRIVATE_CREATOR)
    except KeyError:
        return False
    return True


def _has_recorded_pixels(dataset: Dataset) -> bool:
    try:
        film = read_film(dataset, allow_synthetic=True)
        return pixel_sha256(film.stored) == read_private(dataset).result_pixel_sha256
    except DicomError:
        return False


def _refers(dataset: Dataset) -> bool:
    try:
        source = read_private(dataset).source_sop_instance_uid
    except DicomError:
        return False
    return any(
        element.keyword == "ReferencedSOPInstanceUID" and str(element.value) == source
        for element in dataset.iterall()
    )


def _image_refers_to_source(dataset: Dataset) -> bool:
    items = dataset.get("SourceImageSequence") or []
    codes = [
        str(code.get("CodeValue"))
        for item in items
        for code in item.get("PurposeOfReferenceCodeSequence") or []
    ]
    return words.SOURCE_IMAGE.value in codes


def _derivation_is_coded(dataset: Dataset) -> bool:
    found = {
        (str(item.get("CodeValue")), str(item.get("CodingSchemeDesignator")))
        for item in dataset.get("DerivationCodeSequence") or []
    }
    made_by = {words.GENERATIVE_EDIT.value, words.RAY_SUMS.value}  # an edit, an insertion
    return any((value, words.SCHEME) in found for value in made_by)


def _scheme_is_declared(dataset: Dataset) -> bool:
    items = dataset.get("CodingSchemeIdentificationSequence") or []
    return any(item.get("CodingSchemeDesignator") == words.SCHEME for item in items)


def _spacing_is_positive(dataset: Dataset) -> bool:
    values = [*(dataset.get("PixelSpacing") or []), *(dataset.get("ImagerPixelSpacing") or [])]
    return all(float(value) > 0 for value in values)


_Rule = tuple[str, str, Callable[[Dataset], bool]]
_PHANTOM: list[_Rule] = [
    ("synthetic", "SyntheticData is not YES.", lambda d: d.get("SyntheticData") == "YES"),
    (
        "research",
        "ContentQualification is not RESEARCH.",
        lambda d: d.get("ContentQualification") == "RESEARCH",
    ),
]
_EVERY_OBJECT: list[_Rule] = [
    *_PHANTOM,
    ("scheme", f"The coding scheme {words.SCHEME} is not declared.", _scheme_is_declared),
    ("provenance", "The private provenance block is missing or damaged.", _has_provenance),
    ("source", "The source image of the provenance is not referred to.", _refers),
    (
        "class",
        "The object is none of Secondary Capture, Segmentation and Comprehensive 3D SR.",
        lambda d: (
            d.get("SOPClassUID")
            in (SecondaryCaptureImageStorage, SegmentationStorage, LABEL_MAP_CLASS, _REPORT_CLASS)
        ),
    ),
]
_IMAGE: list[_Rule] = [
    (
        "image-type",
        "ImageType does not begin with DERIVED, SECONDARY.",
        lambda d: list(d.get("ImageType") or [])[:2] == ["DERIVED", "SECONDARY"],
    ),
    (
        "conversion-type",
        "ConversionType is not SYN.",
        lambda d: d.get("ConversionType") == "SYN",
    ),
    (
        "quality-control",
        "QualityControlImage is not YES.",
        lambda d: d.get("QualityControlImage") == "YES",
    ),
    (
        "derivation",
        "The derivation code of a generative edit, or of an insertion, is missing.",
        _derivation_is_coded,
    ),
    (
        "source-image",
        "SourceImageSequence names no source image for the operation.",
        _image_refers_to_source,
    ),
    (
        "orientation",
        "PatientOrientation is absent (it may be empty).",
        lambda d: "PatientOrientation" in d,
    ),
    (
        "body-part",
        "BodyPartExamined is empty.",
        lambda d: bool(d.get("BodyPartExamined")),
    ),
    ("spacing", "A pixel spacing is not above 0.", _spacing_is_positive),
    (
        "pixels",
        "The pixels are not those the provenance recorded.",
        _has_recorded_pixels,
    ),
]

__all__ = [
    "Finding",
    "Severity",
    "check_dataset",
    "check_file",
    "claims_ours",
    "passes",
    "run_dciodvfy",
]
