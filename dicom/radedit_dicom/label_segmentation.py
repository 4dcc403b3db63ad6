"""Labels that people and tasks gave a film, as a Segmentation in the film's own study.

Unlike the masks of an edit, which lie on a synthetic image, these are of the original and
carry none of our marks. Each save is a new object: an archive never replaces one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription
from highdicom.seg.sop import Segmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from radedit_dicom import vocabulary as words
from radedit_dicom.conformance import claims_ours
from radedit_dicom.errors import ConformanceError
from radedit_dicom.film import Film
from radedit_dicom.marks import in_zone
from radedit_dicom.segmentation import ALGORITHM_FAMILY, MAX_SEGMENTS, lay_in_plane, unplaced
from radedit_dicom.study import StudyContext

DESCRIPTION = "MONAI Label: "
MANUFACTURER = f"{words.MANUFACTURER} (labels)"
#: What a label without a code of its own is; the least that a SEG can say of a segment.
TISSUE = Code("85756007", "SCT", "Tissue")


@dataclass(frozen=True)
class About:
    """Where a label comes from.

    Attributes
    ----------
    tag : str
        MONAI Label's name for a kind of label, such as final; at most 50 characters.
    model : str
        The task that made it; empty: a person did.
    version : str
        Of the program.
    series_number : int
    """

    tag: str
    model: str
    version: str
    series_number: int


@dataclass(frozen=True)
class LabelNote:
    """What is known of a SEG that may be a label of films.

    Attributes
    ----------
    tag : str or None
        As in `About`; None: the SEG is another program's.
    films : frozenset of str
        SOP Instance UIDs it refers to.
    labels : tuple of str
    created : str
        Date and time of its content, which sorts.
    """

    tag: str | None
    films: frozenset[str]
    labels: tuple[str, ...]
    created: str


def build_label(film: Film, masks: Mapping[str, NDArray[np.bool_]], about: About) -> Dataset:
    """Build the SEG of a film's labels.

    Parameters
    ----------
    film : Film
    masks : mapping of str to bool [rows, columns]
        Label to mask, True = inside; at least one.
    about : About

    Returns
    -------
    pydicom.Dataset
        With ``file_meta`` and new UIDs.

    Raises
    ------
    ConformanceError
        No mask, or too many.
    UnsupportedImageError
        An identifier of the film cannot be repeated (`study.check_identity`).
    """
    study = StudyContext.same(film)
    if not 1 <= len(masks) <= MAX_SEGMENTS:
        raise ConformanceError(
            f"There are {len(masks)} labels, but a segmentation takes 1 to {MAX_SEGMENTS}; "
            "save a label image with something in it."
        )
    segmentation = Segmentation(
        source_images=[unplaced(film.header)],
        pixel_array=np.stack(list(masks.values()), axis=-1)[np.newaxis].astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(number, label, about) for number, label in enumerate(masks, start=1)
        ],
        series_instance_uid=generate_uid(),
        series_number=about.series_number,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name="labels",
        software_versions=about.version,
        device_serial_number=words.SERIAL_NUMBER,
        content_label="LABELS",
        content_description=f"Labels of a radiograph, {about.tag}",
        omit_empty_frames=False,
    )
    study.apply(segmentation)
    segmentation.SpecificCharacterSet = "ISO_IR 192"
    segmentation.SeriesDescription = f"{DESCRIPTION}{about.tag}"
    now = in_zone(datetime.now().astimezone(), study)
    for name in ("Content", "Series", "InstanceCreation"):
        setattr(segmentation, f"{name}Date", now.strftime("%Y%m%d"))
        setattr(segmentation, f"{name}Time", now.strftime("%H%M%S.%f"))
    lay_in_plane(segmentation, film.header)
    return segmentation


def note_of(dataset: Dataset) -> LabelNote | None:
    """Read what a SEG says of itself; None for the masks of an edit, which are no label."""
    if claims_ours(dataset):
        return None
    description = str(dataset.get("SeriesDescription", "") or "")
    is_label = dataset.get("Manufacturer") == MANUFACTURER and description.startswith(DESCRIPTION)
    films = frozenset(
        str(element.value)
        for element in dataset.iterall()
        if element.keyword == "ReferencedSOPInstanceUID"
    )
    items = dataset.get("SegmentSequence") or []
    created = (str(dataset.get(f"Content{part}", "") or "") for part in ("Date", "Time"))
    return LabelNote(
        tag=description.removeprefix(DESCRIPTION) if is_label else None,
        films=films,
        labels=tuple(str(item.get("SegmentLabel", "")) for item in items),
        created=" ".join(created),
    )


def _segment(number: int, label: str, about: About) -> SegmentDescription:
    codes = words.segment_of(label)
    if codes is None or codes.type.scheme_designator == words.SCHEME:
        codes = words.SegmentCodes(TISSUE, TISSUE)
    kind, algorithm = SegmentAlgorithmTypeValues.MANUAL, None
    if about.model:
        kind = SegmentAlgorithmTypeValues.AUTOMATIC
        algorithm = AlgorithmIdentificationSequence(
            name=about.model[:64], family=ALGORITHM_FAMILY, version=about.version
        )
    return SegmentDescription(
        segment_number=number,
        segment_label=label[:64],
        segmented_property_category=codes.category,
        segmented_property_type=codes.type,
        algorithm_type=kind,
        algorithm_identification=algorithm,
    )
