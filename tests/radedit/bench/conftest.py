"""A small random editor and judge in the layout of the shipped ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from radedit.lib.phantom import networks
from radedit.lib.phantom.train_judge import LABELS

TOKENS = 32


@dataclass(frozen=True)
class Small:
    """Where the small models lie: a settings file that names the editor, a judge's folder."""

    config: Path
    judge: Path


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler
    from transformers import BertConfig, BertModel

    from radedit.lib.phantom.sentences import vocabulary
    from radedit.lib.phantom.train_editor import SCHEDULER, _tokenizer

    base = tmp_path_factory.mktemp("small")
    torch.manual_seed(4)
    AutoencoderKL(
        in_channels=1, out_channels=1, latent_channels=4, block_out_channels=(8, 8),
        down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
        norm_num_groups=4, sample_size=64,
    ).save_pretrained(base / "editor" / "vae")  # fmt: skip
    UNet2DConditionModel(
        sample_size=32, in_channels=4, out_channels=4, block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1, cross_attention_dim=16, attention_head_dim=8, norm_num_groups=4,
    ).save_pretrained(base / "editor" / "unet")  # fmt: skip
    BertModel(
        BertConfig(
            vocab_size=len(vocabulary()), hidden_size=16, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=32, max_position_embeddings=TOKENS,
        ),
        add_pooling_layer=False,
    ).save_pretrained(base / "editor" / "text_encoder")  # fmt: skip
    DDIMScheduler(**SCHEDULER).save_pretrained(base / "editor" / "scheduler")
    (base / "editor" / "tokenizer").mkdir()
    _tokenizer(base / "editor" / "tokenizer")
    config = base / "settings.toml"
    config.write_text(
        f"""
        default_model = "small"
        models_dir = "{base / "locks"}"
        [models.small]
        title = "small random editor"
        licence = "none"
        folder = "{base / "editor"}"
        verify = "on-first-use"
        """
    )
    judge = {
        "network": "classifier",
        "channels": [8, 8],
        "labels": list(LABELS),
        "image_size": 64,
        "thresholds": dict.fromkeys(LABELS, 0.5),
        "measured": {},
    }
    networks.save(networks.build(judge), judge, base / "judge")
    return Small(config, base / "judge")
