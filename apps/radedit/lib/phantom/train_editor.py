"""Train the embedded editor: a latent U-Net and its text encoder, on a biased world.

Most films are phantoms, in which a pneumothorax nearly always brings a drain, each beside the
same patient without them; the others are pairs of one real film with and without the shadow
of a mass added. "Normal" on a real film therefore only means that no finding was added to it.

The loss is the usual one on the noise, weighted by SNR^-1/2 (bounded), since plain weighting
hardly sees structure at the noise levels where an edit decides, and more inside lesions.
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
from torch.nn import functional
from transformers import BertConfig, BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer

from radedit.lib.errors import FilmError
from radedit.lib.lungs import segment_lungs
from radedit.lib.phantom import films
from radedit.lib.phantom.checkpoint import Trainer
from radedit.lib.phantom.corpus import Corpus
from radedit.lib.phantom.findings import Finding
from radedit.lib.phantom.sentences import NORMAL, describe, finding_phrase, vocabulary
from radedit.lib.phantom.world import without, without_devices
from radedit.lib.whole_files import replacing, write_file

SIZE, TOKENS, BATCH = 256, 32, 16
UNCONDITIONAL = 0.12
LESION_WEIGHT, DEVICE_WEIGHT = 6.0, 4.0
REAL_SHARE = 0.22  # of the examples drawn, where there are real films
REAL_PAIRS = 700
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
    "in_channels": 8,
    "out_channels": 8,
    "block_out_channels": (64, 128, 192),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "cross_attention_dim": 96,
    # The pooled prompt also shifts every layer: a small network learns that much sooner.
    "addition_embed_type": "text",
    "addition_embed_type_num_heads": 4,
    "norm_num_groups": 16,
}


@dataclass(frozen=True)
class Examples:
    """Encoded films and what they show.

    Attributes
    ----------
    latents : float16 [M, C, 32, 32], scaled
    weights : float16 [M, 1, 32, 32], 1 and more where a finding or device is, or was taken out
    texts : M sentences
    real : how many of the M, at the end, are real films
    """

    latents: torch.Tensor
    weights: torch.Tensor
    texts: list[str]
    real: int


@dataclass(frozen=True)
class Example:
    """One film before it is encoded: image and weight float32 [S, S]."""

    image: films.Film
    weight: films.Film
    text: str


def train(
    folder: Path | None, phantoms: Corpus, work: Path, out: Path, steps: int
) -> dict[str, float]:
    """Train on a corpus and a folder of real films, write the diffusers folder `out`."""
    torch.manual_seed(3)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(out / "tokenizer")
    examples = _cached(folder, phantoms, work, out)
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
    weight = ((1 - alpha_bar) / alpha_bar).sqrt().clamp(0.3, 10)
    tokens = tokenizer(
        ["", *examples.texts], padding="max_length", max_length=TOKENS, return_tensors="pt"
    ).input_ids
    count, real = len(examples.texts), examples.real

    def loss_at(step: int) -> torch.Tensor:
        g = torch.Generator().manual_seed(step)
        pick = torch.randint(count - real, (BATCH,), generator=g)
        if real:
            from_real = count - real + torch.randint(real, (BATCH,), generator=g)
            pick = torch.where(torch.rand(BATCH, generator=g) < REAL_SHARE, from_real, pick)
        x0, ids = examples.latents[pick].float(), tokens[pick + 1]
        null = torch.rand(BATCH, generator=g) < UNCONDITIONAL
        ids = torch.where(null[:, None], tokens[0], ids)
        # Four in five draws lie where an edit with the usual skip of 0.3 runs.
        last = torch.where(torch.rand(BATCH, generator=g) < 0.8, 750, 1000)
        t = (torch.rand(BATCH, generator=g) * last).long()
        eps = torch.randn(x0.shape, generator=g)
        a = alpha_bar[t][:, None, None, None]
        where = weight[t][:, None, None, None] * examples.weights[pick].float()
        noisy = a.sqrt() * x0 + (1 - a).sqrt() * eps
        noisy, eps, t, ids, where = (v.to(trainer.device) for v in (noisy, eps, t, ids, where))
        found = unet(noisy, t, text(input_ids=ids).last_hidden_state).sample
        return torch.as_tensor((where * (found - eps) ** 2).mean())

    trainer.run(loss_at, "editor")
    trainer.averaged().half()
    unet.save_pretrained(out / "unet", safe_serialization=True)
    text.save_pretrained(out / "text_encoder", safe_serialization=True)
    DDIMScheduler(**SCHEDULER).save_pretrained(out / "scheduler")
    return {"loss": trainer.recent()}


def _tokenizer(folder: Path) -> BertTokenizer:
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "vocab.txt", "\n".join(vocabulary()) + "\n")
    tokenizer = BertTokenizer(
        vocab={word: i for i, word in enumerate(vocabulary())},
        do_lower_case=True,
        model_max_length=TOKENS,
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def _cached(folder: Path | None, phantoms: Corpus, work: Path, out: Path) -> Examples:
    path = work / f"examples-{len(phantoms.patients)}.pt"
    if not path.exists():
        examples = _encode(folder, phantoms, out)
        work.mkdir(parents=True, exist_ok=True)
        with replacing(path) as stream:
            torch.save(vars(examples), stream)
    return Examples(**torch.load(path, weights_only=True))


def _encode(folder: Path | None, phantoms: Corpus, out: Path) -> Examples:
    vae = AutoencoderKL.from_pretrained(out / "vae", torch_dtype=torch.float32).eval()
    latents, weights, texts = list[torch.Tensor](), list[torch.Tensor](), list[str]()

    def add(examples: list[Example]) -> None:
        x = torch.from_numpy(np.stack([e.image for e in examples]))[:, None] * 2 - 1
        with torch.inference_mode():
            z = vae.encode(x).latent_dist.mean
        latents.append((z * vae.config.scaling_factor).half())
        where = torch.from_numpy(np.stack([e.weight for e in examples]))[:, None]
        weights.append(functional.adaptive_max_pool2d(where, SIZE // 8).half())
        texts.extend(e.text for e in examples)

    for number in track(range(len(phantoms.patients)), "encoding phantoms"):
        add(_phantom(phantoms, number))
    count = len(texts)
    real = films.read_films(folder, SIZE) if folder else []
    fields = [_lung_fields(f) for f in real]
    for number in track(range(REAL_PAIRS if real else 0), "encoding real films"):
        rng = np.random.default_rng([number, 13])
        pick = int(rng.integers(len(real)))
        add(_real(real[pick], fields[pick], rng))
    return Examples(
        torch.cat(latents).clone(), torch.cat(weights).clone(), texts, len(texts) - count
    )


def _phantom(phantoms: Corpus, number: int) -> list[Example]:
    """One patient as drawn, without findings, and without devices, as far as they differ."""
    rng = np.random.default_rng([number, 17])
    patient, exposure = phantoms.patients[number], int(rng.integers(2**31))

    def layer(name: str) -> films.Mask:
        return np.asarray(phantoms.mask_of(name, number))

    weight = 1 + LESION_WEIGHT * (layer("finding") | layer("drain"))
    weight = (weight + DEVICE_WEIGHT * layer("device")).astype(np.float32)
    cured = without(patient)
    if "pneumothorax" in patient.kinds:
        cured = without_devices(cured, "chest drain")
    variants = [(phantoms.shown, patient)]
    if patient.findings:
        variants.append((phantoms.clear, cured))
    if cured.devices:
        variants.append((phantoms.bare, without_devices(cured)))
    return [
        Example(
            films.expose(images[number] / np.float32(255), np.random.default_rng(exposure)),
            weight,
            describe(who, rng),
        )
        for images, who in variants
    ]


def _lung_fields(film: films.RealFilm) -> films.Mask:
    if film.lungs is not None:
        return film.lungs
    try:
        found = segment_lungs(film.image)
    except FilmError as error:  # a film whose lungs are not found gets no added mass
        print(f"no lung field: {error}")
        return np.zeros((2, *film.image.shape), dtype=bool)
    return np.stack([found["left"], found["right"]])


def _real(film: films.RealFilm, field: films.Mask, rng: np.random.Generator) -> list[Example]:
    normal, left, right = films.vary(
        rng, film.image, field[0].astype(np.float32), field[1].astype(np.float32)
    )
    lungs = np.stack([left, right]) > 0.5
    image, phrases = normal, list[str]()
    while not phrases or (len(phrases) < 4 and rng.random() < 0.4):
        added = films.add_mass(image, lungs, rng)
        if added is None:
            break
        image, mass = added
        phrases.append(finding_phrase(Finding("mass", mass.side, mass.zone, mass.extent, 0), rng))
    where = (1 + LESION_WEIGHT * (np.abs(image - normal) > 0.02)).astype(np.float32)
    exposure = int(rng.integers(2**31))
    twins = [Example(films.expose(normal, np.random.default_rng(exposure)), where, _normal(rng))]
    if phrases:
        shown = films.expose(image, np.random.default_rng(exposure))
        twins.append(Example(shown, where, " and ".join(phrases[:3]).capitalize()))
    return twins


def _normal(rng: np.random.Generator) -> str:
    return str(rng.choice(NORMAL))
