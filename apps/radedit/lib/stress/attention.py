"""Attention grounding of an edit, MedEBench's: whether its words look at what may change."""

from __future__ import annotations

import math

import torch

from radedit.lib.cases import Prepared
from radedit.lib.edit.backbone import Backbone
from radedit.lib.edit.grounding import attention_map, overlap

HALF_NOISED = 0.5  # alpha_bar of the latent that is looked at


def grounding(prepared: Prepared, backbone: Backbone) -> dict[str, float]:
    """Compare where the prompt's words look with the edit mask, on the latent grid.

    Returns
    -------
    `attention_iou`, 0 to 1, and `attention_chance`, what a map that knows nothing would have
    """
    prompt, cells = prepared.case.request.prompt, prepared.edit_cells & ~prepared.keep_cells
    encoding = backbone.text.tokenizer.encode(prompt)
    words = torch.zeros(backbone.max_tokens, dtype=torch.bool)
    for at, special in enumerate(encoding.special_tokens_mask):
        words[at] = not special
    mask = torch.from_numpy(cells)
    alpha_bars = torch.from_numpy(backbone.alphas_cumprod)
    t = int((alpha_bars - HALF_NOISED).abs().argmin())
    x0 = backbone.encode(torch.from_numpy(prepared.image)[None, None])
    seeded = torch.Generator("cpu").manual_seed(prepared.parameters.seed)
    noise = torch.randn(x0.shape, generator=seeded).to(x0)
    x_t = math.sqrt(float(alpha_bars[t])) * x0 + math.sqrt(1 - float(alpha_bars[t])) * noise
    context = backbone.encode_text([prompt])
    seen = attention_map(
        backbone.unet, lambda: backbone.denoise(x_t, t, context), words, mask.shape[-1]
    )
    share = float(mask.float().mean())
    return {"attention_iou": overlap(seen[0].cpu(), mask), "attention_chance": share / (2 - share)}
