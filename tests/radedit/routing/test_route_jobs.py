"""`radedit jobs ... --route CONFIG`, and an edit that is cancelled while it runs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from starlette.testclient import TestClient
from typer.testing import CliRunner

from radedit.lib.cli import app
from radedit.lib.routing.settings import load_route
from radedit.lib.routing.web import application
from radedit.lib.routing.worker import GIVEN_UP, Worker, guarded
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.desk import Desk
from radedit_dicom.router.intake import Intake
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.outbox import Order, Outbox, Patience, enqueue
from radedit_dicom.router.route import Jobs
from radedit_dicom.router.rules import Action, Rule
from radedit_dicom.router.spool import Spool
from radedit_dicom.router.work import Work

Made = tuple[Spool, Journal, Audit]
RULE = Rule("edit", (Action("edit", ("qa",), settings={"prompt": "x"}),))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "route.toml"
    path.write_text('spool = "spool"\n')
    return path


@pytest.fixture
def radedit(config: Path) -> Callable[..., Any]:
    """Run `radedit jobs` on the route, and give what it says."""

    def run(*arguments: str, code: int = 0) -> Any:
        given = ["jobs", *arguments, "--route", str(config), "--json"]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == code, done.output
        return done.stderr if code else json.loads(done.stdout)

    return run


def test_jobs_of_a_route_are_listed_shown_cancelled_retried_and_discarded(
    made: Made,
    come: Callable[..., None],
    make_dataset: Callable[..., Dataset],
    radedit: Callable[..., Any],
) -> None:
    come(RULE, make_dataset(PatientName="Geheim"))
    (listed,) = radedit("list", "--state", "queued")["jobs"]
    assert (listed["subject"], listed["rule"], listed["kind"]) == ("1.2.3.4", "edit", "edit")
    name = listed["id"]
    assert radedit("list", "--image", "1.2.9")["jobs"] == []
    work = Work(made[1], made[2], "work-0", Patience(refusals=1))
    job = work.claim()
    assert job is not None
    assert radedit("cancel", name)["state"] == "discarded"
    assert not work.is_ours(job)
    assert not work.done(job, {}, [Order("qa", "1.9", "f", name)])
    work.failed(job, "It is too late for that.", final=True)
    assert radedit("show", name)["error"] == "A person cancelled it."
    assert made[1].rows("SELECT * FROM deliveries") == []
    assert "cannot be cancelled" in radedit("cancel", name, code=1)
    assert radedit("retry", name)["state"] == "queued"
    again = work.claim()
    assert again is not None
    work.failed(again, "It cannot be edited.", final=True)
    dead = radedit("list")
    assert dead["counts"] == {"dead": 1}
    assert dead["jobs"][0]["error"] == "It cannot be edited."
    radedit("retry", f"job-{name}")
    third = work.claim()
    assert third is not None
    assert work.done(third, {"edit_id": "e"}, [Order("qa", "1.9", "f", name)])
    shown = radedit("show", name)
    assert shown["result"] == {"edit_id": "e"}
    assert [d["destination"] for d in shown["deliveries"]] == ["qa"]
    assert "cannot be discarded" in radedit("discard", name, code=1)
    assert "no state 'failed'" in radedit("list", "--state", "failed", code=1)
    assert "no job 'nonsense'" in radedit("show", "nonsense", code=1)
    assert "Geheim" not in json.dumps([dead, shown])


def test_jobs_of_a_route_are_told_to_a_person_too(
    come: Callable[..., None], make_dataset: Callable[..., Dataset], config: Path
) -> None:
    come(RULE, make_dataset())
    listed = CliRunner().invoke(app, ["jobs", "list", "--route", str(config)]).stdout
    assert "edit by edit\n    1.2.3.4, 0 attempts\n1 queued" in listed
    shown = CliRunner().invoke(app, ["jobs", "discard", listed[:24], "--route", str(config)]).stdout
    assert "state       discarded" in shown


def test_an_edit_that_is_cancelled_ends_its_process_and_orders_nothing(
    made: Made, come: Callable[..., None], make_dataset: Callable[..., Dataset]
) -> None:
    come(RULE, make_dataset())
    work = Work(made[1], made[2], "work-0", Patience())
    job = work.claim()
    assert job is not None
    ended, codes = threading.Event(), list[int]()

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    with guarded(600.0, lambda: work.is_ours(job), end):
        assert not ended.wait(2.5)  # it is ours
        Desk(*made).cancel(f"job-{job.name}")
        assert ended.wait(60)
    assert codes == [GIVEN_UP]
    assert not Worker(*made, "work-0", Jobs()).one()  # nobody takes it up again


def test_the_page_shows_dead_letters_however_much_is_held(made: Made, tmp_path: Path) -> None:
    _, journal, audit = made
    with journal.change() as change:
        for number in range(300):
            enqueue(change, Order("qa", f"1.{number}", "f", "j", held=number > 0))
    outbox = Outbox(journal, audit, "qa", Patience(refusals=1))
    first = outbox.claim()
    assert first is not None
    outbox.failed(first, "It <refuses>.", refused=True)
    (tmp_path / "page.toml").write_text('spool = "spool"\n[receive]\ncallers = ["A"]\n[http]\n')
    page = application(load_route(tmp_path / "page.toml"), Intake(*made), audit)
    shown = TestClient(page).get("/").text
    assert "It &lt;refuses&gt;." in shown
    assert shown.index("delivery-1<") < shown.index("delivery-300<")


def test_an_interrupted_job_is_put_back_and_counts_as_no_attempt(
    made: Made, come: Callable[..., None], make_dataset: Callable[..., Dataset]
) -> None:
    come(RULE, make_dataset())
    work = Work(made[1], made[2], "work-0", Patience())
    job = work.claim()
    assert job is not None
    work.put_back(job)
    again = work.claim()
    assert again is not None
    assert again.attempts == 1
