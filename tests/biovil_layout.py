"""BioViL-T's image encoder in the released layout, small and random; see its tests."""

from __future__ import annotations

import torch
from torch import Tensor


def batch_norm(state: dict[str, Tensor], name: str, channels: int) -> None:
    state[f"{name}.weight"] = torch.rand(channels) + 0.5
    state[f"{name}.bias"] = torch.randn(channels) * 0.1
    state[f"{name}.running_mean"] = torch.randn(channels) * 0.1
    state[f"{name}.running_var"] = torch.rand(channels) + 0.5
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def small_biovil_t() -> dict[str, Tensor]:
    """Give the layout at a size that a test can afford."""
    torch.manual_seed(3)
    return released_layout(8, (1, 2, 1, 1), 16, 8)


def released_layout(
    width: int, depths: tuple[int, ...], features: int, joint: int
) -> dict[str, Tensor]:
    """Write down every tensor's name, one by one, as the released file has them."""
    state: dict[str, Tensor] = {}
    resnet = "encoder.encoder"
    state[f"{resnet}.conv1.weight"] = torch.randn(width, 3, 7, 7) * 0.1
    batch_norm(state, f"{resnet}.bn1", width)
    inputs = width
    for stage, depth in enumerate(depths, 1):
        narrow = width * 2 ** (stage - 1)
        for block in range(depth):
            name = f"{resnet}.layer{stage}.{block}"
            sizes = {
                1: (narrow, inputs, 1, 1),
                2: (narrow, narrow, 3, 3),
                3: (4 * narrow, narrow, 1, 1),
            }
            for number, size in sizes.items():
                fan_in = size[1] * size[2] * size[3]
                state[f"{name}.conv{number}.weight"] = torch.randn(size) * (2 / fan_in) ** 0.5
                batch_norm(state, f"{name}.bn{number}", size[0])
            if block == 0:
                down = torch.randn(4 * narrow, inputs, 1, 1) * inputs**-0.5
                state[f"{name}.downsample.0.weight"] = down
                batch_norm(state, f"{name}.downsample.1", 4 * narrow)
            inputs = 4 * narrow
    state[f"{resnet}.fc.weight"] = torch.randn(10, inputs)
    state[f"{resnet}.fc.bias"] = torch.randn(10)
    state["encoder.backbone_to_vit.weight"] = torch.randn(features, inputs, 1, 1) * inputs**-0.5
    state["encoder.missing_previous_emb"] = torch.randn(1, features, 1, 1)
    state["encoder.vit_pooler.type_embed"] = torch.randn(2, 1, features)
    state["encoder.vit_pooler.blocks.0.attn.proj.weight"] = torch.randn(features, features)
    state["projector.model.0.weight"] = torch.randn(joint, 2 * features, 1, 1)
    batch_norm(state, "projector.model.1", joint)
    state["projector.model.3.weight"] = torch.randn(joint, joint, 1, 1)
    state["projector.model.3.bias"] = torch.randn(joint)
    return state
