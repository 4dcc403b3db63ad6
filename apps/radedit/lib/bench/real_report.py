"""Figures and the contact sheet of edits of real films."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from radedit.lib.bench.pictures import EDIT, KEEP, outline
from radedit.lib.bench.real import ADDITION, REMOVAL, TASKS, Looked
from radedit.lib.errors import OutputError
from radedit.lib.phantom.credibility_pictures import ATTRIBUTION
from radedit.lib.whole_files import replacing

NAME = "real-edits.png"
ROWS = (
    ("film", "film"),
    ("masks", "masks: red edited, blue kept"),
    (REMOVAL, f'"{TASKS[REMOVAL].prompt}", at the left'),
    (ADDITION, f'"{TASKS[ADDITION].prompt}", at the right'),
)


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Tables of the round trips and of the edits."""
    groups = {
        "patients never trained on": [row for row in rows if row["unseen"]],
        "patients trained on": [row for row in rows if not row["unseen"]],
    }
    lines = ["| films of | n | PSNR, dB: mean (least to most) | SSIM |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {len(own)} | {_spread(own, 'psnr', 1)} | {_spread(own, 'ssim', 3)} |"
        for name, own in groups.items()
        if own
    ]
    heads = ("film", "PSNR, dB", "SSIM", "edit", "shift inside", "pixels outside",
             "seam z: film", "edited", "score")  # fmt: skip
    lines += ["", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        for task, figures in row.get("edits", {}).items():
            told = [figures[key] for key in ("shift", "seam before", "seam", "score")]
            shift, *rest = ("none" if x is None else f"{x:+.2f}" for x in told)
            lines.append(
                f"| {row['name']} | {row['psnr']:.1f} | {row['ssim']:.3f} | {task} | {shift} | "
                f"{figures['outside']:.0f} | {' | '.join(rest)} |"
            )
    return "\n".join(lines)


def _spread(rows: Sequence[Mapping[str, Any]], key: str, digits: int) -> str:
    values = np.array([row[key] for row in rows])
    low, high = values.min(), values.max()
    return f"{values.mean():.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def draw(edits: Sequence[Looked], folder: Path) -> Path:
    """Draw the contact sheet: a column per film; film, masks, removal, addition.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(edits), 2.6 * len(ROWS)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    for column, looked in enumerate(edits):
        for row, (name, title) in enumerate(ROWS):
            axis = figure.add_subplot(len(ROWS), len(edits), row * len(edits) + column + 1)
            axis.set_axis_off()
            axis.imshow(looked.images.get(name, looked.images["film"]), cmap="gray", vmin=0, vmax=1)
            if name == "masks":
                for task in TASKS:
                    outline(axis, looked.masks[task], EDIT)
                outline(axis, looked.masks["keep"], KEEP)
            if column == 0:
                axis.set_title(title, fontsize=8, loc="left")
    figure.suptitle(f"Edited real films, not for diagnosis. {ATTRIBUTION}, edited", fontsize=8)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / NAME) as stream:
            figure.savefig(stream, format="png")
    except OSError as error:
        raise OutputError(
            f"the contact sheet cannot be written ({error.strerror or type(error).__name__})."
        ) from None
    return folder / NAME
