"""Whether an edit did what it says is asked of what the editor has no part in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from radedit.lib.stress.evidence import NO_CHANGE, against_truth, did

Image = NDArray[np.float32]
SIZE = 256


def disc(row: int, col: int, radius: int, value: float) -> Image:
    rows, cols = np.indices((SIZE, SIZE))
    inside = (rows - row) ** 2 + (cols - col) ** 2 < radius**2
    return np.where(inside, value, 0).astype(np.float32)


BEFORE = 0.4 + disc(100, 80, 30, 0.2)
TRUTH = np.full((SIZE, SIZE), 0.4, np.float32)
TEXTURE = np.random.default_rng(0).normal(0, 0.02, (SIZE, SIZE)).astype(np.float32)
EDITS = {
    "right": (TRUTH + TEXTURE, True),
    "too much of it": (BEFORE + 1.3 * (TRUTH - BEFORE) + TEXTURE, True),
    "nothing": (BEFORE + TEXTURE, False),
    "half": (BEFORE + 0.5 * (TRUTH - BEFORE) + TEXTURE, False),
    "elsewhere": (BEFORE - disc(180, 180, 30, 0.2), False),
    "the other way": (BEFORE + disc(100, 80, 30, 0.2), False),
    "all of it and as much besides": (TRUTH - disc(180, 180, 36, 0.2), False),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_is_measured_by_the_true_counterfactual(name: str) -> None:
    after, right = EDITS[name]
    row = {"reasons": [], "dose": 1.0, "truth": against_truth(BEFORE, after, TRUTH)}
    assert did(row, [{"dose": 0.01}], True) == ("truth", right)


def test_a_truth_that_is_no_change_measures_nothing() -> None:
    assert against_truth(BEFORE, TRUTH, BEFORE) is None


@pytest.mark.parametrize(
    ("row", "shams", "asks", "said"),
    [
        ({"reasons": []}, [], True, ("reader", True)),
        ({"reasons": ["the independent reader still sees mass"]}, [], True, ("reader", False)),
        ({"reasons": ["directional similarity 0.1 is under 0.2"]}, [], True, ("reader", True)),
        ({"reasons": [], "read": False, "dose": 0.3}, [{"dose": 0.1}], True, ("dose", True)),
        ({"reasons": [], "dose": 0.3}, [{"dose": 0.1}], False, ("dose", True)),
        ({"reasons": [], "dose": 0.1}, [{"dose": 0.1}], False, ("dose", False)),
        ({"reasons": [], "dose": 0.1}, [{"dose": 0.05}, {"dose": 0.2}], False, ("dose", False)),
        ({"reasons": [], "dose": 0.3}, [{}], False, ("", None)),
        ({"reasons": [NO_CHANGE], "dose": 0.3}, [{"dose": 0.1}], True, ("dose", False)),
    ],
)
def test_without_a_truth_the_reader_is_asked_and_without_one_the_dose(
    row: dict[str, Any], shams: list[dict[str, Any]], asks: bool, said: tuple[str, bool | None]
) -> None:
    assert did(row, shams, asks) == said
