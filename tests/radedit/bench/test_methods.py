"""The comparison of methods: same films for all, drains by the masks, gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from radedit.lib.bench import methods
from radedit.lib.bench.methods import AS_IS, ORACLE, WAYS, Compared, compare, picture, table
from radedit.lib.edit import lance
from radedit.lib.edit.methods import METHODS
from radedit.lib.pipeline import Editor
from radedit.lib.stress.judge import load_judge

torch.set_num_threads(1)
Rows = list[dict[str, object]]


@pytest.fixture(scope="module")
def plan() -> Compared:
    return Compared(Editor(), load_judge(), patients=1, size=192, parameters={"steps": 4})


@pytest.fixture(scope="module")
def rows(plan: Compared, tmp_path_factory: pytest.TempPathFactory) -> Rows:
    work = tmp_path_factory.mktemp("methods")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lance, "NULL_TEXT_ITERATIONS", 2)  # enough to compare, and a minute less
        found, films = compare(plan, work, lambda i, n: None)
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


def test_a_finished_comparison_edits_the_first_film_only(
    plan: Compared, rows: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[int] = []

    def measure(plan: Compared, number: int) -> tuple[Rows, dict[str, object]]:
        measured.append(number)
        return [{**row, "subject": f"{number}"} for row in rows], {}

    monkeypatch.setattr(methods, "_measure", measure)
    three = Compared(plan.editor, plan.judge, 3, plan.size, plan.parameters)
    compare(three, tmp_path, lambda i, n: None)
    again, _ = compare(three, tmp_path, lambda i, n: None)
    assert measured == [0, 1, 2, 0]  # the first again, for its picture
    assert len(again) == 3 * len(rows)
    assert table(again).count("\n") == len(WAYS) + 3
