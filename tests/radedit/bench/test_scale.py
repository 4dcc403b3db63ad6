"""The benches of whole ways, each once and small: that they measure what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from radedit.lib.bench import again, intake
from radedit.lib.bench.many import memory_thirds, table
from radedit.lib.cases import EditRequest
from radedit.lib.cli import app
from radedit.lib.pipeline import Editor
from radedit.lib.settings import load_settings
from radedit_dicom.film import read_film
from radedit_dicom.folder import FolderArchive


def test_phantoms_go_through_the_pipeline_and_every_stage_is_accounted_for(
    tmp_path: Path,
) -> None:
    done = CliRunner().invoke(
        app,
        ["bench", "batch", "--films", "3", "--size", "128", "--steps", "2", "--baseline", "1",
         "--work", str(tmp_path / "work"), "--picture", str(tmp_path / "memory.png"), "--json"],
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["made"] == 3
    assert len(FolderArchive(tmp_path / "work" / "results").held()) == 9
    stages = found["stages"]
    assert stages.keys() == {"fetch", "masks", "edit", "store"}
    assert all(stage["busy_s_per_film"] > 0 for stage in stages.values())
    most = max(stages, key=lambda name: stages[name]["share_of_time"])
    assert found["bounding_stage"] == most
    assert found["most_films_in_memory_of_a_process"] <= found["pace"]["seats"]
    assert found["memory_mib"][-1][1] > 100
    assert found["baseline"]["ratio"] > 0
    assert (tmp_path / "memory.png").stat().st_size > 1000
    assert json.loads((tmp_path / "work" / "figures.json").read_text())["made"] == 3
    assert f"bound by: {most}" in table(found)


def test_memory_is_told_for_the_middle_and_the_last_third_of_a_run() -> None:
    samples = [
        [films, 100.0 if films < 30 else 500.0 if films < 60 else 520.0] for films in range(91)
    ]
    assert memory_thirds(samples) == (pytest.approx(500, abs=1), pytest.approx(520, abs=1))
    assert memory_thirds([]) == (0, 0)


def test_a_first_edit_is_made_from_nothing_and_a_next_one_is_not(
    make_dataset: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Editor] = []

    class Seen(Editor):
        def __init__(self, settings: Any) -> None:
            super().__init__(settings)
            made.append(self)

    monkeypatch.setattr(again, "Editor", Seen)
    film = read_film(make_dataset(np.random.default_rng(1).integers(0, 4096, (240, 200))))
    request = EditRequest("Left lung mass", "box:100,40,170,120", parameters={"steps": 3})
    ways = again.ways(load_settings(), film, request)
    rows: list[int] = []
    hook = (
        made[0]
        .backbone()
        .unet.register_forward_pre_hook(
            lambda _, args, named: rows.append(len(args[0] if args else named["sample"])),
            with_kwargs=True,
        )
    )
    try:
        asked = {}
        for name, way in {**ways, "first again": ways[again.FIRST]}.items():
            rows.clear()
            assert way()["of it in the model, s"] > 0
            asked[name] = sum(rows)
    finally:
        hook.remove()
    assert asked["first again"] == asked[again.FIRST] == asked["another seed"]
    assert asked["another prompt"] == asked["another mask"] < asked[again.FIRST]


def test_receivers_take_the_same_films_in_and_leave_nothing_behind(
    make_dataset: Callable[..., Dataset], peer: Callable[[str], str], tmp_path: Path
) -> None:
    peer("storescp"), peer("storescu"), peer("echoscu")
    dataset = make_dataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    intake.copies(tmp_path / "film.dcm", tmp_path / "films", 4)
    ways = intake.ways(tmp_path / "films", tmp_path)
    for name in (intake.BASELINE, "radedit route, flushed"):
        found = ways[name]()
        assert found["MB/s"] > 0
        assert found["receiver MiB"] > 1
        assert not (tmp_path / "receiver").exists()
