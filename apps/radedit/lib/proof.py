"""Whether a checkpoint is what it should be: by hash, by shape and by what it does to a film.

Hashes say that the files are the right ones where someone has published them; the shapes that
they fit together; and figures that together they do what they were trained for. Untrained or
damaged weights, another VAE's scaling and another kind of prediction load without an error,
and only the figures tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from radedit.lib.edit.backbone import Backbone, load_backbone
from radedit.lib.edit.backbone.files import locate
from radedit.lib.edit.precision import describe, resolve
from radedit.lib.errors import CheckpointError, ParameterError
from radedit.lib.geometry import SquareGrid
from radedit.lib.scoring import load_scorer
from radedit.lib.settings import ModelSpec, Settings
from radedit.lib.settings_file import SCORER

#: A film through the VAE and back. Trained ones reach 30 and more, random weights about 10.
MIN_PSNR_DB: Final = 25.0
#: Mean squared error of the predicted noise, whose own mean square is 1.
MAX_UNEXPLAINED: Final = 0.5
NOISE_LEVELS: Final = (0.2, 0.5, 0.8)  # of the training timesteps
#: A VAE's scaling factor is there to bring this near 1.
LATENT_STD: Final = (0.4, 2.5)
PREDICTIONS: Final = ("epsilon", "v_prediction")
SEED: Final = 0


@dataclass(frozen=True)
class Proof:
    """What was found about one model.

    Attributes
    ----------
    model, licence : str
    files : mapping of str to str
        "component/file" to its sha256.
    unpinned : tuple of str
        Files whose hash the registry does not pin: recorded at their first load.
    shape : mapping of str to value
        Sizes, read off what was loaded.
    figures : mapping of str to float
        `reconstruction_psnr_db` in dB; `latent_std`, of the film's scaled latents;
        `noise_unexplained_T` for each noise level T, 0 = all of the noise was recognised, 1 =
        none; `noise_unexplained_otherwise`, the mean of those with the network's answer taken
        for the other kind of prediction, which must be worse.
    faults : tuple of str
        One sentence each; none = it is right as far as can be told here.
    notes : tuple of str
        What does not stop edits.
    precision : str
        What its U-Net runs in, and what the device does in each precision.
    """

    model: str
    licence: str
    files: Mapping[str, str] = field(default_factory=dict)
    unpinned: tuple[str, ...] = ()
    shape: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    precision: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults


def prove(settings: Settings, spec: ModelSpec, film: NDArray[np.float32]) -> Proof:
    """Load a model and put it to the test; everything that is wrong is in the result.

    Parameters
    ----------
    settings : says on which device and in which precision
    spec : the model's entry of the registry
    film : float32 [rows, columns], 0 to 1, 1 = white
        A frontal chest film.
    """
    try:
        files = locate(spec).sha256
        dtype = resolve(settings.dtype, settings.device)
        backbone = load_backbone(spec, dtype=getattr(torch, dtype), device=settings.device)
    except (CheckpointError, ParameterError) as error:
        return Proof(spec.name, spec.licence, faults=(str(error),))
    figures = figures_of(backbone, film)
    notes, scored = _scorer(spec, backbone)
    return Proof(
        spec.name,
        spec.licence,
        files=files | scored,
        unpinned=tuple(key for key in files if key not in spec.sha256),
        shape=shape_of(backbone),
        figures=figures,
        faults=tuple(_faults(figures)),
        notes=notes,
        precision=f"Its U-Net runs in {dtype}. {describe(settings.device)}",
    )


def shape_of(backbone: Backbone) -> dict[str, Any]:
    """Read off sizes that tell one model from another."""
    unet: Any = backbone.unet
    return {
        "image_size": backbone.image_size,
        "latent_shape": list(backbone.latent_shape),
        "unet_parameters": _parameters(backbone.unet),
        "unet_channels": list(unet.config.block_out_channels),
        "prompt_width": unet.config.cross_attention_dim,
        "vae_parameters": _parameters(backbone.vae),
        "text_parameters": _parameters(backbone.text.network),
        "max_tokens": backbone.max_tokens,
        "padding_is_masked": backbone.text.mask_padding,
        "prediction": backbone.noise.prediction_type,
    }


def figures_of(backbone: Backbone, film: NDArray[np.float32]) -> dict[str, float]:
    """Measure what the networks do to a film; see `Proof.figures`."""
    rows, cols = film.shape
    grid = SquareGrid(rows, cols, backbone.image_size)
    square = grid.down(film) * 2 - 1
    x0 = backbone.encode(torch.from_numpy(square)[None, None])
    decoded = backbone.decode(x0)[0, 0].float().cpu().numpy()
    inside = grid.down(np.ones_like(film)) > 0.999  # not its padding
    other = PREDICTIONS[1 - PREDICTIONS.index(backbone.noise.prediction_type)]
    otherwise = replace(backbone, noise=replace(backbone.noise, prediction_type=other))
    misread = noise_unexplained(otherwise, x0).values()
    return {
        "reconstruction_psnr_db": psnr_db(decoded[inside], square[inside]),
        "latent_std": float(x0.std()),
        **noise_unexplained(backbone, x0),
        "noise_unexplained_otherwise": sum(misread) / len(misread),
    }


def psnr_db(found: NDArray[np.float32], true: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB of pixels from -1 to 1."""
    error = (np.clip(found, -1, 1) - true) / 2
    return 10 * math.log10(1 / max(float(np.mean(error**2)), 1e-12))


