from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from radedit.lib.edit.schedule import make_schedule, trailing_timesteps
from radedit.lib.errors import ParameterError

AB = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


@pytest.mark.parametrize("num_steps", [1, 3, 7, 20, 29, 30, 64, 100, 333, 999, 1000])
def test_timesteps_are_those_of_the_trailing_ddim_scheduler(num_steps: int) -> None:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

    ddim = DDIMScheduler(timestep_spacing="trailing")
    ddim.set_timesteps(num_steps)
    assert list(trailing_timesteps(1000, num_steps)) == ddim.timesteps.tolist()


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_timesteps_descend_from_the_noisiest_and_skip_leaves_out_the_first(
    num_steps: int, skip: float
) -> None:
    schedule = make_schedule(AB, num_steps, skip)
    whole = make_schedule(AB, num_steps)
    assert whole.timesteps[0] == 999
    assert len(whole) == num_steps
    assert list(schedule.timesteps) == sorted(set(schedule.timesteps), reverse=True)
    assert schedule.timesteps == whole.timesteps[-len(schedule) :]
    assert abs((num_steps - len(schedule)) - skip * num_steps) < 1 + 1e-6
    assert schedule.num_steps == num_steps


@given(st.integers(1, 1000), st.floats(0, 0.9))
def test_previous_alpha_bar_is_the_next_one_visited(num_steps: int, skip: float) -> None:
    schedule = make_schedule(AB, num_steps, skip)
    assert schedule.alpha_bar_prev[:-1].tolist() == schedule.alpha_bar[1:].tolist()
    assert schedule.alpha_bar_prev[-1] == 1.0
    assert schedule.alpha_bar.tolist() == AB[list(schedule.timesteps)].tolist()


@pytest.mark.parametrize(
    ("num_steps", "skip", "run"),
    [(100, 0.3, 70), (100, 0.29, 71), (10, 0.3, 7), (7, 0.999, 1), (1, 0.9, 1), (30, 0.0, 30)],
)
def test_skip_leaves_out_whole_steps(num_steps: int, skip: float, run: int) -> None:
    assert len(make_schedule(AB, num_steps, skip)) == run


@given(st.integers(1, 1000), st.sampled_from([1.0, AB[0]]))
def test_coefficients_are_those_of_equation_4(num_steps: int, final: float) -> None:
    """mu_t as Eq. 4 prints it, in extended precision, on random x and eps."""
    schedule = make_schedule(AB, num_steps, 0.0, final)
    x, eps = np.longdouble(1.7), np.longdouble(-0.6)
    for step in schedule:
        ab, prev = np.longdouble(step.alpha_bar), np.longdouble(step.alpha_bar_prev)
        if prev <= ab:  # final_alpha_bar of a schedule that ends at t = 0: no noise left to take
            continue
        sigma = np.sqrt((1 - prev) / (1 - ab)) * np.sqrt(1 - ab / prev)
        root = np.sqrt(max(np.longdouble(0), 1 - prev - sigma**2))
        mu = np.sqrt(prev) * (x - np.sqrt(1 - ab) * eps) / np.sqrt(ab) + root * eps
        assert step.sigma == pytest.approx(float(sigma), abs=1e-12)
        assert step.a * 1.7 + step.b * -0.6 == pytest.approx(float(mu), abs=1e-9)


def test_last_step_adds_no_noise_and_is_finite() -> None:
    schedule = make_schedule(AB, 30)
    assert schedule.sigma_t[-1] == 0.0
    for values in (schedule.a_t, schedule.b_t, schedule.sigma_t):
        assert np.isfinite(values).all()


@given(st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_condensed_timesteps_begin_as_the_even_ones_and_crowd_towards_the_image(
    num_steps: int, skip: float
) -> None:
    even, condensed = (make_schedule(AB, num_steps, skip, solver=s) for s in ("ddpm", "dpm"))
    assert condensed.timesteps[0] == even.timesteps[0]
    assert len(condensed) == len(even)
    assert list(condensed.timesteps) == sorted(set(condensed.timesteps), reverse=True)
    assert condensed.timesteps[-1] >= 0
    assert all(c <= e for c, e in zip(condensed.timesteps, even.timesteps, strict=True))
    assert condensed.order == (1 if len(even) < 3 else 2)
    assert even.order == 1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers
def test_steps_of_the_second_order_are_those_of_the_published_solver() -> None:
    """The mean of every step, against diffusers' SDE-DPM-Solver++ of second order."""
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    schedule = make_schedule(AB, 12, 0.3, solver="dpm")
    solver = DPMSolverMultistepScheduler(
        beta_schedule="linear",
        beta_start=1e-4,
        beta_end=0.02,
        algorithm_type="sde-dpmsolver++",
        final_sigmas_type="zero",
    )
    solver.set_timesteps(timesteps=list(schedule.timesteps))
    rng = torch.Generator().manual_seed(0)
    before: torch.Tensor | None = None
    for step in schedule:
        x, eps = torch.randn(2, 1, 4, 4, 4, generator=rng).double()
        clean = (x - math.sqrt(1 - step.alpha_bar) * eps) / math.sqrt(step.alpha_bar)
        mine = step.a * x + step.b * eps
        if before is not None:
            mine = mine + step.c * (clean - before)
        solver._step_index = step.index
        still = torch.zeros_like(x)
        if before is None or step.index == len(schedule) - 1:
            theirs = solver.dpm_solver_first_order_update(clean, sample=x, noise=still)
        else:
            outputs = [before, clean]
            theirs = solver.multistep_dpm_solver_second_order_update(outputs, sample=x, noise=still)
        # The solver keeps its own table of noise in float32.
        torch.testing.assert_close(mine, theirs.double(), rtol=1e-4, atol=1e-4)
        before = clean


@pytest.mark.parametrize(("num_steps", "skip"), [(0, 0.0), (1001, 0.0), (10, 1.0), (10, -0.1)])
def test_steps_and_skip_out_of_range_are_refused(num_steps: int, skip: float) -> None:
    with pytest.raises(ParameterError, match="expected"):
        make_schedule(AB, num_steps, skip)


def test_key_tells_schedules_apart() -> None:
    assert make_schedule(AB, 30).key == make_schedule(AB, 30).key
    assert make_schedule(AB, 30).key != make_schedule(AB, 30, 0.3).key
    assert make_schedule(AB, 30).key != make_schedule(AB**1.01, 30).key
