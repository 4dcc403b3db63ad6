"""Masks as a DICOM Segmentation, and back (PS3.3 A.51).

Binary segments, since masks overlap and archives of today refuse label maps. One SEG per
series, in its image's study, with a plane orientation although a projection has none:
viewers read it and hang without (OHIF), or take only the last SEG of a series.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from highdicom import (
    AlgorithmIdentificationSequence,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
)
from highdicom.enum import CoordinateSystemNames
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg.sop import Segmentation
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, SegmentationStorage

from radedit_dicom import vocabulary as words
from radedit_dicom.errors import ConformanceError, SegmentNotFoundError, UnsupportedImageError
from radedit_dicom.film import MAX_PIXELS, Film
from radedit_dicom.gate import is_native
from radedit_dicom.marks import Reference, anonymous, mark, refer, series_number
from radedit_dicom.provenance import Provenance, edit_uid
from radedit_dicom.study import StudyContext

LABEL_MAP_CLASS = UID("1.2.840.10008.5.1.4.1.1.66.7")
MAX_SEGMENTS = 64
ALGORITHM_FAMILY = CodedConcept("123110", "DCM", "Artificial Intelligence")


def reference_to_segmentation(provenance: Provenance, study: StudyContext) -> Reference:
    """Refer to the SEG of an edit, before or after it is built."""
    return Reference(
        sop_class_uid=str(SegmentationStorage),
        sop_instance_uid=str(edit_uid(provenance, "seg")),
        series_instance_uid=str(edit_uid(provenance, "seg-series")),
        study_instance_uid=study.study_instance_uid,
    )


def build_segmentation(
    image: Dataset,
    masks: Mapping[str, NDArray[np.bool_]],
    provenance: Provenance,
    study: StudyContext,
    source: Reference | None = None,
) -> Dataset:
    """Build the SEG of an edit.

    Parameters
    ----------
    image : pydicom.Dataset
        The image the masks lie on: the edited Secondary Capture.
    masks : mapping of str to bool [rows, columns]
        Segment label to mask, True = inside; order gives the segment numbers.
    provenance : Provenance
    study : StudyContext
        That of `image`.
    source : Reference, optional
        The film before the edit, which has the same pixel grid.

    Returns
    -------
    pydicom.Dataset
        With ``file_meta``; UIDs follow from the edit.

    Raises
    ------
    ConformanceError
        No mask, too many, or one that is not bool or not of the image's size.
    """
    _check_masks(image, masks)
    segmentation = Segmentation(
        source_images=[anonymous(image)],
        pixel_array=np.stack(list(masks.values()), axis=-1)[np.newaxis].astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, label, provenance) for number, label in enumerate(masks, start=1)
        ],
        series_instance_uid=edit_uid(provenance, "seg-series"),
        series_number=series_number(provenance, 1),
        sop_instance_uid=edit_uid(provenance, "seg"),
        instance_number=1,
        manufacturer=words.MANUFACTURER,
        manufacturer_model_name=words.MODEL_NAME,
        software_versions=provenance.tool_version[:64],
        device_serial_number=words.SERIAL_NUMBER,
        content_label="EDIT_MASKS",
        content_description="Masks of a synthetic edit",
        omit_empty_frames=False,
    )
    mark(segmentation, provenance, study, "masks")
    _place(segmentation, image)
    for element in segmentation.iterall():  # highdicom draws this one at random
        if element.keyword == "DimensionOrganizationUID":
            element.value = edit_uid(provenance, "seg-dimensions")
    refer(segmentation, [Reference.to(image)] + ([source] if source is not None else []))
    return segmentation


def read_segmentation(dataset: Dataset, film: Film) -> dict[str, NDArray[np.bool_]]:
    """Read every segment on the film's pixel grid.

    Parameters
    ----------
    dataset : pydicom.Dataset
        A SEG (binary, fractional or label map) with its pixel data.
    film : Film
        The image the masks are wanted for: the one segmented, or one the SEG refers to.

    Returns
    -------
    dict of str to bool [rows, columns]
        Segment label to mask, True = inside; a fractional segment is inside from half its
        maximum up. A label used twice gets its segment number appended.

    Raises
    ------
    UnsupportedImageError
        No SEG, of another size, of another image, too large, or undecodable.
    """
    _check_segmentation(dataset, film)
    try:
        frames = np.asarray(pixel_array(dataset))
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise _bad(f"its pixels cannot be decoded ({type(error).__name__})") from None
    frames = frames.reshape((-1, *film.shape))
    labels = _labels(dataset)
    if dataset.SOPClassUID == LABEL_MAP_CLASS:
        return {label: np.any(frames == number, axis=0) for number, label in labels.items()}
    if dataset.get("SegmentationType") == "FRACTIONAL":
        inside = frames * 2.0 >= float(dataset.get("MaximumFractionalValue") or 255)
    else:
        inside = frames != 0
    masks = {label: np.zeros(film.shape, dtype=np.bool_) for label in labels.values()}
    for number, frame in zip(_frame_segments(dataset, len(frames)), inside, strict=True):
        if number not in labels:
            raise _bad("a frame belongs to a segment that is not described")
        masks[labels[number]] |= frame
    return masks


def select_mask(dataset: Dataset, film: Film, wanted: str) -> NDArray[np.bool_]:
    """Read the mask with a given label or code.

    Parameters
    ----------
    dataset : pydicom.Dataset
        A SEG.
    film : Film
    wanted : str
        Segment label (any case), or the code value of the segmented property type; several
        segments of one code are joined.

    Returns
    -------
    bool [rows, columns]
        True = inside.

    Raises
    ------
    SegmentNotFoundError
        No segment of that label or code.
    UnsupportedImageError
        As `read_segmentation`.
    """
    masks = read_segmentation(dataset, film)
    chosen = [mask for label, mask in masks.items() if label.lower() == wanted.strip().lower()]
    if not chosen:
        labels = _labels(dataset)
        numbers = [
            int(item.SegmentNumber)
            for item in dataset.SegmentSequence
            if any(
                str(code.get("CodeValue", "")) == wanted.strip()
                for code in item.get("SegmentedPropertyTypeCodeSequence") or []
            )
        ]
        chosen = [masks[labels[number]] for number in numbers]
    if not chosen:
        raise SegmentNotFoundError(
            f"The segmentation has {len(masks)} segments, none with that label or code; "
            "name one of its segments."
        )
    return np.asarray(np.any(chosen, axis=0), dtype=np.bool_)


def _check_masks(image: Dataset, masks: Mapping[str, NDArray[np.bool_]]) -> None:
    if not 1 <= len(masks) <= MAX_SEGMENTS:
        raise ConformanceError(
            f"There are {len(masks)} masks, but a segmentation takes 1 to {MAX_SEGMENTS}; "
            "give the edit mask at least."
        )
    size = (int(image.Rows), int(image.Columns))
    for mask in masks.values():
        if mask.dtype != np.bool_ or mask.shape != size:
            raise ConformanceError(
                f"A mask is {mask.dtype} {mask.shape}, but bool {size} is needed; "
                "make masks on the film's own pixel grid."
            )


def _description(number: int, label: str, provenance: Provenance) -> SegmentDescription:
    codes = words.segment_codes(label)
    return SegmentDescription(
        segment_number=number,
        segment_label=label[:64],
        segmented_property_category=codes.category,
        segmented_property_type=codes.type,
        algorithm_type=SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=words.MODEL_NAME,
            family=ALGORITHM_FAMILY,
            version=provenance.tool_version[:64],
        ),
    )


def _place(segmentation: Dataset, image: Dataset) -> None:
    """Add orientation and spacing, which a projection without frame of reference lacks."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence = PlaneOrientationSequence(
        coordinate_system=CoordinateSystemNames.PATIENT, image_orientation=(1, 0, 0, 0, 1, 0)
    )
    spacing = image.get("PixelSpacing")
    if spacing is not None:
        shared.PixelMeasuresSequence = PixelMeasuresSequence(
            pixel_spacing=[float(value) for value in spacing], slice_thickness=None
        )
    segmentation.PatientOrientation = image.get("PatientOrientation") or None
    segmentation.BodyPartExamined = image.BodyPartExamined


