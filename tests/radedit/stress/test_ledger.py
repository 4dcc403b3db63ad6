"""A run's folder: rows survive a cut, and another run's are not taken for one's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from radedit.lib.errors import OutputError
from radedit.lib.stress.ledger import FILE, Ledger

FACTS = {"suite": "one", "version": "1"}


def answer(subject: str, score: float) -> dict[str, object]:
    return {"type": "answer", "subject": subject, "victim": "v", "kind": "real", "edit": "",
            "seed": 0, "level": 0.0, "scores": {"finding": score}}  # fmt: skip


def test_rows_are_there_after_a_restart(tmp_path: Path) -> None:
    Ledger(tmp_path, FACTS).add(
        [answer("a", 0.5), {"type": "done", "subject": "a", "victims": {"v": "1"}}]
    )
    again = Ledger(tmp_path, FACTS)
    assert [r["subject"] for r in again.rows() if r["type"] == "answer"] == ["a"]
    assert again.done() == {"a": {"v": "1"}}


def test_a_line_that_was_cut_off_costs_itself_only(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, FACTS)
    ledger.add([answer("a", 0.5)])
    whole = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(whole + b"\n" + whole[-60:-20])
    Ledger(tmp_path, FACTS).add([answer("b", 0.7)])
    rows = Ledger(tmp_path, FACTS).rows()
    assert sorted(r["subject"] for r in rows) == ["a", "b"]


def test_a_film_asked_about_twice_counts_once_with_the_newer_answer(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, FACTS)
    ledger.add([answer("a", 0.5)])
    ledger.add([answer("a", 0.6)])
    assert [r["scores"] for r in ledger.rows()] == [{"finding": 0.6}]


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    Ledger(tmp_path, FACTS)
    with pytest.raises(OutputError, match="holds another run"):
        Ledger(tmp_path, {**FACTS, "suite": "two"})


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="--out"):
        Ledger(tmp_path / "file", FACTS)
