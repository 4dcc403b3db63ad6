"""A day's cohort put to a stress suite: run whole, cancelled, out of time, left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from radedit.lib.phantom.studies import Order, write_studies
from radedit.lib.phantom.world import World
from radedit.lib.routing import cohort
from radedit.lib.routing.settings import load_route
from radedit.lib.routing.worker import Worker
from radedit_dicom.router import planning
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.desk import Desk
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.outbox import Patience
from radedit_dicom.router.route import Jobs
from radedit_dicom.router.rules import Action, Rule
from radedit_dicom.router.spool import Spool

Made = tuple[Spool, Journal, Audit]
SUITE = """
name = "small"
title = "Pneumothorax removed"
intended_use = "Reads pneumothorax"
shift = "manifestation"

[question]
label = "pneumothorax"

[[edits]]
name = "removed"
prompt = "No acute cardiopulmonary process"
edit_mask = "dilate(seg:pneumothorax, 4mm)"
where = { pneumothorax = true }
removes = ["pneumothorax"]
seeds = [0]
parameters = { keep = "attenuation", steps = 1 }

[filter]
directional = false
"""
ROUTE = """
spool = "spool"
[receive]
callers = ["CR1"]
[[rules]]
name = "cohort"
match = { Modality = ["CR", "DX"] }
[[rules.do]]
action = "stress"
suite = "mine.toml"
victim = "pneumothorax-robust"
labels = "labels.csv"
out = "reports"
at = "06:00"
"""


def due(journal: Journal) -> None:
    """Let the day be over."""
    with journal.change() as change:
        change.execute("UPDATE jobs SET not_before = 0")


def one(journal: Journal) -> dict[str, Any]:
    (job,) = journal.rows("SELECT * FROM jobs")
    return dict(job)


@pytest.fixture
def rule(tmp_path: Path) -> Rule:
    """Give the rule of a route's file that lies in the test's folder."""
    (tmp_path / "mine.toml").write_text(SUITE)
    (tmp_path / "route.toml").write_text(ROUTE)
    (found,) = load_route(tmp_path / "route.toml").rules
    return found


@pytest.fixture
def waiting(
    made: Made, come: Callable[..., None], rule: Rule, make_dataset: Callable[..., Dataset]
) -> Journal:
    """Have two films of a cohort wait for a suite whose time has come."""
    come(rule, make_dataset(), make_dataset(SOPInstanceUID="1.2.3.5", StudyInstanceUID="1.9"))
    due(made[1])
    return made[1]


def test_the_suite_runs_over_the_days_films_with_the_masks_that_came_with_them(
    made: Made, come: Callable[..., None], rule: Rule, tmp_path: Path
) -> None:
    world = World(normal=0.0, second=0.0, findings={"pneumothorax": 1.0})
    lines = ["sop_instance_uid,pneumothorax,text"]
    sent = []
    for row in write_studies(Order(9_750_000, 1, 160, world), tmp_path / "studies"):
        folder = tmp_path / "studies" / row["folder"]
        sent += [dcmread(folder / "film.dcm"), dcmread(folder / "film-masks.dcm")]
        lines.append(f"{sent[-2].SOPInstanceUID},1,Pneumothorax")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    come(rule, *sent)
    job = one(made[1])
    assert job["kind"] == "stress"
    worker = Worker(*made, "work-0", Jobs(patience=Patience(refusals=1)))
    assert not worker.one()  # its time has not come
    due(made[1])
    assert worker.one()
    job = one(made[1])
    assert (job["state"], job["error"], json.loads(job["result"])) == ("done", "", {"films": 1})
    report = json.loads((tmp_path / "reports" / job["id"] / "report.json").read_text())
    result = report["suites"][0]["result"]
    assert result["edits"][0]["made"] == 1
    assert not (made[0].results(job["id"]) / "running").exists()


def test_masks_whose_film_is_gone_are_not_counted_as_films(
    made: Made, come: Callable[..., None], rule: Rule, tmp_path: Path
) -> None:
    world = World(normal=0.0, second=0.0, findings={"pneumothorax": 1.0})
    (row,) = write_studies(Order(9_750_000, 1, 96, world), tmp_path / "studies")
    folder = tmp_path / "studies" / row["folder"]
    film = dcmread(folder / "film.dcm")
    come(rule, film, dcmread(folder / "film-masks.dcm"))
    with made[1].change() as change:
        change.execute(
            "UPDATE instances SET state = 'removed' WHERE uid = ?", (film.SOPInstanceUID,)
        )
    job = SimpleNamespace(name=one(made[1])["id"])
    step = cohort.CohortStep(made[0], made[1], 1.0, threading.Event())
    _, count = step._films(job)  # type: ignore[arg-type]
    assert count == 0


def test_a_suite_that_cannot_run_is_a_dead_letter_with_its_own_sentence(
    made: Made, waiting: Journal, tmp_path: Path
) -> None:
    (tmp_path / "mine.toml").write_text("name = 1")
    Worker(*made, "work-0", Jobs(patience=Patience(refusals=1))).one()
    job = one(waiting)
    assert job["state"] == "dead"
    assert job["error"].startswith("The suite ended with code 1 and said: ")
    assert "'title'" in job["error"]


def test_a_suite_that_takes_too_long_is_ended_and_counts_as_failed(
    made: Made, waiting: Journal
) -> None:
    limits = Jobs(stress_limit_s=0.0, patience=Patience(refusals=2))
    Worker(*made, "work-0", limits).one()
    job = one(waiting)
    assert (job["state"], job["attempts"]) == ("queued", 1)
    assert "took longer than" in job["error"]


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_running_suite_ends_when_it_is_cancelled_or_the_node_stops(
    made: Made, waiting: Journal, cancelled: bool
) -> None:
    end = threading.Event()
    worker = Worker(*made, "work-0", Jobs(), end)
    running = made[0].results(one(waiting)["id"]) / "running"
    thread = threading.Thread(target=worker.one)
    thread.start()
    while not running.is_file() or not running.read_text():
        assert thread.is_alive()
    pid = int(running.read_text().split()[0])
    Desk(*made).cancel(f"job-{one(waiting)['id']}") if cancelled else end.set()
    thread.join(120)
    assert not Path(f"/proc/{pid}").exists()
    job = one(waiting)
    expected = ("discarded", "A person cancelled it.", 1) if cancelled else ("queued", "", 0)
    assert (job["state"], job["error"], job["attempts"]) == expected


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Run something that leads a group of its own and does not end by itself."""
    sleeping = [sys.executable, "-c", "import time; time.sleep(600)"]
    process = subprocess.Popen(sleeping, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_run_that_outlived_its_killed_worker_is_ended_by_the_next_one(
    made: Made, waiting: Journal, sleeper: subprocess.Popen[bytes]
) -> None:
    with waiting.change() as change:
        change.execute("UPDATE jobs SET state = 'running', slot = 'work-0', attempts = 1")
    folder = made[0].results(one(waiting)["id"])
    folder.mkdir()
    (folder / "running").write_text(f"{sleeper.pid} {cohort._started(sleeper.pid)}")
    Worker(*made, "work-0", Jobs())
    assert sleeper.wait(60) == -9
    assert one(waiting)["state"] == "queued"


def test_another_process_with_the_number_of_a_run_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "running").write_text(f"{sleeper.pid} 12")
    cohort.end_leftover(tmp_path)
    assert sleeper.poll() is None
    assert not (tmp_path / "running").exists()


