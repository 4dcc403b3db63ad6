"""The demo, run as `make demo` runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image


def demo(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "radedit.lib.demo", str(folder)],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_the_demo_edits_a_real_film_and_every_check_holds(
    tmp_path: Path, peer: Callable[[str], str]
) -> None:
    peer("dciodvfy")
    folder = tmp_path / "demo"
    result = demo(folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "identical" in result.stdout
    assert "NO" not in result.stdout.replace("NOT FOR DIAGNOSIS", "").replace("MONOCHROME", "")
    answer = json.loads((folder / "summary.json").read_text())
    for kind in ("sc", "seg", "sr"):
        assert (folder / "edited" / answer[kind]).is_file()
    with Image.open(folder / "before-after-difference.png") as picture:
        assert np.ptp(np.asarray(picture)) > 200
    log = (folder / "server.log").read_text()
    assert "consolidation" not in log
    assert "Left lung mass" not in log


def test_the_demo_refuses_a_folder_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "precious.dcm").write_bytes(b"film")
    result = demo(tmp_path / "films")
    assert result.returncode != 0
    assert "no earlier demo's folder" in result.stderr
    assert (tmp_path / "films" / "precious.dcm").read_bytes() == b"film"
