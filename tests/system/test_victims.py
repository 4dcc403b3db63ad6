"""A second MONAI Label server, a vendor's, as a victim; and one run that asks four vendors."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests
from typer.testing import CliRunner
from vendors import NODE, DicomVendor, web_vendor, write_onnx

from radedit.lib.cli import app
from radedit.lib.errors import NotFoundError, VictimError, VictimGoneError
from radedit.lib.victims.locate import open_victim
from radedit.lib.victims.protocol import Victim

APP = """
import json, os, tempfile, time
import itk, numpy as np, pydicom
from radedit_dicom.film import read_film
from radedit_dicom.pixels import to_display
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType


class Task(InferTask):
    def __init__(self, kind, description="a vendor's"):
        super().__init__(kind, {"White": 1}, 2, description)

    def is_valid(self):
        return True

    def __call__(self, request):
        if self.description == "reader":
            film = read_film(pydicom.dcmread(request["image"]), allow_synthetic=True)
            display = to_display(film)
            found = {"idx": 0, "label": "Pneumothorax", "score": float(display.mean())}
            return None, {"prediction": [found]}
        pixels = np.squeeze(itk.array_from_image(itk.imread(request["image"]))) / 65535.0
        if pixels.mean() > 0.9:
            os._exit(1)  # as a process that runs out of memory
        if pixels.mean() < 0.05:
            raise ValueError("no chest on this film")
        if self.type == InferType.CLASSIFICATION:
            found = {"idx": 0, "label": "White", "score": float(pixels.mean())}
            return None, {"prediction": [found]}
        labels = itk.image_from_array((pixels > 0.5).astype(np.uint8))
        handle, path = tempfile.mkstemp(suffix=".nrrd")
        os.close(handle)
        itk.imwrite(labels, path)
        return path, {"label_names": {"White": 1}}


class Vendor(MONAILabelApp):
    def __init__(self, app_dir, studies, conf):
        super().__init__(app_dir, studies, conf, name="Vendor")

    def init_infers(self):
        kinds = {"classifier": InferType.CLASSIFICATION, "segmenter": InferType.SEGMENTATION}
        reader = Task(InferType.CLASSIFICATION, "reader")
        return {name: Task(kind) for name, kind in kinds.items()} | {"reader": reader}
"""

SUITE = """
name = "vendors"
title = "Pneumothorax removed"
intended_use = "Reads pneumothorax"
shift = "manifestation"

[[cohort.phantoms]]
name = "ill"
count = 2
first_seed = 9730000
size = 160
world = { normal = 0.0, second = 0.0, findings = { pneumothorax = 1.0 } }

[question]
label = "pneumothorax"

[[edits]]
name = "removed"
prompt = "No acute cardiopulmonary process"
edit_mask = "dilate(seg:pneumothorax, 4mm)"
where = { pneumothorax = true }
removes = ["pneumothorax"]
seeds = [0]
parameters = { steps = 3 }

[controls]
blur_mm = 0
reconstruction = false
masked = false

[filter]
directional = false
"""
FILMS = 2 * 4  # real, edit, sham, truth


@dataclass
class Server:
    """The vendor's server."""

    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    new_port: Callable[[], int],
    start_server: Callable[..., list[str]],
    environment: Callable[[Path], dict[str, str]],
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("vendor")
    for name in ("app", "studies", "temporary"):
        (root / name).mkdir()
    (root / "app" / "main.py").write_text(APP)
    port = new_port()
    command = start_server("--studies", str(root / "studies"), "--port", str(port))
    command[command.index("--app") + 1] = str(root / "app")
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(root / "temporary"),
            start_new_session=True,
        )
    started = Server(f"http://127.0.0.1:{port}", process)
    try:
        end = time.monotonic() + 300
        while not _answers(started):
            assert process.poll() is None, (root / "log").read_text()[-4000:]
            assert time.monotonic() < end, (root / "log").read_text()[-4000:]
            time.sleep(0.3)
        yield started
    finally:
        process.kill()
        process.wait()


def _answers(server: Server) -> bool:
    try:
        return requests.get(f"{server.url}/info/", timeout=5).ok
    except requests.RequestException:
        return False


def opened(server: Server, task: str, folder: Path) -> Victim:
    path = folder / "vendor.toml"
    path.write_text(
        f'victim = "monailabel:{server.url}/{task}"\nversion = "7"\n[rename]\nWhite = "white"\n'
        "[limits]\ntimeout_s = 120\nretries = 1\npause_s = 0.1\n"
    )
    return open_victim(str(path))


def half_white() -> np.ndarray:
    display = np.full((40, 24), 0.1, dtype=np.float32)
    display[:10, :12] = 0.8  # upper left: a transposed or flipped answer would show
    return display


def test_the_prediction_of_a_classifier_is_the_score(server: Server, tmp_path: Path) -> None:
    victim = opened(server, "classifier", tmp_path)
    answer = victim.answer(half_white())
    assert answer.scores == pytest.approx({"white": float(half_white().mean())}, abs=1e-3)
    assert answer.segments is None
    assert (victim.card.name, victim.card.version) == ("classifier", "7")


