"""A loaded checkpoint: text, images and noise in, tensors out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from radedit.lib.edit.backbone.files import component_files, locate
from radedit.lib.edit.backbone.modules import load_unet, load_vae, read_json
from radedit.lib.edit.backbone.noise import NoiseSchedule, noise_schedule
from radedit.lib.edit.backbone.text import (
    PromptTokenizer,
    TextEncoder,
    load_prompt_tokenizer,
    load_text_encoder,
)
from radedit.lib.edit.schedule import Schedule, make_schedule
from radedit.lib.errors import CheckpointError
from radedit.lib.settings import ComponentSpec, ModelSpec


@dataclass(frozen=True, eq=False)
class Backbone:
    """A latent diffusion model, frozen and in evaluation mode.

    Attributes
    ----------
    name : str
        Its key in the registry.
    sha256 : str
        Over the hashes of all its files (weights, configurations, vocabulary).
    image_size : int
        Pixels a side of the square image it works on.
    latent_shape : tuple of int
        (C, h, w) of its latents.
    unet, vae : torch modules
        UNet2DConditionModel and AutoencoderKL.
    text : TextEncoder
        Tokenizer and text encoder.
    noise : NoiseSchedule
        What the U-Net was trained with.
    """

    name: str
    sha256: str
    image_size: int
    latent_shape: tuple[int, int, int]
    unet: nn.Module
    vae: nn.Module
    text: TextEncoder
    noise: NoiseSchedule

    @property
    def device(self) -> torch.device:
        """Where the networks live."""
        return next(self.unet.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the U-Net; VAE and text encoder are always float32."""
        return next(self.unet.parameters()).dtype

    @property
    def max_tokens(self) -> int:
        """Prompt length, special tokens included."""
        return self.text.max_tokens

    @property
    def alphas_cumprod(self) -> npt.NDArray[np.float64]:
        """alpha_bar of every training timestep, float64 [num_train]."""
        return self.noise.alphas_cumprod

    @property
    def final_alpha_bar(self) -> float:
        """alpha_bar after the last step, for `make_schedule`."""
        return self.noise.final_alpha_bar

    def schedule(self, steps: int, skip: float, solver: str = "ddpm") -> Schedule:
        """Build a schedule of this model's noise; see `make_schedule`."""
        return make_schedule(self.alphas_cumprod, steps, skip, self.final_alpha_bar, solver)

    def check_prompt(self, text: str, what: str = "prompt") -> None:
        """Refuse a prompt that is empty, too long, or holds a word the encoder never saw.

        Parameters
        ----------
        text : str
            The prompt.
        what : str
            What a refusal calls it, e.g. "inversion prompt".

        Raises
        ------
        PromptError
            Names the part that would be cut, or the unknown words.
        """
        self.text.check_prompt(text, what)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Encode prompts; an empty text is the unconditional one.

        Returns
        -------
        float32 [N, max_tokens, D]

        Raises
        ------
        PromptError
            A text is too long; nothing is cut silently.
        """
        return self.text(texts)

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """Encode images to scaled latents, at the mode of the posterior (not a sample).

        Parameters
        ----------
        images : float [N, 1, S, S]
            -1 = black to 1 = white, S = image_size.

        Returns
        -------
        float32 [N, C, h, w]
        """
        size = self.image_size
        if images.ndim != 4 or images.shape[1:] != (1, size, size):
            raise ValueError(f"images is {tuple(images.shape)}; expected [N, 1, {size}, {size}].")
        grey = images.to(self.device, torch.float32)
        colour = grey.expand(-1, self._vae_config["in_channels"], -1, -1)
        mode: Tensor = self._codec.encode(colour).latent_dist.mode()
        scale, shift = self._scaling
        return (mode - shift) * scale

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Decode scaled latents.

        Returns
        -------
        float32 [N, 1, S, S]
            Mean over the decoder's channels; about -1..1, not clipped.
        """
        scale, shift = self._scaling
        z = latents.to(self.device, torch.float32) / scale + shift
        decoded: Tensor = self._codec.decode(z, return_dict=False)[0]
        return decoded.mean(dim=1, keepdim=True)

    @torch.inference_mode()
    def denoise(self, x_t: Tensor, t: int | Tensor, context: Tensor) -> Tensor:
        """Predict the noise in x_t.

        Parameters
        ----------
        x_t : float [N, C, h, w]
            Noised latents.
        t : int or long [N]
            Training timestep.
        context : float [N, L, D]
            From `encode_text`.

        Returns
        -------
        float [N, C, h, w], dtype of x_t
            eps; a v-prediction is converted by eps = sqrt(1 - alpha_bar) x_t + sqrt(alpha_bar) v.
        """
        return self.differentiable_denoise(x_t, t, context)

    def differentiable_denoise(self, x_t: Tensor, t: int | Tensor, context: Tensor) -> Tensor:
        """Predict as `denoise` does, in a graph that gradients with respect to context take."""
        steps = torch.as_tensor(t, dtype=torch.long, device=self.device).expand(len(x_t))
        predicted: Tensor = self.unet(
            x_t.to(self.device, self.dtype),
            steps,
            encoder_hidden_states=context.to(self.device, self.dtype),
            return_dict=False,
        )[0]
        predicted = predicted.to(x_t.dtype)
        if self.noise.prediction_type == "epsilon":
            return predicted
        alpha_bar = torch.as_tensor(self.alphas_cumprod, device=self.device)[steps]
        alpha_bar = alpha_bar.reshape(-1, 1, 1, 1)
        signal, noise = alpha_bar.sqrt().to(x_t.dtype), (1 - alpha_bar).sqrt().to(x_t.dtype)
        return noise * x_t + signal * predicted

    @property
    def _codec(self) -> Any:
        return cast(Any, self.vae)

    @property
    def _vae_config(self) -> Mapping[str, Any]:
        return cast(Mapping[str, Any], self.vae.config)

    @property
    def _scaling(self) -> tuple[float, float]:
        config = self._vae_config
        return float(config["scaling_factor"]), float(config.get("shift_factor") or 0.0)


