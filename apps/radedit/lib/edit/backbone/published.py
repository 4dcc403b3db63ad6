"""Networks of the published sizes with random weights, to measure speed without the weights."""

from __future__ import annotations

from typing import Any, Final, cast

import torch
from torch import nn

from radedit.lib.edit.backbone.model import Backbone, arrange
from radedit.lib.edit.backbone.noise import noise_schedule
from radedit.lib.edit.backbone.text import TextEncoder

UNET: Final[dict[str, Any]] = {
    "sample_size": 64,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (128, 256, 512, 768, 1024),
    "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 4),
    "up_block_types": (*("CrossAttnUpBlock2D",) * 4, "UpBlock2D"),
    "cross_attention_dim": 768,
    "attention_head_dim": (4, 8, 16, 24, 32),  # diffusers means how many: each 32 wide
}
VAE: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "scaling_factor": 0.13025,
}
SCHEDULER: Final[dict[str, Any]] = {
    "_class_name": "DDIMScheduler",
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "num_train_timesteps": 1000,
    "prediction_type": "epsilon",
    "set_alpha_to_one": True,
    "timestep_spacing": "trailing",
}
TOKENS: Final = 128


def published_size(dtype: torch.dtype, device: str = "cpu", seed: int = 0) -> Backbone:
    """Build U-Net and VAE of arXiv 2312.12865 with random weights; they have no text encoder.

    Parameters
    ----------
    dtype : precision of the U-Net
    device : where the networks go
    seed : of the weights
    """
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    torch.manual_seed(seed)
    unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    for network, precision in ((unet, dtype), (vae, torch.float32)):
        arrange(network.eval().requires_grad_(False).to(precision), device)
    no_text = cast(TextEncoder, nn.Identity())
    noise = noise_schedule(SCHEDULER, "published size")
    return Backbone("published size", "", 512, (4, 64, 64), unet, vae, no_text, noise)
