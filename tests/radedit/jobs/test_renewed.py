"""The same words asked again: the job that is done, unless they stand for another edit by now."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
import tiny_model
from PIL import Image

from radedit.lib.jobs.batch import Batches
from radedit.lib.jobs.films import Films
from radedit.lib.jobs.model import Job, JobRequest
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.tables import jobs
from radedit.lib.jobs.turns import Turn
from radedit.lib.pipeline import Editor
from radedit_dicom.film import read_film
from radedit_dicom.label_segmentation import About, build_label

Ask = Callable[..., JobRequest]
PARAMETERS = {"steps": 2, "seed": 3}


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.sqlite")


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    return tiny_model.editor(tmp_path_factory.mktemp("model"))


@pytest.fixture
def asked(queue: JobQueue, editor: Editor, studies: Path) -> Callable[..., Job]:
    """Submit a request, and let a worker do what there is to do then."""

    def ask(request: JobRequest, editor: Editor = editor) -> Job:
        job = queue.submit(request)[0]
        while queue.get(job.id).state == "queued":
            assert queue.get(job.id).result is None
            with queue.engine.connect() as connection:
                wanted = sa.select(jobs.c.ticket).where(jobs.c.id == job.id)
                ticket = str(connection.execute(wanted).scalar())
            turn = Turn(queue.engine, ticket)
            films = Films.open(str(studies), {}, editor.settings)
            Batches(editor, films, 1).run(turn, turn.take(job.id, 1))
        found = queue.get(job.id)
        assert (found.state, found.error) == ("done", None)
        return found

    return ask


def write_label(studies: Path, left: int) -> None:
    """Draw the label "lesion" and store it in place of the one before."""
    film = read_film(studies / "film.dcm")
    mask = np.zeros(film.shape, bool)
    mask[60:140, left : left + 70] = True
    label = build_label(film, {"lesion": mask}, About("final", "", "1", 1))
    label.save_as(studies / "label.dcm", enforce_file_format=True)


def test_a_label_drawn_anew_under_its_old_name_makes_another_edit(
    asked: Callable[..., Job], ask: Ask, studies: Path
) -> None:
    request = ask(prompt=tiny_model.PROMPT, edit_mask="seg:lesion", parameters=PARAMETERS)
    write_label(studies, 40)
    first = asked(request)
    write_label(studies, 100)
    second = asked(request)
    assert first.result is not None
    assert second.result is not None
    assert second.result["edit_id"] != first.result["edit_id"]
    assert second.result["pixel_sha256"] != first.result["pixel_sha256"]


def test_a_label_that_is_the_same_ends_with_the_result_that_is_there(
    asked: Callable[..., Job], ask: Ask, studies: Path
) -> None:
    request = ask(prompt=tiny_model.PROMPT, edit_mask="seg:lesion", parameters=PARAMETERS)
    write_label(studies, 40)
    first, second = asked(request), asked(request)
    assert first.result == second.result
    assert second.version > first.version
    assert len(list((studies / "edited").rglob("*.dcm"))) == 3


def test_masks_that_came_with_the_request_are_there_when_it_is_looked_at_again(
    asked: Callable[..., Job], ask: Ask, studies: Path
) -> None:
    file = io.BytesIO()
    drawn = np.zeros((240, 200), np.uint8)
    drawn[80:100, 40:60] = 255
    Image.fromarray(drawn).save(file, "PNG")
    request = ask(
        prompt=tiny_model.PROMPT,
        edit_mask="seg:lesion - uploaded:hole",
        parameters=PARAMETERS,
        masks={"hole": file.getvalue()},
    )
    write_label(studies, 40)
    first = asked(request)
    write_label(studies, 20)
    assert asked(request).result != first.result


def test_a_request_that_says_all_itself_is_done_once(
    queue: JobQueue, asked: Callable[..., Job], ask: Ask
) -> None:
    request = ask(prompt=tiny_model.PROMPT, parameters=PARAMETERS)
    first = asked(request)
    again, new = queue.submit(request)
    assert (again, new) == (first, False)


def test_defaults_that_were_changed_make_another_edit_of_a_request_that_names_none(
    queue: JobQueue, asked: Callable[..., Job], ask: Ask, editor: Editor
) -> None:
    request = ask(prompt=tiny_model.PROMPT, parameters=PARAMETERS)
    first = asked(request)
    changed = replace(editor.settings, defaults=replace(editor.settings.defaults, guidance=3.0))
    queue.settings = changed
    second = asked(request, Editor(changed))
    assert first.result is not None
    assert second.result is not None
    assert second.result["edit_id"] != first.result["edit_id"]
    assert second.result["parameters"]["guidance"] == 3.0
