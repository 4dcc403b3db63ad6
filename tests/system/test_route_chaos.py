"""A short bad night; `scripts/route-chaos` is the long one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import route_chaos
from conftest import missing
from orthanc import Orthanc
from pydicom.dataset import Dataset
from route_node import RouteNode


def test_nothing_is_lost_or_doubled_in_a_bad_night(
    tmp_path: Path,
    free_port: int,
    start_orthanc: Callable[..., Orthanc],
    make_dataset: Callable[..., Dataset],
    peer: Callable[[str], str],
) -> None:
    lua = tmp_path / "forgetful.lua"
    lua.write_text(route_chaos.FORGETFUL)
    orthanc, refuser = start_orthanc(), start_orthanc(extra={"LuaScripts": [str(lua)]})
    plan = route_chaos.Plan(studies=10, kills=6, down_s=5.0, edit_every=4, seed=3)
    films = route_chaos.make_films(tmp_path / "films", make_dataset, 10, plan.edit_every)
    node = RouteNode(tmp_path / "node", free_port, route_chaos.route_body(orthanc, refuser))
    try:
        node.start()
        night = route_chaos.live_through(node, orthanc, films, plan, peer("storescu"))
        told = route_chaos.account(node, orthanc, night)
    finally:
        node.close()
    assert told.faults == [], told.text()
    assert sum(night.killed.values()) == 6
    assert node.folder.is_dir()


@pytest.fixture
def small_disk(tmp_path: Path) -> str:
    """Mount a disk of 20 MB for a spool; only root may."""
    if os.geteuid() != 0:
        missing("needs to mount a tmpfs, which only root may")
    folder = tmp_path / "node" / "spool"
    folder.mkdir(parents=True)
    mounting = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)]
    done = subprocess.run(mounting, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        missing(f"needs to mount a tmpfs, and that is refused here ({done.stderr.strip()})")
    return str(folder)


def test_on_a_full_disk_senders_are_told_and_nothing_is_half_written(
    tmp_path: Path,
    free_port: int,
    small_disk: str,
    make_dataset: Callable[..., Dataset],
    peer: Callable[[str], str],
) -> None:
    body = """
[destinations.disk]
address = "out"
first_wait_s = 0.5
longest_wait_s = 1
[[rules]]
name = "all"
[[rules.do]]
action = "forward"
to = ["disk"]
"""
    films = route_chaos.make_films(tmp_path / "films", make_dataset, 4, 1)
    node = RouteNode(tmp_path / "node", free_port, body)
    try:
        node.start()
        send = ["-R", "-v", "-aet", "CR1", "-aec", "RADEDIT", "127.0.0.1", str(free_port)]
        command = [peer("storescu"), *send]

        def sent(film: Path) -> bool:
            done = subprocess.run(
                [*command, str(film)], capture_output=True, text=True, timeout=240, check=False
            )
            return "Received Store Response (Success)" in done.stdout + done.stderr

        assert sent(films[0])
        ballast = Path(small_disk) / "ballast"
        route_chaos.fill(ballast)
        assert not sent(films[1])
        assert [p for p in Path(small_disk).rglob(".part-*") if p.is_file()] == []
        ballast.unlink()
        assert all(sent(film) for film in films[1:])
        node.until(lambda: node.states("deliveries") == {"sent": 4}, "not everything was sent")
        assert len(list((Path(small_disk) / "incoming").rglob("*.dcm"))) == 4
    finally:
        node.close()
        subprocess.run(["umount", "--lazy", small_disk], check=True, timeout=60)