def noise_unexplained(backbone: Backbone, x0: torch.Tensor) -> dict[str, float]:
    """Add noise to a film's latents and ask the network for it, with an empty prompt.

    Parameters
    ----------
    backbone : Backbone
    x0 : float [1, C, h, w], the latents

    Returns
    -------
    dict of str to float
        The part of the noise's variance that was not predicted, at each noise level.
    """
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(SEED)).to(x0.device)
    context = backbone.encode_text([""])
    found = {}
    for level in NOISE_LEVELS:
        t = int(level * len(backbone.alphas_cumprod))
        alpha_bar = float(backbone.alphas_cumprod[t])
        x_t = math.sqrt(alpha_bar) * x0 + math.sqrt(1 - alpha_bar) * noise
        error = backbone.denoise(x_t, t, context) - noise
        found[f"noise_unexplained_{t}"] = float((error**2).mean() / (noise**2).mean())
    return found


def _faults(figures: Mapping[str, float]) -> list[str]:
    faults = []
    psnr = figures["reconstruction_psnr_db"]
    if not psnr >= MIN_PSNR_DB:
        faults.append(
            f"the VAE gives a film back with {psnr:.1f} dB, expected {MIN_PSNR_DB:g} or more: its "
            "weights are not those of a trained VAE, or its configuration is another's."
        )
    spread, (low, high) = figures["latent_std"], LATENT_STD
    if not low <= spread <= high:
        faults.append(
            f"a film's latents have a standard deviation of {spread:.2g}, expected {low:g} to "
            f"{high:g}: the VAE's scaling_factor is another's."
        )
    otherwise = figures["noise_unexplained_otherwise"]
    noise = [v for k, v in figures.items() if k.startswith("noise_")][: len(NOISE_LEVELS)]
    if not max(noise) <= MAX_UNEXPLAINED:
        faults.append(
            f"the U-Net does not recognise {max(noise):.0%} of the noise in a film, expected "
            f"{MAX_UNEXPLAINED:.0%} or less: it is not trained, or not with this VAE and scheduler."
        )
    elif otherwise <= sum(noise) / len(noise):
        faults.append(
            "the U-Net recognises noise better when its answer is taken for the other kind of "
            "prediction: the scheduler's prediction_type is wrong."
        )
    return faults


def _scorer(spec: ModelSpec, backbone: Backbone) -> tuple[tuple[str, ...], dict[str, str]]:
    """Load what scores the model's edits; give notes, and the hashes of its files."""
    if SCORER not in spec.components:
        return ("its edits are not scored: the registry names no scorer.",), {}
    try:
        load_scorer(spec, backbone)
        return (), locate(spec, [SCORER]).sha256
    except CheckpointError as error:
        return (f"its edits are made and not scored: {error}",), {}


def _parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
