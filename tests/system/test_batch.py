"""`radedit batch` from one real archive into another, killed and gone on with."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from killing import children, kill, radedit, wait_for
from pydicom.dataset import Dataset

from radedit_dicom.readback import part10

FILMS, BLANK = 7, 3  # one of them shows nothing but padding, and so cannot be edited
WAIT_S = 600.0
ROOT = "1.2.826.0.1.3680043.10.6"


def film(make_dataset: Callable[..., Dataset], number: int) -> Dataset:
    root = f"{ROOT}.{number}"
    pixels = np.random.default_rng(number).integers(1, 4096, (240, 200))
    dataset = make_dataset(
        np.zeros_like(pixels) if number == BLANK else pixels,
        StudyInstanceUID=root, SeriesInstanceUID=f"{root}.1", SOPInstanceUID=f"{root}.1.1",
        PatientID=f"Geheim-{number}", AccessionNumber=f"A{number}", PixelPaddingValue=0,
    )  # fmt: skip
    dataset["PixelPaddingValue"].VR = "US"
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dataset


def outcomes(work: Path) -> list[dict[str, Any]]:
    journal = work / "outcomes.jsonl"
    lines = journal.read_text().splitlines() if journal.exists() else []
    rows = []
    for line in lines[1:]:
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue  # being written
    return rows


def edited(work: Path) -> int:
    return sum(row["state"] == "edited" for row in outcomes(work))


def is_gone(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_killed_run_between_two_archives_is_gone_on_with_and_each_film_is_edited_once(
    start_orthanc: Callable[..., Any], make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    pacs, results = start_orthanc(), start_orthanc()
    for number in range(FILMS):
        pacs.upload(part10(film(make_dataset, number)))
    before = set(pacs.held())
    work, log = tmp_path / "run", tmp_path / "log"
    command = [
        "batch", pacs.dicom_web, "--prompt", "Large left lung mass", "--edit-mask",
        "box:100,40,170,120", "--steps", "2", "--output", results.dicom_web, "--work", str(work),
    ]  # fmt: skip

    first = radedit(*command, log=log)
    assert wait_for(lambda: edited(work) >= 1, WAIT_S), log.read_text()
    editors = children(first.pid)
    kill(first)
    assert wait_for(lambda: all(map(is_gone, editors)), 30), "an editor outlives who feeds it"
    done = {row["film"] for row in outcomes(work) if row["state"] == "edited"}
    assert 1 <= len(done) < FILMS - 1

    second = radedit(*command, log=log)
    assert wait_for(lambda: edited(work) > len(done), WAIT_S), log.read_text()
    busy = [pid for pid in children(second.pid) if "spawn_main" in command_line(pid)]
    os.kill(busy[0], signal.SIGKILL)
    assert second.wait(WAIT_S) == 1, "a film that cannot be edited is no success"

    rows = {row["film"]: row for row in outcomes(work)}
    assert Counter(row["state"] for row in rows.values()) in (
        {"edited": FILMS - 1, "failed": 1},
        # stored, and not yet told when the process was killed
        *({"edited": FILMS - 1 - n, "already there": n, "failed": 1} for n in range(1, 4)),
    )
    assert "padding" in rows[f"{ROOT}.{BLANK}.1.1"]["why"]
    assert len(results.held()) == 3 * (FILMS - 1), "each edit's objects are there once"
    assert set(pacs.held()) == before
    with (work / "outcomes.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert {row["film"] for row in table} == set(rows)
    assert all(row["sc"] in results.held() for row in table if row["state"] != "failed")
    assert "Geheim" not in (work / "outcomes.jsonl").read_text() + log.read_text()
    assert not list(work.glob("fetched/*/*")), "fetched films are not left behind"

    (tmp_path / "list.csv").write_text(f"A1,night\n{ROOT}.2\nA99\n")
    named = ["--list", str(tmp_path / "list.csv"), "--json"]
    again = subprocess.run(
        [sys.executable, "-m", "radedit.lib.cli", *command, *named],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    summary = json.loads(again.stdout)
    assert (again.returncode, summary["made"]) == (1, 0), "both are done already"
    told = {row["input"]: row["why"] for row in summary["failed"]}
    assert told.keys() == {f"{ROOT}.{BLANK}.1.1", "line 3 of the list"}
    assert "holds no CR or DX image" in told["line 3 of the list"]
    assert len(results.held()) == 3 * (FILMS - 1)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""
