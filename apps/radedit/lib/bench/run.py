"""All patients of the bench: shared among processes, written down one by one, gone on with."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from radedit.lib.bench.cases import FIRST_SEED, draw
from radedit.lib.bench.truth import (
    ADDITIONS,
    REMOVALS,
    Bench,
    Measured,
    Row,
    measure,
    removal_request,
)
from radedit.lib.cases import EditRequest
from radedit.lib.errors import ParameterError
from radedit.lib.json_lines import JsonLines, written_to
from radedit.lib.phantom.instances import tool_version
from radedit.lib.pipeline import Editor
from radedit.lib.settings import load_settings
from radedit.lib.spread import spread
from radedit.lib.stress.judge import FOLDER as JUDGE
from radedit.lib.stress.judge import load_judge
from radedit.lib.whole_files import replacing

FORMAT = "radedit-bench-truth-5"  # another number wherever a measure changes
ROWS = "rows.jsonl"
PICTURED = 4  # first patients, whose films are kept for the pictures
HEADLINE = "radedit, attenuation kept"


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    patients : how many, from seed FIRST_SEED on
    size : pixels of a film's longer side
    model : an entry of the model registry; None = the default one
    parameters : over the model's defaults
    judge : folder of the judge's weights
    devices : one process for each; of one alone, this process
    timed : edits whose time is taken, after one to warm up

    Raises
    ------
    ParameterError
        A number is less than 1.
    """

    patients: int = 100
    size: int = 512
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    judge: Path = JUDGE
    devices: tuple[str, ...] = ("cpu",)
    timed: int = 12

    def __post_init__(self) -> None:
        """Check the numbers."""
        if min(self.patients, self.size, self.timed) < 1:
            raise ParameterError("patients, size and timed edits are numbers from 1 up.")


def open_bench(plan: Plan, device: str = "") -> Bench:
    """Load what the plan measures with.

    Parameters
    ----------
    device : "" = that of the settings

    Raises
    ------
    CheckpointError
        The editor's or the judge's weights are missing or damaged.
    """
    judge, settings = load_judge(plan.judge), load_settings()
    editor = Editor(replace(settings, device=device) if device else settings)
    editor.backbone(plan.model)
    return Bench(editor, judge, plan.model, plan.size, plan.parameters)


def facts(plan: Plan, bench: Bench) -> dict[str, Any]:
    """All that the figures follow from, but the number of patients."""
    settings, backbone = bench.editor.settings, bench.editor.backbone(plan.model)
    request = EditRequest("", model=plan.model, parameters=plan.parameters)
    return {
        "format": FORMAT,
        "version": tool_version(),
        "first_seed": FIRST_SEED,
        "size": plan.size,
        "model": backbone.name,
        "model_sha256": backbone.sha256,
        "judge_sha256": bench.judge.sha256,
        "device": settings.device,
        "dtype": bench.editor.dtype,
        "parameters": asdict(bench.editor.parameters(request)),
    }


def run(plan: Plan, bench: Bench, work: Path, progress: Callable[[int, int], None]) -> list[Row]:
    """Measure every patient that `work` does not hold yet; all rows by number.

    Raises
    ------
    OutputError
        `work` cannot be written.
    RadEditError
        An edit is refused or fails, or a process ended.
    """
    given = (json.dumps(facts(plan, bench), sort_keys=True), repr(REMOVALS), repr(ADDITIONS))
    key = hashlib.sha256("\x00".join(given).encode()).hexdigest()
    with written_to("--work"):
        work.mkdir(parents=True, exist_ok=True)
        done = _read(work, key)
    missing = [number for number in range(plan.patients) if number not in done]
    total = plan.patients
    progress(total - len(missing), total)
    load = partial(open_bench, plan)
    for measured in spread(_one, missing, bench, load, plan.devices):
        with written_to("--work"):
            _write(measured, work, key)
        done[measured.row["number"]] = measured.row
        progress(sum(number in done for number in range(total)), total)
    return [done[number] for number in range(total)]


def seconds(plan: Plan, bench: Bench) -> list[float]:
    """Wall time of one warm edit after another; nothing of one is reused by the next."""
    case, _ = draw(0, plan.size)
    method, took = REMOVALS[HEADLINE], list[float]()
    masks = case.masks(method.parameters["keep"])
    for seed in range(plan.timed + 1):
        request = removal_request(case, method, seed)
        start = time.perf_counter()
        bench.edit(case.film, request, masks)
        took.append(time.perf_counter() - start)
    return took[1:]


def pictured(work: Path, number: int) -> dict[str, Any]:
    """The kept images (float32, 0 to 1) and masks (bool) of one of the first patients."""
    with np.load(_picture(work, number)) as kept:
        return {
            name: kept[name] if kept[name].dtype == bool else kept[name].astype("f4") / 255
            for name in kept.files
        }


def _picture(work: Path, number: int) -> Path:
    return work / f"patient-{number}.npz"


def _read(work: Path, key: str) -> dict[int, Row]:
    """Rows of this very plan; a line that was cut off counts for nothing."""
    path, rows = work / ROWS, dict[int, Row]()
    for entry in JsonLines(path) if path.exists() else ():
        try:
            number = entry["row"]["number"]
            kept = number >= PICTURED or _picture(work, number).exists()
        except (KeyError, TypeError):
            continue
        if entry.get("key") == key and kept:
            rows[number] = entry["row"]
    return rows


def _write(measured: Measured, work: Path, key: str) -> None:
    number = measured.row["number"]
    if number < PICTURED:
        arrays: dict[str, Any] = {
            name: image if image.dtype == bool else np.round(image.clip(0, 1) * 255).astype("u1")
            for name, image in measured.images.items()
        }
        with replacing(_picture(work, number)) as stream:
            np.savez_compressed(stream, **arrays)
    JsonLines(work / ROWS).append([json.dumps({"key": key, "row": measured.row})])


def _one(bench: Bench, number: int) -> Measured:
    return measure(number, bench)
