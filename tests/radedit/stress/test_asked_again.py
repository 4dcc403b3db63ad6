"""Who is asked again: a corrected file, a model changed behind its address, what failed in passing.

The vendor is a real web server that goes by how bright a film is, and counts its questions.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from radedit.lib.cli import app
from radedit.lib.errors import ParameterError, VictimError
from radedit.lib.pipeline import Editor
from radedit.lib.stress.ledger import Ledger, Row
from radedit.lib.stress.phantom_cohort import PhantomCohort
from radedit.lib.stress.probing import SENT
from radedit.lib.stress.runner import Plan, run
from radedit.lib.stress.suite import Suite, parse_suite
from radedit.lib.stress.variants import _variant
from radedit.lib.victims.remote_films import object_of
from radedit_dicom.film import read_film
from radedit_dicom.pixels import to_display

torch.set_num_threads(1)

SUITE = """
name = "again"
title = "Pneumothorax removed"
intended_use = "Reads pneumothorax"
shift = "manifestation"

[[cohort.phantoms]]
name = "ill"
count = 4
first_seed = 9730000
size = 96
world = { normal = 0.0, second = 0.0, findings = { pneumothorax = 1.0 } }

[[cohort.phantoms]]
name = "well"
count = 4
first_seed = 9740000
size = 96
world = { normal = 1.0, drain_otherwise = 0.0 }

[question]
label = "pneumothorax"

[[edits]]
name = "removed"
prompt = "No acute cardiopulmonary process"
edit_mask = "seg:pneumothorax"
where = { pneumothorax = true }
removes = ["pneumothorax"]
seeds = [0]
parameters = { steps = 2 }

[controls]
sham = false
blur_mm = 0
reconstruction = false
masked = false

