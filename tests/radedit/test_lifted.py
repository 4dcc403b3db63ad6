"""What lies behind a thin object, as far as its surroundings tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from radedit.lib.lifted import (
    MODEL_SIDE,
    WIDEST_PX,
    laid_over,
    lifted_off,
    wide_parts,
)

SIDE = 64
ROWS, COLS = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE


@given(
    st.lists(st.floats(-0.2, 0.2), min_size=6, max_size=6),
    st.integers(6, SIDE - 8),
    st.integers(1, 2),
)
@settings(deadline=None, max_examples=25)
def test_a_surface_is_continued_behind_a_wire_whatever_the_wire_looks_like(
    shape: list[float], at: int, width: int
) -> None:
    a, b, c, d, e, f = shape
    tissue = (a + b * ROWS + c * COLS + d * ROWS * COLS + e * ROWS**2 + f * COLS**2).astype("f4")
    wire = np.zeros((SIDE, SIDE), bool)
    wire[4:60, at : at + width] = True
    found = lifted_off(np.where(wire, np.float32(0.9), tissue), wire)
    assert np.abs(found - tissue).max() < 1e-3


def test_nothing_beside_the_objects_is_touched_and_no_object_means_the_same_image() -> None:
    image = np.random.default_rng(1).uniform(-1, 1, (SIDE, SIDE)).astype(np.float32)
    wire = np.zeros((SIDE, SIDE), bool)
    wire[10:50, 30] = True
    found = lifted_off(image, wire)
    np.testing.assert_array_equal(found[~wire], image[~wire])
    assert (found[wire] != image[wire]).any()
    assert np.abs(found).max() <= 1
    np.testing.assert_array_equal(lifted_off(image, np.zeros_like(wire)), image)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_wide_parts_are_where_a_large_disc_fits_and_thin_ones_are_left(seed: int) -> None:
    rng, side = np.random.default_rng(seed), 128
    scale = side / MODEL_SIDE
    y, x = np.mgrid[:side, :side]
    objects = np.zeros((side, side), bool)
    at, across = rng.integers(30, 98, 2), int(rng.integers(1, WIDEST_PX * scale))
    objects[:, at[1] : at[1] + across] = True  # as wide as a thin object may be
    assert not wide_parts(objects).any()
    away, radius = np.hypot(y - at[0], x - at[1]), WIDEST_PX * scale / 2 + rng.uniform(3, 8)
    can, lead = away <= radius, np.abs(y - at[0]) <= rng.integers(0, 3)
    found = wide_parts(objects | can)
    assert (found <= objects | can).all()
    assert found[away <= radius - 2].all()
    assert not found[away > radius + across + 1].any()
    found = wide_parts(can | lead)
    assert found[away <= radius - 2].all()
    assert not found[away > radius + 1.5].any()  # no stub of the lead


def curve(depth: NDArray[np.float64]) -> NDArray[np.float32]:
    """Show depths from 0 to 1 as the film that `laid_over` assumes does, restated as a cosine."""
    return ((1 - np.cos(np.pi * depth)) / 2).astype(np.float32)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_an_object_adds_its_depth_to_whatever_is_drawn_behind_it(
    behind: float, drawn: float, depth: float
) -> None:
    behind, drawn = behind * (1 - depth), drawn * (1 - depth)
    film, tissue, anew = (curve(np.full((2, 2), d)) for d in (behind + depth, behind, drawn))
    found = film + laid_over(anew - tissue, film, film - tissue)
    expected = film if (anew == tissue).all() else curve(np.full((2, 2), drawn + depth))
    if depth and (film != tissue).all():
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_beside_objects_and_without_a_change_all_stays_as_it_was() -> None:
    rng = np.random.default_rng(2)
    display = rng.uniform(0, 1, (SIDE, SIDE)).astype(np.float32)
    change = rng.uniform(-0.3, 0.3, (SIDE, SIDE)).astype(np.float32)
    objects = np.zeros((SIDE, SIDE), np.float32)
    objects[:, 20:24] = 0.2
    change[:10] = 0
    found = laid_over(change, display, objects)
    np.testing.assert_array_equal(found[objects == 0], change[objects == 0])
    np.testing.assert_array_equal(found[:10], change[:10])
    assert (found[10:, 20:24] != change[10:, 20:24]).any()
    assert ((display + found)[:, 20:24] >= -1e-6).all()
    assert ((display + found)[10:, 20:24] <= 1 + 1e-6).all()


def test_the_same_object_is_fainter_over_what_is_darker_or_brighter() -> None:
    def contrast(over: float) -> float:
        display, objects = np.float32([[0.6]]), np.float32([[0.2]])
        change = np.float32([[over - 0.4]])
        return float(0.6 + laid_over(change, display, objects)[0, 0] - over)

    assert contrast(0.15) < contrast(0.4 + 1e-4) == pytest.approx(0.2, abs=1e-3)
    assert contrast(0.7) < 0.2