def _check_segmentation(dataset: Dataset, film: Film) -> None:
    if dataset.get("SOPClassUID") not in (SegmentationStorage, LABEL_MAP_CLASS):
        raise _bad("it is no DICOM segmentation")
    size = (dataset.get("Rows"), dataset.get("Columns"))
    if size != film.shape:
        raise _bad(f"it is {size[0]} x {size[1]}, the film {film.shape[0]} x {film.shape[1]}")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames < 1 or frames * film.shape[0] * film.shape[1] > MAX_SEGMENTS * MAX_PIXELS // 4:
        raise _bad(f"it declares {frames} frames")
    if not dataset.get("SegmentSequence") or not dataset.get("PixelData"):
        raise _bad("it has no segments or no pixels")
    if is_native(dataset.file_meta.TransferSyntaxUID):
        bits = frames * film.shape[0] * film.shape[1] * int(dataset.get("BitsAllocated") or 0)
        if len(dataset.PixelData) < (bits + 7) // 8:
            raise _bad("its pixel data are truncated")
    if film.sop_instance_uid not in _referenced_instances(dataset):
        raise _bad("it does not refer to this film")


def _referenced_instances(dataset: Dataset) -> set[str]:
    return {
        str(element.value)
        for element in dataset.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    }


def _labels(dataset: Dataset) -> dict[int, str]:
    labels: dict[int, str] = {}
    for item in dataset.SegmentSequence:
        number, label = int(item.SegmentNumber), str(item.get("SegmentLabel") or "")
        labels[number] = f"{label} {number}".strip() if label in ("", *labels.values()) else label
    return labels


def _frame_segments(dataset: Dataset, frames: int) -> list[int]:
    """Segment number of each frame, from its own or the shared functional groups."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(groups) != frames:
        raise _bad("it does not say which segment each frame belongs to")
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    numbers = []
    for group in groups:
        found = group.get("SegmentIdentificationSequence") or shared[0].get(
            "SegmentIdentificationSequence"
        )
        if not found:
            raise _bad("it does not say which segment each frame belongs to")
        numbers.append(int(found[0].ReferencedSegmentNumber))
    return numbers


def _bad(what: str) -> UnsupportedImageError:
    return UnsupportedImageError(
        f"The segmentation cannot be used as a mask of this film: {what}; "
        "choose a segmentation made on this film."
    )
