"""Jobs of every method and solver whose worker dies behind any step, and behind the last."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import sqlalchemy as sa
import tiny_model
from pydicom.dataset import Dataset

from radedit.lib.jobs.batch import Batches
from radedit.lib.jobs.films import Films
from radedit.lib.jobs.model import JobRequest
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.tables import jobs
from radedit.lib.jobs.turns import Turn
from radedit.lib.parameters import PARAMETERS, STOCHASTIC
from radedit.lib.pipeline import Editor
from radedit.lib.replay import replay
from radedit_dicom.provenance import read_private

Ask = Callable[..., JobRequest]
STEPS = 3  # of 4, one of which is skipped
WAYS = [
    (method, solver)
    for method in PARAMETERS["method"].choices
    for solver in PARAMETERS["solver"].choices
    if solver == "ddpm" or method in STOCHASTIC
]


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.sqlite")


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    return tiny_model.editor(tmp_path_factory.mktemp("model"))


class Mortal(Turn):
    """A turn whose worker is gone once it has written down so many things."""

    def __init__(self, engine: sa.Engine, ticket: str, last: int) -> None:
        super().__init__(engine, ticket)
        self.left = last

    def _count(self) -> None:
        self.left -= 1
        if not self.left:
            raise sa.exc.OperationalError("the worker is gone", None, Exception())

    def step(self, *given: Any) -> set[str]:
        alive = super().step(*given)
        self._count()
        return alive

    def tell(self, *given: Any) -> None:
        super().tell(*given)
        self._count()

    def store(self, job: str) -> bool:
        ours = super().store(job)
        self._count()
        return ours

    def finish(self, *given: Any) -> None:
        self._count()  # everything is stored, and nobody has written that down
        super().finish(*given)


def run(
    queue: JobQueue, editor: Editor, studies: Path, job: str, last: int = 0, most: int = 1
) -> None:
    with queue.engine.connect() as connection:
        ticket = str(connection.execute(sa.select(jobs.c.ticket).where(jobs.c.id == job)).scalar())
    batches = Batches(editor, Films.open(str(studies), {}, editor.settings), most)
    turn = Mortal(queue.engine, ticket, last) if last else Turn(queue.engine, ticket)
    batches.run(turn, turn.take(job, most))


def made(
    queue: JobQueue, editor: Editor, studies: Path, request: JobRequest, last: int = 0
) -> dict[str, Any]:
    """Give the result of a job whose worker died once, behind so many notes of it."""
    job = queue.submit(request)[0].id
    if last:
        with pytest.raises(sa.exc.OperationalError):
            run(queue, editor, studies, job, last)
    run(queue, editor, studies, job)
    found = queue.get(job)
    assert (found.state, found.error) == ("done", None)
    assert found.result is not None
    queue.discard(job)
    assert len(list((studies / "edited").rglob("*.dcm"))) == 3
    shutil.rmtree(studies / "edited")
    return found.result


@pytest.mark.parametrize(("method", "solver"), WAYS)
def test_a_job_killed_behind_any_step_stores_once_what_an_undisturbed_one_does(
    queue: JobQueue, ask: Ask, editor: Editor, studies: Path, method: str, solver: str
) -> None:
    parameters = {"steps": 4, "skip": 0.3, "seed": 1, "method": method, "solver": solver}
    request = ask(prompt=tiny_model.PROMPT, parameters=parameters)
    undisturbed = made(queue, editor, studies, request)
    for last in range(1, STEPS + 3):  # each step, before storing, and behind it
        again = made(queue, editor, studies, request, last)
        assert again["pixel_sha256"] == undisturbed["pixel_sha256"], last


@pytest.mark.parametrize("changed", ["film", "window", "model", "machine"])
def test_a_step_of_another_film_model_or_machine_is_not_gone_on_with(
    queue: JobQueue,
    ask: Ask,
    editor: Editor,
    studies: Path,
    tmp_path: Path,
    make_dataset: Callable[..., Dataset],
    monkeypatch: pytest.MonkeyPatch,
    changed: str,
) -> None:
    """Between the kill and the next attempt; the same name then stands for something else."""
    request = ask(prompt=tiny_model.PROMPT, parameters={"steps": 4, "skip": 0.3, "seed": 1})
    job = queue.submit(request)[0].id
    with pytest.raises(sa.exc.OperationalError):
        run(queue, editor, studies, job, STEPS - 1)
    if changed == "film":
        pixels = np.random.default_rng(6).integers(0, 4096, (240, 200))
        make_dataset(pixels).save_as(studies / "film.dcm", enforce_file_format=True)
    elif changed == "window":
        film = pydicom.dcmread(studies / "film.dcm")
        film.WindowCenter, film.WindowWidth = 1500, 2500
        film.save_as(studies / "film.dcm")
    elif changed == "model":
        editor = tiny_model.editor(tmp_path / "other", seed=12)
    else:
        monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    calls: list[int] = []
    hook = editor.backbone().unet.register_forward_pre_hook(lambda *_: calls.append(1))
    run(queue, editor, studies, job)
    hook.remove()
    found = queue.get(job)
    assert (found.state, found.error) == ("done", None)
    assert found.result is not None
    assert len(calls) >= STEPS, "it began anew"
    queue.discard(job)
    shutil.rmtree(studies / "edited")
    again = made(queue, editor, studies, request)
    assert found.result["pixel_sha256"] == again["pixel_sha256"]


@pytest.mark.parametrize(
    ("inversions", "batch"),
    [(("", ""), 2), (("", "no mass"), 1), (("no mass", "no process"), 2), (("Left  mass", ""), 1)],
)
def test_edits_share_a_batch_where_a_replay_of_one_makes_the_same_calls(
    queue: JobQueue,
    ask: Ask,
    editor: Editor,
    studies: Path,
    inversions: tuple[str, str],
    batch: int,
) -> None:
    """Where the texts of a step are the same, the network is asked once, in calls of less rows."""
    ids = [
        queue.submit(
            ask(
                prompt=tiny_model.PROMPT,
                invert_prompt=text,
                parameters={"steps": 4, "skip": 0.3, "seed": seed},
            )
        )[0].id
        for seed, text in enumerate(inversions)
    ]
    for job in ids:
        if queue.get(job).state == "queued":
            run(queue, editor, studies, job, most=2)
    for job in ids:
        found = queue.get(job)
        assert (found.state, found.error) == ("done", None)
        assert found.result is not None
        edited = studies / "edited" / found.result["sc"]
        assert read_private(pydicom.dcmread(edited)).batch == batch
        assert replay(edited, studies / "film.dcm", editor).identical


def test_an_edit_that_diverges_ends_no_other_job_of_its_batch(
    queue: JobQueue, ask: Ask, editor: Editor, studies: Path
) -> None:
    ways = {"steps": 4, "skip": 0.3}
    good = ask(prompt=tiny_model.PROMPT, parameters={**ways, "seed": 1})
    bad = ask(prompt="right mass", parameters={**ways, "seed": 2})
    alone = made(queue, editor, studies, good)
    ids = [queue.submit(request)[0].id for request in (good, bad)]
    words = editor.backbone().encode_text(["right mass"])

    def spoil(_module: Any, given: tuple[Any, ...], named: dict[str, Any], answer: Any) -> Any:
        context = named.get("encoder_hidden_states", given[2] if len(given) > 2 else None)
        rows = (context == words).flatten(1).all(1)
        answer[0][rows] = float("nan")
        return answer

    hook = editor.backbone().unet.register_forward_hook(spoil, with_kwargs=True)
    try:
        run(queue, editor, studies, ids[0], most=2)
    finally:
        hook.remove()
    first, second = map(queue.get, ids)
    assert (first.state, first.error) == ("done", None)
    assert first.result is not None
    assert first.result["pixel_sha256"] == alone["pixel_sha256"]
    assert second.state == "failed"
    assert "diverged" in str(second.error)


_KILLED = """
import os, signal, sys
from radedit.lib.jobs.batch import Batches
from radedit.lib.jobs.films import Films
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.turns import Turn
from radedit.lib.pipeline import Editor