[filter]
directional = false
"""
FILMS = 8 + 2 * 4  # real; edit and truth of the ill


@dataclass
class Vendor:
    """What the server does, and how often it was asked."""

    port: int = 0
    asked: int = 0
    every: int = 0  # so many-th question is answered by 500; 0 = none
    status: int = 200
    bias: float = 0.0
    percent: float = 0.0  # from this score on it speaks in per cent; 0 = never
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reply(self, body: bytes) -> tuple[int, dict[str, Any]]:
        with self.lock:
            self.asked += 1
            if self.every and self.asked % self.every == 0:
                return 500, {"error": "worker died"}
        if self.status != 200:
            return self.status, {"error": "worker died"}
        film = np.asarray(Image.open(io.BytesIO(base64.b64decode(json.loads(body)["image"]))))
        score = min(1.0, float(film.mean() / 65535) + self.bias)
        times = 100 if self.percent and score > self.percent else 1
        return 200, {"scores": [times * score, times * (1 - score)]}


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    vendor = Vendor()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, said = vendor.reply(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    vendor.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield vendor
    server.shutdown()
    server.server_close()
    thread.join()


def described(vendor: Vendor, folder: Path, retries: int = 0, more: str = "") -> str:
    path = folder / "vendor.toml"
    path.write_text(
        f'victim = "http://127.0.0.1:{vendor.port}/x"\nlabels = ["pneumothorax", "effusion"]\n'
        f"{more}\n[limits]\nretries = {retries}\npause_s = 0.01\n"
    )
    return str(path)


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor()


@pytest.fixture(scope="module")
def suite() -> Suite:
    return parse_suite(SUITE.encode())


@pytest.fixture
def plan(vendor: Vendor, suite: Suite, tmp_path: Path) -> Plan:
    victim = described(vendor, tmp_path)
    return Plan(suite, PhantomCohort(suite.cohort.phantoms), (victim,), tmp_path / "run")


def go(plan: Plan, editor: Editor) -> Ledger:
    return run(plan, lambda i, n: None, editor)


def answers(ledger: Ledger) -> list[Row]:
    return [row for row in ledger.rows() if row["type"] == "answer"]


def test_the_films_asked_about_first_are_asked_about_once_and_drawn_as_they_were_sent(
    plan: Plan, vendor: Vendor, editor: Editor
) -> None:
    ledger = go(plan, editor)
    assert vendor.asked == len(answers(ledger)) == FILMS
    (picture,) = (plan.out / SENT).glob("*.png")
    with Image.open(picture) as sheet:
        drawn = np.asarray(sheet)
    rows, cols = drawn.shape
    film = drawn[: rows // 3, : cols // 2]
    assert np.ptp(film) > 200
    assert np.array_equal(film[20:300], drawn[20:300, cols // 2 :])
    go(plan, editor)
    assert vendor.asked == FILMS + 3  # is it still the same one?


def test_a_model_whose_file_was_corrected_is_asked_again_about_every_film(
    plan: Plan, vendor: Vendor, editor: Editor, tmp_path: Path
) -> None:
    before = {key_of(row): row["scores"]["pneumothorax"] for row in answers(go(plan, editor))}
    path = Path(plan.victims[0])
    right = path.read_text()
    path.write_text(right.replace('"pneumothorax", "effusion"', '"effusion", "pneumothorax"'))
    after = {key_of(row): row["scores"]["pneumothorax"] for row in answers(go(plan, editor))}
    assert set(after) == set(before)
    for film, score in after.items():
        assert score == pytest.approx(1 - before[film])
    path.write_text(right.replace("retries = 0", "retries = 1"))  # back, and no other model
    asked = vendor.asked
    go(plan, editor)
    path.write_text(right)
    go(plan, editor)
    assert vendor.asked == asked + FILMS + 3


def key_of(row: Row) -> str:
    return f"{row['subject']} {row['kind']} {row['edit']} {row['seed']} {row['level']}"


@pytest.mark.parametrize(
    "more",
    [
        "threshold = 0.7",
        'activation = "sigmoid"',
        'version = "2"',
        "[thresholds]\npneumothorax = 0.4",
        '[rename]\neffusion = "fluid"',
        '[http]\nbody = "json"\ncontent = "png"\nfield = "image"\nscores = "scores"\n'
        'token_variable = "HOME"',
    ],
)
def test_whatever_the_file_says_of_the_model_is_in_its_key(
    more: str, vendor: Vendor, suite: Suite, editor: Editor, tmp_path: Path
) -> None:
    from radedit.lib.stress.rows import model_of
    from radedit.lib.victims.locate import open_victim

    plain = model_of(open_victim(described(vendor, tmp_path)).card)
    assert model_of(open_victim(described(vendor, tmp_path, retries=3)).card) == plain
    assert model_of(open_victim(described(vendor, tmp_path, more=more)).card) != plain


def test_a_model_changed_behind_its_address_is_noticed_and_asked_again(
    plan: Plan, vendor: Vendor, editor: Editor
) -> None:
    before = {key_of(row): row["scores"]["pneumothorax"] for row in answers(go(plan, editor))}
    vendor.bias = 0.01
    ledger = go(plan, editor)
    assert vendor.asked == 2 * FILMS
    for row in answers(ledger):
        wanted = min(1.0, before[key_of(row)] + 0.01)
        assert row["scores"]["pneumothorax"] == pytest.approx(wanted)
    go(plan, editor)
    assert vendor.asked == 2 * FILMS + 3


def test_answers_that_are_kept_are_refused_when_the_model_changed_behind_its_address(
    plan: Plan, vendor: Vendor, editor: Editor, tmp_path: Path
) -> None:
    plan = replace(plan, victims=(described(vendor, tmp_path, more='remember = "kept"'),))
    go(plan, editor)
    vendor.bias = 0.01
    with pytest.raises(ParameterError, match="answers otherwise than when its answers were kept"):
        go(replace(plan, out=tmp_path / "other"), editor)


def test_a_service_that_fails_one_question_in_ten_has_answered_all_after_the_second_run(
    plan: Plan, vendor: Vendor, editor: Editor
) -> None:
    vendor.every = 5
    first = answers(go(plan, editor))
    missing = [row for row in first if "missing" in row]
    assert len(missing) == FILMS // 5
    assert all(row["again"] for row in missing)
    assert all("answered 500" in row["missing"] for row in missing)
    assert all("worker died" in row["missing"] for row in missing)
    vendor.every, asked = 0, vendor.asked
    second = answers(go(plan, editor))
    assert len(second) == FILMS
    assert not [row for row in second if "missing" in row]
    assert vendor.asked == asked + 3 + len(missing)


def test_a_failure_in_passing_is_tried_again_at_once(
    plan: Plan, vendor: Vendor, editor: Editor, tmp_path: Path
) -> None:
    vendor.every = 3
    plan = replace(plan, victims=(described(vendor, tmp_path, retries=2),))
    assert not [row for row in answers(go(plan, editor)) if "missing" in row]


def test_a_model_that_fails_on_the_first_films_ends_the_run_before_its_first_edit(
    plan: Plan, vendor: Vendor, editor: Editor
) -> None:
    vendor.status = 422
    with pytest.raises(VictimError, match=r"no usable answer about any of 3 films.*worker died"):
        go(plan, editor)
    assert not list(plan.out.rglob("*.npz"))


def test_a_model_that_speaks_of_something_else_ends_the_run_before_its_first_edit(
    plan: Plan, vendor: Vendor, editor: Editor
) -> None:
    path = Path(plan.victims[0])
    path.write_text(path.read_text().replace('["pneumothorax"', '["Pneu"'))
    with pytest.raises(VictimError, match=r"no score of pneumothorax .* speaks of Pneu, effusion"):
        go(plan, editor)
    assert not list(plan.out.rglob("*.npz"))


def stress(plan: Plan, tmp_path: Path, *more: str) -> Any:
    (tmp_path / "suite.toml").write_text(SUITE)
    arguments = ["stress", str(tmp_path / "suite.toml"), "--out", str(tmp_path / "out"), *more]
    return CliRunner().invoke(app, [*arguments, "--workers", "1", "--json"])


def test_labels_in_another_order_are_asked_about_before_the_first_edit(
    plan: Plan, vendor: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Vendor, "reply", reversed_reply)
    refused = stress(plan, tmp_path, "--victim", plan.victims[0])
    assert refused.exit_code == 1
    assert re.search(r"area under the curve of 0\.\d\d for pneumothorax", refused.stderr)
    assert "--trust-labels" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / "out").rglob("*.npz"))
    asked = vendor.asked
    assert asked == 8
    done = stress(plan, tmp_path, "--victim", plan.victims[0], "--trust-labels")
    assert done.exit_code == 0, done.stderr
    assert vendor.asked == FILMS + 3  # the real films not again, but for: is it still the same one?


def reversed_reply(self: Vendor, body: bytes) -> tuple[int, dict[str, Any]]:
    """Read pneumothorax by the biased victim of ours, and say the opposite."""
    from radedit.lib.victims.embedded import load_victim

    self.asked += 1
    film = np.asarray(Image.open(io.BytesIO(base64.b64decode(json.loads(body)["image"]))))
    score = load_victim("pneumothorax-robust").predict((film / 65535).astype(np.float32))
    return 200, {"scores": [1 - score, score]}


def test_a_model_is_dropped_from_the_report_and_comes_back_when_it_is_named(
    plan: Plan, vendor: Vendor, tmp_path: Path
) -> None:
    ours, theirs = "pneumothorax-robust", plan.victims[0]
    both = ["--victim", ours, "--victim", theirs, "--trust-labels"]

    def reported(*more: str) -> set[str]:
        done = stress(plan, tmp_path, *more)
        assert done.exit_code == 0, done.stderr
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        return {v["victim"] for v in report["suites"][0]["result"]["victims"]}

    assert reported(*both) == {ours, theirs}
    asked = vendor.asked
    assert reported("--drop", theirs) == {ours}
    assert reported("--victim", ours) == {ours}
    assert vendor.asked == asked
    assert reported(*both) == {ours, theirs}
    assert vendor.asked == asked + 3
    wrong = stress(plan, tmp_path, "--drop", "nobody")
    assert wrong.exit_code == 1
    assert "has no model 'nobody'" in wrong.stderr


def test_a_model_whose_unit_cannot_be_told_is_asked_about_and_per_cent_are_said_to_be_assumed(
    plan: Plan, vendor: Vendor, tmp_path: Path
) -> None:
    scores = [
        min(1.0, float(to_display(plan.cohort.subject(n).film).mean()))
        for n in range(len(plan.cohort))
    ]
    arguments = ("--victim", plan.victims[0])
    vendor.percent = float(np.median(scores))
    refused = stress(plan, tmp_path, *arguments)
    assert refused.exit_code == 1
    assert "cannot be told" in refused.stderr
    assert not list((tmp_path / "out").rglob("*.npz"))
    vendor.percent = 1e-9
    done = stress(plan, tmp_path, *arguments, "--trust-labels")
    assert done.exit_code == 0, done.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    problems = {p["kind"]: p for p in report["suites"][0]["result"]["problems"]}
    assert "taken for per cent" in problems["assumed per cent"]["sentence"]
    assert "0.5 was assumed" in problems["assumed operating points"]["sentence"]
    assert any("operating point" in line for line in report["lost"])


def test_films_that_were_scored_elsewhere_are_matched_by_the_table_that_comes_back(
    suite: Suite, tmp_path: Path
) -> None:
    away = tmp_path / "away"
    plan = Plan(suite, PhantomCohort(suite.cohort.phantoms), (), tmp_path / "run")
    done = stress(plan, tmp_path, "--export", str(away))
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["exported"] == {"films": FILMS, "withheld": 0}
    assert not (tmp_path / "out" / "report.json").exists()
    with (tmp_path / "out" / "again" / "offline.csv").open(newline="") as stream:
        key = {row["sop_instance_uid"]: row for row in csv.DictReader(stream)}
    lines, scores = ["sop_instance_uid,file,pneumothorax"], {}
    manifest = (away / "manifest.csv").read_text()
    assert not re.search("edit|real|ill|subject", manifest)  # it does not tell which are edited
    for row in csv.DictReader(io.StringIO(manifest)):
        film = dcmread(away / row["file"])
        assert film.SOPInstanceUID == row["sop_instance_uid"]
        assert film.PatientID == "RADEDIT-TEST"
        assert film.SyntheticData == "YES"
        score = round(float(film.pixel_array.mean() / film.pixel_array.max()), 4)
        scores[film.SOPInstanceUID] = score
        lines.append(f"{film.SOPInstanceUID},{row['file']},{score}")
    originals = {plan.cohort.subject(n).film.sop_instance_uid for n in range(len(plan.cohort))}
    assert not originals & set(scores)
    (tmp_path / "back.csv").write_text("\n".join(lines) + "\n")
    back = stress(plan, tmp_path, "--victim", f"csv:{tmp_path / 'back.csv'}", "--trust-labels")
    assert back.exit_code == 0, back.stderr
    rows = [json.loads(x) for x in (tmp_path / "out/again/rows.jsonl").read_text().splitlines()]
    answered = {key_of(r): r["scores"]["pneumothorax"] for r in rows if r.get("type") == "answer"}
    assert answered == {key_of(row): scores[uid] for uid, row in key.items()}


def test_whatever_is_made_of_a_real_film_says_that_it_is_synthetic(
    make_dataset: Callable[..., Dataset],
) -> None:
    film = read_film(make_dataset())
    assert "SyntheticData" not in film.header
    made = _variant(film, film.stored, "an edit")
    assert made.header.SyntheticData == "YES"
    assert object_of(to_display(made), made).SyntheticData == "YES"
    assert "SyntheticData" not in film.header