def test_a_film_that_comes_when_the_days_run_has_begun_is_of_the_next_cohort(
    made: Made,
    waiting: Journal,
    come: Callable[..., None],
    rule: Rule,
    make_dataset: Callable[..., Dataset],
) -> None:
    with waiting.change() as change:
        change.execute("UPDATE jobs SET state = 'running', attempts = 1")
    come(rule, make_dataset(SOPInstanceUID="1.2.3.6", StudyInstanceUID="1.10"))
    rows = waiting.rows(
        "SELECT j.state, count(*) AS films FROM jobs AS j JOIN cohorts AS c ON c.job = j.id "
        "GROUP BY j.id ORDER BY j.not_before"
    )
    assert [tuple(row) for row in rows] == [("running", 2), ("queued", 1)]
    assert planning._next("06:00") > planning.datetime.now()


def test_paths_of_a_stress_action_are_relative_to_its_file(rule: Rule, tmp_path: Path) -> None:
    action: Action = rule.actions[0]
    assert action.settings["base"] == str(tmp_path)
    command = cohort.command(dict(action.settings), tmp_path / "films", tmp_path / "out")
    assert command[3:] == [
        *("stress", "mine.toml", "--archive", str(tmp_path / "films")),
        *("--out", str(tmp_path / "out"), "--victim", "pneumothorax-robust"),
        *("--labels", "labels.csv"),
    ]
