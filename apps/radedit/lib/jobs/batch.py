"""The jobs of one turn: their films read, edited in as few batches as can be, and stored.

A batch keeps its shape: kernels choose by it, so only the same shape gives the same bytes. A job
whose batch was interrupted goes on in a batch of that size and on its own seat; a seat that is
empty by then, because its job ended, is filled with another job's case.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import sqlalchemy as sa
import torch
from numpy.typing import NDArray

from radedit.lib.batch.memory import is_out_of_memory, release_memory
from radedit.lib.bulk import unexpected
from radedit.lib.cases import Prepared
from radedit.lib.edit.course import Course, EditCancelledError, Hooks, Resume
from radedit.lib.errors import RadEditError
from radedit.lib.jobs.films import Films
from radedit.lib.jobs.turns import ALONE_AFTER, MOST_FRUITLESS, Checkpoint, Taken, Turn
from radedit.lib.pipeline import Edited, Editor
from radedit.lib.record import this_platform
from radedit_dicom.errors import DicomError

DIGEST_BYTES = 16  # in front of a checkpoint's values
ASK_S = 0.2  # how often it is asked, between two calls of the network, whether to go on
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ready:
    """A job with its film read and its masks drawn.

    Attributes
    ----------
    digest : of all that its steps follow from; see `signed`
    """

    job: Taken
    prepared: Prepared
    digest: bytes

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id


class Batches:
    """Runs the jobs of one turn after the other.

    Parameters
    ----------
    editor : the loaded models
    films : where films come from and results go
    most : jobs of one batch at first; it sinks when the memory does not suffice
    """

    def __init__(self, editor: Editor, films: Films, most: int) -> None:
        self.editor, self.films, self.most = editor, films, most

    def run(self, turn: Turn, taken: Sequence[Taken]) -> None:
        """Run jobs to their ends; a cancelled one, or one that is not ours any more, is left.

        Raises
        ------
        sqlalchemy.exc.SQLAlchemyError
            The database is gone; the jobs are found and queued anew when it is back.
        """
        groups: dict[tuple[int, int, str], list[Ready]] = defaultdict(list)
        for job in taken:
            ready = self._ready(turn, job)
            if ready is not None:
                mark, alone = ready.job.checkpoint, job.id if job.fruitless >= ALONE_AFTER else ""
                step, size = (0, 0) if mark is None else (mark.step, mark.batch)
                groups[step, size, alone].append(ready)
        for (_, size, _), group in groups.items():
            self._group(turn, group, size or len(group))

    def _ready(self, turn: Turn, job: Taken) -> Ready | None:
        """Prepare one job, or end it."""
        if job.fruitless >= MOST_FRUITLESS:
            turn.fail(
                job.id,
                f"its worker ended {job.fruitless} times before a step was finished, perhaps for "
                "want of memory; try a smaller film or another model.",
            )
            return None
        try:
            request = job.request
            prepared = self.editor.prepare(self.films.case(request))
            edit_id = self.editor.edit_id(prepared)
            digest = self._digest(prepared, edit_id)
            if job.checkpoint is not None and not job.checkpoint.delta.startswith(digest):
                logger.info("job %s begins anew: its last step is of another edit", job.id)
                turn.forget([job.id])
                job = replace(job, checkpoint=None)
            if job.checkpoint is None:
                held = self.films.held(prepared.case, edit_id, request.study_mode)
                if held is not None:
                    known = job.result or {}
                    same = known.get("edit_id") == held["edit_id"]
                    turn.finish(job.id, known if same else held)
                    return None
            return Ready(job, prepared, digest)
        except sa.exc.SQLAlchemyError:
            raise
        except Exception as error:  # the outermost edge of one job
            turn.fail(job.id, _sentence(error))
            return None

    def _group(self, turn: Turn, group: Sequence[Ready], size: int) -> None:
        """Run jobs in one batch, or in halves where the memory does not suffice."""
        try:
            self._batch(turn, group, size)
            return
        except EditCancelledError:
            return
        except sa.exc.SQLAlchemyError:
            raise
        except Exception as error:
            if not is_out_of_memory(error):
                self._apart(turn, group, error)
                return
        # Only here, where nothing refers to the failed batch any more, is its memory free.
        release_memory()
        if size == 1:
            turn.fail(
                group[0].id,
                "the memory of the device does not suffice for this edit; end other programs that "
                "use it, or take a smaller model.",
            )
            return
        half = (size + 1) // 2
        self.most = min(self.most, half)
        logger.warning("out of memory with a batch of %d; going on with %d", size, half)
        group = _anew(turn, group)
        for first in range(0, len(group), half):
            self._group(turn, group[first : first + half], len(group[first : first + half]))

    def _apart(self, turn: Turn, group: Sequence[Ready], error: Exception) -> None:
        """Find the job that a batch failed for, such as one that diverged; the others go on."""
        if len(group) == 1:
            turn.fail(group[0].id, _sentence(error))
            return
        for one in _anew(turn, group):
            self._group(turn, [one], 1)

    def _batch(self, turn: Turn, group: Sequence[Ready], size: int) -> None:
        seats = seats_of(group)
        table = [group[0]] * size
        for one in group:
            table[seats[one.id]] = one
        turn.begin(list(seats), self._steps(group[0]))
        digests = {one.id: one.digest for one in group}
        course = Course(_hooks(turn, seats, size, digests), _resume(table))
        results = self.editor.edit_batch([one.prepared for one in table], course=course)
        for one in group:
            self._store(turn, one, results[seats[one.id]])

    def _store(self, turn: Turn, one: Ready, edited: Edited) -> None:
        if not turn.store(one.id):
            return
        began = time.perf_counter()
        try:
            delivered = self.films.outbox(one.job.request.study_mode).deliver(edited)
            result = self.films.told(delivered)
        except sa.exc.SQLAlchemyError:
            raise
        except Exception as error:  # the outermost edge of one job
            turn.fail(one.id, _sentence(error))
            return
        result["seconds"]["store"] = round(time.perf_counter() - began, 3)
        turn.finish(one.id, result)
        logger.info("job %s is done", one.id)

    def _digest(self, prepared: Prepared, edit_id: str) -> bytes:
        """Digest the edit, and what its last bits depend on beside it."""
        run = self.editor.run_of(prepared.case.request.model)
        parts = [edit_id, dict(this_platform(run))]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()[:DIGEST_BYTES]

    def _steps(self, one: Ready) -> int:
        backbone = self.editor.backbone(one.prepared.case.request.model)
        parameters = one.prepared.parameters
        return len(backbone.schedule(parameters.steps, parameters.skip, parameters.solver))


def _anew(turn: Turn, group: Sequence[Ready]) -> list[Ready]:
    """Let jobs begin at the beginning, in batches of another size."""
    turn.forget([one.id for one in group])
    return [replace(one, job=replace(one.job, checkpoint=None)) for one in group]


def seats_of(group: Sequence[Ready]) -> dict[str, int]:
    """Give each job its seat: the one it had, or the next in the order they were queued."""
    marks = [one.job.checkpoint for one in group]
    return {
        one.id: number if mark is None else mark.seat
        for number, (one, mark) in enumerate(zip(group, marks, strict=True))
    }


def _resume(table: Sequence[Ready]) -> Resume | None:
    """Read the last finished step of every seat."""
    marks = [one.job.checkpoint for one in table if one.job.checkpoint is not None]
    if not marks:
        return None
    deltas = []
    for one, mark in zip(table, marks, strict=True):
        side = one.prepared.edit_cells.shape
        values = np.frombuffer(mark.delta, "<f4", offset=DIGEST_BYTES).reshape(-1, *side)
        deltas.append(torch.from_numpy(values.copy()))
    return Resume(marks[0].step, torch.stack(deltas))


def signed(digest: bytes, values: NDArray[np.float32]) -> bytes:
    """Give a step as bytes: what it follows from, then float32, little-endian, [C, h, w].

    The film, a mask in the archive, the model or the machine may be others by the time that a job
    goes on. A step of another edit must not be gone on with, and what another machine computed
    would not be what the record of the edit says.
    """
    return digest + values.tobytes()


def _hooks(turn: Turn, seats: Mapping[str, int], size: int, digests: Mapping[str, bytes]) -> Hooks:
    """Keep every step, and stop when no job of the batch is ours to run any more."""
    asked = time.monotonic()
    kept = 0

    def stepped(done: int, delta: torch.Tensor) -> None:
        nonlocal asked, kept
        values = delta.detach().to("cpu", torch.float32).numpy().astype("<f4", copy=False)
        marks = {
            job: Checkpoint(done, seat, size, signed(digests[job], values[seat]))
            for job, seat in seats.items()
        }
        asked, kept = time.monotonic(), done
        if not turn.step(done, marks):
            raise EditCancelledError(f"The edit was cancelled after {done} steps.")

    def progress(done: int, total: int) -> None:
        if done > kept:  # a method whose steps are not kept
            turn.tell(list(seats), done, total)

    def cancelled() -> bool:
        nonlocal asked
        if time.monotonic() - asked < ASK_S:
            return False
        asked = time.monotonic()
        return not turn.alive(seats)

    return Hooks(progress=progress, cancelled=cancelled, stepped=stepped)


def _sentence(error: Exception) -> str:
    if isinstance(error, (RadEditError, DicomError)):
        return str(error)
    return unexpected(error)
