"""The segments of a DICOM Segmentation as masks on a film (PS3.3 A.51), whoever wrote it.

Binary, fractional and label map, on the film's own pixels or on a grid that `segment_grid`
can bring back to them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array
from pydicom.uid import SegmentationStorage

from radedit_dicom.errors import SegmentNotFoundError
from radedit_dicom.film import MAX_PIXELS, Film
from radedit_dicom.gate import is_native
from radedit_dicom.segment_grid import placement, unusable
from radedit_dicom.segmentation import MAX_SEGMENTS
from radedit_dicom.vocabulary import LABEL_MAP_CLASS

_SHOWN = 20  # labels in a sentence
_CODE_VALUES = ("CodeValue", "LongCodeValue", "URNCodeValue")

Mask = NDArray[np.bool_]


def read_segmentation(dataset: Dataset, film: Film) -> dict[str, Mask]:
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
        No SEG, of another image, on another grid, too large, or undecodable.
    """
    masks = _masks(dataset, film, set(_labels(dataset)))
    return {label: masks[number] for number, label in _labels(dataset).items()}


def select_mask(dataset: Dataset, film: Film, wanted: str) -> Mask:
    """Read the mask with a given label or code.

    Parameters
    ----------
    dataset : pydicom.Dataset
        A SEG.
    film : Film
    wanted : str
        Segment label, or code value or code meaning of the segmented property type, in any
        case; a label wins over a code, and several segments of one label or code are joined.

    Returns
    -------
    bool [rows, columns]
        True = inside.

    Raises
    ------
    SegmentNotFoundError
        No segment of that label or code; names those there are.
    UnsupportedImageError
        As `read_segmentation`.
    """
    numbers = find_segments(dataset, wanted)
    if not numbers:
        raise SegmentNotFoundError(
            f"The segmentation has no segment with that label or code, only "
            f"{', '.join(segment_labels(dataset)[:_SHOWN])}; name one of its segments."
        )
    masks = _masks(dataset, film, numbers)
    return np.asarray(np.any([masks[number] for number in numbers], axis=0), dtype=np.bool_)


def refers_to(dataset: Dataset, film: Film) -> bool:
    """Say whether an object is a SEG that refers to the film anywhere."""
    return dataset.get("SOPClassUID") in (SegmentationStorage, LABEL_MAP_CLASS) and any(
        element.keyword == "ReferencedSOPInstanceUID"
        and str(element.value) == film.sop_instance_uid
        for element in dataset.iterall()
    )


def segment_labels(dataset: Dataset) -> list[str]:
    """List the labels of a SEG's segments, each once told apart from the others."""
    return list(_labels(dataset).values())


def find_segments(dataset: Dataset, wanted: str) -> set[int]:
    """Give the numbers of the segments with a label or code; see `select_mask`."""
    sought = wanted.strip().casefold()
    unique = {number for number, label in _labels(dataset).items() if label.casefold() == sought}
    items = {_number(item): item for item in dataset.get("SegmentSequence") or []}
    labelled = {
        number
        for number in _labels(dataset)
        if str(items[number].get("SegmentLabel") or "").strip().casefold() == sought
    }
    return labelled | unique or {
        number for number in _labels(dataset) if sought in _codes(items[number])
    }


def _codes(item: Dataset) -> set[str]:
    return {
        str(code[name].value).strip().casefold()
        for code in item.get("SegmentedPropertyTypeCodeSequence") or []
        for name in (*_CODE_VALUES, "CodeMeaning")
        if name in code
    }


def _masks(dataset: Dataset, film: Film, numbers: set[int]) -> dict[int, Mask]:
    """Give the segments of those numbers on the film's grid."""
    _check(dataset, film)
    place = placement(dataset, film)
    try:
        frames = np.asarray(pixel_array(dataset))
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise unusable(f"its pixels cannot be decoded ({type(error).__name__})") from None
    frames = frames.reshape((-1, int(dataset.Rows), int(dataset.Columns)))
    if dataset.SOPClassUID == LABEL_MAP_CLASS:
        return {n: place.mask(np.any(frames == n, axis=0)) for n in numbers}
    if dataset.get("SegmentationType") == "FRACTIONAL":
        inside = frames * 2.0 >= float(dataset.get("MaximumFractionalValue") or 255)
    else:
        inside = frames != 0
    owners = _frame_segments(dataset, len(frames))
    if not set(owners) <= set(_labels(dataset)):
        raise unusable("a frame belongs to a segment that is not described")
    masks = {number: np.zeros(frames.shape[1:], dtype=np.bool_) for number in numbers}
    for number, frame in zip(owners, inside, strict=True):
        if number in masks:
            masks[number] |= frame
    return {number: place.mask(mask) for number, mask in masks.items()}


def _check(dataset: Dataset, film: Film) -> None:
    if dataset.get("SOPClassUID") not in (SegmentationStorage, LABEL_MAP_CLASS):
        raise unusable("it is no DICOM segmentation")
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not isinstance(rows, int) or not isinstance(columns, int) or rows < 1 or columns < 1:
        raise unusable("it declares no size")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames < 1 or frames * rows * columns > MAX_SEGMENTS * MAX_PIXELS // 4:
        raise unusable(f"it declares {frames} frames of {rows} x {columns}")
    if not dataset.get("SegmentSequence") or not dataset.get("PixelData"):
        raise unusable("it has no segments or no pixels")
    if is_native(dataset.file_meta.TransferSyntaxUID):
        bits = frames * rows * columns * int(dataset.get("BitsAllocated") or 0)
        if len(dataset.PixelData) < (bits + 7) // 8:
            raise unusable("its pixel data are truncated")
    if not refers_to(dataset, film):
        raise unusable("it does not refer to this film")


def _labels(dataset: Dataset) -> dict[int, str]:
    """Segment number to label; number 0 of a label map is its background, and no segment."""
    labels: dict[int, str] = {}
    for item in dataset.get("SegmentSequence") or []:
        number, label = _number(item), str(item.get("SegmentLabel") or "").strip()
        if number > 0:
            taken = label in ("", *labels.values())
            labels[number] = f"{label} {number}".strip() if taken else label
    return labels


def _number(item: Dataset) -> int:
    number = item.get("SegmentNumber")
    if not isinstance(number, int):
        raise unusable("a segment has no number")
    return number


def _frame_segments(dataset: Dataset, frames: int) -> list[int]:
    """Segment number of each frame, from its own or the shared functional groups."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(groups) != frames:
        raise unusable("it does not say which segment each frame belongs to")
    shared = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    numbers = []
    for group in groups:
        found = group.get("SegmentIdentificationSequence") or shared[0].get(
            "SegmentIdentificationSequence"
        )
        if not found:
            raise unusable("it does not say which segment each frame belongs to")
        numbers.append(int(found[0].ReferencedSegmentNumber))
    return numbers
