"""The figures of `radedit bench edit`: ratios, floors, and one table in Markdown."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch

from radedit.lib.bench.released import Task
from radedit.lib.bench.speed import BASELINE, LONG, Load, Timed, ceiling, work_of


def figures(
    load: Load,
    tasks: Mapping[str, Task],
    timed: Mapping[str, Timed],
    seeds_apart: float | None = None,
) -> dict[str, Any]:
    """Ready for JSON: what was run, where, and every way with its ratio and its floor.

    The floor is the counted work over the measured rate of a matrix product in the same
    precision (networks outside the U-Net run in float32).
    """
    task = tasks["float32"]
    bb, work = task.backbone, work_of(task)
    rates = {name: ceiling(t.backbone.dtype, bb.device) for name, t in tasks.items()}
    base = timed[BASELINE].median
    ways = {}
    for name, entry in timed.items():
        codec = entry.encodings * work["encode"] + entry.decodings * work["decode"]
        floor = entry.rows * work["unet"] / rates[entry.precision]
        floor += load.films * codec / rates["float32"]
        ways[name] = {
            "median_s": entry.median,
            "min_s": min(entry.seconds),
            "max_s": max(entry.seconds),
            "ratio": base / entry.median,
            "unet_calls": entry.calls,
            "unet_rows": entry.rows,
            "floor_s": floor,
            "share_of_ceiling": floor / entry.median,
            "difference": entry.difference,
        }
    return {
        "model": bb.name,
        **asdict(load),
        "repeats": len(timed[BASELINE].seconds),
        "device": _device(bb.device),
        "threads": torch.get_num_threads(),
        "gflop": work,
        "ceiling_gflop_per_s": rates,
        "long": LONG,
        "seeds_apart": seeds_apart,
        "ways": ways,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Tell the figures as a table with the conditions above it."""
    work, rates = found["gflop"], found["ceiling_gflop_per_s"]
    ceilings = ", ".join(f"{name} {rate:.0f}" for name, rate in rates.items())
    lines = [
        f"{found['model']}, T = {found['steps']}, skip {found['skip']}, {found['films']} film(s) "
        f"in a batch, {found['repeats']} repeats, {found['device']}, {found['threads']} threads. "
        f"GFLOP: U-Net row {work['unet']:.1f}, encode {work['encode']:.1f}, decode "
        f"{work['decode']:.1f}. Measured ceiling, GFLOP/s: {ceilings}.{_yardstick(found)}",
        "",
        "| way | median s (min to max) | ratio | U-Net calls / rows | floor s | of the ceiling "
        "| difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, way in found["ways"].items():
        difference = "" if way["difference"] is None else f"{way['difference']:.4f}"
        lines.append(
            f"| {name} | {way['median_s']:.3f} ({way['min_s']:.3f} to {way['max_s']:.3f}) "
            f"| {way['ratio']:.2f} | {way['unet_calls']} / {way['unet_rows']} "
            f"| {way['floor_s']:.3f} | {way['share_of_ceiling']:.0%} | {difference} |"
        )
    return "\n".join(lines)


def _yardstick(found: Mapping[str, Any]) -> str:
    if found["seeds_apart"] is None:
        return ""
    return (
        f" *Difference*: from the full edit of {found['long']} steps in float32, root mean square "
        f"over that of its change; two such edits of other noise are {found['seeds_apart']:.3f} "
        "apart."
    )


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU {platform.machine()}"
