"""What lies behind a thin object, as far as its surroundings tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radedit.lib.errors import MaskError
from radedit.lib.lifted import MODEL_SIDE, WIDEST_PX, lifted_off

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


def test_what_lies_behind_a_wide_area_is_not_guessed() -> None:
    image, wide = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE), bool)
    side = int(WIDEST_PX * SIDE / MODEL_SIDE) + 6
    wide[10 : 10 + side, 10 : 10 + side] = True
    with pytest.raises(MaskError, match=r"too wide to keep an attenuation.*keep = values"):
        lifted_off(image, wide)
