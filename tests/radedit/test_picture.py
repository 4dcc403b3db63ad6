"""The picture of an edit costs no more memory than the film is worth."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from radedit.lib.picture import draw_files
from radedit_dicom.objects import EditObjects
from radedit_dicom.pixels import read_film


def drawn(
    side: int,
    folder: Path,
    make_dataset: Callable[..., Dataset],
    make_edit: Callable[..., tuple[Any, EditObjects]],
) -> tuple[Path, int]:
    """Draw an edit of a film of that size; gives the picture and the peak of memory."""
    folder.mkdir()
    pixels = np.add.outer(np.arange(side), np.arange(side)) * 4095 // (2 * side)
    film = make_dataset(pixels, WindowCenter=2048, WindowWidth=4096)
    objects = make_edit(read_film(film))[1]
    for name, dataset in (("film", film), ("sc", objects.sc), ("seg", objects.seg)):
        dataset.save_as(folder / name, enforce_file_format=True)
    tracemalloc.start()
    try:
        draw_files(folder / "film", folder / "sc", folder / "seg", folder / "drawn.png")
        return folder / "drawn.png", tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_picture_of_a_large_film_needs_few_bytes_for_each_pixel(
    tmp_path: Path,
    make_dataset: Callable[..., Dataset],
    make_edit: Callable[..., tuple[Any, EditObjects]],
) -> None:
    drawn(64, tmp_path / "first", make_dataset, make_edit)  # what is loaded once
    _, little = drawn(600, tmp_path / "small", make_dataset, make_edit)
    picture, much = drawn(1800, tmp_path / "large", make_dataset, make_edit)
    assert (much - little) / (1800**2 - 600**2) < 48
    with Image.open(picture) as image:
        shown = np.asarray(image.convert("RGB")).astype(int)
    red = (shown[..., 0] > 200) & (shown[..., 1] < 120)
    blue = (shown[..., 2] > 200) & (shown[..., 0] < 120)
    assert min(red.sum(), blue.sum()) > 500, "both outlines are there"
