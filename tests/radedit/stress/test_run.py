"""A run with the real editor on small phantoms: resumed, never guessed, and reported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydicom import dcmread
from typer.testing import CliRunner

from radedit.lib.cli import app
from radedit.lib.errors import OutputError, VictimError, VictimGoneError
from radedit.lib.json_lines import claimed
from radedit.lib.phantom.studies import Order, write_studies
from radedit.lib.phantom.world import World
from radedit.lib.pipeline import Editor
from radedit.lib.stress import asking, runner
from radedit.lib.stress.findings import sort_rows
from radedit.lib.stress.ledger import EDITS, FILE
from radedit.lib.stress.phantom_cohort import PhantomCohort
from radedit.lib.stress.report import Finished, print_pdf, report_of, write_report
from radedit.lib.stress.runner import Plan, facts_of, run
from radedit.lib.stress.suite import Suite, parse_suite
from radedit.lib.stress.sweep import PLANTED, load_swept
from radedit.lib.stress.variants import kept_edit
from radedit.lib.victims.embedded import EmbeddedVictim, load_victim
from radedit.lib.victims.protocol import Answer, Victim

torch.set_num_threads(1)

SUITE = """
name = "small"
title = "Pneumothorax removed"
intended_use = "Reads pneumothorax"
shift = "manifestation"

[[cohort.phantoms]]
name = "ill"
count = 2
first_seed = 9730000
size = 160

[cohort.phantoms.world]
normal = 0.0
second = 0.0
findings = { pneumothorax = 1.0 }
drain_given_pneumothorax = 1.0

[[cohort.phantoms]]
name = "well"
count = 1
first_seed = 9740000
size = 160
world = { normal = 1.0, drain_otherwise = 0.0 }

[question]
label = "pneumothorax"

[[edits]]
name = "removed"
prompt = "No acute cardiopulmonary process"
edit_mask = "dilate(seg:pneumothorax, 4mm)"
keep_mask = 'seg:"chest drain"'
where = { pneumothorax = true }
removes = ["pneumothorax"]
seeds = [0, 1]
doses = [0.5]
parameters = { keep = "attenuation", steps = 3 }

[controls]
corruptions = ["gaussian noise"]
severities = [3]

