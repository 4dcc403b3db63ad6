"""Algorithm 3: identities, the textbook form as oracle, and what theory predicts."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from radedit.lib.edit.diffedit import as_diffedit
from radedit.lib.edit.inversion import draw_noise_batch, q_sample
from radedit.lib.edit.radedit import (
    Conditioning,
    EditCancelledError,
    EditMasks,
    Hooks,
    Plan,
    radedit,
)
from radedit.lib.edit.schedule import Schedule, make_schedule
from radedit.lib.errors import MaskError, RadEditError

SHAPE = (2, 8, 8)
DTYPES = (torch.float32, torch.bfloat16)
SOLVERS = ("ddpm", "dpm")
AB = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
quick = settings(max_examples=15, deadline=None)
slow = settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass(frozen=True)
class Case:
    """A drawn edit, without its denoiser."""

    x0: Tensor
    conditioning: Conditioning
    masks: EditMasks
    plan: Plan

    def run(self, denoise: Any, hooks: Hooks | None = None, **change: Any) -> Tensor:
        case = replace(self, **change)
        return radedit(denoise, case.x0, case.conditioning, case.masks, case.plan, hooks)

    def row(self, n: int) -> Case:
        """Pick the nth case of the batch."""
        pick = slice(n, n + 1)
        c, m, p = self.conditioning, self.masks, self.plan
        return Case(
            self.x0[pick],
            Conditioning(c.cond[pick], c.uncond[pick], c.inversion[pick]),
            EditMasks(m.edit[pick], None if m.keep is None else m.keep[pick]),
            replace(p, noise=p.noise[:, pick]),
        )


@st.composite
def cases(draw: Any, width: int = 1, sizes: tuple[int, int] = (1, 3)) -> Case:
    """Random latents, prompts, soft or hard masks; T dividing 1000 and not.

    `width` is 1 for the Gaussian denoiser, where the prompt is its own mean, and 16 for
    the U-Net. The inversion prompt is the empty one.
    """
    n = draw(st.integers(*sizes))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    dtype = draw(st.sampled_from(DTYPES))
    steps = draw(st.sampled_from([7, 20, 30]))
    skip, solver = draw(st.sampled_from([0.0, 0.3, 0.5])), draw(st.sampled_from(SOLVERS))
    schedule = make_schedule(AB, steps, skip, solver=solver)
    prompts = torch.randn(2, n, 1 if width == 1 else 4, width, generator=rng)
    masks = torch.rand(2, n, 1, *SHAPE[1:], generator=rng)
    if draw(st.booleans()):
        masks = masks.round()
    seeds = draw(st.lists(st.integers(0, 2**63 - 1), min_size=n, max_size=n))
    return Case(
        torch.randn(n, *SHAPE, generator=rng).to(dtype),
        Conditioning(prompts[0], prompts[1], prompts[1]),
        EditMasks(masks[0], masks[1]),
        Plan(
            schedule,
            draw_noise_batch(SHAPE, len(schedule), seeds),
            draw(st.floats(0, 15)),
        ),
    )


def both(claim: Any) -> Any:
    """Check a claim with the Gaussian denoiser and with the random U-Net."""

    def on_gaussian(gaussian: Any, data: Any) -> None:
        claim(data.draw(cases()), gaussian())

    def on_unet(unets: Any, data: Any) -> None:
        case = data.draw(cases(width=16, sizes=(1, 2)))
        claim(case, unets[case.x0.dtype])

    gaussian_test = given(data=st.data())(on_gaussian)
    unet_test = given(data=st.data())(on_unet)

    def test(denoiser: str, gaussian: Any, unets: Any) -> None:
        if denoiser == "gaussian":
            quick(gaussian_test)(gaussian=gaussian)
        else:
            slow(unet_test)(unets=unets)

    test.__name__ = claim.__name__
    return pytest.mark.parametrize("denoiser", ["gaussian", "unet"])(test)


def whole(case: Case, value: float) -> Tensor:
    return torch.full_like(case.masks.edit, value)


@both
def test_an_empty_edit_mask_and_empty_inversion_prompt_reproduce_x0(case: Case, f: Any) -> None:
    delta = case.run(f, masks=EditMasks(whole(case, 0), case.masks.keep))
    assert torch.equal(case.x0 + delta, case.x0.float())


@both
def test_editing_with_the_inversion_prompt_at_weight_one_reproduces_x0(case: Case, f: Any) -> None:
    c = case.conditioning
    delta = case.run(
        f,
        conditioning=Conditioning(c.cond, c.uncond, c.cond.clone()),
        masks=EditMasks(whole(case, 1), case.masks.keep),
        plan=replace(case.plan, guidance=1.0),
    )
    assert torch.equal(case.x0 + delta, case.x0.float())


@both
def test_the_empty_prompt_reproduces_x0_at_any_weight(case: Case, f: Any) -> None:
    c = case.conditioning
    delta = case.run(f, conditioning=Conditioning(c.uncond.clone(), c.uncond, c.inversion))
    assert torch.equal(case.x0 + delta, case.x0.float())


@both
def test_keeping_everything_reproduces_x0(case: Case, f: Any) -> None:
    c = case.conditioning
    delta = case.run(
        f,
        conditioning=Conditioning(c.cond, c.uncond, c.cond + 1),
        masks=EditMasks(case.masks.edit, whole(case, 1)),
    )
    assert torch.equal(case.x0 + delta, case.x0.float())


@both
def test_kept_latents_equal_x0_bit_for_bit_and_others_move(case: Case, f: Any) -> None:
    keep = case.masks.keep.round()
    keep[:, :, 0, :2] = torch.tensor([0.0, 1.0])
    delta = case.run(f, masks=EditMasks(whole(case, 1), keep), plan=replace(case.plan, guidance=5))
    kept = keep.bool().expand_as(delta)
    assert torch.equal((case.x0 + delta)[kept], case.x0.float()[kept])
    assert (delta[~kept] != 0).any()


@both
def test_no_keep_mask_equals_an_empty_one_and_differs_from_keeping_the_rest(
    case: Case, f: Any
) -> None:
    edit = torch.zeros_like(case.masks.edit)
    edit[..., 2:6, 2:6] = 1
    c = case.conditioning
    # An inversion prompt that differs moves what lies outside the edit mask as well.
    inverted = Conditioning(c.cond, c.uncond, c.uncond + 1)
    none = case.run(f, conditioning=inverted, masks=EditMasks(edit))
    empty = case.run(f, conditioning=inverted, masks=EditMasks(edit, whole(case, 0)))
    rest = case.run(f, conditioning=inverted, masks=EditMasks(edit, 1 - edit))
    assert torch.equal(none, empty)
    assert not torch.equal(none, rest)


@both
def test_with_an_empty_edit_mask_neither_prompt_nor_weight_matters(case: Case, f: Any) -> None:
    c = case.conditioning
    masks = EditMasks(whole(case, 0), case.masks.keep)
    inverted = Conditioning(c.cond, c.uncond, c.uncond + 1)
    one = case.run(f, conditioning=inverted, masks=masks)
    other = case.run(
        f,
        conditioning=replace(inverted, cond=c.cond * 3 + 1),
        masks=masks,
        plan=replace(case.plan, guidance=case.plan.guidance + 2),
    )
    assert torch.equal(one, other)
    assert (one != 0).any()


@both
def test_the_same_batch_gives_the_same_bytes(case: Case, f: Any) -> None:
    assert torch.equal(case.run(f), case.run(f))


@given(data=st.data())
@quick
def test_a_gaussian_batch_equals_its_cases_one_by_one_and_cached_exactly(
    gaussian: Any, data: Any
) -> None:
    case, collected = data.draw(cases(sizes=(2, 3))), []
    batch = case.run(gaussian(), Hooks(inverted=lambda _, e: collected.append(e)))
    alone = [case.row(n).run(gaussian()) for n in range(len(case.x0))]
    assert torch.equal(batch, torch.cat(alone))
    plan = replace(case.plan, e_inv=torch.stack(collected))
    assert torch.equal(batch, case.run(gaussian(), plan=plan))


BOUND = {torch.float32: 1e-4, torch.bfloat16: 0.1}
"""Largest difference between batch shapes, as a fraction of the largest change."""


def assert_close(one: Tensor, other: Tensor, dtype: torch.dtype) -> None:
    rounding = 32 * torch.finfo(dtype).eps  # of predictions of about 1, over all steps
    scale = max(float(one.abs().max()), rounding, 1e-3)
    assert float((one - other).abs().max()) <= BOUND[dtype] * scale


@both
def test_a_batch_agrees_with_its_cases_one_by_one(case: Case, f: Any) -> None:
    batch = case.run(f)
    for n in range(len(case.x0)):
        assert_close(batch[n : n + 1], case.row(n).run(f), case.x0.dtype)


@both
def test_a_cached_inversion_agrees_with_an_uncached_one(case: Case, f: Any) -> None:
    collected: list[Tensor] = []
    fresh = case.run(f, Hooks(inverted=lambda _, e: collected.append(e)))
    plan = replace(case.plan, e_inv=torch.stack(collected))
    assert_close(fresh, case.run(f, plan=plan), case.x0.dtype)


@both
def test_what_is_cached_does_not_depend_on_the_edit_it_was_collected_in(case: Case, f: Any) -> None:
    """So a cached edit can be replayed to the byte from an uncached edit with any prompt."""
    c, collected = case.conditioning, ([], [])
    for cond, kept in zip((c.cond + 1, c.cond - 1), collected, strict=True):
        case.run(
            f,
            Hooks(inverted=lambda _, e, kept=kept: kept.append(e)),
            conditioning=replace(c, cond=cond),
            masks=EditMasks(whole(case, 1)),
            plan=replace(case.plan, guidance=5.0),
        )
    assert torch.equal(torch.stack(collected[0]), torch.stack(collected[1]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("steps", [7, 20, 30])
def test_no_nan_in_any_precision(dtype: torch.dtype, steps: int, gaussian: Any, unets: Any) -> None:
    for f, shape in ((gaussian(), (1, 1, 1)), (unets[dtype], (1, 4, 16))):
        schedule = make_schedule(AB, steps)
        rng = torch.Generator().manual_seed(steps)
        prompts = torch.randn(3, *shape, generator=rng)
        delta = radedit(
            f,
            (3 * torch.randn(1, *SHAPE, generator=rng)).to(dtype),
            Conditioning(*prompts),
            EditMasks(torch.ones(1, 1, *SHAPE[1:])),
            Plan(schedule, draw_noise_batch(SHAPE, steps, [1]), 15.0),
        )
        assert torch.isfinite(delta).all()
        assert delta.dtype is torch.float32


# ---------------------------------------------------------------- the textbook oracle


def textbook(f: Any, case: Case) -> tuple[list[Tensor], Tensor]:
    """Algorithms 1 and 3 as printed, in float64: all x_t, and the last step's residual.

    With a schedule of second order, mu_t is that solver's for either image.

    z_t is isolated by dividing by sigma_t. At the last step sigma_t is 0, so there is no
    z_t that could put back what mu_t(x̂_t, e_inv) misses of x0: that is the residual.
    """
    c, w, masks = case.conditioning, case.plan.guidance, case.masks
    steps = list(case.plan.schedule)
    x_hats = [
        q_sample(case.x0, eps, step) for eps, step in zip(case.plan.noise, steps, strict=True)
    ]
    x_hats.append(case.x0)
    x, path = x_hats[0], [x_hats[0]]
    residual = torch.zeros_like(x)
    before: dict[str, Tensor] = {}
    for step, x_hat, x_hat_prev in zip(steps, x_hats[:-1], x_hats[1:], strict=True):

        def mu(which: str, x: Tensor, eps: Tensor, step: Any = step) -> Tensor:
            clean = (x - math.sqrt(1 - step.alpha_bar) * eps) / math.sqrt(step.alpha_bar)
            root = math.sqrt(max(0.0, 1 - step.alpha_bar_prev - step.sigma**2))
            ahead = step.c * (clean - before.get(which, clean))
            before[which] = clean
            return math.sqrt(step.alpha_bar_prev) * clean + root * eps + ahead

        difference = x_hat_prev - mu("original", x_hat, f(x_hat, step.t, c.inversion))
        z = difference / step.sigma if step.sigma > 0 else torch.zeros_like(x)
        if step.sigma == 0:
            residual = -difference * (1 - masks.keep)
        e_c, e_u = f(x, step.t, c.cond), f(x, step.t, c.uncond)
        eps = e_u + w * (e_c - e_u)
        eps = masks.edit * eps + (1 - masks.edit) * e_u
        x = mu("edited", x, eps) + step.sigma * z
        x = masks.keep * x_hat_prev + (1 - masks.keep) * x
        path.append(x)
    return path, residual


def in_float64(case: Case) -> Case:
    c, m = case.conditioning, case.masks
    return Case(
        case.x0.double(),
        Conditioning(c.cond.double(), c.uncond.double(), c.inversion.double() + 0.3),
        EditMasks(m.edit.double(), m.keep.double()),
        replace(case.plan, noise=case.plan.noise.double(), guidance=min(case.plan.guidance, 4)),
    )


def check_against_textbook(f: Any, case: Case, tolerance: float) -> None:
    path, residual = textbook(f, case)
    edited = case.x0 + case.run(f)
    assert torch.allclose(path[-1], edited + residual, rtol=tolerance, atol=tolerance)
    assert residual.square().mean().sqrt() > 1e-6 or bool((case.masks.keep == 1).all())


@given(data=st.data())
@quick
def test_textbook_form_differs_only_by_the_last_steps_residual(gaussian: Any, data: Any) -> None:
    check_against_textbook(gaussian(), in_float64(data.draw(cases())), 1e-9)


@given(data=st.data())
@slow
def test_textbook_form_agrees_on_a_random_network(unets: Any, data: Any) -> None:
    # The network runs in float32, so rounding of its input feeds back over the steps.
    check_against_textbook(
        unets[torch.float32], in_float64(data.draw(cases(width=16, sizes=(1, 1)))), 1e-3
    )


@given(data=st.data())
@quick
def test_textbook_form_agrees_fully_where_the_last_step_has_noise(gaussian: Any, data: Any) -> None:
    """With final_alpha_bar < 1 sigma never vanishes and no residual is left before t = 0."""
    case = in_float64(data.draw(cases()))
    drawn = case.plan.schedule
    solver = SOLVERS[drawn.order - 1]
    # Above AB[0]: condensed steps may end at t = 0, whose noise would otherwise be all there is.
    schedule = make_schedule(AB, drawn.num_steps, drawn.skip, 0.99995, solver)
    case = replace(case, plan=replace(case.plan, schedule=schedule))
    f = gaussian()
    path, residual = textbook(f, case)
    assert not residual.any()
    assert torch.allclose(path[-1], case.x0 + case.run(f), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- what theory predicts


@given(data=st.data(), s=st.floats(0.05, 2))
@quick
def test_edit_of_gaussian_data_has_its_closed_form(gaussian: Any, data: Any, s: float) -> None:
    """delta_0 = D (1 - ab_T) / (ab_T s^2 + 1 - ab_T), whatever steps lie between.

    With the exact eps, mu_t(x, eps) is E[x_prev | x_t], so one step multiplies what is
    left of the shift D = mu_u + m w (mu_c - mu_u) - mu_inv by (ab_t v_prev) / (ab_prev v_t)
    with v_t = ab_t s^2 + 1 - ab_t; the product over the steps telescopes. A keep mask of
    0 or 1 multiplies by 1 - m_keep.
    """
    case = in_float64(data.draw(cases()))
    drawn = case.plan.schedule
    even = make_schedule(AB, drawn.num_steps, drawn.skip)
    case = replace(case, plan=replace(case.plan, schedule=even))
    masks = EditMasks(case.masks.edit, case.masks.keep.round())
    delta = case.run(gaussian(s), masks=masks)
    c, w = case.conditioning, case.plan.guidance
    mu_c, mu_u, mu_inv = (p.reshape(-1, 1, 1, 1) for p in (c.cond, c.uncond, c.inversion))
    shift = mu_u + masks.edit * w * (mu_c - mu_u) - mu_inv
    ab = case.plan.schedule.alpha_bar[0]
    expected = (1 - masks.keep) * shift * (1 - ab) / (ab * s**2 + 1 - ab)
    assert torch.allclose(delta, expected.expand_as(delta), rtol=1e-8, atol=1e-8)


@given(data=st.data())
@quick
def test_fully_edited_point_mass_arrives_at_the_prompts_own_mean(gaussian: Any, data: Any) -> None:
    case = in_float64(data.draw(cases()))
    c = replace(case.conditioning, inversion=case.conditioning.uncond)
    delta = case.run(
        gaussian(1e-9),
        x0=c.uncond.reshape(-1, 1, 1, 1).expand_as(case.x0),
        conditioning=c,
        masks=EditMasks(whole(case, 1)),
        plan=replace(case.plan, guidance=1.0),
    )
    arrived = c.uncond.reshape(-1, 1, 1, 1) + delta
    assert torch.allclose(arrived, c.cond.reshape(-1, 1, 1, 1).expand_as(delta), atol=1e-8)


def test_skipping_noisy_steps_keeps_more_of_the_original(gaussian: Any) -> None:
    moved = []
    for skip in (0.0, 0.3, 0.6, 0.9):
        schedule = make_schedule(AB, 20, skip)
        plan = Plan(schedule, draw_noise_batch(SHAPE, len(schedule), [0]), 1.0)
        prompts = torch.tensor([[[[2.0]]], [[[0.0]]], [[[0.0]]]])
        delta = radedit(
            gaussian(1.0),
            torch.zeros(1, *SHAPE),
            Conditioning(*prompts),
            EditMasks(torch.ones(1, 1, *SHAPE[1:])),
            plan,
        )
        moved.append(float(delta.mean()))
    assert moved == sorted(moved, reverse=True)
    assert moved[0] == pytest.approx(2.0, abs=1e-3)
    assert moved[-1] < 0.3


# ---------------------------------------------------------------- calls, hooks, refusals


def simple_case(schedule: Schedule, n: int = 2) -> Case:
    prompts = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1).expand(2, n, 1, 1)
    return Case(
        torch.zeros(n, *SHAPE),
        Conditioning(prompts[0], prompts[1], prompts[1]),
        EditMasks(torch.ones(n, 1, *SHAPE[1:])),
        Plan(schedule, draw_noise_batch(SHAPE, len(schedule), list(range(n))), 3.0),
    )


def test_a_step_is_one_call_of_three_rows_a_case_and_two_when_cached(gaussian: Any) -> None:
    case = simple_case(make_schedule(AB, 10, 0.3))
    f, e_inv = gaussian(rows=[], seen=[]), []
    case.run(f, Hooks(inverted=lambda _, e: e_inv.append(e)))
    assert f.rows == [4] + [6] * 6  # first: e_u = e_inv, one call for both
    assert tuple(f.seen) == case.plan.schedule.timesteps  # skipped steps are never evaluated
    f.rows.clear()
    case.run(f, plan=replace(case.plan, e_inv=torch.stack(e_inv)))
    assert f.rows == [2] + [4] * 6


def test_evaluations_of_the_released_call_are_209_and_139_cached(gaussian: Any) -> None:
    case = simple_case(make_schedule(AB, 100, 0.3), n=1)
    f, e_inv = gaussian(rows=[]), []
    case.run(f, Hooks(inverted=lambda _, e: e_inv.append(e)))
    assert sum(f.rows) == 209
    f.rows.clear()
    case.run(f, plan=replace(case.plan, e_inv=torch.stack(e_inv)))
    assert sum(f.rows) == 139


def test_progress_is_told_after_every_step(gaussian: Any) -> None:
    told: list[tuple[int, int]] = []
    case = simple_case(make_schedule(AB, 10, 0.3))
    case.run(gaussian(), Hooks(progress=lambda done, total: told.append((done, total))))
    assert told == [(i, 7) for i in range(1, 8)]


def test_cancelling_stops_before_the_next_step(gaussian: Any) -> None:
    f = gaussian(rows=[])
    with pytest.raises(EditCancelledError, match="after 3 steps"):
        simple_case(make_schedule(AB, 10)).run(f, Hooks(cancelled=lambda: len(f.rows) == 3))
    assert len(f.rows) == 3


def test_prompts_of_one_row_serve_all_cases(gaussian: Any) -> None:
    case = simple_case(make_schedule(AB, 7))
    c = case.conditioning
    one = Conditioning(c.cond[:1], c.uncond[:1], c.inversion[:1])
    assert torch.equal(case.run(gaussian()), case.run(gaussian(), conditioning=one))


@pytest.mark.parametrize(
    ("edit", "keep"),
    [
        (torch.ones(2, 1, 4, 8), None),
        (torch.ones(1, 1, 8, 8), None),
        (torch.ones(2, 1, 8, 8), torch.ones(2, 1, 4, 4)),
        (torch.ones(2, 8, 8), None),
        (torch.full((2, 1, 8, 8), 1.5), None),
        (torch.full((2, 1, 8, 8), math.nan), None),
        (torch.ones(2, 1, 8, 8), torch.full((2, 1, 8, 8), -0.1)),
    ],
)
def test_masks_that_do_not_fit_are_refused(gaussian: Any, edit: Tensor, keep: Tensor) -> None:
    with pytest.raises(MaskError, match="mask"):
        simple_case(make_schedule(AB, 7)).run(gaussian(), masks=EditMasks(edit, keep))


def test_noise_of_another_schedule_is_refused(gaussian: Any) -> None:
    case = simple_case(make_schedule(AB, 7))
    with pytest.raises(ValueError, match="noise is"):
        case.run(gaussian(), plan=replace(case.plan, schedule=make_schedule(AB, 8)))


def test_a_diverged_edit_is_an_error_and_not_an_image(gaussian: Any) -> None:
    def broken(x_t: Tensor, t: int, context: Tensor) -> Tensor:
        return torch.full_like(x_t, math.inf) * (1 if t < 500 else 0.1)

    with pytest.raises(RadEditError, match="not finite"):
        simple_case(make_schedule(AB, 7)).run(broken)


# ---------------------------------------------------------------- DiffEdit


def diffedit_as_printed(f: Any, case: Case) -> Tensor:
    """Algorithm 2 for a hard mask, in float64: x_t itself, pasted back after every step."""
    c, w = case.conditioning, case.plan.guidance
    inside = case.masks.edit * (1 - case.masks.keep)
    steps = list(case.plan.schedule)
    x_hats = [
        q_sample(case.x0, eps, step) for eps, step in zip(case.plan.noise, steps, strict=True)
    ]
    x = x_hats[0]
    for step, x_hat, x_hat_prev in zip(steps, x_hats, [*x_hats[1:], case.x0], strict=True):
        e_inv = f(x_hat, step.t, c.inversion)
        noise = x_hat_prev - (step.a * x_hat + step.b * e_inv)  # sigma_t z_t
        e_c, e_u = f(x, step.t, c.cond), f(x, step.t, c.uncond)
        x = step.a * x + step.b * (e_u + w * (e_c - e_u)) + noise
        x = inside * x + (1 - inside) * x_hat_prev
    return x


@given(case=cases())
@quick
def test_diffedit_is_algorithm_2(gaussian: Any, case: Case) -> None:
    hard = EditMasks(case.masks.edit.round(), case.masks.keep.round())
    case = in_float64(replace(case, masks=hard))
    f = gaussian()
    found = case.x0 + case.run(f, masks=as_diffedit(case.masks))
    torch.testing.assert_close(found, diffedit_as_printed(f, case), rtol=1e-8, atol=1e-8)


@given(case=cases())
@quick
def test_diffedit_changes_nothing_outside_its_mask(gaussian: Any, case: Case) -> None:
    hard = EditMasks(case.masks.edit.round(), case.masks.keep.round())
    delta = replace(case, masks=hard).run(gaussian(), masks=as_diffedit(hard))
    outside = ((hard.edit == 0) | (hard.keep == 1)).expand_as(delta)
    assert not delta[outside].any()
