"""Train the embedded autoencoder on phantoms and real films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from numpy.typing import NDArray
from torch.nn import functional

from radedit.lib.phantom import chest, films
from radedit.lib.phantom.checkpoint import Trainer

SIZE = 256
CROP, BATCH = 128, 8
CONFIG = {
    "in_channels": 1,
    "out_channels": 1,
    "latent_channels": 4,
    "block_out_channels": (16, 32, 64, 96),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": SIZE,
    "scaling_factor": 1.0,
}


def train(folder: Path | None, work: Path, out: Path, steps: int) -> dict[str, float]:
    """Train, write the diffusers folder `out`, return what was measured."""
    torch.manual_seed(1)
    real = films.read_films(folder, 2 * CROP) if folder else []
    held = {f.patient_id for f in real if f.patient_id[0] in "01"}
    pool = [f for f in real if f.patient_id not in held]
    phantoms = [chest.render(chest.draw_patient(seed), SIZE).image for seed in range(400)]
    trainer = Trainer(AutoencoderKL(**CONFIG), work / "autoencoder.pt", steps, lr=1.5e-3)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([step, 12])
        x = torch.from_numpy(np.stack([_crop(rng, pool, phantoms) for _ in range(BATCH)]))
        return reconstruction_loss(trainer.model, x[:, None] * 2 - 1, seed=step)

    trainer.run(loss_at, "autoencoder")
    model = trainer.averaged()
    tests = [f.image for f in real if f.patient_id in held][:24]
    unseen = [chest.render(chest.draw_patient(s), SIZE).image for s in range(20_000, 20_024)]
    scale = 1 / _latent_std(model, [f.image for f in pool[:48]] + phantoms[:48])
    model.register_to_config(scaling_factor=scale)
    model.half().save_pretrained(out, safe_serialization=True)
    model.float()
    return {
        "psnr_real_unseen_patients": _psnr(model, tests),
        "psnr_phantom_unseen": _psnr(model, unseen),
        "scaling_factor": scale,
    }


def reconstruction_loss(model: AutoencoderKL, x: torch.Tensor, seed: int) -> torch.Tensor:
    """L1 of the pixels and of their gradients, and a light pull of the latents to N(0, 1)."""
    posterior = model.encode(x).latent_dist
    noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
    y = model.decode(posterior.mean + posterior.std * noise).sample
    edges = sum(
        functional.l1_loss(torch.diff(y, n=1, dim=d), torch.diff(x, n=1, dim=d)) for d in (2, 3)
    )
    low = functional.mse_loss(functional.avg_pool2d(y, 8), functional.avg_pool2d(x, 8))
    kl = 0.5 * (posterior.mean**2 + posterior.var - 1 - posterior.logvar).mean()
    return torch.as_tensor(functional.l1_loss(y, x) + edges + 2 * low + 2e-4 * kl)


def _crop(
    rng: np.random.Generator, real: list[films.RealFilm], phantoms: list[NDArray[np.float32]]
) -> NDArray[np.float32]:
    if real and rng.random() < 0.6:
        image = real[int(rng.integers(len(real)))].image
    else:
        image = phantoms[int(rng.integers(len(phantoms)))]
    top, left = rng.integers(0, image.shape[0] - CROP + 1, 2)
    image = image[top : top + CROP, left : left + CROP]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    return films.expose(image, rng)


def _latent_std(model: AutoencoderKL, images: list[NDArray[np.float32]]) -> float:
    with torch.inference_mode():
        z = [model.encode(torch.from_numpy(i)[None, None] * 2 - 1).latent_dist.mean for i in images]
    return float(torch.cat(z).std())


def _psnr(model: AutoencoderKL, images: list[NDArray[np.float32]]) -> float:
    if not images:
        return float("nan")
    values = []
    for image in images:
        x = torch.from_numpy(image)[None, None] * 2 - 1
        with torch.inference_mode():
            y = model.decode(model.encode(x).latent_dist.mean).sample
        values.append(10 * np.log10(4 / float(((x - y) ** 2).mean())))
    return float(np.mean(values))
