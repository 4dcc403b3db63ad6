"""A picture of one edit for people: before, after, difference, with the masks' outlines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radedit.lib.pipeline import Edited
from radedit_dicom.film import Film, read_film
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import to_display
from radedit_dicom.provenance import Provenance, read_private
from radedit_dicom.segmentation import read_segmentation
from radedit_dicom.vocabulary import EDIT_LABEL, KEEP_LABEL

COLOURS = {"edit": "#ff5252", "keep": "#40c4ff"}


def draw(edited: Edited, path: Path) -> None:
    """Write before | after | difference of an edit as a PNG; see `draw_files`."""
    _draw(
        edited.film,
        edited.stored,
        {"edit": edited.edit, "keep": edited.keep},
        path,
        edited.provenance,
    )


def draw_files(source: Path, edited: Path, masks: Path, path: Path) -> None:
    """Write before | after | difference as a PNG from the files of an edit.

    The difference is shown on the film's display scale, red where the edit made it whiter
    (denser), blue where blacker, with its own scale bar.

    Parameters
    ----------
    source, edited, masks : the film, the Secondary Capture and the SEG
    path : the PNG

    Raises
    ------
    DicomError
        A file cannot be read.
    """
    film = read_film(source)
    result = read_film(edited, allow_synthetic=True)
    segments = read_segmentation(parse(masks, pixels=True), film)
    drawn = {"edit": segments[EDIT_LABEL]}
    if KEEP_LABEL in segments:
        drawn["keep"] = segments[KEEP_LABEL]
    _draw(film, result.stored, drawn, path, read_private(result.header))


def _draw(
    film: Film,
    stored: NDArray[Any],
    masks: Mapping[str, NDArray[np.bool_]],
    path: Path,
    record: Provenance,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    before = to_display(film)
    after = to_display(replace(film, stored=stored))
    rows, cols = before.shape
    figure = Figure(figsize=(15, 5.4 * rows / cols + 0.7), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    for axis, image, title in zip(axes[:2], (before, after), ("before", "after"), strict=True):
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.set_title(title)
    change = after - before
    limit = max(float(np.abs(change).max()), 1e-3)
    shown = axes[2].imshow(change, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes[2].set_title("difference (display range 0 to 1)")
    figure.colorbar(shown, ax=axes[2], shrink=0.7)
    for axis in axes:
        axis.set_axis_off()
        for name, mask in masks.items():
            _outline(axis, mask, COLOURS[name])
    figure.suptitle(
        f'AI-EDITED (SYNTHETIC) NOT FOR DIAGNOSIS   "{record.prompt}"   '
        f"{record.model}, {record.steps} steps, w = {record.guidance:g}, seed {record.seed}   "
        "red: may change, blue: must stay",
        fontsize=10,
    )
    figure.savefig(path)


def _outline(axis: object, mask: NDArray[np.bool_], colour: str) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=0.9)  # type: ignore[attr-defined]
