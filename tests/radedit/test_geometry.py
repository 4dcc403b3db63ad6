"""Padding to a square and resampling, against independent oracles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from radedit.lib.geometry import SquareGrid, stretch_range

sizes = st.tuples(st.integers(20, 300), st.integers(20, 300), st.sampled_from([32, 64, 96]))


@given(sizes)
@settings(deadline=None)
def test_a_ramp_keeps_its_place_through_down_and_up(size: tuple[int, int, int]) -> None:
    rows, cols, model = size
    grid = SquareGrid(rows, cols, model)
    y, x = np.mgrid[:rows, :cols].astype(np.float32) + 0.5
    inner = np.s_[rows // 4 : -rows // 4, cols // 4 : -cols // 4]
    for ramp in (y / rows, x / cols):
        back = grid.up(grid.down(ramp.astype(np.float32)))
        # The black padding reaches at most two model pixels into the film.
        margin = int(np.ceil(3 * max(grid.scale, 1)))
        if min(rows, cols) > 4 * margin:
            inner = np.s_[margin:-margin, margin:-margin]
            np.testing.assert_allclose(back[inner], ramp[inner], atol=0.02)


def test_up_agrees_with_an_independent_cubic_interpolation() -> None:
    rng = np.random.default_rng(1)
    smooth = map_coordinates(rng.random((6, 6)), np.mgrid[0:5:32j, 0:5:32j], order=3)
    grid = SquareGrid(150, 120, 32)
    y = (np.arange(150) + grid.top + 0.5) / grid.scale - 0.5
    x = (np.arange(120) + grid.left + 0.5) / grid.scale - 0.5
    oracle = map_coordinates(smooth, np.meshgrid(y, x, indexing="ij"), order=3, mode="nearest")
    found = grid.up(smooth.astype(np.float32))
    assert np.abs(found - oracle)[8:-8, 8:-8].max() < 0.02


@given(sizes, st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_mask_cell_is_true_exactly_where_it_touches_a_true_pixel(
    size: tuple[int, int, int], seed: int
) -> None:
    rows, cols, model = size
    grid = SquareGrid(rows, cols, model)
    mask = np.random.default_rng(seed).random((rows, cols)) < 0.01
    found = grid.mask_down(mask, 16)
    expected = np.zeros((16, 16), dtype=bool)
    cell = grid.side / 16
    for r, c in zip(*np.nonzero(mask), strict=True):
        top, left = r + grid.top, c + grid.left
        # A pixel covers [top, top + 1): every cell that it overlaps is True.
        y0, y1 = int(top / cell), int(np.ceil((top + 1) / cell))
        x0, x1 = int(left / cell), int(np.ceil((left + 1) / cell))
        expected[y0:y1, x0:x1] = True
    np.testing.assert_array_equal(found, expected)


def test_the_film_lies_in_the_middle_of_the_square() -> None:
    grid = SquareGrid(1955, 1841, 256)
    assert (grid.side, grid.top, grid.left) == (1955, 0, 57)
    down = grid.down(np.ones((1955, 1841), np.float32))
    assert down[:, 128].min() == pytest.approx(1.0, abs=1e-5)
    assert down[:, 0].max() == 0.0


def test_the_stretch_leaves_out_what_is_no_measured_pixel() -> None:
    display = np.linspace(0.4, 0.6, 10_000, dtype=np.float32).reshape(100, 100)
    valid = np.ones_like(display, dtype=bool)
    display[:50], valid[:50] = 0.0, False
    low, high = stretch_range(display, valid)
    assert low == pytest.approx(0.5005, abs=1e-3)
    assert high == pytest.approx(0.5995, abs=1e-3)


def test_a_flat_film_gets_a_range_that_is_not_zero() -> None:
    low, high = stretch_range(np.full((9, 9), 0.5, np.float32))
    assert high - low == pytest.approx(1 / 255)
