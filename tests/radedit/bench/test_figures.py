"""Intervals, aims and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radedit.lib.bench.figures import factor, mean, share
from radedit.lib.bench.report import BEGIN, END, number, percent, write_page
from radedit.lib.bench.summary import is_there
from radedit.lib.errors import OutputError


def test_a_share_of_95_in_100_has_wilsons_interval() -> None:
    found = share([True] * 95 + [False] * 5)
    assert found["value"] == 0.95
    assert found["low"] == pytest.approx(0.8882, abs=1e-4)  # z^2 = 3.8415 put in by hand
    assert found["high"] == pytest.approx(0.9785, abs=1e-4)


def test_a_mean_leaves_out_what_could_not_be_measured() -> None:
    values = np.random.default_rng(1).normal(3, 1, 400).tolist()
    found = mean([*values, None])
    assert found["n"] == 400
    assert found["value"] == pytest.approx(np.mean(values))
    half = 1.96 * np.std(values) / 20
    assert found["low"] == pytest.approx(np.mean(values) - half, abs=0.02)
    assert found["high"] == pytest.approx(np.mean(values) + half, abs=0.02)
    assert mean([None]) == {"n": 0}
    assert share([]) == {"n": 0}


def test_a_factor_of_paired_values_is_sharper_than_their_spread() -> None:
    rng = np.random.default_rng(2)
    small = rng.uniform(1, 10, 60)
    found = factor((3 * small).tolist(), small.tolist())
    assert [found[key] for key in ("value", "low", "high")] == pytest.approx([3, 3, 3])


@pytest.mark.parametrize(
    ("dice", "contrast", "there"),
    [(0.95, 1.0, True), (1.0, 0.86, True), (1.0, 1.16, False), (0.94, 1.0, False)],
)
def test_a_drain_is_there_when_both_its_shape_and_its_contrast_are(
    dice: float, contrast: float, there: bool
) -> None:
    assert is_there({"drain_dice": dice, "drain_contrast": contrast}) is there


def test_figures_read_with_their_interval() -> None:
    assert percent({"value": 0.98, "low": 0.93, "high": 0.994, "n": 100}) == "98 % (93 to 99)"
    assert number({"value": 1.234, "low": 1.0, "high": 1.5, "n": 9}, 2) == "1.23 (1.00 to 1.50)"
    assert number({"n": 0}) == "none"


def test_the_page_keeps_all_but_what_lies_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n\nOther figures.\n")
    write_page(tmp_path, "first")
    page.write_text(page.read_text() + "\n## Later\n\nMore.\n")
    write_page(tmp_path, "second")
    once = page.read_text()
    write_page(tmp_path, "second")
    assert page.read_text() == once
    assert (
        once == f"# Benchmarks\n\nOther figures.\n\n{BEGIN}\nsecond\n{END}\n\n## Later\n\nMore.\n"
    )


@pytest.mark.parametrize("page", [None, f"text\n{BEGIN}\nno end\n", f"text\n{END}\n"])
def test_a_page_that_cannot_take_the_tables_is_left_alone(tmp_path: Path, page: Any) -> None:
    path = tmp_path / "benchmarks.md"
    if page is not None:
        path.write_text(page)
    with pytest.raises(OutputError, match=r"benchmarks\.md"):
        write_page(tmp_path, "text")
    assert not path.exists() if page is None else path.read_text() == page
