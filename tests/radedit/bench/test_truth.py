"""`radedit bench truth`, run with small random models: it ends, goes on, and refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from radedit.lib.bench.run import FORMAT, PICTURED, ROWS
from radedit.lib.bench.truth import ADDITIONS, ANEW, AS_IS, REMOVALS, TRUTH
from radedit.lib.cli import app

RADEDIT = Path(sys.executable).with_name("radedit")


@dataclass(frozen=True)
class Done:
    """A finished run: its folder, and what it printed."""

    folder: Path
    printed: dict[str, Any]


def bench(small: Any, folder: Path, *more: str | Path) -> subprocess.CompletedProcess[str]:
    words = ("bench", "truth", "--quick", "--work", "work", "--judge", small.judge, *more)
    environ = {**os.environ, "RADEDIT_CONFIG": str(small.config), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [str(RADEDIT), *map(str, words)],
        cwd=folder,
        env={**environ, "COLUMNS": "300", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


@pytest.fixture(scope="module")
def done(small: Any, tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("bench")
    (folder / "docs").mkdir()
    (folder / "docs" / "benchmarks.md").write_text("# Benchmarks\n")
    result = bench(small, folder, "--json", "--write-docs")
    assert result.returncode == 0, result.stderr
    return Done(folder, json.loads(result.stdout))


def test_it_says_what_was_measured_with_what(done: Done) -> None:
    found = done.printed
    assert (found["format"], found["patients"], found["model"]) == (FORMAT, 4, "small")
    assert found["first_seed"] == 9_000_000
    assert len(found["model_sha256"]) == len(found["judge_sha256"]) == 64
    assert set(found["removal"]) == {AS_IS, *REMOVALS, ANEW, TRUTH}
    assert set(found["additions"]) == {"consolidation", "effusion", "pacemaker"}
    assert found["seconds"]["n"] == 2
    assert all(isinstance(aim["held"], bool) for aim in found["aims"])


def test_truth_is_without_error_and_leaving_as_is_without_change(done: Done) -> None:
    removal = done.printed["removal"]
    assert removal[TRUTH]["error"]["value"] == 0
    assert removal[TRUTH]["drain_there"]["value"] == 1
    assert removal[AS_IS]["elsewhere"]["value"] == 0
    assert removal[AS_IS][f"{AS_IS}_over_error"]["value"] == 1
    assert removal["sham"]["sham_over_error"]["value"] == 1
    for kind in done.printed["additions"].values():
        assert kind["methods"][TRUTH]["error"]["value"] == 0


def test_masks_hold_the_edits_and_a_global_prompt_goes_beyond(done: Done) -> None:
    for kind in done.printed["additions"].values():
        for name in ADDITIONS:
            if name in kind["methods"]:
                assert kind["methods"][name]["outside_pixels"] == 0
                assert kind["methods"][name]["outside_max"] == 0
    removal = done.printed["removal"]
    masked = removal["radedit, no keep mask"]["elsewhere"]["value"]
    assert removal["global prompt"]["elsewhere"]["value"] > masked > 0


def test_tables_and_pictures_go_into_the_docs(done: Done) -> None:
    page = (done.folder / "docs" / "benchmarks.md").read_text()
    assert page.startswith("# Benchmarks\n")
    for name in (*REMOVALS, "consolidation", "diffedit", "Seams"):
        assert name in page
    for path in done.printed["pictures"]:
        assert f"](pictures/{Path(path).name})" in page
        with Image.open(done.folder / path) as picture:
            assert min(picture.size) > 400
    assert "nan" not in page


def test_a_stopped_run_goes_on_to_the_same_figures(done: Done, small: Any, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    lines = (done.folder / "work" / ROWS).read_text().splitlines()
    assert len(lines) == 4
    (tmp_path / "work" / ROWS).write_text("\n".join(lines[:2]) + "\n" + lines[2][:200])
    for number in range(PICTURED - 2):
        name = f"patient-{number}.npz"
        (tmp_path / "work" / name).write_bytes((done.folder / "work" / name).read_bytes())
    result = bench(small, tmp_path, "--json", "--workers", "2")
    assert result.returncode == 0, result.stderr
    again = json.loads(result.stdout)
    for key in ("removal", "additions", "seams"):
        assert again[key] == done.printed[key]
    kept = (tmp_path / "work" / ROWS).read_text().splitlines()
    assert kept[:2] == lines[:2]
    by_number = sorted((json.loads(line) for line in kept[3:]), key=lambda x: x["row"]["number"])
    assert by_number == [json.loads(line) for line in lines[2:]]


def test_without_the_judges_weights_it_says_so_in_one_sentence(tmp_path: Path) -> None:
    words = ["bench", "truth", "--work", str(tmp_path / "work"), "--judge", str(tmp_path / "none")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.strip().count("\n") == 0
    assert "missing" in result.stderr
    assert not (tmp_path / "work").exists()
