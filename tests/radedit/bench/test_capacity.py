"""The capacity model: the slowest part sets the pace."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from radedit.lib.bench.capacity import Cost, Site, bottleneck, films_per_hour
from radedit.lib.cli import app


def measured(device: str = "cpu") -> dict[str, object]:
    cpu = {"fetch": 0.1, "masks": 0.2, "edit": 1.0, "store": 0.2}
    stages = {
        name: {"cpu_s_per_film": cost, "busy_s_per_film": cost / 10} for name, cost in cpu.items()
    }
    return {"stages": stages, "load": {"devices": [device]}}


def test_on_a_cpu_the_edit_shares_the_cores_with_everything_else() -> None:
    rates = films_per_hour(Cost.of(measured()), Site(cores=3))
    assert rates == {"cores": pytest.approx(3600 * 3 / 1.5)}


def test_gpus_help_until_the_cores_that_feed_them_bound_the_run() -> None:
    cost = Cost.of(measured("cuda:0"))
    few, many = (films_per_hour(cost, Site(devices=n, cores=4)) for n in (1, 8))
    assert bottleneck(few) == ("cores", pytest.approx(3600 * 4 / 0.5))
    assert bottleneck(films_per_hour(cost, Site(devices=1, cores=64)))[0] == "devices"
    assert many["devices"] == 8 * few["devices"]
    assert bottleneck(many) == bottleneck(few), "more GPUs alone change nothing"


def test_an_archive_moves_each_film_once_and_each_result_twice() -> None:
    rates = films_per_hour(
        Cost.of(measured()), Site(cores=64, archive_mb_s=34, film_mb=10, stored_mb=12)
    )
    assert bottleneck(rates) == ("archive", pytest.approx(3600))


def test_a_slow_victim_bounds_a_stress_test() -> None:
    site = Site(cores=64, answers=6, victim_s=2.0, victims_at_once=4)
    assert bottleneck(films_per_hour(Cost.of(measured()), site)) == ("victims", pytest.approx(1200))


def test_the_command_reads_the_figures_of_a_bench(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    path.write_text(json.dumps(measured()))
    done = CliRunner().invoke(app, ["bench", "capacity", str(path), "--cores", "3", "--json"])
    assert json.loads(done.stdout)["films_per_hour"] == pytest.approx(7200)
    path.write_text("{}")
    done = CliRunner().invoke(app, ["bench", "capacity", str(path)])
    assert (done.exit_code, "no figures" in done.stderr) == (1, True)
