"""The baseline is the released algorithm, and what is compared with it is the same edit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from radedit.lib.bench import speed
from radedit.lib.bench.released import Task, released_edit
from radedit.lib.bench.speed import (
    BASELINE,
    Fused,
    Load,
    Timed,
    compare,
    counted,
    measure_differences,
    of_steps,
    task_of,
)
from radedit.lib.bench.speed_films import removals
from radedit.lib.bench.speed_report import figures, markdown
from radedit.lib.cli import app
from radedit.lib.edit.backbone import load_backbone
from radedit.lib.edit.precision import usable
from radedit.lib.edit.schedule import make_schedule
from radedit.lib.settings import load_settings

STEPS = 5


@pytest.fixture(scope="module")
def task() -> Task:
    settings = load_settings()
    return task_of(load_backbone(settings.model(None)), Load(STEPS, guidance=2.0))


def test_both_ways_give_the_same_edit_where_the_textbooks_last_step_loses_nothing(
    task: Task,
) -> None:
    # At a last alpha_bar below 1 sigma is not 0, and the textbook form is exact.
    alphas = task.backbone.alphas_cumprod
    exact = replace(
        task,
        whole=make_schedule(alphas, STEPS, 0.0, 0.999),
        schedule=make_schedule(alphas, STEPS, 0.3, 0.999),
    )
    released, ours = released_edit(exact), Fused().edit(exact)
    unedited = exact.backbone.decode(exact.backbone.encode(exact.image))
    assert (released - ours).abs().max() < 1e-3 * (ours - unedited).abs().max()


def test_the_baseline_inverts_every_step_and_asks_one_row_at_a_time(task: Task) -> None:
    with counted({"float32": task}) as count:
        released_edit(task)
    run = len(task.schedule)
    assert task.skipped == 1
    assert count == [STEPS + 2 * run, STEPS + 2 * run]


def test_a_second_prompt_needs_neither_inversion_nor_encoding_and_gives_the_same_bytes(
    task: Task,
) -> None:
    kept = Fused()
    kept.edit(task)
    with counted({"float32": task}) as count:
        again = kept.edit(task)
    assert count[1] == 2 * len(task.schedule) - 1  # the first step's unconditional is known
    torch.testing.assert_close(again, Fused().edit(task), rtol=0, atol=0)


def test_few_condensed_steps_come_closer_to_a_hundred_than_twenty_of_the_released_algorithm() -> (
    None
):
    task = removals(load_backbone(load_settings().model(None)), Load(20))
    few = Fused().edit(of_steps(task, 10, "dpm"))
    pictures = {"few": few, "released": released_edit(task)}
    timed = {name: Timed() for name in pictures}
    seeds_apart = measure_differences(task, timed, pictures)
    found = {name: each.difference for name, each in timed.items()}
    assert found["few"] < 0.3
    assert found["few"] < found["released"]
    assert 0 < seeds_apart < found["few"]


def test_every_way_is_reported_with_its_ratio_and_its_floor(task: Task) -> None:
    turns: list[tuple[int, int]] = []
    tasks = {"float32": task}
    timed, pictures = compare(tasks, 3, 1, lambda done, total: turns.append((done, total)))
    found = figures(Load(STEPS, few=3), tasks, timed)
    assert turns[-1] == (10, 10)  # five ways, and once to warm up
    assert found["ways"][BASELINE]["ratio"] == 1
    assert found["ways"]["re-edit of 3 dpm steps, float32"]["unet_rows"] == 2 * 3 - 1
    assert pictures.keys() == timed.keys()
    assert all(way["floor_s"] > 0 for way in found["ways"].values())
    assert all(name in markdown(found) for name in timed)


def test_the_command_prints_one_object(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    picture = tmp_path / "new" / "profile.png"
    asked = ["bench", "edit", "--steps", "2", "--repeats", "1", "--no-warm-up", "--json"]
    monkeypatch.setattr(speed, "LONG", 4)
    done = CliRunner().invoke(app, [*asked, "--profile", str(picture)])
    assert done.exit_code == 0, done.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    shares = json.loads(done.stdout)["profile"]["float32"]
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda name: shares[name]) != "the rest"
    ways = json.loads(done.stdout)["ways"].keys()
    fast_here = usable("bfloat16")
    assert ("full edit, bfloat16" in ways, "re-edit, bfloat16" in ways) == (fast_here, fast_here)
    assert ("bfloat16 is left out" in done.stderr) is not fast_here
    refused = CliRunner().invoke(app, ["bench", "edit", "--repeats", "0"])
    assert refused.exit_code == 1
