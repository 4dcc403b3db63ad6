"""The command line in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from radedit_dicom.film import read_film

RADEDIT = Path(sys.executable).with_name("radedit")
EDIT, KEEP = "ellipse:1470,862,125,140", "box:1270,600,1440,820"
PROMPT = "No acute cardiopulmonary process"


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(RADEDIT), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "COLUMNS": "300", "NO_COLOR": "1"},
        check=False,
    )


def edit(source: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run(
        "edit", source, "--prompt", PROMPT, "--edit-mask", EDIT, "--keep-mask", KEEP,
        "--steps", "5", "--output", output, "--json", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(rg1: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    result = edit(rg1, tmp_path_factory.mktemp("out"), "--picture")
    assert result.returncode == 0, result.stderr
    summary: dict[str, str] = json.loads(result.stdout)
    return summary


def test_edit_keeps_depth_polarity_and_all_pixels_outside(done: dict[str, str], rg1: Path) -> None:
    before, after = read_film(rg1), read_film(Path(done["sc"]), allow_synthetic=True)
    assert done["changed_outside_support"] == 0
    assert (after.bits_stored, after.photometric) == (15, "MONOCHROME1")
    assert (before.stored[600:820, 1270:1440] == after.stored[600:820, 1270:1440]).all()
    changed = before.stored != after.stored
    assert changed.sum() == done["score"]["changed_pixels"]  # type: ignore[index]
    assert changed[722:1002, 1345:1595].any()


def test_dcmj2pnm_renders_source_and_edit_alike_outside_the_support(
    done: dict[str, str], rg1: Path, peer: Callable[[str], str], tmp_path: Path
) -> None:
    dcmj2pnm = peer("dcmj2pnm")
    shown = []
    for name, film in (("before", rg1), ("after", Path(done["sc"]))):
        picture = tmp_path / f"{name}.pgm"
        subprocess.run([dcmj2pnm, "--write-raw-pnm", "+Wi", "1", film, picture], check=True)
        shown.append(np.asarray(Image.open(picture)).astype(int))
    changed = shown[0] != shown[1]
    stored = read_film(rg1).stored != read_film(Path(done["sc"]), allow_synthetic=True).stored
    assert changed.any()
    assert not changed[~stored].any()


def test_every_object_passes_the_gate(done: dict[str, str], peer: Callable[[str], str]) -> None:
    peer("dciodvfy")
    result = run("check", done["sc"], done["seg"], done["sr"], "--json")
    assert result.returncode == 0, result.stdout
    validator = json.loads(result.stdout)["validator"]
    assert (validator["name"], validator["allowed"]) == ("dciodvfy", 3)
    assert validator["version"][:4] in ("1.00", "2026")
    for findings in json.loads(result.stdout)["files"].values():
        assert not [f for f in findings if f["severity"] == "error"]
        allowed = [f["sentence"] for f in findings if f["severity"] == "allowed"]
        assert len(allowed) == 1
        assert "(0x0008,0x001c)" in allowed[0]


def test_replay_in_a_new_process_gives_the_recorded_hash(done: dict[str, str], rg1: Path) -> None:
    result = run("replay", done["sc"], "--source", rg1, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["identical"] is True
    assert found["rebuilt_sha256"] == done["pixel_sha256"]


def test_replay_names_the_first_pixel_that_was_tampered_with(
    done: dict[str, str], rg1: Path, tmp_path: Path
) -> None:
    for kind in ("sc", "seg"):
        (tmp_path / Path(done[kind]).name).write_bytes(Path(done[kind]).read_bytes())
    tampered = tmp_path / Path(done["sc"]).name
    dataset = pydicom.dcmread(tampered)
    pixels = dataset.pixel_array.copy()
    pixels[1234, 567] ^= 4
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(tampered)
    result = run("replay", tampered, "--source", rg1)
    assert result.returncode == 1
    assert "1 pixels differ, first at row 1234, column 567" in result.stderr


def test_the_same_edit_again_writes_nothing_new(done: dict[str, str], rg1: Path) -> None:
    folder = Path(done["sc"]).parents[1]
    before = {p: p.read_bytes() for p in folder.rglob("*.dcm")}
    result = edit(rg1, folder)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["sc"] == done["sc"]
    assert {p: p.read_bytes() for p in folder.rglob("*.dcm")} == before


def test_the_picture_is_drawn(done: dict[str, str]) -> None:
    with Image.open(done["picture"]) as picture:
        assert picture.width > 1000
        assert np.ptp(np.asarray(picture)) > 200


def test_a_folder_is_edited_film_by_film_and_every_other_file_is_accounted_for(
    rg1: Path, rg3: Path, tmp_path: Path
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    (films / "a.dcm").write_bytes(rg1.read_bytes())
    (films / "b.dcm").write_bytes(rg3.read_bytes())
    (films / "notes.txt").write_text("no film")
    for already in (False, True):
        result = edit(films, tmp_path / "out")
        assert result.returncode == 0, result.stderr
        rows = {Path(r["input"]).name: r for r in json.loads(result.stdout)["files"]}
        assert rows["a.dcm"].get("already_there", False) is already
        assert (
            "EXTREMITY" in rows["b.dcm"]["passed_over"] or "chest" in rows["b.dcm"]["passed_over"]
        )
        assert "passed_over" in rows["notes.txt"]
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--steps", "0"), "steps is 0"),
        (("--guidance", "99"), "guidance is 99"),
        (("--seed", "-3"), "seed is -3"),
        (("--skip", "1"), "skip is 1"),
        (("--support", "all"), "support is all"),
        (("--model", "nosuch"), "no model 'nosuch'"),
        (("--edit-mask", "file:nowhere.png"), "does not exist"),
        (("--edit-mask", "box:1,2,3"), "four numbers"),
        (("--prompt", ""), "prompt is empty"),
    ],
)
def test_a_refused_request_is_one_sentence_exit_1_and_writes_nothing(
    rg1: Path, tmp_path: Path, more: tuple[str, ...], says: str
) -> None:
    result = edit(rg1, tmp_path / "out", *more)
    assert result.returncode == 1
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not list(tmp_path.rglob("*.dcm"))


def test_an_extremity_is_refused(rg3: Path, tmp_path: Path) -> None:
    result = edit(rg3, tmp_path / "out")
    assert result.returncode == 1
    assert "chest" in result.stderr.lower()
    assert not (tmp_path / "out").exists()


def test_an_output_folder_that_is_a_file_is_refused_before_the_edit(
    rg1: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("in the way")
    result = edit(rg1, tmp_path / "out")
    assert result.returncode == 1
    assert "cannot be written" in result.stderr
    assert (tmp_path / "out").read_text() == "in the way"


def test_wrong_usage_exits_with_2(rg1: Path) -> None:
    assert run("edit", rg1).returncode == 2
    assert run("nosuch").returncode == 2


@pytest.mark.parametrize(
    "command",
    ["", "edit", "check", "replay", "find", "retract", "phantom", "bench", "bench truth"],
)
def test_every_command_explains_itself(command: str) -> None:
    result = subprocess.run(
        [RADEDIT, *command.split(), "--help"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "Usage" in result.stdout
