"""A second MONAI Label server, a vendor's, as a victim: its classifier and its segmenter."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import requests

from radedit.lib.errors import NotFoundError, VictimError, VictimGoneError
from radedit.lib.victims.locate import open_victim
from radedit.lib.victims.protocol import Victim

APP = """
import json, os, tempfile, time
import itk, numpy as np
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType


class Task(InferTask):
    def __init__(self, kind):
        super().__init__(kind, {"White": 1}, 2, "a vendor's")

    def is_valid(self):
        return True

    def __call__(self, request):
        pixels = np.squeeze(itk.array_from_image(itk.imread(request["image"]))) / 65535.0
        if pixels.mean() > 0.9:
            os._exit(1)  # as a process that runs out of memory
        if pixels.mean() < 0.05:
            raise ValueError("no chest on this film")
        if self.type == InferType.CLASSIFICATION:
            found = {"idx": 0, "label": "White", "score": float(pixels.mean())}
            return None, {"prediction": [found]}
        labels = itk.image_from_array((pixels > 0.5).astype(np.uint8))
        handle, path = tempfile.mkstemp(suffix=".nrrd")
        os.close(handle)
        itk.imwrite(labels, path)
        return path, {"label_names": {"White": 1}}


class Vendor(MONAILabelApp):
    def __init__(self, app_dir, studies, conf):
        super().__init__(app_dir, studies, conf, name="Vendor")

    def init_infers(self):
        kinds = {"classifier": InferType.CLASSIFICATION, "segmenter": InferType.SEGMENTATION}
        return {name: Task(kind) for name, kind in kinds.items()}
"""


@dataclass
class Server:
    """The vendor's server."""

    url: str
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    new_port: Callable[[], int],
    start_server: Callable[..., list[str]],
    environment: Callable[[Path], dict[str, str]],
) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("vendor")
    for name in ("app", "studies", "temporary"):
        (root / name).mkdir()
    (root / "app" / "main.py").write_text(APP)
    port = new_port()
    command = start_server("--studies", str(root / "studies"), "--port", str(port))
    command[command.index("--app") + 1] = str(root / "app")
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment(root / "temporary"),
            start_new_session=True,
        )
    started = Server(f"http://127.0.0.1:{port}", process)
    try:
        end = time.monotonic() + 300
        while not _answers(started):
            assert process.poll() is None, (root / "log").read_text()[-4000:]
            assert time.monotonic() < end, (root / "log").read_text()[-4000:]
            time.sleep(0.3)
        yield started
    finally:
        process.kill()
        process.wait()


def _answers(server: Server) -> bool:
    try:
        return requests.get(f"{server.url}/info/", timeout=5).ok
    except requests.RequestException:
        return False


def opened(server: Server, task: str, folder: Path) -> Victim:
    path = folder / "vendor.toml"
    path.write_text(
        f'victim = "monailabel:{server.url}/{task}"\nversion = "7"\n[rename]\nWhite = "white"\n'
        "[limits]\ntimeout_s = 120\nretries = 1\npause_s = 0.1\n"
    )
    return open_victim(str(path))


def half_white() -> np.ndarray:
    display = np.full((40, 24), 0.1, dtype=np.float32)
    display[:10, :12] = 0.8  # upper left: a transposed or flipped answer would show
    return display


def test_the_prediction_of_a_classifier_is_the_score(server: Server, tmp_path: Path) -> None:
    victim = opened(server, "classifier", tmp_path)
    answer = victim.answer(half_white())
    assert answer.scores == pytest.approx({"white": float(half_white().mean())}, abs=1e-3)
    assert answer.segments is None
    assert (victim.card.name, victim.card.version) == ("classifier", "7")


def test_the_label_image_of_a_segmenter_lies_on_the_films_pixels(
    server: Server, tmp_path: Path
) -> None:
    answer = opened(server, "segmenter", tmp_path).answer(half_white())
    assert answer.segments is not None
    np.testing.assert_array_equal(answer.segments["white"], half_white() > 0.5)


def test_a_task_that_the_server_does_not_have_is_said(server: Server, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="it has classifier, segmenter"):
        opened(server, "detector", tmp_path).answer(half_white())


def test_a_film_that_the_task_fails_on_is_a_missing_answer_and_the_next_one_is_not(
    server: Server, tmp_path: Path
) -> None:
    victim = opened(server, "classifier", tmp_path)
    with pytest.raises(VictimError, match="classifier gave no usable answer") as failed:
        victim.answer(np.zeros((40, 24), dtype=np.float32))
    assert not isinstance(failed.value, VictimGoneError)
    assert victim.answer(half_white()).scores


def test_a_server_that_dies_of_a_film_is_gone(server: Server, tmp_path: Path) -> None:
    """The last test of this server: it is not started again."""
    victim = opened(server, "classifier", tmp_path)
    with pytest.raises(VictimGoneError, match="does not answer"):
        victim.answer(np.ones((40, 24), dtype=np.float32))
    assert server.process.wait(60) is not None
    with pytest.raises(VictimGoneError):
        victim.answer(half_white())
