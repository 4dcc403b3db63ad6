"""Padding to a square and resampling, against independent oracles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from radedit.lib.geometry import SquareGrid, stretch_range

sizes = st.tuples(st.integers(20, 300), st.integers(20, 300), st.sampled_from([32, 64, 96]))
# Large enough that something is left three model pixels inside the film's rim, on grids that
# make the film smaller as well as larger.
wide_sizes = st.tuples(
    st.integers(150, 300), st.integers(150, 300), st.sampled_from([32, 64, 96, 384])
)


@given(wide_sizes)
@settings(max_examples=60)
def test_a_ramp_keeps_its_place_through_down_and_up(size: tuple[int, int, int]) -> None:
    rows, cols, model = size
    grid = SquareGrid(rows, cols, model)
    y, x = np.mgrid[:rows, :cols].astype(np.float32) + 0.5
    margin = int(np.ceil(3 * max(grid.scale, 1)))  # the black padding reaches no further
    inner = np.s_[margin:-margin, margin:-margin]
    assert y[inner].size > 0
    for ramp in (y, x):
        back = grid.up(grid.down(ramp))
        # In film pixels: a tenth of a model pixel, so half of one cannot pass.
        np.testing.assert_allclose(back[inner], ramp[inner], rtol=0, atol=0.1 * grid.scale)


@given(st.data(), st.sampled_from([(300, 170), (170, 300), (255, 256), (96, 80)]))
@settings(max_examples=60)
def test_a_small_bright_blob_lands_where_the_grid_says(
    data: st.DataObject, shape: tuple[int, int]
) -> None:
    rows, cols = shape
    grid = SquareGrid(rows, cols, 96)
    row = data.draw(st.integers(8, rows - 12), label="row")
    col = data.draw(st.integers(8, cols - 12), label="column")
    film = np.zeros(shape, np.float32)
    film[row : row + 4, col : col + 4] = 1
    found = grid.down(film)
    centres = np.arange(96) + 0.5
    centroid = np.array([found.sum(axis=1) @ centres, found.sum(axis=0) @ centres]) / found.sum()
    # Of the square, of which the film is the middle: its own side and what is left above it.
    side = max(rows, cols)
    above, before = (side - rows) // 2, (side - cols) // 2
    expected = np.array([row + 2 + above, col + 2 + before]) * 96 / side
    np.testing.assert_allclose(centroid, expected, rtol=0, atol=0.1)


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
