"""The jobs of a turn run for real: batched, stopped, resumed, refused, and short of memory."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import torch

from radedit.lib.cases import EditRequest
from radedit.lib.jobs.batch import Batches
from radedit.lib.jobs.films import Films
from radedit.lib.jobs.model import Job, JobRequest
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.tables import checkpoints, jobs
from radedit.lib.jobs.turns import MOST_FRUITLESS, Turn
from radedit.lib.pipeline import Editor
from radedit.lib.replay import replay
from radedit.lib.settings import load_settings
from radedit_dicom.archive import Query
from radedit_dicom.film import read_film
from radedit_dicom.folder import FolderArchive

Ask = Callable[..., JobRequest]
PIXELS = "pixel_sha256"


@pytest.fixture(params=["sqlite"])
def database(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.sqlite")


@pytest.fixture(scope="module")
def editor() -> Editor:
    # Without a cache each test sees the calls of an edit that is made for the first time.
    return Editor(replace(load_settings(), inversion_cache_mb=0))


@pytest.fixture
def run(queue: JobQueue, editor: Editor, studies: Path) -> Callable[..., Batches]:
    """Run the turn of a job, as a worker does, with as many mates as there may be."""

    def run(job: str, most: int = 4, ticket: str = "") -> Batches:
        batches = Batches(editor, Films.open(str(studies), {}, editor.settings), most)
        turn = Turn(queue.engine, ticket or ticket_of(queue, job))
        batches.run(turn, turn.take(job, most))
        return batches

    return run


def ticket_of(queue: JobQueue, job: str) -> str:
    with queue.engine.connect() as connection:
        return str(connection.execute(sa.select(jobs.c.ticket).where(jobs.c.id == job)).scalar())


def submit(queue: JobQueue, *wanted: JobRequest) -> list[str]:
    return [queue.submit(request)[0].id for request in wanted]


def results(queue: JobQueue, ids: Sequence[str]) -> list[Any]:
    found: list[Job] = [queue.get(job) for job in ids]
    assert [(job.state, job.error) for job in found] == [("done", None)] * len(ids)
    return [job.result for job in found]


@contextmanager
def network(editor: Editor, before: Callable[[int], None]) -> Iterator[list[int]]:
    """Tell the rows of every call of the real U-Net before it is made."""
    rows: list[int] = []

    def note(_module: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        rows.append(len(given[0] if given else named["sample"]))
        before(len(rows))

    hook = editor.backbone().unet.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield rows
    finally:
        hook.remove()


def passing(_call: int) -> None:
    return None


def test_edits_that_wait_together_take_the_calls_of_one(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches]
) -> None:
    with network(editor, passing) as one:
        run(*submit(queue, ask()))
    with network(editor, passing) as two:
        ids = submit(queue, ask(), ask(prompt="No acute cardiopulmonary process"))
        run(ids[0])
    assert len(two) == len(one) == 4  # one call inverts the three steps
    assert two == [2 * rows for rows in one]
    for result in results(queue, ids):
        assert result["parameters"]["steps"] == 4


def test_a_done_job_tells_where_its_objects_are(
    queue: JobQueue, ask: Ask, run: Callable[..., Batches], studies: Path
) -> None:
    ids = submit(queue, ask(study_mode="same", film_text="No acute cardiopulmonary process"))
    run(ids[0])
    (result,) = results(queue, ids)
    job = queue.get(ids[0])
    assert (job.done, job.total, job.stage, job.attempts) == (3, 3, "", 1)
    output = FolderArchive(studies / "edited")
    held = {i.sop_instance_uid: i for i in output.find(Query())}
    assert len(held) == 3
    for kind in ("sc", "seg", "sr"):
        instance = held[result["uids"][kind]]
        assert result["series"][kind] == instance.series_instance_uid
        assert result["uids"]["study"] == instance.study_instance_uid == "1.2"
        assert (studies / "edited" / result[kind]).is_file()
    assert result["score"]
    assert result["seconds"]["store"] > 0


def test_an_uploaded_mask_is_the_one_that_is_used(
    queue: JobQueue, ask: Ask, run: Callable[..., Batches], studies: Path
) -> None:
    import io

    from PIL import Image

    drawn = np.zeros((240, 200), np.uint8)
    drawn[40:120, 100:170] = 255
    file = io.BytesIO()
    Image.fromarray(drawn).save(file, "PNG")
    boxed, uploaded, wrong = ask(), ask(), ask()
    seed = dict(boxed.parameters)
    masks = {"drawn": file.getvalue()}
    uploaded = JobRequest("film.dcm", boxed.prompt, "uploaded:drawn", parameters=seed, masks=masks)
    wrong = JobRequest("film.dcm", boxed.prompt, "uploaded:x", parameters=seed, masks={"x": b"no"})
    ids = submit(queue, boxed, uploaded, wrong)
    for job in ids:
        run(job, 1)
    first, second = results(queue, ids[:2])
    assert first[PIXELS] == second[PIXELS]
    assert "PNG" in str(queue.get(ids[2]).error)


def test_one_jobs_trouble_is_its_own(
    queue: JobQueue, ask: Ask, run: Callable[..., Batches], studies: Path
) -> None:
    (studies / "text.dcm").write_text("no film")
    ids = submit(
        queue,
        ask(),
        ask(prompt="Large left zork"),
        ask(image="away.dcm"),
        ask(image="../studies/film.dcm"),
        ask(image="text.dcm"),
        ask(edit_mask="file:/etc/passwd"),
        ask(edit_mask="uploaded:none"),
    )
    run(ids[0], len(ids))
    results(queue, ids[:1])
    for job, said in zip(
        ids[1:],
        ("zork", *["no such image"] * 3, "refused over REST", "with the request"),
        strict=True,
    ):
        found = queue.get(job)
        assert found.state == "failed"
        assert said in str(found.error)
        assert "/" not in str(found.error).replace("/datastore/?output", "")


@pytest.mark.parametrize("stopped_at", [2, 3])
def test_jobs_killed_in_the_middle_go_on_and_store_what_undisturbed_ones_do(
    queue: JobQueue,
    ask: Ask,
    editor: Editor,
    run: Callable[..., Batches],
    stopped_at: int,
) -> None:
    """A worker that is killed leaves what a vanished database leaves: only what was kept."""
    wanted = [ask(), ask()]
    ids = submit(queue, *wanted)
    ticket = ticket_of(queue, ids[0])

    def end(call: int) -> None:
        if call == stopped_at + 1:  # the first one inverts
            raise sa.exc.OperationalError("the worker is gone", None, Exception())

    with network(editor, end), pytest.raises(sa.exc.OperationalError):
        run(ids[0], 2, ticket)
    assert [queue.get(job).done for job in ids] == [stopped_at - 1] * 2
    with network(editor, passing) as rows:
        run(ids[0], 4, ticket)
    assert len(rows) <= 1 + 3 - (stopped_at - 1)
    disturbed = results(queue, ids)
    again = [JobRequest(**{**vars(request), "user": ""}) for request in wanted]
    for job in ids:
        queue.discard(job)
    shutil.rmtree(Path(str(queue.database)).parent / "studies" / "edited")
    ids = submit(queue, *again)
    run(ids[0], 2)
    assert [r[PIXELS] for r in results(queue, ids)] == [r[PIXELS] for r in disturbed]


def test_a_job_whose_mates_ended_meanwhile_goes_on_in_a_batch_of_the_same_shape(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches]
) -> None:
    wanted = [ask(), ask(), ask()]
    ids = submit(queue, *wanted)
    run(ids[0], 3)
    undisturbed = results(queue, ids)[2]
    for job in ids:
        queue.discard(job)
    shutil.rmtree(Path(str(queue.database)).parent / "studies" / "edited")
    ids = submit(queue, *wanted)
    ticket = ticket_of(queue, ids[0])

    def end(call: int) -> None:
        if call == 3:
            raise sa.exc.OperationalError("the worker is gone", None, Exception())

    with network(editor, end), pytest.raises(sa.exc.OperationalError):
        run(ids[0], 3, ticket)
    queue.cancel(ids[0])
    queue.cancel(ids[1])
    queue.discard(ids[1])
    run(ids[0], 3, ticket)
    assert results(queue, ids[2:])[0][PIXELS] == undisturbed[PIXELS]
    assert queue.get(ids[0]).state == "cancelled"


def test_a_cancelled_job_frees_its_worker_within_one_step(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches], studies: Path
) -> None:
    ids = submit(queue, ask(steps=40))

    def cancel(call: int) -> None:
        if call == 6:
            queue.cancel(ids[0])

    with network(editor, cancel) as rows:
        run(ids[0])
    assert len(rows) == 6
    job = queue.get(ids[0])
    assert (job.state, job.result) == ("cancelled", None)
    assert not (studies / "edited").exists()


def test_a_job_cancelled_after_its_last_step_stores_nothing(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches], studies: Path
) -> None:
    ids = submit(queue, ask())
    decode = editor.backbone().vae.decoder.register_forward_pre_hook(
        lambda *_: (queue.get(ids[0]).has_ended or queue.cancel(ids[0]), time.sleep(0.3))[2:]
    )
    try:
        run(ids[0])
    finally:
        decode.remove()
    assert queue.get(ids[0]).state == "cancelled"
    assert not (studies / "edited").exists()


def test_a_batch_that_is_too_large_for_the_memory_is_run_in_smaller_ones(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches]
) -> None:
    ids = submit(queue, *(ask() for _ in range(4)))

    def short(_call: int) -> None:
        if rows[-1] > 6:  # two edits take four rows a step, and their inversion six
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with network(editor, lambda call: short(call) if call > 1 else None) as rows:
        batches = run(ids[0])
    assert batches.most == 2
    results(queue, ids)
    assert max(rows[1:]) == 8


def test_a_batch_that_goes_on_where_memory_is_short_begins_anew_in_smaller_ones(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches], studies: Path
) -> None:
    """Its worker is gone, and the next one has less memory."""
    ids = submit(queue, *(ask() for _ in range(4)))
    ticket = ticket_of(queue, ids[0])

    def end(call: int) -> None:
        if call == 3:
            raise sa.exc.OperationalError("the worker is gone", None, Exception())

    with network(editor, end), pytest.raises(sa.exc.OperationalError):
        run(ids[0], 4, ticket)
    assert [queue.get(job).done for job in ids] == [1] * 4

    def short(_call: int) -> None:
        if rows[-1] == 8:  # a step of four edits
            raise torch.OutOfMemoryError("CUDA out of memory.")

    with network(editor, short) as rows:
        run(ids[0], 4, ticket)
    assert rows.count(8) == 1
    for result in results(queue, ids):
        again = replay(studies / "edited" / result["sc"], studies / "film.dcm", editor)
        assert again.identical, again


def test_a_job_for_which_no_memory_suffices_fails_with_a_sentence_and_its_mates_do_not_wait(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches]
) -> None:
    ids = submit(queue, ask(), ask())

    def short(_call: int) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    with network(editor, short) as rows:
        run(ids[0])
    assert len(rows) == 3  # together, then each alone
    for job in ids:
        found = queue.get(job)
        assert found.state == "failed"
        assert "memory of the device does not suffice" in str(found.error)


def test_a_job_whose_worker_ends_at_the_same_step_again_and_again_fails(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches]
) -> None:
    """Its mates are done by then: they run apart once that is seen."""
    ids = submit(queue, ask(), ask())
    ticket = ticket_of(queue, ids[0])
    poison = ids[0]

    def end(_call: int) -> None:
        with queue.engine.connect() as connection:
            begun = sa.select(jobs.c.id).where(jobs.c.id == poison, jobs.c.stage == "editing")
            if connection.execute(begun).first():
                raise sa.exc.OperationalError("the worker is gone", None, Exception())

    with network(editor, end):
        for _ in range(MOST_FRUITLESS):
            with pytest.raises(sa.exc.OperationalError):
                run(ids[0], 2, ticket)
    run(ids[0], 2, ticket)
    assert f"its worker ended {MOST_FRUITLESS} times" in str(queue.get(poison).error)
    results(queue, ids[1:])


def test_an_edit_that_the_archive_holds_already_is_not_made_again(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches], studies: Path
) -> None:
    request = ask()
    ids = submit(queue, request)
    run(ids[0])
    (first,) = results(queue, ids)
    queue.discard(ids[0])
    queue.submit(request)
    with network(editor, passing) as rows:
        run(ids[0])
    (second,) = results(queue, ids)
    assert rows == []
    assert second["already_there"]
    assert {k: second[k] for k in ("uids", "series", PIXELS)} == {
        k: first[k] for k in ("uids", "series", PIXELS)
    }


def test_a_job_is_the_edit_that_the_command_line_makes(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches], studies: Path
) -> None:
    request = ask()
    ids = submit(queue, request)
    run(ids[0])
    edited = editor.edit(
        read_film(studies / "film.dcm"),
        EditRequest(request.prompt, request.edit_mask, parameters=request.parameters),
    )
    (result,) = results(queue, ids)
    assert result["edit_id"] == edited.provenance.edit_id
    assert result[PIXELS] == edited.provenance.result_pixel_sha256


def test_an_edit_that_was_made_in_a_batch_replays_to_the_same_pixels(
    queue: JobQueue, ask: Ask, editor: Editor, run: Callable[..., Batches], studies: Path
) -> None:
    ids = submit(queue, ask(), ask(prompt="No acute cardiopulmonary process"))
    run(ids[0])
    for result in results(queue, ids):
        again = replay(studies / "edited" / result["sc"], studies / "film.dcm", editor)
        assert again.identical, again
        assert again.other_platform == {}


def test_no_step_is_left_in_the_database_once_jobs_are_done(
    queue: JobQueue, ask: Ask, run: Callable[..., Batches]
) -> None:
    ids = submit(queue, ask(), ask())
    run(ids[0])
    results(queue, ids)
    with queue.engine.connect() as connection:
        assert connection.execute(sa.select(checkpoints)).first() is None
