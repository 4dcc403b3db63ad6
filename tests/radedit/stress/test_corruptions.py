"""Corruptions get worse with their severity, and controls touch only what an edit could."""

from __future__ import annotations

import numpy as np
import pytest

from radedit.lib.stress.controls import blurred, masked_out
from radedit.lib.stress.corruptions import CORRUPTIONS, SEVERITIES, corrupted


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    y, x = np.mgrid[0:128, 0:96]
    waves = np.sin(x / 3) * np.cos(y / 5) * 0.15
    return np.clip(0.2 + y / 256 + waves, 0, 1).astype("f4")


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_changes_more_the_more_severe_it_is(name: str, image: np.ndarray) -> None:
    changes = [float(np.abs(corrupted(image, name, s) - image).mean()) for s in SEVERITIES]
    assert changes == sorted(changes)
    assert changes[0] > 0
    assert changes[-1] > 1.5 * changes[0]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corrupted_film_is_a_film_and_the_same_every_time(name: str, image: np.ndarray) -> None:
    one, other = (corrupted(image, name, 5, seed=3) for _ in range(2))
    assert one.dtype == np.float32
    assert one.shape == image.shape
    assert 0 <= one.min() <= one.max() <= 1
    assert np.array_equal(one, other)


def test_noise_is_another_for_another_seed(image: np.ndarray) -> None:
    one, other = (corrupted(image, "gaussian noise", 3, seed) for seed in (1, 2))
    assert not np.array_equal(one, other)


def test_there_is_no_sixth_severity(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="severity 6"):
        corrupted(image, "jpeg", 6)


def test_a_blur_stays_where_the_edit_could_have_been(image: np.ndarray) -> None:
    weight = np.zeros_like(image)
    weight[40:80, 20:60] = 1
    found = blurred(image, weight, 4.0)
    assert np.array_equal(found[weight == 0], image[weight == 0])
    assert found[weight == 1].std() < 0.8 * image[weight == 1].std()


def test_a_masked_region_says_nothing_of_what_was_in_it(image: np.ndarray) -> None:
    edit = np.zeros(image.shape, bool)
    edit[40:80, 20:60] = True
    other = image.copy()
    other[edit] = 0.9
    assert np.array_equal(masked_out(image, edit), masked_out(other, edit))
    assert np.array_equal(masked_out(image, edit)[~edit], image[~edit])
    assert np.ptp(masked_out(image, edit)[edit]) == 0
