"""Where the network looks for a prompt's words: cross-attention against the edit mask.

MedEBench asks of every edit whether the words are grounded in the region that
is to change, by the overlap of their cross-attention with it. Queries and keys are listened to
while the network runs once; nothing in it is replaced.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

CROSS = ".attn2"  # diffusers' name of a block's attention to the prompt


@torch.no_grad()
def attention_map(
    network: nn.Module, run: Callable[[], object], words: Tensor, size: int
) -> Tensor:
    """Mean cross-attention to some words, over heads and layers.

    Parameters
    ----------
    network : nn.Module
        A UNet2DConditionModel.
    run : callable
        Calls the network once, on N cases.
    words : bool [L]
        True = a word of the prompt; no special token, no padding.
    size : int
        Cells a side of the result.

    Returns
    -------
    float32 [N, size, size]
        Share of the attention that goes to the words; each layer has the same weight.

    Raises
    ------
    ValueError
        No word is given, or the network attends to no prompt.
    """
    if not bool(words.any()):
        raise ValueError("no word was given to look for")
    heard: dict[str, Tensor] = {}
    layers = [name for name, _ in network.named_modules() if name.endswith(CROSS)]
    if not layers:
        raise ValueError("the network has no cross-attention")

    def listen(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hear(module: nn.Module, given: Any, answer: Tensor) -> None:
            heard[name] = answer.detach()

        return hear

    with ExitStack() as hooks:
        for layer in layers:
            for part in ("to_q", "to_k"):
                name = f"{layer}.{part}"
                handle = network.get_submodule(name).register_forward_hook(listen(name))
                hooks.callback(handle.remove)
        run()
    maps = [
        _shares(heard[f"{x}.to_q"], heard[f"{x}.to_k"], _heads(network, x), words) for x in layers
    ]
    grown = [
        nn.functional.interpolate(m[:, None], (size, size), mode="bilinear", antialias=False)[:, 0]
        for m in maps
    ]
    return torch.stack(grown).mean(0)


def overlap(attention: Tensor, mask: Tensor) -> float:
    """Intersection over union of a mask and as many cells that are attended to most.

    Parameters
    ----------
    attention : float [h, w]
    mask : bool [h, w]

    Returns
    -------
    0 to 1; a map that knows nothing of the mask has area / (2 - area) on average
    """
    count = int(mask.sum())
    if count in (0, mask.numel()):
        return float(count > 0)
    most = torch.zeros_like(mask).flatten()
    most[attention.flatten().topk(count).indices] = True
    found = most.reshape(mask.shape)
    return float((found & mask).sum() / (found | mask).sum())


def _heads(network: nn.Module, layer: str) -> int:
    return int(network.get_submodule(layer).heads)  # type: ignore[arg-type]


def _shares(query: Tensor, key: Tensor, heads: int, words: Tensor) -> Tensor:
    """Attention of each place to the words, [N, h, w]."""
    n, places, width = query.shape
    side = math.isqrt(places)
    q = query.float().reshape(n, places, heads, width // heads).transpose(1, 2)
    k = key.float().reshape(n, key.shape[1], heads, width // heads).transpose(1, 2)
    weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(width // heads), dim=-1)
    return weights[..., words.to(weights.device)].sum(-1).mean(1).reshape(n, side, side)
