"""`make demo`: a real hospital film edited through the real server, and the proof of it.

Starts MONAI Label with this app on a free port of the loopback interface, asks it as any
client would to take one mass out of a real film while its neighbour stays, then checks and
replays what was written and draws a picture.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import files
from pathlib import Path
from typing import Any

import requests
from rich.console import Console
from rich.table import Table

from radedit.lib.whole_files import write_file

FILM = "RG1_UNCR.dcm"
REQUEST: dict[str, Any] = {
    "prompt": "Right lower lobe consolidation",
    "film_text": "Left lung mass",  # of what is there, for the score
    "edit_mask": "ellipse:480,1150,200,220",
    "keep_mask": "box:690,600,1160,1500",  # hilum, spine and heart
    "guidance": 2.0,  # mild: the embedded model's default is for simulated films
    "seed": 7,
}
START_TIMEOUT_S = 180
MARKER = ".radedit-demo"
APP = Path(__file__).resolve().parents[1]
console = Console(soft_wrap=True, highlight=False, emoji=False)


def main() -> int:
    """Run the demo; 0 = no check failed."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-out").resolve()
    begun = time.perf_counter()
    _clear(folder)
    studies, output = folder / "studies", folder / "edited"
    studies.mkdir(parents=True)
    film = Path(shutil.copyfile(_packaged_film(), studies / FILM))
    before = film.read_bytes()
    console.print("radedit demo: starting the server (MONAI Label with this app)")
    with server(studies, output, folder / "server.log") as url:
        started = time.perf_counter()
        console.print(f"radedit demo: asking {url} to edit a real chest film")
        answer = _ask(url)
        edited_s = time.perf_counter() - started
    held = _verify(answer, output, film, before)
    picture = _picture(answer, output, film, folder)
    _summary(answer, held, picture, edited_s, time.perf_counter() - begun)
    return 1 if any(good is False for good, _ in held.values()) else 0


def _clear(folder: Path) -> None:
    """Empty the folder of an earlier demo, and no other one."""
    if folder.exists():
        if not (folder / MARKER).is_file():
            raise SystemExit(f"radedit demo: {folder} is no earlier demo's folder; name a new one.")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


@contextmanager
def server(studies: Path, output: Path, log: Path) -> Iterator[str]:
    """Run `monailabel start_server` until the block ends; gives its address."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable, "-m", "monailabel.main", "start_server",
        "--app", str(APP), "--studies", str(studies), "--host", "127.0.0.1", "--port", str(port),
        "--conf", "models", "radedit,lung_segmentation", "--conf", "output", str(output),
    ]  # fmt: skip
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        )  # fmt: skip
        try:
            _wait(url, process, log)
            yield url
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"radedit demo: the server ended at once; its log is {log}.")
        try:
            if requests.get(f"{url}/info/", timeout=5).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.2)
    raise SystemExit(f"radedit demo: no answer in {START_TIMEOUT_S} s; the log is {log}.")


def _ask(url: str) -> dict[str, Any]:
    from monailabel.client import MONAILabelClient

    client = MONAILabelClient(url)
    file, params = client.infer("radedit", FILM, dict(REQUEST))
    Path(file).unlink()  # the client's own copy of the edited image
    return dict(params)


def _verify(
    answer: dict[str, Any], output: Path, film: Path, before: bytes
) -> dict[str, tuple[bool | None, str]]:
    """Every claim the demo makes, and whether it held."""
    from radedit.lib.composite import support_weight
    from radedit.lib.parameters import Defaults
    from radedit.lib.pipeline import Editor
    from radedit.lib.replay import replay
    from radedit_dicom.conformance import check_file, passes
    from radedit_dicom.errors import ConformanceError
    from radedit_dicom.film import read_film
    from radedit_dicom.parsing import parse
    from radedit_dicom.segment_reader import read_segmentation
    from radedit_dicom.vocabulary import EDIT_LABEL, KEEP_LABEL

    held: dict[str, tuple[bool | None, str]] = {}
    source = read_film(film)
    result = read_film(output / answer["sc"], allow_synthetic=True)
    segments = read_segmentation(parse(output / answer["seg"], pixels=True), source)
    differs = source.stored != result.stored
    weight = support_weight(segments[EDIT_LABEL], segments[KEEP_LABEL], Defaults())
    outside, kept_back = (int(differs[w].sum()) for w in (weight == 0, segments[KEEP_LABEL]))
    held["outside the support"] = (outside == 0, f"{outside} stored values changed")
    held["keep region"] = (kept_back == 0, f"{kept_back} stored values changed")
    kept = (source.shape, source.bits_stored, source.photometric) == (
        result.shape, result.bits_stored, result.photometric,
    )  # fmt: skip
    rows, cols = result.shape
    held["size, depth, polarity"] = (
        kept, f"{cols} x {rows}, {result.bits_stored} bits, {result.photometric}",
    )  # fmt: skip
    changed = int(differs[segments[EDIT_LABEL]].sum())
    held["edit region"] = (changed > 0, f"{changed} stored values changed")
    held["source file"] = (film.read_bytes() == before, "not touched")
    for kind in ("sc", "seg", "sr"):
        try:
            good: bool | None = passes(check_file(output / answer[kind]))
            seen = "dciodvfy and our rules"
        except ConformanceError as error:  # dciodvfy is not installed
            good, seen = None, str(error)
        held[f"radedit check {kind}"] = (good, seen)
    again = replay(output / answer["sc"], film, Editor())
    held["radedit replay"] = (again.identical, again.sentence())
    return held


def _picture(answer: dict[str, Any], output: Path, film: Path, folder: Path) -> Path:
    from radedit.lib.picture import draw_files

    path = folder / "before-after-difference.png"
    draw_files(film, output / answer["sc"], output / answer["seg"], path)
    return path


def _summary(
    answer: dict[str, Any],
    held: dict[str, tuple[bool | None, str]],
    picture: Path,
    edited_s: float,
    total_s: float,
) -> None:
    table = Table(title="AI-EDITED (SYNTHETIC) NOT FOR DIAGNOSIS", title_justify="left")
    table.add_column("check")
    table.add_column("held")
    table.add_column("seen")
    for name, (good, seen) in held.items():
        table.add_row(name, {True: "yes", False: "NO", None: "not checked"}[good], seen)
    console.print(table)
    write_file(picture.parent / "summary.json", json.dumps(answer, indent=2) + "\n")
    for name in ("sc", "seg", "sr"):
        console.print(f"{name:8} {picture.parent / 'edited' / answer[name]}")
    console.print(f"picture  {picture}\nanswer   {picture.parent / 'summary.json'}")
    console.print(f"edit over REST {edited_s:.1f} s, whole demo {total_s:.1f} s")


def _packaged_film() -> Path:
    for file in files("pydicom-data") or []:
        if file.name == FILM:
            return Path(str(file.locate()))
    raise SystemExit(f"radedit demo: the package pydicom-data holds no {FILM}; reinstall it.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    sys.exit(main())
