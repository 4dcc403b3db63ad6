"""Cross-attention is read without touching the network, and overlaps are what they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from radedit.lib.edit.grounding import attention_map, overlap

WORDS = torch.tensor([False, True, True, False])


@pytest.fixture(scope="module")
def unet(make_unet: Callable[[], UNet2DConditionModel]) -> UNet2DConditionModel:
    return make_unet()


def test_the_map_is_what_diffusers_own_attention_computes(unet: UNet2DConditionModel) -> None:
    rng = torch.Generator().manual_seed(1)
    x, context = torch.randn(2, 2, 8, 8, generator=rng), torch.randn(2, 4, 16, generator=rng)
    found = attention_map(unet, lambda: unet(x, 10, context), WORDS, 4)
    seen = []

    class Telling(AttnProcessor):
        def __call__(self, attn, hidden_states, encoder_hidden_states=None, *args, **kwargs):  # type: ignore[no-untyped-def]
            if encoder_hidden_states is not None:
                query = attn.head_to_batch_dim(attn.to_q(hidden_states))
                key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
                scores = attn.get_attention_scores(query, key)
                seen.append(scores.reshape(2, -1, *scores.shape[1:])[..., WORDS].sum(-1).mean(1))
            return super().__call__(attn, hidden_states, encoder_hidden_states, *args, **kwargs)

    old = unet.attn_processors
    unet.set_attn_processor(Telling())
    with torch.no_grad():
        unet(x, 10, context)
    unet.set_attn_processor(old)
    maps = [
        torch.nn.functional.interpolate(
            m.reshape(2, 1, int(m.shape[1] ** 0.5), -1), (4, 4), mode="bilinear"
        )[:, 0]
        for m in seen
    ]
    torch.testing.assert_close(found, torch.stack(maps).mean(0))


def test_listening_changes_no_prediction_and_leaves_nothing_behind(
    unet: UNet2DConditionModel,
) -> None:
    rng = torch.Generator().manual_seed(2)
    x, context = torch.randn(1, 2, 8, 8, generator=rng), torch.randn(1, 4, 16, generator=rng)
    with torch.no_grad():
        before = unet(x, 10, context).sample
        during: list[torch.Tensor] = []
        attention_map(unet, lambda: during.append(unet(x, 10, context).sample), WORDS, 4)
    assert torch.equal(before, during[0])
    assert not any(module._forward_hooks for module in unet.modules())


def test_shares_of_all_words_together_are_the_whole(unet: UNet2DConditionModel) -> None:
    rng = torch.Generator().manual_seed(3)
    x, context = torch.randn(1, 2, 8, 8, generator=rng), torch.randn(1, 4, 16, generator=rng)
    every = attention_map(unet, lambda: unet(x, 10, context), torch.ones(4, dtype=torch.bool), 8)
    torch.testing.assert_close(every, torch.ones_like(every))


def test_a_map_that_is_the_mask_overlaps_wholly_and_one_beside_it_not_at_all() -> None:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2:5, 2:5] = True
    assert overlap(mask.float(), mask) == 1.0
    assert overlap((~mask).float(), mask) == 0.0
    assert overlap(torch.rand(8, 8), torch.ones_like(mask)) == 1.0
    half = mask.float()
    half[2:5, 2] = 0
    half[2:5, 5] = 0.5
    assert overlap(half, mask) == pytest.approx(6 / 12)


def test_no_word_is_refused(unet: UNet2DConditionModel) -> None:
    with pytest.raises(ValueError, match="no word"):
        attention_map(unet, lambda: None, torch.zeros(4, dtype=torch.bool), 8)
    with pytest.raises(ValueError, match="no cross-attention"):
        attention_map(torch.nn.Linear(2, 2), lambda: None, WORDS, 8)
