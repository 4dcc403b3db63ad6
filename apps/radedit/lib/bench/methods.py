"""Every editing method on the same films: a pneumothorax to remove, a drain to leave.

Each is run as its paper runs it: RadEdit and DiffEdit with masks, LANCE and image to image with
none. The oracle is the patient rendered again, which no method can beat.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from radedit.lib.bench.cases import NORMAL, Removal, draw_removal
from radedit.lib.bench.figures import mean, share
from radedit.lib.bench.measures import Drain, Image, border_of, mean_error
from radedit.lib.bench.report import percent
from radedit.lib.cases import EditRequest
from radedit.lib.errors import MaskError
from radedit.lib.pipeline import Editor
from radedit.lib.settings import load_settings
from radedit.lib.sources import FilmSources
from radedit.lib.spread import spread
from radedit.lib.stress.judge import Judge, load_judge
from radedit.lib.stress.ledger import Ledger
from radedit.lib.whole_files import replacing
from radedit_dicom.pixels import to_display

Row = dict[str, Any]
AS_IS, ORACLE = "left as is", "oracle"
SEAM_WITHIN = 2.0  # standard deviations of the untouched film
_MASKED = {"support": "band"}
_FREE = {"support": "free"}


@dataclass(frozen=True)
class Way:
    """One method as it is compared.

    Attributes
    ----------
    masks, keeps : whether the edit mask and the keep mask are given
    source : whether the inversion is told what the film shows, as LANCE's paper does
    parameters : of the edit
    """

    masks: bool = True
    keeps: bool = True
    source: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


WAYS: Mapping[str, Way] = {
    "RadEdit, attenuation kept": Way(parameters={**_MASKED, "keep": "attenuation"}),
    "RadEdit, values kept": Way(parameters={**_MASKED, "keep": "values"}),
    "RadEdit, no keep mask": Way(keeps=False, parameters=_MASKED),
    "DiffEdit": Way(keeps=False, parameters={**_MASKED, "method": "diffedit"}),
    "LANCE": Way(False, False, True, {**_FREE, "method": "lance"}),
    "LANCE, null texts": Way(False, False, True, {**_FREE, "method": "lance-null-text"}),
    "image to image (RoentMod)": Way(False, False, False, {**_FREE, "method": "img2img"}),
}


@dataclass(frozen=True)
class Compared:
    """What is compared.

    Attributes
    ----------
    patients, size : how many, and pixels of a film's longer side
    parameters : over each way's own
    devices : one process for each; of one alone, this process
    """

    patients: int = 30
    size: int = 512
    parameters: Mapping[str, Any] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu",)


@dataclass(frozen=True, eq=False)
class Tools:
    """What is compared with."""

    editor: Editor
    judge: Judge


def load(device: str = "") -> Tools:
    """Load the editor and the judge; "" = on the device of the settings.

    Raises
    ------
    CheckpointError
        Weights are missing or damaged.
    """
    settings = load_settings()
    return Tools(Editor(replace(settings, device=device) if device else settings), load_judge())


def compare(
    plan: Compared, tools: Tools, work: Path, progress: Callable[[int, int], None]
) -> tuple[list[Row], dict[str, Image]]:
    """Measure every patient that `work` does not hold yet.

    Returns
    -------
    rows, one per patient and method; and the films of the first patient, for a picture

    Raises
    ------
    OutputError
        `work` cannot be written, or holds another comparison.
    """
    backbone = tools.editor.backbone()
    ways = {name: asdict(way) for name, way in WAYS.items()}
    facts = {"ways": ways, "size": plan.size, "parameters": dict(plan.parameters),
             "model_sha256": backbone.sha256, "judge_sha256": tools.judge.sha256}  # fmt: skip
    ledger, shown = Ledger(work, facts), work / "films.npz"
    done = {int(number) for number in ledger.done()} - (set() if shown.is_file() else {0})
    left = [number for number in range(plan.patients) if number not in done]
    progress(plan.patients - len(left), plan.patients)
    do = partial(_measure, plan)
    for count, (number, rows, films) in enumerate(
        spread(do, left, tools, load, plan.devices), plan.patients - len(left) + 1
    ):
        if number == 0:
            with replacing(shown) as stream:
                np.savez_compressed(stream, **films)  # type: ignore[arg-type]
        ledger.add([*rows, {"type": "done", "subject": f"{number}", "victims": {}}])
        progress(count, plan.patients)
    kept = [row for row in ledger.rows() if row["type"] == "answer"]
    with np.load(shown) as films_of_first:
        return [row for row in kept if int(row["subject"]) < plan.patients], dict(films_of_first)


def _measure(plan: Compared, tools: Tools, number: int) -> tuple[int, list[Row], dict[str, Image]]:
    case = draw_removal(number, plan.size)
    films: dict[str, Image] = {AS_IS: to_display(case.film), ORACLE: case.truth}
    scores: dict[str, float | None] = {}
    refused = set()
    for name, way in WAYS.items():
        try:
            films[name], scores[name] = _edited(plan, tools.editor, case, way)
        except MaskError:  # the keep mask takes all cells of a small finding
            films[name] = films[AS_IS]
            refused.add(name)
    drain = Drain(case.truth, case.empty, case.drain, case.lungs)
    border = border_of(case.edit, films[AS_IS], case.chest, case.seed)
    rows = []
    for name, film in films.items():
        opinion = tools.judge.opinion(film)
        label = f"pneumothorax {case.side}"
        overlap, contrast = drain.compare(film)
        rows.append(
            {
                "type": "answer",
                "subject": f"{number}",
                "kind": name,
                "refused": name in refused,
                "gone": opinion[label] < tools.judge.thresholds[label],
                "drain_dice": overlap,
                "drain_contrast": contrast,
                "error": mean_error(film, case.truth, case.edit),
                "outside": float(np.abs(film - films[AS_IS])[~case.edit].mean()),
                "seam": border.seam(film).z,
                "score": scores.get(name),
            }
        )
    return number, rows, films


def _edited(plan: Compared, editor: Editor, case: Removal, way: Way) -> tuple[Image, float | None]:
    request = EditRequest(
        prompt=NORMAL,
        edit_mask="uploaded:edit" if way.masks else None,
        keep_mask="uploaded:keep" if way.keeps else None,
        invert_prompt=case.sentence if way.source else "",
        film_text=case.sentence,
        parameters={"seed": case.seed, **way.parameters, **plan.parameters},
    )
    masks = case.masks(way.parameters.get("keep", "values"))
    sources = FilmSources(case.film, uploaded=masks)
    edited = editor.edit(case.film, request, sources)
    display = to_display(case.film, edited.stored)
    return display, edited.directional.directional


def table(rows: Sequence[Row]) -> str:
    """Lay the figures out as a table in Markdown; brackets are 95 % intervals."""
    heads = ("method", "finding gone", "drain Dice", "drain contrast", "error inside",
             "change outside", "seam within 2 SD", "score")  # fmt: skip
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for name in (AS_IS, *WAYS, ORACLE):
        own = [row for row in rows if row["kind"] == name]
        if not own:
            continue
        seams = [abs(row["seam"]) <= SEAM_WITHIN for row in own if row["seam"] is not None]
        cells = (
            name,
            percent(share([row["gone"] for row in own])),
            *(_figure([row[key] for row in own], digits) for key, digits in
              (("drain_dice", 2), ("drain_contrast", 2), ("error", 3), ("outside", 4))),
            percent(share(seams)),
            _figure([row["score"] for row in own], 2),
        )  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _figure(values: Sequence[float | None], digits: int) -> str:
    found = mean(values)
    if "value" not in found:
        return "–"
    text = f"{found['value']:.{digits}f}"
    if "low" in found:
        text += f" ({found['low']:.{digits}f}, {found['high']:.{digits}f})"
    return text


def picture(films: Mapping[str, Image], target: Path) -> Path:
    """Draw one patient's films, and under each what it changed."""
    from matplotlib.figure import Figure

    names = [name for name in (AS_IS, *WAYS, ORACLE) if name in films]
    figure = Figure(figsize=(1.75 * len(names), 3.9), layout="constrained")
    for at, name in enumerate(names):
        above = figure.add_subplot(2, len(names), at + 1)
        above.imshow(films[name], cmap="gray", vmin=0, vmax=1)
        above.set_title(name.replace(", ", ",\n").replace(" (", "\n("), fontsize=8)
        below = figure.add_subplot(2, len(names), len(names) + at + 1)
        below.imshow(films[name] - films[AS_IS], cmap="RdBu_r", vmin=-0.25, vmax=0.25)
        for axes in (above, below):
            axes.set_axis_off()
    with replacing(target) as stream:
        figure.savefig(stream, format="png", dpi=110)
    return target
