from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from radedit.lib.edit.inversion import (
    InversionKey,
    TensorCache,
    draw_noise,
    draw_noise_batch,
    invert,
    q_sample,
)
from radedit.lib.edit.schedule import make_schedule

KEY = InversionKey("image", "model", ((999, 0.1), (499, 0.5)), "", 7)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4), st.integers(1, 9), st.data())
@settings(max_examples=25)
def test_a_case_draws_the_same_noise_at_any_batch_position(
    seeds: list[int], steps: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(seeds))))
    batch = draw_noise_batch((2, 4, 3), steps, seeds)
    other = draw_noise_batch((2, 4, 3), steps, [seeds[i] for i in order])
    for place, i in enumerate(order):
        alone = draw_noise((2, 4, 3), steps, torch.Generator().manual_seed(seeds[i]))
        assert torch.equal(other[:, place], alone)
        assert torch.equal(batch[:, i], alone)


def test_noise_is_standard_normal_and_independent_between_steps() -> None:
    noise = draw_noise((4, 32, 32), 8, torch.Generator().manual_seed(3))
    flat = noise.flatten(1).double()
    correlation = torch.corrcoef(flat) - torch.eye(8, dtype=torch.float64)
    assert flat.mean().abs() < 0.02
    assert (flat.var() - 1).abs() < 0.02
    assert correlation.abs().max() < 5 / 4096**0.5


def test_q_sample_has_the_mean_and_variance_of_equation_2(alphas_cumprod) -> None:
    step = next(iter(make_schedule(alphas_cumprod, 20, 0.5)))
    x0 = torch.full((1, 1, 300, 300), 3.0, dtype=torch.float64)
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_hat = q_sample(x0, eps, step)
    assert x_hat.mean() == pytest.approx(3 * step.alpha_bar**0.5, abs=0.02)
    assert x_hat.var() == pytest.approx(1 - step.alpha_bar, abs=0.02)
    assert torch.equal(q_sample(x0, torch.zeros_like(eps), step), x0 * step.alpha_bar**0.5)


@pytest.mark.parametrize(
    "change",
    [
        {"image_sha256": "other"},
        {"model_sha256": "other"},
        {"schedule": ((999, 0.1),)},
        {"invert_prompt": "lungs"},
        {"seed": 8},
        {"precision": "bfloat16/cuda"},
    ],
)
def test_cache_misses_when_any_part_of_the_key_differs(change: dict) -> None:
    cache = TensorCache()
    cache.put(KEY, torch.ones(2, 3))
    assert cache.get(replace(KEY, **change)) is None
    assert torch.equal(cache.get(replace(KEY)), torch.ones(2, 3))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), max_size=40))
@settings(max_examples=50)
def test_cache_never_holds_more_bytes_than_its_bound(puts: list[tuple[int, int]]) -> None:
    cache = TensorCache(max_bytes=256)
    for seed, size in puts:
        cache.put(replace(KEY, seed=seed), torch.zeros(size * 2))
        held = [cache.get(replace(KEY, seed=s)) for s in range(6)]
        assert cache.nbytes == sum(h.numel() * 4 for h in held if h is not None) <= 256
        assert len(cache) == sum(h is not None for h in held)


def test_cache_drops_the_least_recently_used_first() -> None:
    cache = TensorCache(max_bytes=3 * 16)
    keys = [replace(KEY, seed=s) for s in range(4)]
    for key in keys[:3]:
        cache.put(key, torch.zeros(4))
    cache.get(keys[0])
    cache.put(keys[3], torch.zeros(4))
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]


def test_cache_keeps_a_copy_the_caller_cannot_change() -> None:
    cache, value = TensorCache(), torch.zeros(4)
    cache.put(KEY, value)
    value += 1
    assert torch.equal(cache.get(KEY), torch.zeros(4))


@pytest.mark.parametrize("cases", [1, 3])
@pytest.mark.parametrize(("num_steps", "skip"), [(20, 0.3), (30, 0.0), (7, 0.5)])
def test_inversion_ahead_of_time_is_the_prediction_of_every_step(
    unets, alphas_cumprod, cases: int, num_steps: int, skip: float
) -> None:
    denoise = unets[torch.float32]
    schedule = make_schedule(alphas_cumprod, num_steps, skip)
    noise = draw_noise_batch((2, 8, 8), len(schedule), range(cases))
    x0 = torch.randn(cases, 2, 8, 8, generator=torch.Generator().manual_seed(5))
    context = torch.randn(cases, 4, 16, generator=torch.Generator().manual_seed(6))
    rows: list[int] = []

    def counted(x_t: torch.Tensor, t: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        rows.append(len(x_t))
        return denoise(x_t, t, c)

    found = invert(counted, x0, context, schedule, noise)
    assert sum(rows) == cases * len(schedule)  # skipped steps are never inverted
    assert max(rows) <= 16
    for step in schedule:
        one = denoise(q_sample(x0, noise[step.index], step), step.t, context)
        torch.testing.assert_close(found[step.index], one, rtol=1e-4, atol=1e-5)
    again = invert(denoise, x0, context, schedule, noise)
    assert torch.equal(found, again)
