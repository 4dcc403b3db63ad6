"""Frames of one bit a pixel, cut out where an archive cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from radedit.lib.serving.cut_frames import cut_frames
from radedit_dicom.folder import FolderArchive
from radedit_dicom.pixels import read_film
from radedit_dicom.segment_reader import read_segmentation


async def body_of(answer: Any) -> bytes:
    return b"".join([piece async for piece in answer.body_iterator])


@pytest.mark.parametrize("shape", [(15, 13), (24, 20)])
def test_a_frame_of_a_segmentation_begins_at_its_own_byte(
    tmp_path: Path, make_dataset: Any, make_edit: Any, shape: tuple[int, int]
) -> None:
    film = read_film(make_dataset(np.random.default_rng(1).integers(0, 4096, shape)))
    _, objects = make_edit(film)
    archive = FolderArchive(tmp_path)
    archive.store([objects.seg])
    seg = objects.seg
    place = (
        f"studies/{seg.StudyInstanceUID}/series/{seg.SeriesInstanceUID}"
        f"/instances/{seg.SOPInstanceUID}/frames/2"
    )
    sc = read_film(objects.sc, allow_synthetic=True)
    wanted = read_segmentation(seg, sc)["keep mask"]

    async def cut() -> bytes:
        return await body_of(await cut_frames(archive, place))

    frame = anyio.run(cut).partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
    bits = np.unpackbits(np.frombuffer(frame, np.uint8), bitorder="little")[: wanted.size]
    assert np.array_equal(bits.reshape(shape) != 0, wanted)


@pytest.mark.parametrize(
    "path", ["studies/1.2", "studies/1.2/series/1.3/instances/1.4", "studies/x/series/1/frames/1"]
)
def test_what_is_no_request_for_frames_is_left_to_the_archive(tmp_path: Path, path: str) -> None:
    assert anyio.run(cut_frames, FolderArchive(tmp_path), path) is None


def test_frames_that_cannot_be_had_are_left_to_the_archive(tmp_path: Path) -> None:
    path = "studies/1.2/series/1.3/instances/1.4/frames/1"
    assert anyio.run(cut_frames, FolderArchive(tmp_path), path) is None
