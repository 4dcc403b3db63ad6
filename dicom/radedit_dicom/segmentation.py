"""Masks as a DICOM Segmentation (PS3.3 A.51); `segment_reader` reads them back.

Binary segments, since masks overlap and archives of today refuse label maps. One SEG per
series, in its image's study, since viewers take only the last SEG of a series. In a plane,
although a projection has none: `lay_in_plane` says which reader needs what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from highdicom import (
    AlgorithmIdentificationSequence,
    PixelMeasuresSequence,
    PlaneOrientationSequence,
    PlanePositionSequence,
)
from highdicom.color import CIELabColor
from highdicom.enum import CoordinateSystemNames
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg.sop import Segmentation
from highdicom.sr.coding import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import UID, SegmentationStorage

from radedit_dicom import vocabulary as words
from radedit_dicom.errors import ConformanceError
from radedit_dicom.film import positive_pair
from radedit_dicom.marks import Reference, anonymous, mark, refer, series_number
from radedit_dicom.provenance import Provenance, edit_uid
from radedit_dicom.segment_grid import UPRIGHT, numbers_of
from radedit_dicom.study import StudyContext
from radedit_dicom.uids import is_uid

MAX_SEGMENTS = 64
_NO_SPACING = "; no spacing: 1 mm = 1 pixel"
_PLACE = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient")
#: What tells the size of a film's pixels, what counts most in front.
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
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
    segmentation = assemble(
        image,
        masks,
        Maker(
            series_instance_uid=edit_uid(provenance, "seg-series"),
            sop_instance_uid=edit_uid(provenance, "seg"),
            dimensions_uid=edit_uid(provenance, "seg-dimensions"),
            series_number=series_number(provenance, 1),
            version=provenance.tool_version,
            family=ALGORITHM_FAMILY,
            how=SegmentAlgorithmTypeValues.SEMIAUTOMATIC,
            content=("EDIT_MASKS", "Masks of a synthetic edit"),
        ),
    )
    mark(segmentation, provenance, study, "masks")
    refer(segmentation, [Reference.to(image)] + ([source] if source is not None else []))
    return segmentation


@dataclass(frozen=True)
class Maker:
    """What a SEG says of itself beside its masks.

    Attributes
    ----------
    series_instance_uid, sop_instance_uid, dimensions_uid : UID
    series_number : int
    version : str
        Of the program.
    family : highdicom.sr.CodedConcept
        Kind of algorithm that drew the masks (PS3.16 CID 7162).
    how : SegmentAlgorithmTypeValues
    content : (label, description)
        Label in upper case (VR CS, at most 16 characters).
    """

    series_instance_uid: UID
    sop_instance_uid: UID
    dimensions_uid: UID
    series_number: int
    version: str
    family: CodedConcept
    how: SegmentAlgorithmTypeValues
    content: tuple[str, str]


def assemble(image: Dataset, masks: Mapping[str, NDArray[np.bool_]], maker: Maker) -> Dataset:
    """Make a SEG of masks on an image, without marks, references and patient.

    Parameters
    ----------
    image : pydicom.Dataset
    masks : mapping of str to bool [rows, columns]
        As in `build_segmentation`.
    maker : Maker

    Raises
    ------
    ConformanceError
        As in `build_segmentation`.
    """
    _check_masks(image, masks)
    segmentation = Segmentation(
        source_images=[unplaced(image)],
        pixel_array=np.stack(list(masks.values()), axis=-1)[np.newaxis].astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _description(number, label, maker) for number, label in enumerate(masks, start=1)
        ],
        series_instance_uid=maker.series_instance_uid,
        series_number=maker.series_number,
        sop_instance_uid=maker.sop_instance_uid,
        instance_number=1,
        manufacturer=words.MANUFACTURER,
        manufacturer_model_name=words.MODEL_NAME,
        software_versions=maker.version[:64],
        device_serial_number=words.SERIAL_NUMBER,
        content_label=maker.content[0],
        content_description=maker.content[1],
        omit_empty_frames=False,
    )
    lay_in_plane(segmentation, image)
    for element in segmentation.iterall():  # highdicom draws this one at random
        if element.keyword == "DimensionOrganizationUID":
            element.value = maker.dimensions_uid
    return segmentation


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


def _description(number: int, label: str, maker: Maker) -> SegmentDescription:
    codes = words.segment_codes(label)
    return SegmentDescription(
        segment_number=number,
        segment_label=label[:64],
        segmented_property_category=codes.category,
        segmented_property_type=codes.type,
        algorithm_type=maker.how,
        algorithm_identification=AlgorithmIdentificationSequence(
            name=words.MODEL_NAME,
            family=maker.family,
            version=maker.version[:64],
        ),
        display_color=CIELabColor.from_rgb(*words.segment_colour(label)),
    )


def unplaced(image: Dataset) -> Dataset:
    """Copy an object for highdicom without identity, pixels and place.

    Of a film in a frame of reference highdicom asks for a slice thickness, which none has;
    `lay_in_plane` brings back where the film lies.
    """
    copied = anonymous(image)
    for name in _PLACE:
        if name in copied:
            delattr(copied, name)
    return copied


def lay_in_plane(segmentation: Dataset, image: Dataset) -> None:
    """Say where the masks lie: in the film's plane, in a form that every reader takes.

    A projection needs none of it, but its readers do: OHIF hangs without an orientation,
    highdicom opens no pixel measures without a slice thickness, and dcmqi (and so 3D Slicer)
    nothing without pixel measures and a position in each frame. The plane starts at 0, as
    readers assume of a film that states no place; its thickness means nothing. Where the film
    does not know its spacing, 1 mm stands for a pixel, and the description says so.

    Parameters
    ----------
    segmentation : pydicom.Dataset
        A SEG that highdicom built of one `unplaced` projection; changed in place.
    image : pydicom.Dataset
        Its source.
    """
    place = numbers_of(image, "ImagePositionPatient", 3)
    turned = numbers_of(image, "ImageOrientationPatient", 6)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence = PlaneOrientationSequence(
        coordinate_system=CoordinateSystemNames.PATIENT, image_orientation=turned or UPRIGHT
    )
    spacing = next(filter(None, (positive_pair(image, name) for name in _SPACINGS)), None)
    if spacing is None:
        about = str(segmentation.ContentDescription or "")[: 64 - len(_NO_SPACING)]
        segmentation.ContentDescription = about + _NO_SPACING
    shared.PixelMeasuresSequence = PixelMeasuresSequence(
        pixel_spacing=spacing or _aspect(image), slice_thickness=1.0
    )
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        frame.PlanePositionSequence = PlanePositionSequence(
            coordinate_system=CoordinateSystemNames.PATIENT,
            image_position=place or (0.0, 0.0, 0.0),
        )
    if place and turned and is_uid(image.get("FrameOfReferenceUID", "")):
        segmentation.FrameOfReferenceUID = image.FrameOfReferenceUID
        segmentation.PositionReferenceIndicator = None
    segmentation.PatientOrientation = image.get("PatientOrientation") or None
    segmentation.BodyPartExamined = image.get("BodyPartExamined") or "CHEST"


def _aspect(image: Dataset) -> tuple[float, float]:
    """Give the spacing of a film that states the shape of its pixels at most: 1 mm wide."""
    vertical, horizontal = positive_pair(image, "PixelAspectRatio") or (1.0, 1.0)
    return vertical / horizontal, 1.0
