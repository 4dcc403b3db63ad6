"""A diffusion model of a few thousand random weights: an edit with it takes a moment, not seconds.

What it draws means nothing; that the same request gives the same bytes, in every way in which it
can be run, can be tested with it as with any other.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch

from radedit.lib.pipeline import Editor
from radedit.lib.settings import Access, ModelSpec, load_settings

PROMPT = "left mass"
NAME = "tiny"
_WORDS = ["no", "acute", "cardiopulmonary", "process", "left", "right", "mass", ".", ","]
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
_STRONGER = 20  # the random decoder's contrast is too weak to be seen


def write(folder: Path, seed: int = 11) -> Path:
    """Write a checkpoint in the layout of diffusers: 64 pixels a side, 8 latent cells."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=16,
        attention_head_dim=8,
        norm_num_groups=8,
    ).save_pretrained(folder / "unet")
    vae = AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
    )
    with torch.no_grad():
        vae.decoder.conv_out.weight.mul_(_STRONGER)
    vae.save_pretrained(folder / "vae")
    DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False).save_pretrained(
        folder / "scheduler"
    )
    BertModel(
        BertConfig(
            vocab_size=len(_SPECIAL) + len(_WORDS),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=16,
        )
    ).save_pretrained(folder / "text_encoder")
    tokenizer = folder / "tokenizer"
    tokenizer.mkdir()
    (tokenizer / "vocab.txt").write_text("\n".join([*_SPECIAL, *_WORDS]) + "\n")
    tokens = {token.strip("[]").lower() + "_token": token for token in _SPECIAL}
    (tokenizer / "special_tokens_map.json").write_text(json.dumps(tokens))
    config = {**tokens, "do_lower_case": True, "model_max_length": 16}
    (tokenizer / "tokenizer_config.json").write_text(
        json.dumps({**config, "tokenizer_class": "BertTokenizer"})
    )
    return folder


def editor(root: Path, inversion_cache_mb: int = 64, seed: int = 11) -> Editor:
    """Give an editor whose only model is a tiny one, written below `root` unless it is there."""
    folder = root / NAME
    if not folder.is_dir():
        write(folder, seed)
    access = Access(models_dir=root / "models", hub_cache=root / "hub")
    spec = ModelSpec(
        NAME, "random, for tests", "none", access, folder=folder, verify="on-first-use"
    )
    settings = replace(
        load_settings(),
        models={NAME: spec},
        default_model=NAME,
        inversion_cache_mb=inversion_cache_mb,
        dtype="float32",
    )
    return Editor(settings)
