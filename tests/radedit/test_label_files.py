"""Label images hold as many labels as they have numbers, and say so of more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radedit.lib.errors import MaskError
from radedit.lib.label_files import label_image
from radedit_dicom.film import read_film


def test_more_labels_than_numbers_are_refused(make_dataset: Callable[..., Dataset]) -> None:
    film = read_film(make_dataset())
    masks = {str(n): np.arange(film.stored.size).reshape(film.shape) == n for n in range(256)}
    with pytest.raises(MaskError, match="256 labels"):
        label_image(masks, film)
    masks.popitem()
    assert label_image(masks, film).max() == 255
