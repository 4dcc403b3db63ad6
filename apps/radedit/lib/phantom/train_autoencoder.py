"""Train the embedded autoencoder on phantoms and real films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.typing import NDArray
from torch.nn import functional

from radedit.lib.phantom import corpus, films
from radedit.lib.phantom.checkpoint import Trainer

SIZE = 256
CROP, BATCH = 128, 8
THIN_WEIGHT = 4.0  # of the loss on drains, leads and lines, which take few pixels
CONFIG = {
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 8,
    "block_out_channels": (16, 32, 64, 96),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": SIZE,
    "scaling_factor": 1.0,
}
Film = NDArray[np.float32]


def train(
    folder: Path | None, phantoms: corpus.Corpus, work: Path, out: Path, steps: int
) -> dict[str, float]:
    """Train, write the diffusers folder `out`, return what was measured.

    The last patients of `phantoms`, and the real ones whose id begins with 0 or 1, are not
    trained on.
    """
    torch.manual_seed(1)
    real = films.read_films(folder, SIZE) if folder else []
    held = {f.patient_id for f in real if f.patient_id[0] in "01"}
    pool = [f.image for f in real if f.patient_id not in held]
    trainer = Trainer(AutoencoderKL(**CONFIG), work / "autoencoder.pt", steps, lr=1.5e-3)
    count = len(phantoms.patients) - min(24, len(phantoms.patients) // 4)
    thin = phantoms.mask("device") | phantoms.mask("drain")

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([step, 12])
        drawn = [_crop(rng, pool, (phantoms, thin, count)) for _ in range(BATCH)]
        x = torch.from_numpy(np.stack([image for image, _ in drawn]))[:, None] * 2 - 1
        weight = torch.from_numpy(np.stack([where for _, where in drawn]))[:, None]
        x, weight = x.to(trainer.device), weight.to(trainer.device)
        return reconstruction_loss(trainer.model, x, weight, seed=step)

    trainer.run(loss_at, "autoencoder")
    model = trainer.averaged()
    unseen = [f.image for f in real if f.patient_id in held]
    known = pool[:48] + [_float(image) for image in phantoms.shown[:48]]
    scale = 1 / _latent_std(model, known)
    model.register_to_config(scaling_factor=scale)
    model.half().save_pretrained(out, safe_serialization=True)
    model.float()
    return {
        "psnr_real_unseen_patients": _psnr(model, unseen[:24]),
        "psnr_phantom_unseen": _psnr(model, [_float(image) for image in phantoms.shown[count:]]),
        "scaling_factor": scale,
    }


def reconstruction_loss(
    model: AutoencoderKL, x: torch.Tensor, weight: torch.Tensor, seed: int
) -> torch.Tensor:
    """L1 of pixels and of their gradients, weighted, and a light pull of the latents to N(0, 1)."""
    posterior = model.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
    noise = noise.to(x.device)
    y = model.decode(posterior.mean + posterior.std * noise).sample
    pixels = (weight * (y - x).abs()).mean()
    edges = sum(
        functional.l1_loss(torch.diff(y, n=1, dim=d), torch.diff(x, n=1, dim=d)) for d in (2, 3)
    )
    low = functional.mse_loss(functional.avg_pool2d(y, 8), functional.avg_pool2d(x, 8))
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    return torch.as_tensor(pixels + edges + 2 * low + 2e-4 * kl)


def _float(image: NDArray[np.uint8]) -> Film:
    return image.astype(np.float32) / np.float32(255)


def _crop(
    rng: np.random.Generator,
    real: list[Film],
    drawn: tuple[corpus.Corpus, NDArray[np.bool_], int],
) -> tuple[Film, Film]:
    """One crop and the weight of its pixels; `drawn` is a corpus, its thin objects, a count."""
    if real and rng.random() < 0.4:
        image = real[int(rng.integers(len(real)))]
        where = np.zeros_like(image)
    else:
        phantoms, thin, count = drawn
        pick = int(rng.integers(count))
        is_bare = rng.random() < 0.25
        image = _float((phantoms.bare if is_bare else phantoms.shown)[pick])
        where = thin[pick].astype(np.float32) * (not is_bare)
    top, left = rng.integers(0, image.shape[0] - CROP + 1, 2)
    image, where = (a[top : top + CROP, left : left + CROP] for a in (image, where))
    if rng.random() < 0.5:
        image, where = image[:, ::-1].copy(), where[:, ::-1].copy()
    return films.expose(image, rng), 1 + np.float32(THIN_WEIGHT) * where


def _latent_std(model: AutoencoderKL, images: list[Film]) -> float:
    with torch.inference_mode():
        z = [model.encode(torch.from_numpy(i)[None, None] * 2 - 1).latent_dist.mean for i in images]
    return float(torch.cat(z).std())


def _psnr(model: AutoencoderKL, images: list[Film]) -> float:
    if not images:
        return float("nan")
    values = []
    for image in images:
        x = torch.from_numpy(image)[None, None] * 2 - 1
        with torch.inference_mode():
            y = model.decode(model.encode(x).latent_dist.mean).sample
        values.append(10 * np.log10(4 / float(((x - y) ** 2).mean())))
    return float(np.mean(values))
