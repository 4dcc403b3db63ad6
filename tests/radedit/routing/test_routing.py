"""A route joined to edits: what its file may ask, and that each step may be repeated."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

from radedit.lib.errors import FilmError
from radedit.lib.pipeline import Editor
from radedit.lib.routing.edits import Arrived, EditStep, is_final
from radedit.lib.routing.settings import load_route
from radedit.lib.routing.stow import parts
from radedit.lib.routing.worker import GIVEN_UP, Worker
from radedit_dicom.archive import Query
from radedit_dicom.errors import ArchiveError, UnsupportedImageError
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.outbox import Patience
from radedit_dicom.router.route import Jobs
from radedit_dicom.router.rules import Action, Rule
from radedit_dicom.router.spool import Spool
from radedit_dicom.router.work import Job, Work

Made = tuple[Spool, Journal, Audit]
EDIT = {"prompt": "Left lung mass", "edit_mask": "box:4,4,14,14", "steps": 2}
RULE = Rule("edit", (Action("edit", ("qa",), settings=EDIT),))
HEAD = """
spool = "spool"
[receive]
callers = ["CR1"]
[destinations.qa]
address = "out"
[[rules]]
name = "one"
[[rules.do]]
"""


@pytest.mark.parametrize("name", ["night.toml", "cohort.toml"])
def test_the_example_routes_are_sound(tmp_path: Path, name: str) -> None:
    example = files("radedit.configs").joinpath("routes", name)
    (tmp_path / name).write_text(example.read_text())
    for file in ("node.crt", "node.key", "hospital-ca.crt", "qa.token"):
        (tmp_path / file).write_text("only looked for")
    route = load_route(tmp_path / name)
    assert route.rules
    assert route.destinations


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ('action = "edit"\nto = ["qa"]\n', "needs a 'prompt'"),
        ('action = "edit"\nto = ["qa"]\nprompt = "x"\nsteps = 0\n', "steps is 0"),
        ('action = "edit"\nto = ["qa"]\nprompt = "x"\nmodel = "none"\n', "none"),
        ('action = "edit"\nto = ["qa"]\nprompt = "x"\nedit_mask = "circle:1"\n', "mask"),
        (
            'action = "edit"\nto = ["qa"]\nprompt = "x"\nedit_mask = "task:lungs"\n',
            "no mask task 'lungs'",
        ),
        (
            'action = "edit"\nto = ["qa"]\nprompt = "x"\nkeep_mask = "task:heart_segmentation:m"\n',
            "no label 'm'",
        ),
        (
            'action = "edit"\nto = ["qa"]\nprompt = "x"\nedit_mask = "remote:http://a/b"\n',
            "remote_servers",
        ),
        ('action = "edit"\nto = ["qa"]\nprompt = "x"\nedit_mask = "uploaded:a"\n', "named 'a'"),
        ('action = "edit"\nto = ["qa"]\nprompt = "x"\nrun = "rm"\n', "no parameter 'run'"),
        ('action = "edit"\nto = ["qa"]\nprompt = "x"\nstudy = "old"\n', "study must be"),
        ('action = "stress"\nsuite = "manifestation"\n', "needs 'out'"),
        ('action = "stress"\nsuite = "a"\nout = "b"\nat = "6"\n', "a time like 06:00"),
    ],
)
def test_an_action_that_could_not_be_done_is_refused_with_the_file(
    tmp_path: Path, action: str, said: str
) -> None:
    path = tmp_path / "route.toml"
    path.write_text(HEAD + action)
    with pytest.raises(Exception, match=said) as refusal:
        load_route(path)
    assert type(refusal.value).__name__ == "RouteError"


def test_an_edit_that_is_repeated_finds_its_objects_and_orders_them_once(
    made: Made, come: Callable[..., None], make_dataset: Callable[..., Dataset]
) -> None:
    spool, journal, audit = made
    come(RULE, make_dataset())
    work = Work(journal, audit, "work-0", Patience(first_s=0.0))
    step = EditStep(spool, journal, Editor())
    first = work.claim()
    assert first is not None
    result, orders = step.run(first)
    again, repeated = EditStep(spool, journal, step.editor).run(first)
    assert again["edit_id"] == result["edit_id"]
    assert repeated == orders
    assert [order.destination for order in orders] == ["qa"] * 3
    work.done(first, result, orders)
    work.done(first, result, repeated)
    rows = journal.rows("SELECT uid, file, state FROM deliveries")
    assert [row["state"] for row in rows] == ["waiting"] * 3
    written = [pydicom.dcmread(spool.folder / row["file"]) for row in rows]
    assert [d.Modality for d in written] == ["SEG", "SR", "CR"]
    assert all(d.SyntheticData == "YES" for d in written)


def test_a_film_that_is_none_is_a_dead_letter_at_once_with_the_reason(
    made: Made, come: Callable[..., None], make_dataset: Callable[..., Dataset]
) -> None:
    come(RULE, make_dataset(ViewPosition="LL"))
    worker = Worker(*made, "work-0", Jobs())
    assert worker.one()
    assert not worker.one()
    (row,) = made[1].rows("SELECT state, attempts, error FROM jobs")
    assert (row["state"], row["attempts"]) == ("dead", 1)
    assert "lateral" in row["error"]


@pytest.mark.parametrize(
    ("error", "final"),
    [(UnsupportedImageError("x"), True), (FilmError("x"), True), (ArchiveError("x"), False)],
)
def test_what_would_fail_again_is_told_from_what_may_not(error: Exception, final: bool) -> None:
    assert is_final(error) is final


def test_an_edit_that_hangs_ends_its_process_and_counts_as_an_attempt(
    made: Made, come: Callable[..., None], make_dataset: Callable[..., Dataset]
) -> None:
    come(RULE, make_dataset())
    ended = threading.Event()
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        ended.set()

    class Hanging:
        """An edit that does not end by itself, in a process that ends meanwhile."""

        def run(self, job: Job) -> None:
            assert ended.wait(60)
            raise SystemExit(codes[0])

    worker = Worker(*made, "work-0", Jobs(time_limit_s=0.05), end_process=end)
    vars(worker)["_edits"] = Hanging()
    with pytest.raises(SystemExit):
        worker.one()
    assert codes == [GIVEN_UP]
    Worker(*made, "work-0", Jobs())  # the one that is started in its place
    (row,) = made[1].rows("SELECT state, attempts, error FROM jobs")
    assert (row["state"], row["attempts"]) == ("queued", 1)
    assert "ended in the middle" in row["error"]


def test_masks_of_a_seg_are_found_among_what_came_with_the_study(
    made: Made, come: Callable[..., None], make_dataset: Callable[..., Dataset]
) -> None:
    film = make_dataset()
    other = make_dataset(SOPInstanceUID="1.2.3.5", StudyInstanceUID="1.9", PatientID="0815")
    come(RULE, film, other)
    archive = Arrived(made[0], made[1])
    (found,) = archive.find(Query(study_instance_uid="1.2", modality="CR"))
    assert found.sop_instance_uid == "1.2.3.4"
    assert archive.find(Query(study_instance_uid="1.2", modality="SEG")) == []
    assert archive.find(Query(study_instance_uid="1.9", patient_id="4711")) == []
    assert b"DICM" in archive.fetch(found)
    with pytest.raises(ArchiveError, match="did not come here"):
        archive.fetch(type(found)("1.2", "1.2.3", "1.2.99"))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"--b\r\nX: y\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"one", b"two"]),
        (b"preamble\r\n--b\r\n\r\n\r\n--b--", [b""]),
        (b"--b\r\n\r\n\r\n\r\nblank lines\r\n--b--", [b"\r\n\r\nblank lines"]),
        (b"nothing", []),
        (b"", []),
    ],
)
def test_a_multipart_body_is_split_as_the_standard_says(body: bytes, found: list[bytes]) -> None:
    assert parts(body, b"b") == found
