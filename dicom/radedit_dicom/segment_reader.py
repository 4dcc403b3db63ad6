"""The segments of a DICOM Segmentation as masks on a film (PS3.3 A.51), whoever wrote it.

Binary, fractional and label map, on the film's own pixels or on a grid that `segment_grid`
can bring back to them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import SegmentationStorage

from radedit_dicom.codestream import codestream_size
from radedit_dicom.decoders import decode_frame
from radedit_dicom.errors import SegmentNotFoundError, UnsupportedImageError
from radedit_dicom.film import MAX_PIXELS, Film
from radedit_dicom.gate import is_native
from radedit_dicom.segment_grid import placement, unusable
from radedit_dicom.segmentation import MAX_SEGMENTS
from radedit_dicom.vocabulary import LABEL_MAP_CLASS

#: Pixels of all masks together, and of all frames they are made of: `MAX_SEGMENTS` on a film of
#: 8 million. A few kilobytes, compressed, can declare far more.
MAX_MASK_PIXELS = MAX_SEGMENTS * 8 * 1024 * 1024
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
    if len(numbers) * film.stored.size > MAX_MASK_PIXELS:
        raise unusable(f"it has {len(numbers)} segments, which are too many on a film of this size")
    place = placement(dataset, film)
    if dataset.SOPClassUID == LABEL_MAP_CLASS:
        owners: list[set[int]] = [numbers] * int(dataset.get("NumberOfFrames") or 1)
    else:
        owners = [{n} & numbers for n in _frame_segments(dataset)]
    inside = _inside(dataset)
    masks = {n: np.zeros((int(dataset.Rows), int(dataset.Columns)), np.bool_) for n in numbers}
    wanted = [index for index, found in enumerate(owners) if found]
    for index, frame in zip(wanted, _frames(dataset, wanted), strict=True):
        for number in owners[index]:
            masks[number] |= inside(frame, number)
    return {number: place.mask(masks.pop(number)) for number in list(masks)}


def _inside(dataset: Dataset) -> Callable[[NDArray[Any], int], Mask]:
    """Tell how the pixels of a frame that are inside a segment are known."""
    if dataset.SOPClassUID == LABEL_MAP_CLASS:
        return lambda frame, number: np.asarray(frame == number)
    if dataset.get("SegmentationType") == "FRACTIONAL":
        most = dataset.get("MaximumFractionalValue") or 255
        if not isinstance(most, int):
            raise unusable("it states no maximum of its fractions")
        least = (most + 1) // 2
        return lambda frame, _: np.asarray(frame >= least)
    return lambda frame, _: np.asarray(frame != 0)


def _frames(dataset: Dataset, wanted: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Decode frames one after the other, so that one at a time is in memory."""
    shape = (int(dataset.Rows), int(dataset.Columns))
    is_packed = dataset.get("BitsAllocated") == 1 and is_native(dataset.file_meta.TransferSyntaxUID)
    for index in wanted:
        try:
            frame = _unpacked(dataset, index) if is_packed else decode_frame(dataset, index)
        except UnsupportedImageError:
            raise unusable("its pixels cannot be decoded") from None
        if frame.shape != shape:
            raise unusable("its pixels are of another shape than it declares")
        yield frame


def _unpacked(dataset: Dataset, index: int) -> NDArray[np.uint8]:
    """Take one frame out of packed bits (PS3.5 8.1.1), which need not begin with a byte.

    pydicom 3.0.2 fails on such a frame, and would have to unpack all of them.
    """
    shape = (int(dataset.Rows), int(dataset.Columns))
    first, skipped = divmod(index * shape[0] * shape[1], 8)
    packed = np.frombuffer(dataset.PixelData, np.uint8)[first:]
    bits = skipped + shape[0] * shape[1]
    return np.unpackbits(packed[: -(-bits // 8)], bitorder="little")[skipped:bits].reshape(shape)


def _check(dataset: Dataset, film: Film) -> None:
    if dataset.get("SOPClassUID") not in (SegmentationStorage, LABEL_MAP_CLASS):
        raise unusable("it is no DICOM segmentation")
    rows, columns = dataset.get("Rows"), dataset.get("Columns")
    if not isinstance(rows, int) or not isinstance(columns, int) or rows < 1 or columns < 1:
        raise unusable("it declares no size")
    frames = int(dataset.get("NumberOfFrames") or 1)
    pixels = frames * rows * columns
    if frames < 1 or rows * columns > MAX_PIXELS or pixels > MAX_MASK_PIXELS:
        raise unusable(f"it declares {frames} frames of {rows} x {columns}")
    if not dataset.get("SegmentSequence") or not dataset.get("PixelData"):
        raise unusable("it has no segments or no pixels")
    if is_native(dataset.file_meta.TransferSyntaxUID):
        bits = pixels * int(dataset.get("BitsAllocated") or 0)
        if len(dataset.PixelData) < (bits + 7) // 8:
            raise unusable("its pixel data are truncated")
    else:
        _check_codestreams(dataset, frames)
    if not refers_to(dataset, film):
        raise unusable("it does not refer to this film")


def _check_codestreams(dataset: Dataset, frames: int) -> None:
    """Compare the size inside each compressed frame with the declared one, before decoding any."""
    declared = (int(dataset.Rows), int(dataset.Columns))
    found = 0
    try:
        for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
            found += 1
            if codestream_size(frame) not in (None, declared):
                raise unusable("its compressed pixels are of another size than it declares")
    except (LookupError, ValueError, struct.error, EOFError) as error:
        raise unusable(f"its pixels cannot be decoded ({type(error).__name__})") from None
    if found != frames:
        raise unusable(f"it declares {frames} frames and holds {found}")


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


def _frame_segments(dataset: Dataset) -> list[int]:
    """Segment number of each frame, from its own or the shared functional groups."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    if len(groups) != int(dataset.get("NumberOfFrames") or 1):
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
    if not set(numbers) <= set(_labels(dataset)):
        raise unusable("a frame belongs to a segment that is not described")
    return numbers
