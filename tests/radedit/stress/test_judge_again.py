"""A run made before the rule gets its verdict by it from its rows alone, with both side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.radedit.stress.conftest import SUITE
from typer.testing import CliRunner

from radedit.lib.cli import app
from radedit.lib.errors import NotFoundError, ParameterError
from radedit.lib.stress.judge_again import judged_again
from radedit.lib.stress.suite import parse_suite

N = 40
VENDORS = {
    "never": lambda n, kind: 0.1,
    "shortcut": lambda n, kind: 0.9,
    "good": lambda n, kind: 0.1 if kind in ("edit", "truth") else 0.9,
}


@pytest.fixture
def run(tmp_path: Path, rows_of: Any) -> Path:
    """The folder of a run, as it was written before."""
    folder = tmp_path / "run" / "known"
    folder.mkdir(parents=True)
    suite = parse_suite(SUITE.encode())
    facts = {"run": {"format": "radedit-stress-2", "suite": "known", "suite_sha256": suite.sha256}}
    lines = [facts, *rows_of(VENDORS, N)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "known.toml").write_text(SUITE)
    return folder.parent


def test_both_verdicts_stand_side_by_side(run: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    arguments = ["stress", "--judge-again", str(run), str(tmp_path / "known.toml")]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)["verdicts"]
    assert {row["victim"]: (row["former"]["held"], row["outcome"]) for row in said} == {
        "never": (True, "not shown"),  # it sees nothing, and held every suite
        "shortcut": (False, "failed"),
        "good": (True, "held"),
    }
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    for wanted in ("Verdicts by rule 2", "by rule 1, before", "Judged again"):
        assert wanted in page
    numbers = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert (numbers["rule"], numbers["again"]) == (2, True)


def test_the_suite_of_the_runs_own_report_is_used(run: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="name its file"):
        judged_again(run)
    first = ["stress", "--judge-again", str(run), str(tmp_path / "known.toml")]
    assert CliRunner().invoke(app, [*first, "--out", str(run)]).exit_code == 0
    (tmp_path / "known.toml").unlink()
    suite = judged_again(run)[0].suite
    assert suite == parse_suite(SUITE.encode())


def test_what_is_no_run_or_no_suite_of_it_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="holds no run"):
        judged_again(tmp_path / "nothing")
    other = tmp_path / "other.toml"
    other.write_text(SUITE.replace('name = "known"', 'name = "other"'))
    with pytest.raises(ParameterError, match="has no suite other"):
        judged_again(run, [str(tmp_path / "known.toml"), str(other)])
    for arguments, why in (([], "needs a suite"), (["manifestation"], "needs a folder")):
        done = CliRunner().invoke(app, ["stress", *arguments])
        assert done.exit_code == 1
        assert why in done.stderr
