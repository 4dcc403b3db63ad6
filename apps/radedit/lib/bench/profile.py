"""Where the time of an edit goes: one warm edit under the profiler, as a picture."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from radedit.lib.bench.released import Task
from radedit.lib.bench.speed import Fused
from radedit.lib.whole_files import replacing

SHOWN = 10  # operators by name; the rest is one bar


def operators(task: Task) -> dict[str, float]:
    """Profile a full edit, after one to warm up.

    Returns
    -------
    share of the time spent in each operator itself, 0 to 1, the largest first; on a GPU that of
    its kernels. The smallest are together under "the rest"
    """
    on_gpu = task.backbone.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    Fused().edit(task)
    with profile(activities=activities) as seen:
        Fused().edit(task)
    spent: dict[str, float] = defaultdict(float)
    for event in seen.key_averages():
        took = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        spent[event.key.removeprefix("aten::")] += took
    ranked = sorted(spent.items(), key=lambda item: -item[1])
    total = sum(spent.values())
    shares = {name: took / total for name, took in ranked[:SHOWN]}
    return {**shares, "the rest": 1 - sum(shares.values())}


def draw(found: Mapping[str, Mapping[str, float]], path: Path) -> Path:
    """Draw the shares of each precision side by side.

    Raises
    ------
    OSError
        The picture cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6 * len(found), 3.4), layout="constrained")
    for axes, (precision, shares) in zip(
        figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True
    ):
        names = list(shares)
        axes.barh(names, [100 * shares[name] for name in names], color="#1f5fa8")
        axes.invert_yaxis()
        axes.set_title(f"{precision}, {torch.get_num_threads()} threads", fontsize=9)
        axes.set_xlabel("part of an edit's time, %", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=110)
    return path
