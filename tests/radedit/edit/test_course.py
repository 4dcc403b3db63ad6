"""An edit that is followed: stopped anywhere, it goes on from its last step to the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from radedit.lib.cases import Case, EditRequest
from radedit.lib.edit.course import Course, EditCancelledError, Hooks, Resume, stoppable
from radedit.lib.edit.inversion import draw_noise_batch
from radedit.lib.edit.radedit import Conditioning, EditMasks, Plan, radedit
from radedit.lib.edit.schedule import make_schedule
from radedit.lib.pipeline import Editor
from radedit.lib.sources import FilmSources
from radedit_dicom.film import Film, read_film


class KilledError(Exception):
    """What ends an edit in the middle."""


class Keeper:
    """Keeps the last step as bytes, as a database would, and ends the edit after `last`."""

    def __init__(self, last: int | None = None) -> None:
        self.last = last
        self.kept: tuple[int, bytes, tuple[int, ...]] | None = None

    def stepped(self, done: int, delta: Tensor) -> None:
        values = delta.cpu().numpy()
        self.kept = done, values.astype("<f4").tobytes(), values.shape
        if done == self.last:
            raise KilledError

    @property
    def resume(self) -> Resume:
        assert self.kept is not None
        done, content, shape = self.kept
        return Resume(done, torch.from_numpy(np.frombuffer(content, "<f4").reshape(shape).copy()))


def random_edit(
    unets: Any, alphas_cumprod: np.ndarray, solver: str = "ddpm"
) -> tuple[Callable[..., Tensor], Plan]:
    rng = torch.Generator().manual_seed(3)
    x0, prompts = torch.randn(2, 2, 8, 8, generator=rng), torch.randn(2, 2, 4, 16, generator=rng)
    masks = EditMasks(*torch.rand(2, 2, 1, 8, 8, generator=rng).round())
    schedule = make_schedule(alphas_cumprod, 7, 0.0, solver=solver)
    plan = Plan(schedule, draw_noise_batch((2, 8, 8), len(schedule), [1, 2]))
    f, conditioning = unets[torch.float32], Conditioning(prompts[0], prompts[1], prompts[1])
    return lambda plan, hooks=None: radedit(f, x0, conditioning, masks, plan, hooks), plan


@pytest.mark.parametrize("last", range(1, 8))
@pytest.mark.parametrize("solver", ["ddpm", "dpm"])
def test_an_edit_resumed_after_any_step_gives_the_bytes_of_one_never_stopped(
    unets: Any, alphas_cumprod: np.ndarray, solver: str, last: int
) -> None:
    run, plan = random_edit(unets, alphas_cumprod, solver)
    keeper = Keeper(last)
    with pytest.raises(KilledError):
        run(plan, Hooks(stepped=keeper.stepped))
    assert torch.equal(run(replace(plan, resume=keeper.resume)), run(plan))


def test_only_the_steps_behind_the_last_finished_one_are_run_again(
    unets: Any, alphas_cumprod: np.ndarray
) -> None:
    run, plan = random_edit(unets, alphas_cumprod)
    keeper, told = Keeper(5), []
    with pytest.raises(KilledError):
        run(plan, Hooks(stepped=keeper.stepped))
    resumed = replace(plan, resume=keeper.resume)
    run(resumed, Hooks(progress=lambda done, total: told.append((done, total))))
    assert told == [(6, 7), (7, 7)]


def test_a_delta_of_another_batch_is_refused(unets: Any, alphas_cumprod: np.ndarray) -> None:
    run, plan = random_edit(unets, alphas_cumprod)
    with pytest.raises(ValueError, match="delta is"):
        run(replace(plan, resume=Resume(1, torch.zeros(3, 2, 8, 8))))


def test_a_cancelled_edit_calls_the_network_no_more() -> None:
    calls: list[int] = []

    def denoise(x_t: Tensor, t: int | Tensor, context: Tensor) -> Tensor:
        calls.append(len(x_t))
        return x_t

    heeding = stoppable(denoise, Hooks(cancelled=lambda: bool(calls)))
    heeding(torch.zeros(1), 1, torch.zeros(1))
    with pytest.raises(EditCancelledError):
        heeding(torch.zeros(1), 1, torch.zeros(1))
    assert calls == [1]


@pytest.fixture(scope="module")
def film(rg1: Path) -> Film:
    return read_film(rg1)


@pytest.mark.parametrize("method", ["radedit", "diffedit"])
def test_a_batch_of_real_edits_resumed_in_a_new_editor_stores_the_same_values(
    film: Film, method: str
) -> None:
    parameters = {"steps": 5, "seed": 7, "method": method}
    requests = [
        EditRequest(p, "ellipse:1470,862,125,140", parameters=parameters)
        for p in ("Large left lung mass", "No acute cardiopulmonary process")
    ]
    cases = [Case(film, request, FilmSources(film)) for request in requests]
    whole = Editor().edit_batch(cases)
    keeper = Keeper(2)
    with pytest.raises(KilledError):
        Editor().edit_batch(cases, course=Course(Hooks(stepped=keeper.stepped)))
    resumed = Editor().edit_batch(cases, course=Course(resume=keeper.resume))
    for before, after in zip(whole, resumed, strict=True):
        np.testing.assert_array_equal(before.stored, after.stored)
