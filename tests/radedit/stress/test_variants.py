"""The films that victims are asked about are shown as the film that they were made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radedit.lib.stress.variants import _variant
from radedit_dicom.film import read_film
from radedit_dicom.pixels import to_display


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_made_up_window_stays_that_of_the_film_when_an_edit_takes_its_largest_value(
    make_dataset: Callable[..., Dataset], photometric: str
) -> None:
    """A film without a window is shown by the range of its own values."""
    pixels = np.random.default_rng(3).integers(500, 2000, (24, 20))
    pixels[2, 3] = 4000
    film = read_film(make_dataset(pixels, PhotometricInterpretation=photometric))
    stored = film.stored.copy()
    stored[2, 3] = 1000
    elsewhere = np.ones(film.shape, bool)
    elsewhere[2, 3] = False
    before = to_display(film)
    np.testing.assert_array_equal(to_display(film, stored)[elsewhere], before[elsewhere])
    shown = to_display(_variant(film, stored, "an edit"))
    np.testing.assert_allclose(shown[elsewhere], before[elsewhere], atol=1e-6)
    assert abs(shown[2, 3] - before[2, 3]) > 0.5