def load_prompts(spec: ModelSpec) -> PromptTokenizer:
    """Load what says which prompts a model takes, without reading the model.

    Raises
    ------
    CheckpointError
        The tokenizer or the text encoder's configuration is not to be had, or is none.
    """
    encoder = component_files(spec, "text_encoder")
    config = read_json(encoder["config.json"], spec.name)
    files = component_files(spec, "tokenizer")
    loaded = load_prompt_tokenizer(files, config, spec.max_tokens, spec.name)
    return replace(loaded, knows=spec.knows)


def load_backbone(
    spec: ModelSpec, *, dtype: torch.dtype | None = None, device: str | torch.device = "cpu"
) -> Backbone:
    """Find, check and load a checkpoint.

    Parameters
    ----------
    spec : ModelSpec
        Entry of the registry (`Settings.model`).
    dtype : torch.dtype, optional
        Precision of the U-Net; None = float32, also for weights stored in half precision.
    device : str or torch.device
        Where to put the networks.

    Raises
    ------
    CheckpointError
        The device is not available here, or a file is missing, gated, offline, pickled, wrong,
        or asks for what edits do not do.
    """
    _check_device(device)
    files = locate(spec)
    paths = files.paths
    inline = spec.components.get("scheduler", ComponentSpec()).config
    scheduler = dict(inline) or read_json(paths["scheduler"]["scheduler_config.json"], spec.name)
    noise = noise_schedule(scheduler, spec.name)
    text = load_text_encoder(paths["tokenizer"], paths["text_encoder"], spec.max_tokens, spec.name)
    text = replace(text, knows=spec.knows, mask_padding=spec.mask_padding)
    vae = load_vae(paths["vae"], torch.float32, spec.name)
    unet = load_unet(paths["unet"], dtype or torch.float32, spec.name)
    text.network.to(device)
    for network in (vae, unet):
        arrange(network, device)
    image_size, latent_shape = _sizes(spec, unet, vae, text)
    record: dict[str, Any] = {
        "files": files.sha256,
        "scheduler": inline and dict(inline),
        "text": text.max_tokens,
    }
    if spec.mask_padding:  # named only where it is so: older records stay true
        record["mask_padding"] = True
    if image_size != _own_size(unet, vae):
        record["image_size"] = image_size
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
    return Backbone(spec.name, digest, image_size, latent_shape, unet, vae, text, noise)


def arrange(network: nn.Module, device: str | torch.device) -> None:
    """Put a network where it runs, in the order of memory that convolutions are fastest in."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def _check_device(device: str | torch.device) -> None:
    """Compute a number there; torch has three kinds of error for a device it lacks."""
    try:
        torch.zeros(1, device=device).item()
    except (AssertionError, ImportError, RuntimeError) as error:
        raise CheckpointError(
            f"The device '{device}' is not available here; set RADEDIT_DEVICE=cpu."
        ) from error


def _sizes(
    spec: ModelSpec, unet: Any, vae: Any, text: TextEncoder
) -> tuple[int, tuple[int, int, int]]:
    """Check that the parts fit together; return image size and latent shape."""
    channels, factor = vae.config.latent_channels, _factor(vae)
    image_size = spec.image_size or _own_size(unet, vae)
    width = text.network.config.hidden_size  # type: ignore[union-attr]
    if unet.config.in_channels != channels or unet.config.out_channels != channels:
        raise CheckpointError(
            f"Model '{spec.name}': its U-Net has {unet.config.in_channels} channels in and "
            f"{unet.config.out_channels} out; expected the {channels} of its VAE."
        )
    if unet.config.cross_attention_dim != width:
        raise CheckpointError(
            f"Model '{spec.name}': its U-Net expects prompts of width "
            f"{unet.config.cross_attention_dim}, its text encoder gives {width}."
        )
    return image_size, (channels, image_size // factor, image_size // factor)


def _factor(vae: Any) -> int:
    """Pixels of a latent cell."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


def _own_size(unet: Any, vae: Any) -> int:
    """Pixels a side as the configurations of the checkpoint say."""
    return int(unet.config.sample_size) * _factor(vae)
