"""Segmentations of every kind, written by highdicom, are read frame by frame within a bound."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from io import BytesIO
from itertools import product

import highdicom as hd
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sr.codedict import codes
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from radedit_dicom import segment_reader
from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.film import Film, read_film
from radedit_dicom.segment_reader import read_segmentation, select_mask

LABELS = ("left", "right", "heart")
KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")


@pytest.fixture
def source(make_dataset: Callable[..., Dataset]) -> Dataset:
    # 25 x 23: frames of a binary segmentation begin within bytes
    return make_dataset(np.random.default_rng(3).integers(0, 4096, (25, 23)))


@pytest.fixture
def film(source: Dataset) -> Film:
    return read_film(source)


def segmentation(source: Dataset, kind: str, syntax: str, masks: NDArray[np.bool_]) -> Dataset:
    """Write bool [rows, cols, segments] as one kind of segmentation."""
    pixels: NDArray[np.generic] = masks[None].astype(np.uint8)
    if kind == "FRACTIONAL":
        pixels = np.where(masks, 0.51, 0.49)[None].astype(np.float32)
    if kind == "LABELMAP":
        pixels = (masks * np.arange(1, masks.shape[2] + 1)).max(axis=2)[None].astype(np.uint8)
    made = hd.seg.Segmentation(
        source_images=[source],
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[
            hd.seg.SegmentDescription(
                number, label, codes.SCT.AnatomicalStructure, codes.SCT.Lung,
                hd.seg.SegmentAlgorithmTypeValues.MANUAL,
            )
            for number, label in enumerate(LABELS[: masks.shape[2]], start=1)
        ],
        series_instance_uid=generate_uid(), series_number=8,
        sop_instance_uid=generate_uid(), instance_number=1,
        manufacturer="Vendor", manufacturer_model_name="Model",
        software_versions="1", device_serial_number="1",
        max_fractional_value=201, transfer_syntax_uid=syntax,
    )  # fmt: skip
    written = BytesIO()
    made.save_as(written)
    return pydicom.dcmread(BytesIO(written.getvalue()))


def bars(shape: tuple[int, int]) -> NDArray[np.bool_]:
    masks = np.zeros((*shape, 3), dtype=np.bool_)
    for number in range(3):
        masks[3 + 7 * number : 8 + 7 * number, 2:-2, number] = True
    return masks


@pytest.mark.parametrize(
    ("kind", "syntax"),
    [
        ("BINARY", ExplicitVRLittleEndian),
        *product(KINDS[1:], (ExplicitVRLittleEndian, RLELossless, JPEGLSLossless)),
    ],
)
def test_every_kind_and_syntax_gives_the_masks_that_were_written(
    source: Dataset, film: Film, kind: str, syntax: str
) -> None:
    masks = bars(film.shape)
    read = segmentation(source, kind, syntax, masks)
    found = read_segmentation(read, film)
    assert list(found) == list(LABELS)
    for number, label in enumerate(LABELS):
        np.testing.assert_array_equal(found[label], masks[:, :, number])
        np.testing.assert_array_equal(select_mask(read, film, label), masks[:, :, number])


@pytest.mark.parametrize("kind", KINDS)
def test_what_asks_for_more_than_the_bound_is_refused_before_it_is_decoded(
    source: Dataset, film: Film, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes may ask for gigabytes; here the bound is lowered instead."""
    read = segmentation(source, kind, ExplicitVRLittleEndian, bars(film.shape))
    pixels = 3 * film.shape[0] * film.shape[1]
    monkeypatch.setattr(segment_reader, "MAX_MASK_PIXELS", pixels)
    assert len(read_segmentation(read, film)) == 3
    monkeypatch.setattr(segment_reader, "MAX_MASK_PIXELS", pixels - 1)
    read.PixelData = b"\xff" * 8  # it would be found truncated, were it looked at
    with pytest.raises(UnsupportedImageError, match=r"declares 3 frames|has 3 segments|truncated"):
        read_segmentation(read, film)


def test_a_segmentation_is_decoded_one_frame_at_a_time(
    make_dataset: Callable[..., Dataset],
) -> None:
    source = make_dataset(np.zeros((512, 512)))
    film = read_film(source)
    masks = np.zeros((512, 512, 3), dtype=np.bool_)
    masks[10:20, 10:20] = True
    small = segmentation(source, "FRACTIONAL", RLELossless, masks)
    frames = list(generate_frames(small.PixelData, number_of_frames=3))
    groups = list(small.PerFrameFunctionalGroupsSequence)
    peaks = {}
    for times in (1, 20):
        small.NumberOfFrames = 3 * times
        small.PixelData = encapsulate(frames * times)
        small.PerFrameFunctionalGroupsSequence = groups * times
        tracemalloc.start()
        try:
            found = read_segmentation(small, film)
            peaks[times] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert all(mask.sum() == 100 for mask in found.values())
    assert peaks[20] < peaks[1] + 512 * 512, "57 frames more cost less memory than one"


def test_a_frame_that_is_larger_than_declared_is_refused_before_it_is_decoded(
    source: Dataset, film: Film, make_dataset: Callable[..., Dataset]
) -> None:
    read = segmentation(source, "FRACTIONAL", JPEGLSLossless, bars(film.shape))
    other = make_dataset(np.zeros((50, 46)))
    larger = segmentation(other, "FRACTIONAL", JPEGLSLossless, bars((50, 46)))
    read.PixelData = larger.PixelData
    with pytest.raises(UnsupportedImageError, match="another size than it declares"):
        read_segmentation(read, film)


def test_frames_that_are_missing_are_refused(source: Dataset, film: Film) -> None:
    read = segmentation(source, "FRACTIONAL", RLELossless, bars(film.shape))
    frames = list(generate_frames(read.PixelData, number_of_frames=3))
    read.PixelData = encapsulate(frames[:2])
    with pytest.raises(UnsupportedImageError, match="declares 3 frames and holds 2"):
        read_segmentation(read, film)
