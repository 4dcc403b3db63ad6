"""LANCE, null texts and image to image: what each must leave alone, and the one interface."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from radedit.lib.edit.ddim import ddim_invert, ddim_step, ddim_unstep
from radedit.lib.edit.diffedit import as_diffedit
from radedit.lib.edit.inversion import draw_noise_batch
from radedit.lib.edit.lance import lance, lance_null_text
from radedit.lib.edit.methods import METHODS
from radedit.lib.edit.radedit import (
    Conditioning,
    EditCancelledError,
    EditMasks,
    Hooks,
    Plan,
    radedit,
)
from radedit.lib.edit.schedule import make_schedule
from radedit.lib.errors import RadEditError
from radedit.lib.parameters import METHOD_DEFAULTS, PARAMETERS, Defaults, validate_parameters

AB = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))
SHAPE = (2, 8, 8)
UNMASKED = [name for name, method in METHODS.items() if not method.uses_masks]


def text(*values: float) -> Tensor:
    """Prompts that the Gaussian denoiser takes for its mean, [N, 1, 1]."""
    return torch.tensor(values, dtype=torch.float64).reshape(-1, 1, 1)


def setting(n: int = 2, steps: int = 20, guidance: float = 5.0, skip: float = 0.3):
    rng = torch.Generator().manual_seed(3)
    x0 = torch.randn(n, *SHAPE, generator=rng, dtype=torch.float64)
    noise = draw_noise_batch(SHAPE, len(make_schedule(AB, steps, skip)), range(n))
    masks = EditMasks(torch.ones(n, 1, *SHAPE[1:]))
    return x0, masks, Plan(make_schedule(AB, steps, skip), noise, guidance)


def prompts(n: int, cond: float, uncond: float = 0.0, inversion: float = 0.0) -> Conditioning:
    return Conditioning(text(*[cond] * n), text(*[uncond] * n), text(*[inversion] * n))


class Knows:
    """The exact noise of one known image, whatever the prompt says."""

    def __init__(self, x0: Tensor) -> None:
        self.x0 = x0

    def __call__(self, x_t: Tensor, t: int, context: Tensor) -> Tensor:
        ab, times = float(AB[t]), len(x_t) // len(self.x0)
        known = self.x0.repeat(times, 1, 1, 1)
        unheard = 0 * context.mean()  # null texts ask for a gradient
        return (x_t - math.sqrt(ab) * known) / math.sqrt(1 - ab) + unheard


def test_the_table_of_methods_is_the_parameters_choices() -> None:
    assert tuple(METHODS) == PARAMETERS["method"].choices


def test_a_ddim_step_and_its_inverse_undo_each_other_for_one_noise() -> None:
    x0, _, plan = setting()
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=x0.dtype)
    for step in plan.schedule:
        torch.testing.assert_close(ddim_unstep(ddim_step(x0, eps, step), eps, step), x0)


def test_the_last_ddim_step_gives_the_clean_image_that_the_noise_stands_for() -> None:
    x0, _, plan = setting()
    last = list(plan.schedule)[-1]
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(1), dtype=x0.dtype)
    x_t = math.sqrt(last.alpha_bar) * x0 + math.sqrt(1 - last.alpha_bar) * eps
    torch.testing.assert_close(ddim_step(x_t, eps, last), x0)


@pytest.mark.parametrize("name", UNMASKED)
@pytest.mark.parametrize("w", [0.0, 1.0, 4.0, 7.5])
def test_a_network_that_knows_the_image_gives_it_back(name: str, w: float) -> None:
    x0, masks, plan = setting(guidance=w)
    delta = METHODS[name].run(Knows(x0), x0, prompts(2, 1.0), masks, plan, None)
    torch.testing.assert_close(delta, torch.zeros_like(delta), atol=1e-9, rtol=0)


def test_lance_without_a_prompt_comes_closer_to_the_film_the_more_steps_it_takes(gaussian) -> None:
    found = []
    for steps in (10, 40, 160):
        x0, masks, plan = setting(steps=steps, guidance=1.0, skip=0.0)
        same = prompts(2, 0.4, 0.0, 0.4)
        found.append(float(lance(gaussian(), x0, same, masks, plan).abs().max()))
    assert found[0] > 2 * found[1] > 4 * found[2]
    assert found[2] < 0.1


def test_the_exact_curve_of_a_gaussian_is_followed_to_its_noise(gaussian) -> None:
    # Along the exact curve (x - mu sqrt(ab)) / sqrt(ab s^2 + 1 - ab) does not change.
    x0, _, plan = setting(steps=500, skip=0.0)
    path = ddim_invert(gaussian(s=0.5), x0, text(0.4, 0.4), plan.schedule)
    ab = plan.schedule.alpha_bar[0]
    expected = 0.4 * math.sqrt(ab) + (x0 - 0.4) / 0.5 * math.sqrt(ab * 0.25 + 1 - ab)
    torch.testing.assert_close(path[0], expected, atol=0.02, rtol=0.02)


def test_lance_moves_a_gaussian_to_the_prompts_mean(gaussian) -> None:
    x0, masks, plan = setting(steps=300, guidance=1.0, skip=0.0)
    delta = lance(gaussian(), x0, prompts(2, 1.0, 0.0, 0.4), masks, plan)
    torch.testing.assert_close(delta, torch.full_like(delta, 0.6), atol=0.05, rtol=0)


def test_null_texts_bring_a_guided_way_back_to_the_film(gaussian) -> None:
    x0, masks, plan = setting(guidance=7.5)
    same = prompts(2, 0.4, 0.0, 0.4)  # asked for what the film shows already
    guided = lance(gaussian(), x0, same, masks, plan).abs().mean()
    bent = lance_null_text(gaussian(), x0, same, masks, plan).abs().mean()
    assert bent < 0.9 * guided


def test_null_texts_leave_no_gradient_in_the_weights() -> None:
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))

    def denoise(x_t: Tensor, t: int, context: Tensor) -> Tensor:
        return weight * x_t * context.mean()

    x0, masks, plan = setting(steps=3)
    delta = lance_null_text(denoise, x0, prompts(2, 0.4, 0.1, 0.4), masks, plan)
    assert weight.grad is None
    assert not delta.requires_grad


@pytest.mark.parametrize("name", UNMASKED)
def test_a_batch_is_its_cases_one_by_one(name: str, gaussian) -> None:
    x0, masks, plan = setting()
    batch = Conditioning(text(1.0, -1.0), text(0.0, 0.1), text(0.2, 0.3))
    run = METHODS[name].run
    together = run(gaussian(), x0, batch, masks, plan, None)
    for n in range(2):
        pick = slice(n, n + 1)
        one = Conditioning(batch.cond[pick], batch.uncond[pick], batch.inversion[pick])
        alone = run(
            gaussian(), x0[pick], one, EditMasks(masks.edit[pick]),
            replace(plan, noise=plan.noise[:, pick]), None,
        )  # fmt: skip
        torch.testing.assert_close(alone, together[pick])


@pytest.mark.parametrize("name", UNMASKED)
def test_masks_change_nothing_in_a_method_without_masks(name: str, gaussian) -> None:
    x0, masks, plan = setting()
    run = METHODS[name].run
    ones = run(gaussian(), x0, prompts(2, 1.0), masks, plan, None)
    half = torch.zeros_like(masks.edit)
    half[..., :4] = 1
    other = run(gaussian(), x0, prompts(2, 1.0), EditMasks(half, 1 - half), plan, None)
    assert torch.equal(ones, other)


@pytest.mark.parametrize("name", ["lance", "img2img"])
def test_without_guidance_the_prompt_is_not_heard(name: str, gaussian) -> None:
    x0, masks, plan = setting(guidance=0.0)
    run = METHODS[name].run
    one, other = (run(gaussian(), x0, prompts(2, c), masks, plan, None) for c in (1.0, -3.0))
    assert torch.equal(one, other)


def test_img2img_changes_more_the_more_noise_it_adds(gaussian) -> None:
    changes = []
    for skip in (0.9, 0.6, 0.0):
        x0, masks, plan = setting(steps=20, skip=skip)
        delta = METHODS["img2img"].run(gaussian(), x0, prompts(2, 0.0), masks, plan, None)
        changes.append(float(delta.abs().mean()))
    assert changes == sorted(changes)


def test_img2img_draws_from_the_gaussian_it_is_asked_for(gaussian) -> None:
    x0, masks, plan = setting(n=64, steps=200, guidance=1.0, skip=0.0)
    delta = METHODS["img2img"].run(gaussian(s=0.5), x0, prompts(64, 1.0), masks, plan, None)
    edited = x0 + delta
    assert float(edited.mean()) == pytest.approx(1.0, abs=0.05)
    assert float(edited.std()) == pytest.approx(0.5, abs=0.05)


def test_diffedit_is_radedit_with_one_mask(gaussian) -> None:
    x0, _, plan = setting()
    half = torch.zeros(2, 1, *SHAPE[1:])
    half[..., :4] = 1
    delta = METHODS["diffedit"].run(gaussian(), x0, prompts(2, 1.0), EditMasks(half), plan, None)
    expected = radedit(gaussian(), x0, prompts(2, 1.0), as_diffedit(EditMasks(half)), plan)
    assert torch.equal(delta, expected)
    assert not delta[..., 4:].any()
    assert delta[..., :4].all()


@pytest.mark.parametrize("name", UNMASKED)
def test_a_cancelled_edit_stops_after_the_step_it_is_at(name: str, gaussian) -> None:
    x0, masks, plan = setting()
    done: list[int] = []
    hooks = Hooks(progress=lambda i, n: done.append(i), cancelled=lambda: len(done) == 3)
    with pytest.raises(EditCancelledError, match="after 3 steps"):
        METHODS[name].run(gaussian(), x0, prompts(2, 1.0), masks, plan, hooks)


@pytest.mark.parametrize("name", UNMASKED)
def test_a_diverging_edit_is_refused(name: str) -> None:
    def denoise(x_t: Tensor, t: int, context: Tensor) -> Tensor:
        return x_t * float("inf") * context.mean()

    x0, masks, plan = setting(steps=2)
    with pytest.raises(RadEditError, match="not finite"):
        METHODS[name].run(denoise, x0, prompts(2, 1.0), masks, plan, None)


def test_img2img_runs_with_its_papers_strength_unless_told() -> None:
    paper = validate_parameters({"method": "img2img"}, Defaults(steps=20))
    assert (1 - paper.skip, paper.guidance) == (pytest.approx(0.4), 4.0)
    assert len(make_schedule(AB, paper.steps, paper.skip)) == 8
    told = validate_parameters({"method": "img2img", "guidance": 7.0}, Defaults(steps=20))
    assert (told.skip, told.guidance) == (0.6, 7.0)
    assert validate_parameters({}, Defaults()).guidance == Defaults().guidance
    assert set(METHOD_DEFAULTS) <= set(METHODS)
