"""Many films through the pipeline of `radedit batch`, beside one film after the other.

The baseline is `radedit edit FOLDER`: the same films, masks and edits, in one thread, each stored
before the next is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from radedit.lib.batch.cohort import Cohort
from radedit.lib.batch.crew import Crew, News
from radedit.lib.batch.plan import BatchPlan, Pace
from radedit.lib.batch.stages import STAGES
from radedit.lib.bench.turns import Progress, Quantities, machine
from radedit.lib.errors import RadEditError
from radedit.lib.whole_files import replacing
from radedit_dicom.folder import FolderArchive

FIRST_SEED: Final = 21_000_000
FILMS, RESULTS, WORK = "films", "results", "run"
BASELINE: Final = "one film after the other"


@dataclass(frozen=True)
class Load:
    """What goes through the pipeline.

    Attributes
    ----------
    films : phantoms, each a study of its own
    size : pixels of a film's longer side
    steps : T; None = the model's default
    pace, devices : as in `BatchPlan`
    """

    films: int = 200
    size: int = 256
    steps: int | None = None
    pace: Pace = field(default_factory=Pace)
    devices: tuple[str, ...] = ("cpu",)

    @property
    def request(self) -> Mapping[str, Any]:
        """What is asked of each film; both masks are drawn by a task."""
        return {
            "prompt": "Left lung consolidation",
            "edit_mask": "task:lung_segmentation:left",
            "keep_mask": "task:heart_segmentation",
            "parameters": {} if self.steps is None else {"steps": self.steps},
        }


def make_films(load: Load, folder: Path, progress: Progress) -> tuple[str, ...]:
    """Write the phantoms' studies; those that are there are not made again. Gives their films.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    from radedit.lib.phantom.studies import Order, write_studies
    from radedit.lib.phantom.world import World

    order = Order(FIRST_SEED, load.films, load.size, World(normal=1.0))
    names = []
    for row in write_studies(order, folder):
        names.append(f"{row['folder']}/film.dcm")
        progress(len(names), load.films)
    return tuple(names)


def pipeline(
    load: Load, work: Path, names: tuple[str, ...], hear: Callable[[News], None]
) -> dict[str, Any]:
    """Run the batch over the films that `make_films` named; figures ready for JSON.

    Raises
    ------
    RadEditError
        A film was not edited, so the figures would be of something else.
    """
    plan = BatchPlan(
        source=str(work / FILMS),
        output=str(work / RESULTS),
        request=load.request,
        work=work / WORK,
        devices=load.devices,
        pace=load.pace,
    )
    crew = Crew(plan, Cohort(FolderArchive(work / FILMS), entries=names), hear)
    journal = crew.run()
    failures = journal.failures()
    if failures:
        raise RadEditError(f"a film of the bench failed: {failures[0]['why']}")
    if not crew.account.made:
        raise RadEditError("every film is edited already; name another folder with --work.")
    return {"machine": machine(), "load": _said(load), **crew.account.as_json()}


def one_after_the_other(load: Load, work: Path, count: int) -> Quantities:
    """Edit the first films of `work` as `radedit edit FOLDER` does; seconds of each film.

    Raises
    ------
    RadEditError
        A film was not edited.
    """
    import time

    from radedit.lib.bulk import Bulk
    from radedit.lib.cases import EditRequest
    from radedit.lib.deliver import Outbox
    from radedit.lib.pipeline import Editor
    from radedit.lib.selection import of_folder
    from radedit.lib.settings import load_settings

    settings = replace(load_settings(), device=load.devices[0], inversion_cache_mb=0)
    editor, results = Editor(settings), work / "baseline"
    editor.scorer()
    shutil.rmtree(results, ignore_errors=True)
    bulk = Bulk(EditRequest(**load.request), editor, Outbox(FolderArchive(results)))
    selection = of_folder(work / FILMS)
    some = dict(list(selection.films.items())[: count + 1])
    rows, begun = [], 0.0
    for row in bulk.rows(replace(selection, films=some, passed_over={})):
        if "failed" in row:
            raise RadEditError(f"a film of the bench failed: {row['failed']}")
        begun = begun or time.perf_counter()  # the first one warms up
        rows.append(row)
    return {"s per film": (time.perf_counter() - begun) / max(len(rows) - 1, 1)}


def table(found: Mapping[str, Any]) -> str:
    """Tell a run as tables: the stages, the memory, the ratio."""
    at, load = found["machine"], found["load"]
    lines = [
        f"{found['made']} films of {load['size']} pixels, T = {load['steps'] or 'default'}, "
        f"{found['processes']} process(es) on {', '.join(load['devices'])}, batches of "
        f"{found['pace']['films']}, at most {found['pace']['seats']} films in memory; "
        f"{at['cores']} cores {at['processor']}, load {at['load_1_min']}.",
        "",
        "| stage | busy s per film | CPU s per film | threads | share of their time |",
        "|---|---|---|---|---|",
    ]
    for stage in STAGES:
        row = found["stages"][stage]
        lines.append(
            f"| {stage} | {row['busy_s_per_film']:.3f} | {row['cpu_s_per_film']:.3f} "
            f"| {row['threads']} | {row['share_of_time']:.0%} |"
        )
    first, last = memory_thirds(found["memory_mib"])
    lines += [
        "",
        f"{found['films_per_hour']:.0f} films/h; bound by: {found['bounding_stage']}. Most films "
        f"in memory: {found['most_films_in_memory_of_a_process']}. Memory, mean of the second "
        f"third and of the last: {first:.0f} and {last:.0f} MiB.",
    ]
    if "baseline" in found:
        lines.append(
            f"{BASELINE}: {found['baseline']['s_per_film']:.3f} s per film; ratio "
            f"{found['baseline']['ratio']:.2f}."
        )
    return "\n".join(lines)


def memory_thirds(samples: list[list[float]]) -> tuple[float, float]:
    """Mean memory over the middle and over the last third of the films."""
    end = samples[-1][0] if samples else 0

    def mean(low: float, high: float) -> float:
        some = [mib for films, mib in samples if low * end <= films <= high * end]
        return sum(some) / len(some) if some else 0.0

    return mean(1 / 3, 2 / 3), mean(2 / 3, 1)


def draw_memory(found: Mapping[str, Any], path: Path) -> Path:
    """Draw the memory of all editing processes over the films that have ended."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    films, mib = zip(*found["memory_mib"], strict=True)
    figure, axes = pyplot.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(films, mib, color="#1f4e79", linewidth=1.2)
    axes.set(xlabel="films stored", ylabel="resident memory, MiB", ylim=(0, max(mib) * 1.15))
    axes.set_title(f"{found['made']} films through radedit batch", loc="left", fontsize=10)
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return path


def _said(load: Load) -> dict[str, Any]:
    return {"films": load.films, "size": load.size, "steps": load.steps, "devices": load.devices}
