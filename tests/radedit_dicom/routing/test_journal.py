"""What the journal says: cases, outboxes, jobs, clean-up; a killed process leaves it whole."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from orthanc import Orthanc
from pydicom.dataset import Dataset

from radedit_dicom.access import Access
from radedit_dicom.archive import Query
from radedit_dicom.folder import FolderArchive
from radedit_dicom.readback import part10
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.desk import Desk
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.intake import Intake
from radedit_dicom.router.journal import Journal, insert, now
from radedit_dicom.router.outbox import Order, Outbox, Patience, enqueue, strand
from radedit_dicom.router.part10 import opened
from radedit_dicom.router.planning import Completeness, Planner
from radedit_dicom.router.retention import clean_up
from radedit_dicom.router.rules import Action, Rule
from radedit_dicom.router.sender import Destination, Line, Sender
from radedit_dicom.router.sorting import Sorter
from radedit_dicom.router.spool import Spool
from radedit_dicom.router.work import Work

Made = tuple[Spool, Journal, Audit]
FORWARD = Rule("all", (Action("forward", ("disk",)),))
EDIT = Rule("edit", (Action("edit", ("disk",), settings={"prompt": "x"}),))


@pytest.fixture
def take(
    make_spool: Callable[[], Made], make_dataset: Callable[..., Dataset]
) -> Callable[..., Made]:
    """Take films into a spool and sort them."""
    made = make_spool()
    intake = Intake(*made)

    def run(*numbers: int, **attributes: Any) -> Made:
        for number in numbers:
            dataset = make_dataset(**({"SOPInstanceUID": f"1.2.3.{number}"} | attributes))
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            intake.take_whole(opened(part10(dataset)), "CR1")
        while Sorter(*made).sort():
            pass
        return made

    return run


def planned(made: Made, *rules: Rule) -> int:
    return Planner(*made, Completeness(0.0, 0.0)).plan(rules)


def states(journal: Journal, table: str = "deliveries") -> list[str]:
    return [row["state"] for row in journal.rows(f"SELECT state FROM {table} ORDER BY rowid")]


def test_a_case_is_closed_once_and_orders_each_object_once(take: Callable[..., Made]) -> None:
    made = take(1, 2)
    assert planned(made, FORWARD) == 1
    assert planned(made, FORWARD) == 0
    assert states(made[1]) == ["waiting", "waiting"]


def test_a_study_is_not_complete_before_it_is_quiet(take: Callable[..., Made]) -> None:
    made = take(1)
    assert Planner(*made, Completeness(60.0, 3600.0)).plan([FORWARD]) == 0
    assert states(made[1], "instances") == ["waiting"]


def test_nothing_is_complete_while_an_older_object_is_not_sorted(
    take: Callable[..., Made],
) -> None:
    made = take(1)
    with made[1].change() as change:
        change.execute("UPDATE cases SET opened = opened - 50, last = last - 50")
        row = {
            "uid": "1.2.99", "sop_class": "1.2", "syntax": "1.2", "file": "incoming/none",
            "bytes": 1, "source": "CR1", "received": now() - 45, "state": "received",
        }  # fmt: skip
        insert(change, "instances", row)
    quiet = Planner(*made, Completeness(20.0, 3600.0))
    assert quiet.plan([FORWARD]) == 0  # it may be of this study
    with made[1].change() as change:
        change.execute("UPDATE instances SET state = 'quarantined' WHERE uid = '1.2.99'")
    assert quiet.plan([FORWARD]) == 1


def test_a_late_object_opens_a_case_that_follows_up(take: Callable[..., Made]) -> None:
    made = take(1)
    planned(made, FORWARD)
    take(2)
    assert planned(made, FORWARD) == 1
    cases = made[1].rows("SELECT number FROM cases ORDER BY id")
    assert [row["number"] for row in cases] == [1, 2]


def test_an_object_of_more_pixels_than_are_decoded_is_set_apart_by_its_header(
    take: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radedit_dicom.router.sorting.MAX_PIXELS", 100)
    _, journal, _ = take(1)
    (found,) = journal.rows("SELECT state, reason FROM instances")
    assert found["state"] == "quarantined"
    assert "but at most 100 are decoded" in found["reason"]


def test_an_object_on_which_the_sorter_ends_three_times_is_set_apart(
    take: Callable[..., Made],
) -> None:
    made = take()
    with made[1].change() as change:
        row = {
            "uid": "1.2.3", "sop_class": "1.2", "syntax": "1.2", "file": "incoming/none",
            "bytes": 1, "source": "CR1", "received": now(), "state": "received", "tries": 3,
        }  # fmt: skip
        insert(change, "instances", row)
    Sorter(*made).sort()
    (found,) = made[1].rows("SELECT state, reason FROM instances")
    assert found["state"] == "quarantined"
    assert "ended the process 3 times" in found["reason"]


def test_only_one_of_many_claims_an_object(take: Callable[..., Made]) -> None:
    spool, journal, audit = take(*range(1, 9))
    planned((spool, journal, audit), FORWARD)
    claimed: list[int] = []

    def claim() -> None:
        own = Journal(spool.journal)
        outbox = Outbox(own, audit, "disk", Patience())
        while (found := outbox.claim()) is not None:
            claimed.append(found.number)
        own.close()

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(set(claimed))
    assert len(claimed) == 8


def test_what_was_on_its_way_when_the_sender_ended_is_tried_again_as_maybe_arrived(
    take: Callable[..., Made],
) -> None:
    spool, journal, audit = take(1)
    planned((spool, journal, audit), FORWARD)
    outbox = Outbox(journal, audit, "disk", Patience())
    first = outbox.claim()
    assert first is not None
    assert first.attempts == 0
    assert outbox.claim() is None
    assert outbox.recover() == 1
    again = outbox.claim()
    assert again is not None
    assert (again.number, again.attempts) == (first.number, 1)


def test_refusals_make_a_dead_letter_and_an_outage_does_not(take: Callable[..., Made]) -> None:
    made = take(1)
    planned(made, FORWARD)
    outbox = Outbox(made[1], made[2], "disk", Patience(refusals=3, first_s=0.0, longest_s=0.0))
    for _ in range(10):
        delivery = outbox.claim()
        assert delivery is not None
        outbox.failed(delivery, "away", refused=False)
    for _ in range(3):
        delivery = outbox.claim()
        assert delivery is not None
        outbox.failed(delivery, "refused", refused=True)
    assert states(made[1]) == ["dead"]
    assert outbox.claim() is None


def test_waits_grow_up_to_their_limit_and_differ_by_chance() -> None:
    patience = Patience(first_s=1.0, longest_s=60.0)
    waits = [[patience.wait_s(attempt) for _ in range(200)] for attempt in range(1, 12)]
    for number, found in enumerate(waits):
        longest = min(60.0, 2.0**number)
        assert all(longest / 2 <= wait <= longest for wait in found)
    assert len(set(waits[3])) > 100


def test_a_higher_priority_goes_first(make_spool: Callable[[], Made]) -> None:
    _, journal, audit = make_spool()
    with journal.change() as change:
        for number, priority in ((1, 0), (2, 5), (3, 5), (4, 1)):
            enqueue(change, Order("disk", f"1.{number}", "f", "j", priority))
    outbox = Outbox(journal, audit, "disk", Patience())
    order = [found.uid for _ in range(4) if (found := outbox.claim()) is not None]
    assert order == ["1.2", "1.3", "1.4", "1.1"]


def test_a_job_and_its_deliveries_are_noted_together_and_a_dead_job_is_listed(
    take: Callable[..., Made],
) -> None:
    spool, journal, audit = take(1, 2)
    planned((spool, journal, audit), EDIT)
    work = Work(journal, audit, "work-0", Patience(refusals=2, first_s=0.0))
    first = work.claim()
    assert first is not None
    with pytest.raises(sqlite3.ProgrammingError):
        work.done(first, {}, [Order("disk", object(), "f", first.name)])  # type: ignore[arg-type]
    assert states(journal) == []
    work.done(first, {"edit_id": "e"}, [Order("disk", "1.9", "f", first.name)])
    assert states(journal) == ["waiting"]
    for _ in range(2):
        second = work.claim()
        assert second is not None
        work.failed(second, "It does not work.", final=False)
    assert work.claim() is None
    desk = Desk(spool, journal, audit)
    (item,) = desk.items(("dead",))
    assert item.id == f"job-{second.name}"
    desk.retry(item.id)
    again = work.claim()
    assert again is not None
    assert again.attempts == 1


def test_a_job_that_its_worker_did_not_outlive_is_put_back_by_the_next_one(
    take: Callable[..., Made],
) -> None:
    _, journal, audit = made = take(1)
    planned(made, EDIT)
    assert Work(journal, audit, "work-0", Patience()).claim() is not None
    assert Work(journal, audit, "work-1", Patience()).recover() == []
    assert len(Work(journal, audit, "work-0", Patience(first_s=0.0)).recover()) == 1
    assert states(journal, "jobs") == ["queued"]


@pytest.mark.parametrize("name", ["delivery-999", "nonsense", "job-1", "object-1.2.3"])
def test_what_is_not_there_cannot_be_retried(make_spool: Callable[[], Made], name: str) -> None:
    with pytest.raises(RouteError, match="cannot be retried"):
        Desk(*make_spool()).retry(name)


def test_clean_up_takes_what_is_done_with_and_never_the_unsent(take: Callable[..., Made]) -> None:
    spool, journal, audit = made = take(1, 2, 3)
    planned(made, FORWARD)
    outbox = Outbox(journal, audit, "disk", Patience(refusals=1))
    first, second = outbox.claim(), outbox.claim()
    assert first is not None
    assert second is not None
    outbox.sent(first, 0.1)
    outbox.failed(second, "refused", refused=True)
    assert clean_up(spool, journal, audit, keep_days=1.0) == 0
    assert clean_up(spool, journal, audit, keep_days=-1.0) == 1
    left = [p for p in (spool.folder / "incoming").rglob("*.dcm")]
    assert len(left) == 2
    assert sorted(states(journal, "instances")) == ["planned", "planned", "removed"]
    take(1)  # it comes again: known, and not routed twice
    assert sorted(states(journal, "instances")) == ["planned", "planned", "removed"]
    assert len([p for p in (spool.folder / "incoming").rglob("*.dcm")]) == 2


def test_clean_up_keeps_what_a_job_that_is_not_done_may_need(take: Callable[..., Made]) -> None:
    spool, journal, audit = made = take(1)
    planned(made, EDIT)
    take(2)  # a mask for it, say, for which no rule fires
    planned(made)
    assert states(journal, "instances") == ["planned", "unmatched"]
    assert clean_up(spool, journal, audit, keep_days=-1.0) == 0
    work = Work(journal, audit, "work-0", Patience())
    job = work.claim()
    assert job is not None
    work.done(job, {}, [])
    assert clean_up(spool, journal, audit, keep_days=-1.0) == 2


def test_what_waits_for_a_destination_that_is_named_no_more_is_a_dead_letter(
    take: Callable[..., Made],
) -> None:
    spool, journal, audit = made = take(1, 2)
    planned(made, FORWARD, Rule("other", (Action("forward", ("web",)),)))
    assert strand(journal, audit, ["disk", "web"]) == 0
    assert Outbox(journal, audit, "disk", Patience()).claim() is not None
    assert strand(journal, audit, ["web"]) == 2
    assert states(journal) == ["dead", "dead"]
    items = Desk(spool, journal, audit).items()
    assert all("names this destination no more" in item.reason for item in items)
    Desk(spool, journal, audit).retry(items[0].id)
    assert strand(journal, audit, ["disk"]) == 0
    assert Outbox(journal, audit, "disk", Patience()).claim() is not None


def test_a_sender_brings_objects_into_a_folder_and_finds_what_is_there(
    take: Callable[..., Made], tmp_path: Path
) -> None:
    spool, journal, audit = made = take(1, 2)
    planned(made, FORWARD)
    destination = Destination("disk", str(tmp_path / "out"))
    content = (spool.folder / journal.rows("SELECT file FROM instances")[0]["file"]).read_bytes()
    line = Line(destination)
    line.deliver(content, again=False)
    line.deliver(content, again=True)
    sender = Sender(spool, journal, audit, {"disk": destination})
    sender.start()
    for _ in range(600):
        if states(journal) == ["sent", "sent"]:
            break
        threading.Event().wait(0.1)
    sender.stop()
    assert states(journal) == ["sent", "sent"]
    assert len(FolderArchive(tmp_path / "out").find(Query())) == 2


def test_what_has_arrived_counts_as_sent_when_it_is_there_at_the_second_look(
    take: Callable[..., Made], start_orthanc: Callable[..., Orthanc]
) -> None:
    spool, journal, audit = made = take(1, 2)
    planned(made, FORWARD)
    orthanc = start_orthanc()
    patience = Patience(refusals=3, first_s=0.01, longest_s=0.05)
    access = Access(attempts=1)
    destination = Destination(
        "disk", orthanc.dicom_web, access, patience=patience, look_again_s=3600.0
    )

    def run_until(wanted: list[str]) -> None:
        sender = Sender(spool, journal, audit, {"disk": destination})
        sender.start()
        for _ in range(600):
            if states(journal) == wanted:
                break
            threading.Event().wait(0.1)
        sender.stop()
        assert states(journal) == wanted

    def said() -> list[Any]:
        return [json.loads(line) for line in spool.audit.read_text().splitlines()]

    def a_day_later() -> None:
        with journal.change() as change:
            change.execute("UPDATE deliveries SET not_before = 0 WHERE state = 'arrived'")

    run_until(["arrived", "arrived"])
    assert clean_up(spool, journal, audit, keep_days=-1.0) == 0  # it may have to be sent again
    assert "sent" not in [line["event"] for line in said()]
    for row in orthanc.rest("GET", "/instances?expand").json():
        if row["MainDicomTags"]["SOPInstanceUID"] == "1.2.3.2":  # as such archives do
            orthanc.rest("DELETE", f"/instances/{row['ID']}")
    a_day_later()
    run_until(["sent", "arrived"])
    assert orthanc.held() == ["1.2.3.1", "1.2.3.2"]
    assert any("does not hold it any more" in line.get("reason", "") for line in said())
    orthanc.kill()
    a_day_later()
    sender = Sender(spool, journal, audit, {"disk": destination})
    sender.start()
    for _ in range(600):
        if journal.row("SELECT 1 FROM deliveries WHERE error LIKE '%nothing listens%'"):
            break
        threading.Event().wait(0.1)
    sender.stop()
    assert states(journal) == ["sent", "arrived"]  # an archive that is away has deleted nothing
    assert strand(journal, audit, []) == 0
    assert states(journal) == ["sent", "sent"]


def test_a_journal_of_another_version_is_refused(make_spool: Callable[[], Made]) -> None:
    spool, journal, _ = make_spool()
    with journal.change() as change:
        change.execute("PRAGMA user_version=9")
    with pytest.raises(RouteError, match="version 9"):
        Journal(spool.journal)
