"""The training that ships: it runs from nothing, resumes, and leaves loadable weights."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
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


def test_training_from_nothing_leaves_a_model_that_loads_and_edits(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "radedit.lib.phantom.train", "--preset", "quick"]
    folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "model")]
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
