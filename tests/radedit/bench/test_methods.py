"""The comparison of methods: same films for all, drains by the masks, gone on with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from radedit.lib.bench import methods
from radedit.lib.bench.methods import (
    AS_IS,
    ORACLE,
    WAYS,
    Compared,
    Tools,
    compare,
    load,
    picture,
    table,
)
from radedit.lib.edit import lance
from radedit.lib.edit.methods import METHODS

torch.set_num_threads(1)
Rows = list[dict[str, object]]


@pytest.fixture(scope="module")
def plan() -> Compared:
    return Compared(patients=1, size=192, parameters={"steps": 4})


@pytest.fixture(scope="module")
def tools() -> Tools:
    return load()


@pytest.fixture(scope="module")
def rows(plan: Compared, tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    work = tmp_path_factory.mktemp("methods")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lance, "NULL_TEXT_ITERATIONS", 2)  # enough to compare, and a minute less
        found, films = compare(plan, tools, work, lambda i, n: None)
    assert set(films) <= {AS_IS, ORACLE, *WAYS}
    assert picture(films, work / "films.png").stat().st_size > 10_000
    return found


def test_every_method_of_the_interface_is_compared() -> None:
    used = {str(way.parameters.get("method", "radedit")) for way in WAYS.values()}
    assert used == set(METHODS)


def test_masks_keep_the_drain_that_global_prompts_take_away(rows: Rows) -> None:
    contrast = {row["kind"]: float(str(row["drain_contrast"])) for row in rows}
    assert contrast["RadEdit, attenuation kept"] > 2 * contrast["LANCE"]
    assert contrast["RadEdit, attenuation kept"] > contrast["RadEdit, no keep mask"]


def test_nothing_beats_the_oracle_and_global_methods_change_the_rest(rows: Rows) -> None:
    by = {row["kind"]: row for row in rows}
    assert by[ORACLE]["error"] == 0
    assert by[AS_IS]["outside"] == 0
    outside = {name: float(str(row["outside"])) for name, row in by.items()}
    for name, way in WAYS.items():
        if not way.masks:
            assert outside[name] > 5 * outside["RadEdit, attenuation kept"]


def test_a_finished_comparison_edits_nothing_again(
    plan: Compared, tools: Tools, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def measure(plan: Compared, tools: Tools, number: int) -> tuple[int, Rows, Any]:
        measured.append(number)
        films = {AS_IS: np.zeros((4, 4), np.float32)}
        return number, [{**row, "subject": f"{number}"} for row in rows], films

    monkeypatch.setattr(methods, "_measure", measure)
    three = replace(plan, patients=3)
    first, films = compare(three, tools, tmp_path, lambda i, n: None)
    again, kept = compare(three, tools, tmp_path, lambda i, n: None)
    assert measured == [0, 1, 2]
    assert again == first
    assert list(kept) == list(films) == [AS_IS]
    assert len(again) == 3 * len(rows)
    assert table(again).count("\n") == len(WAYS) + 3
