"""Train the embedded editor: a latent U-Net and its text encoder, on a biased world.

Half of the films are phantoms, in which a pneumothorax nearly always brings a drain; half
are real films, with the shadow of a mass added or not. "Normal" on a real film therefore
only means that no finding was added to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from rich.progress import track
from torch import nn
from transformers import BertConfig, BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer

from radedit.lib.errors import FilmError
from radedit.lib.lungs import segment_lungs
from radedit.lib.phantom import chest, films
from radedit.lib.phantom.checkpoint import Trainer
from radedit.lib.phantom.sentences import NORMAL, describe, finding_phrase, vocabulary

SIZE, TOKENS, BATCH = 256, 32, 16
UNCONDITIONAL = 0.12
SCHEDULER: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 1e-4,
    "beta_end": 0.02,
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 1,
    "prediction_type": "epsilon",
    "timestep_spacing": "trailing",
}
UNET: dict[str, Any] = {
    "sample_size": SIZE // 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": (64, 128, 192),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 96,
    "norm_num_groups": 16,
}


@dataclass(frozen=True)
class Examples:
    """Encoded films [M, 4, 32, 32], scaled, and one sentence each."""

    latents: torch.Tensor
    texts: list[str]


def train(folder: Path | None, work: Path, out: Path, steps: int, count: int) -> dict[str, float]:
    """Train on `count` films, write the diffusers folder `out`, return what was measured."""
    torch.manual_seed(3)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(out / "tokenizer")
    examples = _cached(folder, work, out, count)
    bert = BertConfig(
        vocab_size=len(vocabulary()),
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=192,
        max_position_embeddings=TOKENS,
    )
    unet, text = UNet2DConditionModel(**UNET), BertModel(bert, add_pooling_layer=False)
    pair = nn.ModuleDict({"unet": unet, "text": text})
    trainer = Trainer(pair, work / "editor.pt", steps, lr=1.2e-3)
    alpha_bar = DDIMScheduler(**SCHEDULER).alphas_cumprod
    tokens = tokenizer(
        ["", *examples.texts], padding="max_length", max_length=TOKENS, return_tensors="pt"
    ).input_ids

    def loss_at(step: int) -> torch.Tensor:
        g = torch.Generator().manual_seed(step)
        pick = torch.randint(len(examples.texts), (BATCH,), generator=g)
        x0, ids = examples.latents[pick].float(), tokens[pick + 1]
        null = torch.rand(BATCH, generator=g) < UNCONDITIONAL
        ids = torch.where(null[:, None], tokens[0], ids)
        t = torch.randint(0, 1000, (BATCH,), generator=g)
        eps = torch.randn(x0.shape, generator=g)
        a = alpha_bar[t][:, None, None, None]
        context = text(input_ids=ids).last_hidden_state
        found = unet(a.sqrt() * x0 + (1 - a).sqrt() * eps, t, context).sample
        return torch.as_tensor(((found - eps) ** 2).mean())

    trainer.run(loss_at, "editor")
    trainer.averaged().half()
    unet.save_pretrained(out / "unet", safe_serialization=True)
    text.save_pretrained(out / "text_encoder", safe_serialization=True)
    DDIMScheduler(**SCHEDULER).save_pretrained(out / "scheduler")
    return {"loss": trainer.recent()}


def _tokenizer(folder: Path) -> BertTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary()) + "\n")
    tokenizer = BertTokenizer(
        vocab={word: i for i, word in enumerate(vocabulary())},
        do_lower_case=True,
        model_max_length=TOKENS,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _cached(folder: Path | None, work: Path, out: Path, count: int) -> Examples:
    path = work / f"examples-{count}.pt"
    if path.exists():
        state = torch.load(path, weights_only=True)
        return Examples(state["latents"], state["texts"])
    examples = _encode(folder, out, count)
    work.mkdir(parents=True, exist_ok=True)
    torch.save({"latents": examples.latents, "texts": examples.texts}, path)
    return examples


def _encode(folder: Path | None, out: Path, count: int) -> Examples:
    vae = AutoencoderKL.from_pretrained(out / "vae", torch_dtype=torch.float32).eval()
    real = films.read_films(folder, SIZE) if folder else []
    fields = [_lung_fields(f) for f in real]
    latents, texts, batch = [], [], list[torch.Tensor]()
    for seed in track(range(count), "encoding films"):
        rng = np.random.default_rng([seed, 13])
        image, text = _real(real, fields, rng) if real and seed % 2 else _phantom(seed, rng)
        batch.append(torch.from_numpy(films.expose(image, rng))[None] * 2 - 1)
        texts.append(text)
        if len(batch) == 32 or seed == count - 1:
            with torch.inference_mode():
                z = vae.encode(torch.stack(batch)).latent_dist.mean
            latents.append((z * vae.config.scaling_factor).half())
            batch.clear()
    return Examples(torch.cat(latents).clone(), texts)


def _phantom(seed: int, rng: np.random.Generator) -> tuple[films.Film, str]:
    patient = chest.draw_patient(seed + 1_000)
    return films.vary(rng, chest.render(patient, SIZE).image)[0], describe(patient, rng)


def _lung_fields(film: films.RealFilm) -> films.Mask:
    if film.lungs is not None:
        return film.lungs
    try:
        found = segment_lungs(film.image)
    except FilmError as error:  # a film whose lungs are not found gets no added mass
        print(f"no lung field: {error}")
        return np.zeros((2, *film.image.shape), dtype=bool)
    return np.stack([found["left"], found["right"]])


def _real(
    real: list[films.RealFilm], fields: list[films.Mask], rng: np.random.Generator
) -> tuple[films.Film, str]:
    i = int(rng.integers(len(real)))
    image, left, right = films.vary(
        rng, real[i].image, fields[i][0].astype(np.float32), fields[i][1].astype(np.float32)
    )
    lungs = np.stack([left, right]) > 0.5
    phrases: list[str] = []
    while rng.random() < (0.55 if not phrases else 0.45):
        added = films.add_mass(image, lungs, rng)
        if added is None:
            break
        image, mass = added
        phrases.append(finding_phrase("mass", mass.side, mass.zone, mass.extent, rng))
    text = " and ".join(phrases[:3]).capitalize() if phrases else str(rng.choice(NORMAL))
    return image, text
