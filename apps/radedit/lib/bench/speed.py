"""How fast an edit is, as a ratio to the released algorithm in the same run.

What is timed begins with an image on the model's grid and ends with the decoded edit; film,
masks and objects are the same whichever way the model is asked. All ways take turns, so that
whatever else the machine does meets all of them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from radedit.lib.bench.released import Task, released_edit
from radedit.lib.edit.backbone import Backbone
from radedit.lib.edit.inversion import draw_noise_batch, invert
from radedit.lib.edit.radedit import Conditioning, EditMasks, Plan, radedit

BASELINE = "released algorithm, float32"
LONG = 100  # steps of the edit that all others are held against


@dataclass(frozen=True)
class Load:
    """What is edited.

    Attributes
    ----------
    steps, skip, guidance : of the schedule
    few : steps of the second-order schedule that is timed beside it
    films : in one batch
    seed : of image, prompts and noise
    """

    steps: int
    few: int = 10
    skip: float = 0.3
    guidance: float = 5.0
    films: int = 1
    seed: int = 0


@dataclass
class Timed:
    """One way to edit, and what it took.

    Attributes
    ----------
    precision : of the U-Net
    encodings, decodings : of a film in one edit
    seconds : of each repeat
    calls, rows : of the U-Net in one edit
    difference : root mean square against the picture of the full edit of `LONG` steps in float32,
        over the size of its change; none for a re-edit, which has another prompt
    """

    precision: str = "float32"
    encodings: int = 1
    decodings: int = 2
    seconds: list[float] = field(default_factory=list)
    calls: int = 0
    rows: int = 0
    difference: float | None = None

    @property
    def median(self) -> float:
        """The middle of the repeats, s."""
        return statistics.median(self.seconds)


def task_of(backbone: Backbone, load: Load, prompts: Conditioning | None = None) -> Task:
    """Make a task: a smooth random image, a round edit mask, a bar that is kept."""
    size, (_, rows, cols) = backbone.image_size, backbone.latent_shape
    rng = torch.Generator().manual_seed(load.seed)
    coarse = torch.randn((load.films, 1, 8, 8), generator=rng)
    image = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    y, x = np.mgrid[:rows, :cols] / rows - 0.4
    edit = torch.from_numpy(x**2 + y**2 < 0.06).expand(load.films, 1, -1, -1)
    keep = torch.from_numpy(np.abs(x - y) < 0.05).expand(load.films, 1, -1, -1)
    prompts = prompts or _random_prompts(backbone, load, rng)
    return asked(backbone, load, image.clamp(-1, 1), prompts, EditMasks(edit, keep))


def asked(
    backbone: Backbone, load: Load, image: Tensor, prompts: Conditioning, masks: EditMasks
) -> Task:
    """Make a task of images [N, 1, S, S] of -1 to 1, prompts and masks of one's own."""
    whole = backbone.schedule(load.steps, 0.0)
    return Task(
        backbone=backbone,
        image=image,
        prompts=prompts,
        masks=masks,
        whole=whole,
        schedule=backbone.schedule(load.steps, load.skip),
        noise=draw_noise_batch(backbone.latent_shape, len(whole), range(len(image))),
        guidance=load.guidance,
    )


def of_steps(task: Task, steps: int, solver: str = "ddpm", first_seed: int = 0) -> Task:
    """Give the same task with another schedule, and other noise."""
    backbone, films = task.backbone, len(task.image)
    return replace(
        task,
        whole=backbone.schedule(steps, 0.0, solver),
        schedule=backbone.schedule(steps, task.schedule.skip, solver),
        noise=draw_noise_batch(backbone.latent_shape, steps, range(first_seed, first_seed + films)),
    )


def _random_prompts(backbone: Backbone, load: Load, rng: torch.Generator) -> Conditioning:
    config: Any = backbone.unet.config
    empty, asked = torch.randn((2, 1, 128, int(config.cross_attention_dim)), generator=rng)
    rows = [x.expand(load.films, -1, -1) for x in (asked, empty, empty)]
    return Conditioning(*rows)


@dataclass
class Fused:
    """The product's way, with what it keeps of an image for the next prompt."""

    latent: Tensor | None = None
    unedited: Tensor | None = None
    e_inv: Tensor | None = None

    @torch.inference_mode()
    def edit(self, task: Task) -> Tensor:
        """Edit and decode; both pictures are made, since the film takes their difference."""
        bb, noise = task.backbone, task.noise[task.skipped :]
        if self.latent is None:
            self.latent = bb.encode(task.image)
        if self.e_inv is None:
            context = task.prompts.inversion
            self.e_inv = invert(bb.denoise, self.latent, context, task.schedule, noise)
        plan = Plan(task.schedule, noise, task.guidance, self.e_inv)
        delta = radedit(bb.denoise, self.latent, task.prompts, task.masks, plan)
        if self.unedited is None:
            self.unedited = bb.decode(self.latent)
        return bb.decode(self.latent + delta)

    def edit_afresh(self, task: Task) -> Tensor:
        """Edit with nothing kept; what is kept afterwards is this edit's."""
        self.latent = self.unedited = self.e_inv = None
        return self.edit(task)


