"""The training that ships: it runs from nothing, resumes, and leaves loadable weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from radedit.lib.edit.backbone import load_backbone
from radedit.lib.phantom.checkpoint import Trainer
from radedit.lib.settings import Access, ModelSpec


def linear_trainer(path: Path, steps: int, save_every: int = 5) -> Trainer[nn.Linear]:
    torch.manual_seed(0)
    return Trainer(nn.Linear(3, 1), path, steps, lr=1e-2, save_every=save_every)


def loss_of(trainer: Trainer[nn.Linear]) -> None:
    def loss_at(step: int) -> torch.Tensor:
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        error = trainer.model(x) - x.sum(1, keepdim=True)
        return torch.as_tensor((error**2).mean())

    trainer.run(loss_at, "linear")


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    whole = linear_trainer(tmp_path / "whole.pt", 20)
    loss_of(whole)

    class StopError(Exception):
        pass

    stopped = linear_trainer(tmp_path / "part.pt", 20)

    def until(step: int) -> torch.Tensor:
        if step == 12:
            raise StopError
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
        error = stopped.model(x) - x.sum(1, keepdim=True)
        return torch.as_tensor((error**2).mean())

    with pytest.raises(StopError):
        stopped.run(until, "linear")
    resumed = linear_trainer(tmp_path / "part.pt", 20)
    assert resumed.step == 10  # the last time it saved
    loss_of(resumed)
    for name, value in whole.averaged().state_dict().items():
        torch.testing.assert_close(resumed.averaged().state_dict()[name], value, rtol=0, atol=0)


def write_films(folder: Path) -> Path:
    """Four films of as many patients, of the form of real ones; three have lung masks."""
    rng = np.random.default_rng(3)
    for name in ("images", "lung_masks"):
        (folder / name).mkdir(parents=True)
    lines = ["image_id,patient_id,modality,projection,width,height,lung_mask"]
    for number in range(4):
        lungs = np.zeros((200, 240), np.uint8)
        lungs[40:150, 30:100] = lungs[40:150, 140:210] = 255
        film = 170 - lungs // 3 + rng.integers(0, 20, lungs.shape)
        Image.fromarray(film.astype(np.uint8)).save(folder / "images" / f"film{number}.png")
        if number:
            Image.fromarray(lungs).save(folder / "lung_masks" / f"film{number}.png")
        lines.append(f"film{number},{number}patient,CR,ap,240,200,{int(number > 0)}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_folder_without_films_is_refused_before_anything_is_drawn(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "radedit.lib.phantom.train", "--films", str(tmp_path)]
    ended = subprocess.run([*command, "--work", str(tmp_path / "work")], capture_output=True)
    assert ended.returncode == 2
    assert b"index.csv" in ended.stderr
    assert b"Traceback" not in ended.stderr
    assert not (tmp_path / "work").exists()


def test_training_from_nothing_leaves_a_model_that_loads_and_edits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "radedit.lib.phantom.train", "--preset", "quick"]
    folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "model"), "--films"]
    folders.append(str(write_films(tmp_path / "films")))
    subprocess.run([*command, *folders], check=True, capture_output=True, timeout=600)
    spec = ModelSpec(
        name="fresh",
        title="fresh",
        licence="none",
        access=Access(models_dir=tmp_path / "locks"),
        folder=tmp_path / "model" / "phantom",
        verify="on-first-use",
    )
    backbone = load_backbone(spec)
    latents = backbone.encode(torch.zeros(1, 1, backbone.image_size, backbone.image_size))
    context = backbone.encode_text(["No acute cardiopulmonary process"])
    assert backbone.denoise(latents, 500, context).shape == latents.shape
    assert (tmp_path / "model" / "lungs" / "model.safetensors").exists()
    with Image.open(tmp_path / "work" / "lungs-unseen.png") as sheet:
        assert sheet.width == 900