database, studies, ticket, job, last = sys.argv[1:]

class Killed(Turn):
    def step(self, done, marks):
        alive = super().step(done, marks)
        if done == int(last):
            os.kill(os.getpid(), signal.SIGKILL)
        return alive

queue, editor = JobQueue(database), Editor()
queue.start()
turn = Killed(queue.engine, ticket)
Batches(editor, Films.open(studies, {}, editor.settings), 1).run(turn, turn.take(job, 1))
"""


def test_a_second_order_job_killed_for_real_behind_its_last_step_ends_in_the_next_process(
    queue: JobQueue, ask: Ask, studies: Path
) -> None:
    request = ask(parameters={"steps": 4, "seed": 1, "solver": "dpm"})
    editor = Editor()
    undisturbed = made(queue, editor, studies, request)
    job = queue.submit(request)[0].id
    with queue.engine.connect() as connection:
        ticket = str(connection.execute(sa.select(jobs.c.ticket).where(jobs.c.id == job)).scalar())
    told = [str(queue.database), str(studies), ticket, job, str(STEPS)]
    killed = subprocess.run([sys.executable, "-c", _KILLED, *told], timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (queue.get(job).done, queue.get(job).state) == (STEPS, "running")
    run(queue, editor, studies, job)
    found = queue.get(job)
    assert (found.state, found.error) == ("done", None)
    assert found.result is not None
    assert found.result["pixel_sha256"] == undisturbed["pixel_sha256"]