def compare(
    tasks: Mapping[str, Task],
    few: int,
    repeats: int,
    progress: Callable[[int, int], None],
    warm_up: bool = True,
) -> tuple[dict[str, Timed], dict[str, Tensor]]:
    """Time the baseline, full edits and re-edits, in turn.

    A re-edit is given what the full edit before it has kept.

    Parameters
    ----------
    tasks : by precision, one task in backbones of that precision; "float32" is the baseline's
    few : steps of the second-order schedule
    repeats : after one to warm up, unless `warm_up` is False
    progress : called with (done, total) edits

    Returns
    -------
    what each way took, and its picture, by its name
    """
    timed = {BASELINE: Timed(decodings=1)}
    ways: dict[str, Callable[[], Tensor]] = {BASELINE: lambda: released_edit(tasks["float32"])}
    for precision, task in tasks.items():
        steps = {"": task, f" of {few} dpm steps": of_steps(task, few, "dpm")}
        for name, each in steps.items():
            kept = Fused()
            another = replace(each, prompts=_turned(each.prompts))
            ways[f"full edit{name}, {precision}"] = partial(kept.edit_afresh, each)
            timed[f"full edit{name}, {precision}"] = Timed(precision)
            ways[f"re-edit{name}, {precision}"] = partial(kept.edit, another)
            timed[f"re-edit{name}, {precision}"] = Timed(precision, encodings=0, decodings=1)
    pictures: dict[str, Tensor] = {}
    rounds = repeats + warm_up
    for turn in range(rounds):
        for number, (name, way) in enumerate(ways.items()):
            progress(turn * len(ways) + number, rounds * len(ways))
            with counted(tasks) as count:
                start = time.perf_counter()
                pictures[name] = way()
                _synchronise(pictures[name])
                took = time.perf_counter() - start
            timed[name].calls, timed[name].rows = count
            if turn >= warm_up:
                timed[name].seconds.append(took)
    progress(rounds * len(ways), rounds * len(ways))
    return timed, pictures


def measure_differences(
    task: Task, timed: Mapping[str, Timed], pictures: Mapping[str, Tensor]
) -> float:
    """Fill in `Timed.difference`; give that of two edits of `LONG` steps of other noise."""
    exact = _afresh(of_steps(task, LONG))
    unedited = task.backbone.decode(task.backbone.encode(task.image))
    change = (exact - unedited).square().mean().sqrt()

    def distance(picture: Tensor) -> float:
        return float((picture - exact).square().mean().sqrt() / change)

    for name, entry in timed.items():
        if not name.startswith("re-edit"):
            entry.difference = distance(pictures[name])
    return distance(_afresh(of_steps(task, LONG, first_seed=len(task.image))))


def _afresh(task: Task) -> Tensor:
    return Fused().edit(task)


@contextmanager
def counted(tasks: Mapping[str, Task]) -> Iterator[list[int]]:
    """Count calls and rows of the U-Nets: [calls, rows]."""
    count = [0, 0]

    def hear(_: object, args: tuple[Tensor, ...]) -> None:
        count[0] += 1
        count[1] += len(args[0])

    hooks = [t.backbone.unet.register_forward_pre_hook(hear) for t in tasks.values()]
    try:
        yield count
    finally:
        for hook in hooks:
            hook.remove()


def work_of(task: Task) -> dict[str, float]:
    """Count 2 x multiply-adds, in GFLOP: one U-Net row, one encoding, one decoding."""
    bb, latent = task.backbone, task.backbone.encode(task.image[:1])

    def count(run: Callable[[], object]) -> float:
        with FlopCounterMode(display=False) as counter:
            run()
        return float(counter.get_total_flops()) / 1e9

    return {
        "unet": count(lambda: bb.denoise(latent, 500, task.prompts.cond[:1])),
        "encode": count(lambda: bb.encode(task.image[:1])),
        "decode": count(lambda: bb.decode(latent)),
    }


def ceiling(dtype: torch.dtype, device: torch.device, side: int = 2048) -> float:
    """Measured rate of a square matrix product on this machine, GFLOP/s; the best of ten."""
    a, b = (torch.randn((side, side), device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        _synchronise(a @ b)
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best / 1e9


def _turned(prompts: Conditioning) -> Conditioning:
    """Another prompt of the same shape."""
    return replace(prompts, cond=prompts.cond.flip(1))


def _synchronise(result: Tensor) -> None:
    if result.is_cuda:
        torch.cuda.synchronize(result.device)
