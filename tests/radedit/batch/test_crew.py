"""The processes of a run: shared out, replaced when they end, and written down."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import batch_hand
import pytest

from radedit.lib.batch import crew as module
from radedit.lib.batch.cohort import Found, Missed, Ref, Study
from radedit.lib.batch.crew import Crew, News
from radedit.lib.batch.journal import Journal
from radedit.lib.batch.plan import BatchPlan, Pace
from radedit.lib.errors import OutputError, RadEditError
from radedit_dicom.archive import Instance


@pytest.fixture(autouse=True)
def hands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "work", batch_hand.work)


@pytest.fixture
def plan(tmp_path: Path) -> BatchPlan:
    return BatchPlan("films", "out", {"prompt": "Mass"}, tmp_path / "run", pace=Pace(1, 1, 1))


def studies(count: int, films: int = 1) -> list[Found]:
    def ref(number: int, film: int) -> Ref:
        uid = f"1.2.{number}.{film}"
        return Ref(uid, Instance(f"1.2.{number}", f"1.2.{number}.0", uid))

    return [Study(tuple(ref(n, f) for f in range(films))) for n in range(count)]


def run(plan: BatchPlan, found: Iterable[Found]) -> tuple[list[News], Crew, list[dict[str, Any]]]:
    heard: list[News] = []
    crew = Crew(plan, found, heard.append)
    journal = crew.run()
    return heard, crew, list(journal.newest())


def states(rows: list[dict[str, Any]]) -> Counter[str]:
    return Counter(row["state"] for row in rows)


def test_a_film_that_ends_its_process_fails_and_all_others_are_edited_once(
    plan: BatchPlan,
) -> None:
    heard, _, rows = run(plan, studies(20))
    assert states(rows) == {"edited": 19, "failed": 1}
    (failed,) = [row for row in rows if row["state"] == "failed"]
    assert failed["film"] == "1.2.13.0"
    assert "try it alone" in failed["why"]
    edits = Counter(news.row["film"] for news in heard if news.row["state"] == "edited")
    assert set(edits.values()) == {1}


def test_of_a_study_that_ends_its_process_what_was_told_before_stays(plan: BatchPlan) -> None:
    films = studies(3, films=2)
    bad = replace(films[1].refs[1], name="bad", instance=Instance("1.2.1", "1.2.1.0", "1.2.13.1"))
    films[1] = Study((films[1].refs[0], bad))
    heard, _, rows = run(plan, films)
    assert states(rows) == {"edited": 5, "failed": 1}
    assert len(heard) == 6


def test_processes_share_the_films_and_their_figures_add_up(plan: BatchPlan) -> None:
    heard, crew, rows = run(replace(plan, devices=("cpu", "other")), studies(12))
    assert states(rows) == {"edited": 12}
    assert {row["device"] for row in rows} <= {"cpu", "other"}
    assert crew.account.made == 12
    assert crew.account.spent["edit"].busy_s == 6.0
    assert heard[-1].ended == heard[-1].total == 12
    assert heard[-1].complete


def test_a_second_run_is_given_what_the_first_wrote_down_and_tries_failures_again(
    plan: BatchPlan,
) -> None:
    run(plan, studies(14))
    before = (plan.work / "outcomes.jsonl").read_text().splitlines()
    heard, crew, rows = run(plan, studies(15))
    after = (plan.work / "outcomes.jsonl").read_text().splitlines()
    assert crew.account.made == 1, "the fifteenth"
    fresh = [json.loads(line)["film"] for line in after[len(before) :]]
    assert sorted(fresh) == ["1.2.13.0", "1.2.14.0"]
    assert states(rows) == {"edited": 14, "failed": 1}
    assert len(heard) == 15


def test_what_cannot_be_had_is_told_and_a_device_that_is_not_there_ends_the_run(
    plan: BatchPlan,
) -> None:
    _, _, rows = run(plan, [Missed("line 3 of the list", "no such film."), *studies(2)])
    assert states(rows) == {"edited": 2, "failed": 1}
    with pytest.raises(RadEditError, match="not there"):
        run(replace(plan, devices=("none",)), studies(2))


def test_a_search_that_fails_ends_the_run_with_its_sentence(plan: BatchPlan) -> None:
    def searching() -> Iterable[Found]:
        yield from studies(1)
        raise RadEditError("the archive does not answer.")

    with pytest.raises(RadEditError, match="does not answer"):
        run(plan, searching())


def test_a_journal_survives_a_cut_and_belongs_to_one_run_and_one_process(tmp_path: Path) -> None:
    row = {
        "input": "a.dcm",
        "film": "1.2.3",
        "state": "edited",
        "edit_id": "e",
        "uids": {"sc": "9"},
    }
    journal = Journal(tmp_path, {"prompt": "Mass"})
    journal.add(row)
    with pytest.raises(OutputError, match="another process"):
        Journal(tmp_path, {"prompt": "Mass"})
    journal.close()
    with (tmp_path / "outcomes.jsonl").open("a") as stream:
        stream.write('\n{"input": "b.dcm", "film": "1.2.4", "sta')
    with pytest.raises(OutputError, match="another run"):
        Journal(tmp_path, {"prompt": "Effusion"})
    journal = Journal(tmp_path, {"prompt": "Mass"})
    journal.add({"input": "c.dcm", "film": "1.2.5", "state": "failed", "why": "Torn."})
    assert journal.counts() == {"edited": 1, "failed": 1}
    assert set(journal.known()) == {"1.2.3"}
    assert journal.failures() == [{"input": "c.dcm", "why": "Torn."}]
    with journal.write_table().open(newline="") as stream:
        assert [line["sc"] for line in csv.DictReader(stream)] == ["9", ""]
    journal.close()


def test_the_process_that_keeps_the_journal_loads_no_model() -> None:
    loaded = (
        "import sys, radedit.lib.batch.crew; "
        "print({'torch', 'highdicom', 'diffusers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stdout.strip() == "set()"