def test_the_label_image_of_a_segmenter_lies_on_the_films_pixels(
    server: Server, tmp_path: Path
) -> None:
    answer = opened(server, "segmenter", tmp_path).answer(half_white())
    assert answer.segments is not None
    np.testing.assert_array_equal(answer.segments["white"], half_white() > 0.5)


def test_a_task_that_the_server_does_not_have_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="it has classifier, reader, segmenter"):
        opened(server, "detector", tmp_path).answer(half_white())


def test_a_film_that_the_task_fails_on_is_a_missing_answer_and_the_next_one_is_not(
    server: Server, tmp_path: Path
) -> None:
    victim = opened(server, "classifier", tmp_path)
    with pytest.raises(VictimError, match="classifier gave no usable answer") as failed:
        victim.answer(np.zeros((40, 24), dtype=np.float32))
    assert not isinstance(failed.value, VictimGoneError)
    assert victim.answer(half_white()).scores


def vendors_of(folder: Path, server: Server, web_port: int, node: DicomVendor) -> dict[str, str]:
    """Name the same reader at four places, each by a TOML file of its own."""
    write_onnx(folder / "chest.onnx")
    limits = "[limits]\ntimeout_s = 120\nretries = 1\npause_s = 0.1\n"
    ours = '[rename]\nPneumothorax = "pneumothorax"\n'
    said = {
        "onnx": 'victim = "onnx:chest.onnx"\nlabels = ["pneumothorax"]\nactivation = "none"\n',
        "http": f'victim = "http:http://127.0.0.1:{web_port}/read"\n[http]\nbody = "json"\n',
        "dicom": f'victim = "dicom:{NODE}@127.0.0.1:{node.port}"\n'
        f'{ours}[dicom]\nresults = ["sr"]\nlisten_port = {node.back_port}\n',
        "monailabel": f'victim = "monailabel:{server.url}/reader"\n{ours}',
    }
    for name, text in said.items():
        (folder / f"{name}.toml").write_text(text + limits)
    return {name: str(folder / f"{name}.toml") for name in said}


def test_one_run_asks_four_vendors_and_goes_on_when_one_of_them_died_half_way(
    server: Server, tmp_path: Path, new_port: Callable[[], int]
) -> None:
    (tmp_path / "suite.toml").write_text(SUITE)
    web_port, out = new_port(), tmp_path / "out"
    arguments = ["stress", str(tmp_path / "suite.toml"), "--out", str(out), "--workers", "1"]
    with DicomVendor(new_port(), new_port()).running() as node:
        specs = vendors_of(tmp_path, server, web_port, node)
        for spec in specs.values():
            arguments += ["--victim", spec]
        with web_vendor(web_port, answers=5) as dying:
            stopped = CliRunner().invoke(app, arguments)
            assert dying.wait(60) == 1
        assert stopped.exit_code == 1
        assert "run" in stopped.stderr
        assert "Traceback" not in stopped.stderr
        asked_before, edits = node.films, edits_in(out)
        assert len(edits) == 3  # edit and sham of the first film, and the edit it died of
        with web_vendor(web_port):
            done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.stderr
        assert node.failed == []
    # Both real films once more (is it still the same model?), and the rest of the second film's.
    assert node.films == asked_before + 2 + 3
    assert edits_in(out).items() >= edits.items()
    check(out, specs)


def edits_in(out: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in (out / "vendors" / "edits").glob("*.npz")}


def check(out: Path, specs: dict[str, str]) -> None:
    """All four gave the same score of every film, and the report counts every answer."""
    found: dict[str, dict[str, float]] = {name: {} for name in specs}
    names = {spec: name for name, spec in specs.items()}
    for line in (out / "vendors" / "rows.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if row.get("type") == "answer":
            film = "/".join(str(row[key]) for key in ("subject", "kind", "seed"))
            found[names[row["victim"]]][film] = row["scores"]["pneumothorax"]
    assert len(found["onnx"]) == FILMS
    assert len(set(found["onnx"].values())) == FILMS
    for name, scores in found.items():
        assert scores == pytest.approx(found["onnx"], abs=2e-4), name
    victims = json.loads((out / "report.json").read_text())["suites"][0]["result"]["victims"]
    assert len(victims) == len(specs)
    for victim in victims:
        assert victim["missing"] == {"asked": FILMS, "missing": 0, "reasons": {}}


def test_a_server_that_dies_of_a_film_is_gone(server: Server, tmp_path: Path) -> None:
    """The last test of this server: it is not started again."""
    victim = opened(server, "classifier", tmp_path)
    with pytest.raises(VictimGoneError, match="does not answer"):
        victim.answer(np.ones((40, 24), dtype=np.float32))
    assert server.process.wait(60) is not None
    with pytest.raises(VictimGoneError):
        victim.answer(half_white())
