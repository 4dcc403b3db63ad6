"""The mask grammar and its algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from radedit.lib import masks
from radedit.lib.errors import MaskError
from radedit.lib.mask_grammar import parse

ROWS, COLS = 23, 31
FRAME = masks.Frame(ROWS, COLS)
Mask = NDArray[np.bool_]


class Drawn:
    """Sources that know a few random masks by name."""

    def mask(self, kind: str, name: str) -> Mask:
        rng = np.random.default_rng([len(kind), *name.encode()])
        return rng.random((ROWS, COLS)) < 0.5


def draw(text: str) -> Mask:
    return masks.evaluate(parse(text), FRAME, Drawn())


_numbers = st.integers(0, 30)
_boxes = st.tuples(_numbers, _numbers, st.integers(1, 20), st.integers(1, 20)).map(
    lambda b: f"box:{b[0]},{b[1]},{b[0] + b[2]},{b[1] + b[3]}"
)
_ellipses = st.tuples(_numbers, _numbers, st.integers(1, 12), st.integers(1, 12)).map(
    lambda e: "ellipse:" + ",".join(map(str, e))
)
_sources = st.sampled_from(
    ["task:lungs", "task:lungs:left", "seg:SCT:39607008", 'file:"a + b.png"', "file:/a/b-c.png",
     "remote:https://host:8000/lungs:left"]
)  # fmt: skip
expressions = st.recursive(
    st.one_of(_boxes, _ellipses, _sources),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-"]), inner).map(lambda t: f"({' '.join(t)})"),
        inner.map(lambda e: f"~{e}"),
        st.tuples(inner, st.integers(0, 4)).map(lambda t: f"dilate({t[0]}, {t[1]}px)"),
    ),
    max_leaves=6,
)


@given(expressions, expressions)
def test_union_difference_and_inverse_follow_boolean_algebra(a: str, b: str) -> None:
    x, y = draw(a), draw(b)
    np.testing.assert_array_equal(draw(f"{a} + {b}"), x | y)
    np.testing.assert_array_equal(draw(f"{a} - {b}"), x & ~y)
    np.testing.assert_array_equal(draw(f"~({a} + {b})"), ~x & ~y)
    np.testing.assert_array_equal(draw(f"~~{a}"), x)


@given(expressions, st.sets(st.sampled_from(["task", "seg", "file", "remote"])))
def test_an_expression_lies_between_its_bounds_whatever_is_known_of_its_sources(
    text: str, asked: set[str]
) -> None:
    def known(kind: str, name: str) -> Mask | None:
        return Drawn().mask(kind, name) if kind in asked else None

    least, most = masks.bounds(parse(text), FRAME, known)
    mask = draw(text)
    assert (least <= mask).all()
    assert (mask <= most).all()
    if len(asked) == 4 and "dilate" not in text:
        np.testing.assert_array_equal(least, most)


@given(expressions, st.integers(0, 6))
def test_dilation_grows_by_exactly_the_euclidean_distance(text: str, amount: int) -> None:
    inner = draw(text)
    grown = draw(f"dilate({text}, {amount})")
    rows, cols = np.nonzero(inner)
    expected = np.zeros_like(inner)
    y, x = np.mgrid[:ROWS, :COLS]
    for r, c in zip(rows, cols, strict=True):
        expected |= (y - r) ** 2 + (x - c) ** 2 <= amount**2
    np.testing.assert_array_equal(grown, expected)


def test_a_box_holds_exactly_the_pixels_between_its_edges() -> None:
    found = draw("box:3,5,10,9")
    assert found.sum() == 7 * 4
    assert found[5:9, 3:10].all()


def test_operators_bind_from_left_to_right() -> None:
    a, b, c = "box:0,0,10,10", "box:5,5,15,15", "box:0,0,31,23"
    np.testing.assert_array_equal(draw(f"{a} - {b} + {c}"), (draw(a) & ~draw(b)) | draw(c))
    np.testing.assert_array_equal(draw(f"{a} - ({b} + {c})"), draw(a) & ~draw(b) & ~draw(c))


def test_millimetres_use_the_spacing_of_each_axis() -> None:
    frame = masks.Frame(41, 41, (0.5, 0.25))
    grown = masks.evaluate(parse("dilate(box:20,20,21,21, 2mm)"), frame, Drawn())
    assert grown[:, 20].sum() == 2 * 4 + 1  # 0.5 mm rows
    assert grown[20, :].sum() == 2 * 8 + 1  # 0.25 mm columns


def test_millimetres_are_refused_where_the_film_states_no_spacing() -> None:
    with pytest.raises(MaskError, match="no pixel spacing"):
        draw("dilate(box:1,1,4,4, 2mm)")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a mask"),
        ("box:1,2,3", "takes four numbers, found 3"),
        ("box:5,5,5,9", "needs x1 > x0"),
        ("ellipse:5,5,0,9", "needs rx > 0"),
        ("circle:1,2,3", "'circle:1,2,3' at character 1"),
        ("box:1,1,2,2 -", "its end"),
        ("box:1,1,2,2 task:x", "expected the end"),
        ("(box:1,1,2,2", "expected '\\)'"),
        ("dilate(box:1,1,2,2)", "expected ','"),
        ("dilate(box:1,1,2,2, -3)", "0 or more"),
        ("dilate(box:1,1,2,2, 3cm)", "expected '\\)'"),
        ("box:1,1,9,9-3", "operator with blanks"),
        ("~" * 300 + "box:1,1,2,2", "nested more than 50"),
        ("(" * 300 + "box:1,1,2,2", "nested more than 50"),
        (" + ".join(["box:1,1,2,2"] * 3000), "2000 are the limit"),
    ],
)
def test_what_is_no_expression_is_refused_with_one_sentence(text: str, says: str) -> None:
    with pytest.raises(MaskError, match=says) as refusal:
        parse(text)
    assert "\n" not in str(refusal.value)


def test_a_mask_of_another_size_is_refused_with_both_sizes() -> None:
    class Small:
        def mask(self, kind: str, name: str) -> Mask:
            return np.ones((4, 5), dtype=bool)

    with pytest.raises(MaskError, match="4 x 5 pixels and the film 23 x 31"):
        masks.evaluate(parse("file:small.png"), FRAME, Small())


@given(st.binary(max_size=40).map(lambda b: b.decode("latin-1")))
def test_any_text_is_parsed_or_refused_and_nothing_else(text: str) -> None:
    try:
        parse(text)
    except MaskError:
        return


def test_masks_are_given_back_as_drawn_and_what_is_missing_is_filled_in() -> None:
    drawn = draw("box:0,0,10,10"), draw("box:5,0,20,10")
    for before, after in zip(drawn, masks.resolve(*drawn, FRAME), strict=True):
        np.testing.assert_array_equal(before, after)
    edit, keep = masks.resolve(None, None, FRAME)
    assert edit.all()
    assert not keep.any()


@pytest.mark.parametrize(
    ("edit", "keep", "says"),
    [
        ("box:100,100,110,110", None, "edit mask is empty"),
        ("box:2,2,4,4", "box:0,0,9,9", "wholly inside the keep mask"),
        ("box:2,2,4,4", "box:90,0,99,9", "keep mask is empty"),
    ],
)
def test_an_edit_that_could_change_nothing_is_refused(
    edit: str, keep: str | None, says: str
) -> None:
    with pytest.raises(MaskError, match=says):
        masks.resolve(draw(edit), None if keep is None else draw(keep), FRAME)
