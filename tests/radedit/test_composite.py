"""Where an edit may touch the film."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from radedit.lib.composite import MODEL_SIDE, native_change, support_weight
from radedit.lib.geometry import SquareGrid
from radedit.lib.parameters import Defaults as Parameters

SIDE = 128
PX = SIDE / MODEL_SIDE


def boxes(seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    rng = np.random.default_rng(seed)
    masks = np.zeros((2, SIDE, SIDE - 17), dtype=bool)
    for mask in masks:
        r, c = rng.integers(0, SIDE - 40, 2)
        mask[r : r + rng.integers(2, 40), c : c + rng.integers(2, 40)] = True
    edit, keep = masks
    return edit & ~keep, keep


cases = st.integers(0, 2**32 - 1).map(boxes).filter(lambda pair: bool(pair[0].any()))
parameters = st.builds(
    Parameters,
    support=st.sampled_from(["band", "free"]),
    band_px=st.integers(0, 120),
    feather_px=st.integers(0, 60),
)


@given(cases, parameters)
@settings(deadline=None)
def test_the_weight_is_exactly_zero_on_keep_and_beyond_the_band(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_]], p: Parameters
) -> None:
    edit, keep = pair
    weight = support_weight(edit, keep, p)
    assert weight.dtype == np.float32
    assert weight.min() >= 0
    assert weight.max() <= 1
    assert not weight[keep].any()
    if p.support == "band":
        rows, cols = np.nonzero(edit)
        y, x = np.mgrid[: edit.shape[0], : edit.shape[1]]
        nearest = np.min(
            [(y - r) ** 2 + (x - c) ** 2 for r, c in zip(rows, cols, strict=True)], axis=0
        )
        far = nearest > (p.band_px * PX) ** 2
        assert not weight[far].any()
        assert (weight[~far & ~keep] > 0).all()
    else:
        assert (weight[~keep] > 0).all()


@given(cases, parameters)
@settings(deadline=None)
def test_the_weight_is_one_deeper_than_the_feather(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_]], p: Parameters
) -> None:
    edit, keep = pair
    weight = support_weight(edit, keep, p)
    forbidden = weight == 0
    if not forbidden.any():
        assert (weight == 1).all()
        return
    rows, cols = np.nonzero(weight > 0)
    blocked = np.argwhere(forbidden)
    pick = np.random.default_rng(0).permutation(rows.size)[:40]
    for r, c in zip(rows[pick], cols[pick], strict=True):
        distance = np.sqrt(((blocked - (r, c)) ** 2).sum(axis=1).min())
        assert (weight[r, c] == 1) == (distance >= p.feather_px * PX + 1 - 1e-9)


@given(cases, st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_nothing_changes_where_the_weight_is_zero(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_]], seed: int
) -> None:
    edit, keep = pair
    weight = support_weight(edit, keep, Parameters())
    rng = np.random.default_rng(seed)
    edited, unedited = rng.standard_normal((2, 64, 64)).astype(np.float32)
    change = native_change(edited - unedited, SquareGrid(*edit.shape, 64), weight)
    assert not change[weight == 0].any()
    assert change[weight == 1].any() or not (weight == 1).any()


def test_equal_decodings_change_nothing() -> None:
    edit, keep = boxes(3)
    same = np.random.default_rng(0).random((64, 64)).astype(np.float32)
    weight = support_weight(edit, keep, Parameters())
    assert not native_change(same - same, SquareGrid(*edit.shape, 64), weight).any()


@given(cases, parameters)
@settings(deadline=None)
def test_where_attenuation_is_kept_the_change_goes_up_to_what_is_held(
    pair: tuple[NDArray[np.bool_], NDArray[np.bool_]], p: Parameters
) -> None:
    edit, held = pair
    weight = support_weight(edit, held, replace(p, keep="attenuation"))
    assert not weight[held].any()
    nothing = support_weight(edit, np.zeros_like(held), p)
    np.testing.assert_array_equal(weight[~held], nothing[~held])
