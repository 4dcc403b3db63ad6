"""Resumable training: one file holds all state, the best weights lie beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from rich.progress import Progress
from torch import nn

from radedit.lib.edit.precision import resolve
from radedit.lib.parameters import AUTO
from radedit.lib.whole_files import replacing

M = TypeVar("M", bound=nn.Module)


@dataclass
class Trainer(Generic[M]):
    """Steps one model with Adam, an averaged copy, and a file to go on from; on a GPU if any.

    Parameters
    ----------
    model : what is trained; its averaged weights are what `averaged` gives back
    path : where the state lies; an existing file is resumed
    steps : optimiser steps in all; the learning rate falls to zero along a cosine
    """

    model: M
    path: Path
    steps: int
    lr: float = 1e-3
    save_every: int = 200

    def __post_init__(self) -> None:
        """Make the optimiser and take up an earlier run's state where there is one."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model.to(self.device)
        self.half = resolve(AUTO, self.device.type) == "bfloat16"
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=self.lr, weight_decay=1e-3)
        self.average = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.step, self.losses = 0, list[float]()
        if self.path.exists():
            state = torch.load(self.path, map_location=self.device, weights_only=True)
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average, self.step, self.losses = state["average"], state["step"], state["losses"]

    def run(self, loss_at: Callable[[int], torch.Tensor], title: str) -> None:
        """Train to the end; `loss_at(step)` draws its own batch from the step's seed."""
        with Progress() as progress:
            bar = progress.add_task(title, total=self.steps, completed=self.step)
            for step in self._steps():
                self.optimiser.zero_grad(set_to_none=True)
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
                    loss = loss_at(step)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.optimiser.step()
                self._follow(loss.item())
                progress.update(bar, advance=1, description=f"{title} loss {self.recent():.4f}")
                if step % 100 == 99:
                    print(f"{title} step {step + 1} loss {self.recent():.5f}", flush=True)
        self._save()

    def recent(self) -> float:
        """Mean loss of the last 100 steps."""
        last = self.losses[-100:]
        return sum(last) / max(1, len(last))

    def averaged(self) -> M:
        """The model with its averaged weights, in evaluation mode, on the CPU."""
        self.model.load_state_dict(self.average)
        return self.model.eval().cpu()

    def _steps(self) -> Iterator[int]:
        while self.step < self.steps:
            warm = min(1.0, (self.step + 1) / 100)
            cosine = 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * self.step / self.steps))))
            for group in self.optimiser.param_groups:
                group["lr"] = self.lr * warm * max(0.02, cosine)
            yield self.step
            self.step += 1
            if self.step % self.save_every == 0:
                self._save()

    def _follow(self, loss: float) -> None:
        self.losses.append(loss)
        keep = min(0.998, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                if value.dtype.is_floating_point:
                    self.average[name].lerp_(value, 1 - keep)
                else:
                    self.average[name].copy_(value)

    def _save(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
            "losses": self.losses,
        }
        with replacing(self.path) as stream:
            torch.save(state, stream)
