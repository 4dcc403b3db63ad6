"""Films as real devices write them: each is edited, or refused with a true sentence."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import faulty_films
import pytest

from radedit_dicom.conformance import check_file, passes

ASKED = ("--prompt", "Left lung consolidation", "--edit-mask", "box:50,50,150,150", "--steps", "2")


def radedit(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "radedit.lib.cli", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def films(
    tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]
) -> Mapping[str, Path]:
    peer("dciodvfy")
    return faulty_films.write_all(tmp_path_factory.mktemp("faulty") / "films", peer)


def test_each_is_edited_into_sound_objects_or_refused_with_a_true_sentence(
    films: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = next(iter(films.values())).parent
    done = radedit("edit", str(folder), *ASKED, "--output", str(tmp_path / "out"), "--json")
    rows: dict[str, dict[str, Any]] = {
        row["input"]: row for row in json.loads(done.stdout)["files"]
    }
    for name, sentence in faulty_films.FILMS.items():
        row = rows[str(films[name])]
        assert (row.get("failed") or row.get("passed_over")) == sentence, name
        assert ("edit_id" in row) == (sentence is None), name
    written = sorted((tmp_path / "out").rglob("*.dcm"))
    edited = sum(sentence is None for sentence in faulty_films.FILMS.values()) + 1  # on the CD
    assert len(written) == 3 * edited
    for path in written:
        assert passes(check_file(path)), [f for f in check_file(path) if f.severity == "error"]


def test_a_cd_with_its_directory_and_viewer_does_not_fail_a_batch(
    films: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = next(iter(films.values())).parent
    disc = tmp_path / "disc"
    (folder / "cd").rename(disc)
    (folder / "page.dcm").rename(disc / "page.dcm")
    done = radedit(
        "batch", str(disc), *ASKED, "--output", str(tmp_path / "out"), "--work", str(tmp_path / "w")
    )
    assert done.returncode == 0, done.stderr
    with (tmp_path / "w" / "outcomes.csv").open(newline="") as file:
        states = {row["input"].rpartition("/")[2]: row["state"] for row in csv.DictReader(file)}
    assert states.pop("page.dcm") == "passed over"
    assert list(states.values()) == ["edited"]
