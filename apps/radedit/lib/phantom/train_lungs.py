"""Train the embedded lung segmenter on phantoms and on real films with masks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn import functional

from radedit.lib.lungs import CONFIG, build_network
from radedit.lib.phantom import chest, films
from radedit.lib.phantom.checkpoint import Trainer

BATCH = 8
HELD_OUT = 6  # patients with masks that no training step sees


def train(folder: Path | None, work: Path, out: Path, steps: int) -> dict[str, float]:
    """Train, write `out` (config.json, model.safetensors), return what was measured."""
    size = int(CONFIG["image_size"])
    real = [f for f in films.read_films(folder, size) if f.lungs is not None] if folder else []
    patients = sorted({f.patient_id for f in real})
    held = set(patients[:: max(1, len(patients) // HELD_OUT)][:HELD_OUT])
    train_on = [f for f in real if f.patient_id not in held]
    phantoms = [_phantom(seed, size) for seed in range(300)]
    trainer = Trainer(build_network(), work / "lungs.pt", steps, lr=2e-3)

    def loss_at(step: int) -> torch.Tensor:
        rng = np.random.default_rng([step, 11])
        batch = [_sample(rng, train_on, phantoms) for _ in range(BATCH)]
        image = torch.from_numpy(np.stack([b[0] for b in batch]))[:, None]
        target = torch.from_numpy(np.stack([b[1] for b in batch]))
        logits = trainer.model(image * 2 - 1)
        p = logits.sigmoid()
        overlap = (p * target).sum((2, 3)) * 2 + 1
        dice = 1 - overlap / (p.sum((2, 3)) + target.sum((2, 3)) + 1)
        entropy = functional.binary_cross_entropy_with_logits(logits, target)
        return torch.as_tensor(entropy + dice.mean())

    trainer.run(loss_at, "lungs")
    network = trainer.averaged()
    out.mkdir(parents=True, exist_ok=True)
    weights = {k: v.half().contiguous() for k, v in network.state_dict().items()}
    save_file(weights, out / "model.safetensors")
    (out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    tests = [(f.image, f.lungs) for f in real if f.patient_id in held and f.lungs is not None]
    unseen = [_phantom(seed, size) for seed in range(10_000, 10_040)]
    return {
        "dice_real_unseen_patients": _dice(network, tests),
        "films_real_unseen": len(tests),
        "dice_phantom_unseen": _dice(network, unseen),
    }


def _phantom(seed: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    r = chest.render(chest.draw_patient(seed), size)
    x = (np.arange(size) + 0.5)[None, :] / size * chest.FIELD_MM - chest.FIELD_MM / 2
    left = r.masks["lung_left"] | (r.masks["heart"] & (x > 24))
    right = r.masks["lung_right"] | (r.masks["heart"] & (x < -24))
    return r.image, np.stack([left, right])


def _sample(
    rng: np.random.Generator,
    real: list[films.RealFilm],
    phantoms: list[tuple[NDArray[np.float32], NDArray[np.bool_]]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if real and rng.random() < 0.7:
        film = real[int(rng.integers(len(real)))]
        image, lungs = film.image, film.lungs
        assert lungs is not None
    else:
        image, lungs = phantoms[int(rng.integers(len(phantoms)))]
    while rng.random() < 0.4:
        added = films.add_mass(image, lungs, rng)
        if added is None:
            break
        image = added[0]
    image, left, right = films.vary(
        rng, image, lungs[0].astype(np.float32), lungs[1].astype(np.float32)
    )
    return films.expose(image, rng), (np.stack([left, right]) > 0.5).astype(np.float32)


def _dice(
    network: torch.nn.Module, cases: list[tuple[NDArray[np.float32], NDArray[np.bool_]]]
) -> float:
    if not cases:
        return float("nan")
    scores = []
    for image, truth in cases:
        with torch.inference_mode():
            found = network(torch.from_numpy(image)[None, None] * 2 - 1)[0].numpy() > 0
        scores.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    return float(np.mean(scores))
