"""`radedit bench real`: edits of real films, with a small random model."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from radedit.lib import plausibility
from radedit.lib.bench.real import TASKS, read_films, shown
from radedit.lib.cli import app
from radedit.lib.errors import NotFoundError
from radedit.lib.phantom.world import World, draw_patient, render
from radedit.lib.plausibility import Limits

PLAIN = World(normal=1.0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantoms in the layout of the real films: two patients, one of them trained on."""
    base = tmp_path_factory.mktemp("films")
    (base / "images").mkdir()
    with (base / "index.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(("image_id", "patient_id", "projection"))
        for number, patient in enumerate(("0abc", "fabc", "0abc")):
            table.writerow((f"film-{number}", patient, "pa"))
            film = render(draw_patient(9_600_000 + number, PLAIN), 256).image
            pixels = np.round(film.clip(0, 1) * 255).astype("u1")
            Image.fromarray(pixels).save(base / "images" / f"film-{number}.png")
    return base


def test_films_have_the_pixels_of_their_files_and_one_per_unseen_patient_is_shown(
    folder: Path,
) -> None:
    films = read_films(folder)
    for film in films:
        with Image.open(folder / "images" / f"{film.name}.png") as picture:
            np.testing.assert_array_equal(film.film.stored, np.asarray(picture))
    assert [film.name for film in shown(films)] == ["film-0"]


def test_nothing_changes_outside_and_the_sheet_is_drawn(
    folder: Path, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADEDIT_CONFIG", str(small.config))
    words = ["bench", "real", str(folder), "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert len(found["films"]) == 3
    assert all(row["psnr"] > 0 and -1 <= row["ssim"] <= 1 for row in found["films"])
    edits = found["films"][0]["edits"]
    assert set(edits) == set(TASKS)
    for figures in edits.values():
        assert figures["outside"] == 0
        assert figures["shift"] != 0
    assert "edits" not in found["films"][1]
    with Image.open(found["picture"]) as sheet:
        assert min(sheet.size) > 200


def test_a_heart_that_cannot_be_right_is_not_kept_and_its_film_not_edited(
    folder: Path, small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RADEDIT_CONFIG", str(small.config))
    # These phantoms' hearts are sound: the limit is moved to where they are not.
    monkeypatch.setattr(plausibility, "HEART_DOWN", Limits("its depth", -0.5, -0.4))
    words = ["bench", "real", str(folder), "--out", str(tmp_path), "--json"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["films"][0]["edits"] == {}
    assert found["films"][0]["refused"].startswith("The heart that was found on this film cannot")
    assert found["picture"] is None


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"index\.csv"):
        read_films(tmp_path)