[filter]
directional = false
"""
VICTIMS = ("pneumothorax-biased", "pneumothorax-robust")
# real 3, noise 3, and of both ill: 2 edits, a dose, a sham, blur, reconstruction, masked, truth
FILMS = 3 + 3 + 2 * 8


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor()


@pytest.fixture(scope="module")
def suite() -> Suite:
    return parse_suite(SUITE.encode())


def plan_in(folder: Path, suite: Suite, victims: tuple[str, ...] = VICTIMS) -> Plan:
    return Plan(suite, PhantomCohort(suite.cohort.phantoms), victims, folder)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, editor: Editor, suite: Suite) -> Plan:
    plan = plan_in(tmp_path_factory.mktemp("run"), suite)
    seen: list[tuple[int, int]] = []
    run(plan, lambda i, n: seen.append((i, n)), editor)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]
    return plan


def rows_in(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE).read_text("utf-8").splitlines()]


def test_every_film_of_every_subject_is_asked_about(done: Plan) -> None:
    answers = [row for row in rows_in(done.out) if row.get("type") == "answer"]
    assert len(answers) == FILMS * len(VICTIMS)
    assert all(0 <= row["scores"]["pneumothorax"] <= 1 for row in answers)
    edits = [row for row in rows_in(done.out) if row.get("type") == "film" and "reasons" in row]
    assert len(edits) == 6
    for row in edits:
        assert row["scores"]["changed_outside_support"] == 0
        assert row["ssim_outside"] > 0.9
        assert row["dose"] > 0


def test_a_finished_run_asks_and_edits_nothing_again(
    done: Plan, editor: Editor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("done already")

    monkeypatch.setattr(Editor, "edit_batch", forbidden)
    monkeypatch.setattr(EmbeddedVictim, "answer", forbidden)
    run(done, lambda i, n: None, editor)


def test_a_new_victim_is_asked_about_the_edits_that_are_there(
    done: Plan, editor: Editor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(done.out, tmp_path / "more")
    before = {p.name: p.read_bytes() for p in (tmp_path / "more" / EDITS).iterdir()}

    def forbidden(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("edited already")

    monkeypatch.setattr(Editor, "edit_batch", forbidden)
    plan = replace(done, out=tmp_path / "more", victims=(*VICTIMS, "sweep:pneumothorax-planted"))
    ledger = run(plan, lambda i, n: None, editor)
    found = sort_rows(plan.suite, ledger.rows())
    assert set(found.cards) == set(plan.victims)
    counts = {v: sum(map(len, found.answers[v].values())) for v in plan.victims}
    assert set(counts.values()) == {FILMS}
    after = {p.name: p.read_bytes() for p in (tmp_path / "more" / EDITS).iterdir()}
    assert before == after


def test_a_victim_that_is_another_model_by_now_is_asked_about_every_film_again(
    done: Plan, editor: Editor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(done.out, tmp_path / "newer")
    planted = load_swept(PLANTED)

    def opened(name: str) -> Victim:
        return planted if name == "pneumothorax-robust" else asking.open_named(name)

    monkeypatch.setattr(runner, "open_named", opened)
    rows = run(replace(done, out=tmp_path / "newer"), lambda i, n: None, editor).rows()
    found = sort_rows(done.suite, rows)
    before = sort_rows(done.suite, [r for r in rows_in(done.out) if "run" not in r])
    assert found.answers["pneumothorax-biased"] == before.answers["pneumothorax-biased"]
    assert found.cards["pneumothorax-robust"]["sha256"] == planted.card.sha256
    for arm, answers in found.answers["pneumothorax-robust"].items():
        for subject, row in answers.items():
            assert row["scores"] != before.answers["pneumothorax-robust"][arm][subject]["scores"]


class Dying:
    """A victim that answers some times, then is gone or silent."""

    def __init__(self, answers: int, error: Callable[[str], Exception]) -> None:
        self._victim = load_victim("pneumothorax-robust")
        self._left, self._error = answers, error
        self.card = self._victim.card

    def answer(self, *args: Any) -> Answer:
        if self._left == 0:
            raise self._error("it hung up")
        self._left -= 1
        return self._victim.answer(*args)


def test_a_victim_that_dies_half_way_stops_the_run_which_then_goes_on_to_the_same_rows(
    done: Plan, editor: Editor, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_in(tmp_path / "run", suite, ("pneumothorax-robust",))
    monkeypatch.setattr(runner, "open_named", lambda name: Dying(15, VictimGoneError))
    with pytest.raises(VictimGoneError, match="hung up"):
        run(plan, lambda i, n: None, editor)
    monkeypatch.setattr(runner, "open_named", asking.open_named)
    found = sort_rows(suite, run(plan, lambda i, n: None, editor).rows())
    whole = sort_rows(suite, [r for r in rows_in(done.out) if "run" not in r])
    name = "pneumothorax-robust"
    for arm, answers in whole.answers[name].items():
        for subject, row in answers.items():
            assert found.answers[name][arm][subject]["scores"] == row["scores"]


def test_answers_that_do_not_come_are_missing_with_their_reason(
    editor: Editor, suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(suite, cohort=replace(suite.cohort, phantoms=suite.cohort.phantoms[1:]))
    monkeypatch.setattr(runner, "open_named", lambda name: Dying(1, VictimError))
    plan = plan_in(tmp_path / "run", small, ("pneumothorax-robust",))
    rows = run(plan, lambda i, n: None, editor).rows()
    answers = [row for row in rows if row["type"] == "answer"]
    assert [row.get("missing", "") for row in answers] == ["", "it hung up"]


def test_an_edit_that_was_cut_off_on_disk_is_made_again(
    done: Plan, editor: Editor, tmp_path: Path
) -> None:
    shutil.copytree(done.out, tmp_path / "cut")
    broken = next((tmp_path / "cut" / EDITS).glob("*-edit-0-*.npz"))
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut" / FILE).write_text(
        "\n".join(json.dumps(r) for r in rows_in(done.out) if r.get("type") != "done")
    )
    run(replace(done, out=tmp_path / "cut"), lambda i, n: None, editor)
    with np.load(broken) as again, np.load(done.out / EDITS / broken.name) as first:
        assert np.array_equal(again["change"], first["change"])


@pytest.fixture(scope="module")
def written(done: Plan, editor: Editor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    found = sort_rows(done.suite, [r for r in rows_in(done.out) if "run" not in r])
    facts = facts_of(done, editor)
    report = report_of([Finished(done, found, tuple(done.cohort.problems), facts)], facts)
    assert set(write_report(report, out)) >= {"html", "json"}
    return out


def test_the_page_asks_for_nothing_outside_of_itself(written: Path) -> None:
    page = (written / "report.html").read_text("utf-8")
    addresses = re.findall(r'(?:src|href|url\()\s*=?\s*["\']?([^"\'>)\s]+)', page)
    assert addresses
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert "http" not in re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", page)


def test_the_page_says_what_a_reader_must_know(written: Path, suite: Suite) -> None:
    page = (written / "report.html").read_text("utf-8")
    for wanted in (suite.sha256, suite.intended_use, "not shown", "Sign-off",
                   "No clinical validation", "best", "true counterfactual"):  # fmt: skip
        assert wanted in page
    numbers = json.loads((written / "report.json").read_text("utf-8"))
    assert numbers["suites"][0]["result"]["edits"][0]["made"] == 4


def test_the_report_is_printed_and_lies_in_an_archive(
    written: Path, peer: Callable[[str], str], tmp_path: Path
) -> None:
    from radedit.lib.stress.document import write_document

    peer("chromium")
    pdf = print_pdf(written / "report.html", tmp_path / "report.pdf")
    assert pdf is not None
    numbers = json.loads((written / "report.json").read_text("utf-8"))
    target = write_document(numbers, pdf, tmp_path / "report.dcm")
    made = dcmread(target)
    assert made.EncapsulatedDocument[: made.EncapsulatedDocumentLength] == pdf.read_bytes()
    assert made.SyntheticData == "YES"
    checked = subprocess.run(
        [peer("dciodvfy"), str(target)], capture_output=True, text=True, timeout=120, check=False
    )
    # This dciodvfy is older than SyntheticData (0008,001C).
    errors = [
        line
        for line in (checked.stdout + checked.stderr).splitlines()
        if line.startswith("Error") and "(0x0008,0x001c)" not in line
    ]
    assert "EncapsulatedPDF" in checked.stdout + checked.stderr
    assert errors == []


def test_the_command_names_what_is_wrong_in_a_sentence(tmp_path: Path) -> None:
    for arguments, why in (
        (["no-such-suite"], "there is no such suite"),
        (["manifestation", "manifestation"], "named twice"),
        (["manifestation", "--victim", "nobody", "--count", "1"], ""),
    ):
        done = CliRunner().invoke(app, ["stress", *arguments, "--out", str(tmp_path / "out")])
        assert done.exit_code == 1
        assert why in done.stderr
        assert "Traceback" not in done.stderr


def own_films(folder: Path, count: int = 2) -> list[str]:
    """Films as a hospital has them, with masks but without truth; lines of their table."""
    world = World(normal=0.0, second=0.0, findings={"pneumothorax": 1.0},
                  drain_given_pneumothorax=1.0)  # fmt: skip
    lines = ["sop_instance_uid,pneumothorax,text"]
    for row in write_studies(Order(9_750_000, count, 160, world), folder):
        for name in ("counterfactual.dcm", "counterfactual-masks.dcm"):
            (folder / row["folder"] / name).unlink()
        film = dcmread(folder / row["folder"] / "film.dcm", stop_before_pixels=True)
        lines.append(f"{film.SOPInstanceUID},1,Pneumothorax")
    return lines


def own_suite() -> str:
    """The suite without its phantoms, one seed."""
    suite = re.sub(r"\[\[cohort.*(?=\[question\])", "", SUITE, flags=re.DOTALL)
    return suite.replace("seeds = [0, 1]\ndoses = [0.5]", "seeds = [0]")


def test_films_of_a_folder_are_tested_and_a_spoilt_cohort_is_said_to_be(tmp_path: Path) -> None:
    studies, out = tmp_path / "studies", tmp_path / "out"
    lines = own_films(studies)
    lines.append("1.2.3,1,Pneumothorax")  # a film that was never sent
    (studies / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "mine.toml").write_text(own_suite())
    arguments = ["stress", str(tmp_path / "mine.toml"), "--archive", str(studies)]
    arguments += ["--out", str(out), "--victim", "pneumothorax-robust", "--workers", "1", "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["lost"] == ["figures on the whole table (missing films)"]
    assert [verdict["held"] for verdict in said["verdicts"]] == [None]
    numbers = json.loads((out / "report.json").read_text("utf-8"))
    result = numbers["suites"][0]["result"]
    assert result["edits"][0]["refused"] == {}
    assert result["edits"][0]["made"] == 2
    assert result["victims"][0]["effects"][0]["true"]["value"] is None
    assert [problem["kind"] for problem in result["problems"]] == ["missing films"]
    page = (out / "report.html").read_text("utf-8")
    assert "What this run does not support" in page
    assert str(studies) not in page


def test_an_edit_has_a_uid_of_its_own_and_leaves_the_films(done: Plan) -> None:
    subject = done.cohort.subject(0)
    uid = subject.film.sop_instance_uid
    uids = set()
    for path in sorted((done.out / EDITS).glob(f"{subject.key}-edit-*.npz")):
        edited = kept_edit(path, subject.film)
        assert edited is not None
        assert not np.array_equal(edited.stored, subject.film.stored)
        uids.add(edited.sop_instance_uid)
    assert len(uids) == 2
    assert subject.film.sop_instance_uid == uid
    assert uid not in uids


def test_several_processes_share_a_folder_of_films_and_give_the_rows_of_one(
    tmp_path: Path,
) -> None:
    studies = tmp_path / "studies"
    (tmp_path / "mine.toml").write_text(own_suite())
    table = "\n".join(own_films(studies)) + "\n"
    (studies / "labels.csv").write_text(table)
    answers = {}
    for workers in ("2", "1"):
        out = tmp_path / workers
        arguments = ["stress", str(tmp_path / "mine.toml"), "--archive", str(studies), "--out",
                     str(out), "--victim", "pneumothorax-robust", "--workers", workers]  # fmt: skip
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.stderr
        answers[workers] = {
            (row["subject"], row["kind"], row["edit"], row["level"]): row["scores"]
            for row in rows_in(out / "small")
            if row.get("type") == "answer"
        }
    assert answers["1"] == answers["2"]
    assert len(answers["1"]) == 2 * 7


def test_a_second_run_in_the_same_folder_is_refused_and_changes_nothing(
    done: Plan, editor: Editor, tmp_path: Path
) -> None:
    shutil.copytree(done.out, tmp_path / "busy")
    before = (tmp_path / "busy" / FILE).read_bytes()
    with claimed(tmp_path / "busy", "--out"), pytest.raises(OutputError, match="going on"):
        run(replace(done, out=tmp_path / "busy"), lambda i, n: None, editor)
    assert (tmp_path / "busy" / FILE).read_bytes() == before
    run(replace(done, out=tmp_path / "busy"), lambda i, n: None, editor)  # let go of


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.replace(",1,", ",-1,"), "neither 0, 1 nor empty"),
        (lambda table: table.replace("pneumothorax,text", "effusion,text"), "no column"),
        (lambda table: table.replace(",1,", ",0,"), "No film is for an edit"),
        (lambda table: None, "no table of labels"),
    ],
)
def test_labels_that_cannot_be_used_end_the_run_before_its_first_edit(
    change: Callable[[str], str | None], said: str, tmp_path: Path
) -> None:
    studies, out = tmp_path / "studies", tmp_path / "out"
    (tmp_path / "mine.toml").write_text(own_suite())
    table = change("\n".join(own_films(studies, 1)) + "\n")
    if table is not None:
        (studies / "labels.csv").write_text(table)
    arguments = ["stress", str(tmp_path / "mine.toml"), "--archive", str(studies)]
    arguments += ["--out", str(out), "--victim", "pneumothorax-robust"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(out.rglob("*.npz"))


def test_films_of_ones_own_without_masks_go_through_the_packaged_suite(tmp_path: Path) -> None:
    films, out = tmp_path / "films", tmp_path / "out"
    world = World(normal=0.0, second=0.0, findings={"consolidation": 1.0}, devices={})
    lines = ["sop_instance_uid;opacity;device;side;text"]
    for number, row in enumerate(write_studies(Order(9_770_000, 3, 256, world), films)):
        for name in ("counterfactual.dcm", "counterfactual-masks.dcm", "film-masks.dcm"):
            (films / row["folder"] / name).unlink()
        film = dcmread(films / row["folder"] / "film.dcm", stop_before_pixels=True)
        side = "left" if number < 2 else ""  # nobody told the side of the last one
        device = int(number == 0)
        lines.append(f"{film.SOPInstanceUID};1;{device};{side};Left lower lobe consolidation")
    (films / "labels.csv").write_text("\n".join(lines) + "\n")
    arguments = ["stress", "own-opacity", "--archive", str(films), "--out", str(out)]
    done = CliRunner().invoke(
        app, [*arguments, "--victim", "opacity-robust", "--workers", "1", "--json"]
    )
    assert done.exit_code == 0, done.stderr
    made = json.loads((out / "report.json").read_text("utf-8"))["suites"][0]["result"]["edits"][0]
    assert (made["asked"], made["made"]) == (6, 3)  # the one with a device is not to be edited
    assert list(made["refused"]) == ["Nobody told the side of the film; write it into the table."]
    rows = rows_in(out / "own-opacity")
    assert len([r for r in rows if r.get("type") == "answer" and r["kind"] == "real"]) == 3
