"""A DICOM SEG of a film as masks, by pydicom, which Slicer brings along."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pydicom


def masks_of(content: bytes, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Read the segments of a SEG that lies on a film's own pixels.

    Parameters
    ----------
    content : of the DICOM file
    shape : rows and columns of the film

    Returns
    -------
    label to bool [rows, columns], True = inside; a segment without pixels is all False

    Raises
    ------
    ValueError
        The SEG is of another size than the film.
    """
    dataset = pydicom.dcmread(BytesIO(content))
    if (dataset.Rows, dataset.Columns) != shape:
        raise ValueError("The segmentation is of another size than the film.")
    labels = {int(s.SegmentNumber): str(s.SegmentLabel) for s in dataset.SegmentSequence}
    masks = {label: np.zeros(shape, dtype=bool) for label in labels.values()}
    frames = dataset.pixel_array.reshape(-1, *shape)
    # What all frames have in common, such as their one segment, may stand in the shared group.
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [pydicom.Dataset()])[0]
    for frame, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        of = group if "SegmentIdentificationSequence" in group else shared
        number = int(of.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        masks[labels[number]] |= frame != 0
    return masks
