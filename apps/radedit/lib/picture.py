"""A picture of one edit for people: before, after, difference, with the masks' outlines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radedit.lib.pipeline import Edited
from radedit.lib.whole_files import replacing
from radedit_dicom.film import Film, read_film
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import to_display
from radedit_dicom.provenance import Provenance, read_private
from radedit_dicom.segment_reader import read_segmentation
from radedit_dicom.vocabulary import EDIT_LABEL, KEEP_LABEL

_PANEL_PX = 600  # of a panel's longer side there are fewer than this
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
    after = to_display(film, stored)
    change = after - before
    limit = max(float(np.abs(change).max()), 1e-3)
    figure = Figure(figsize=(13.5, 9.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = (("before", before, True), ("after", after, False), ("difference", change, True))
    for row, window in enumerate((np.s_[:, :], _close_up(masks["edit"]))):
        for column, (title, image, outlined) in enumerate(panels):
            axis = figure.add_subplot(2, 3, 3 * row + column + 1)
            axis.set_axis_off()
            axis.set_title(f"{title}, {'close up' if row else 'whole film'}", fontsize=10)
            span = (-limit, limit) if title == "difference" else (0, 1)
            colours = "RdBu_r" if title == "difference" else "gray"
            shown = axis.imshow(_reduced(image[window]), cmap=colours, vmin=span[0], vmax=span[1])
            for name, mask in masks.items() if outlined else ():
                _outline(axis, _reduced(mask[window]) >= 0.5, COLOURS[name])
        figure.colorbar(shown, ax=axis, shrink=0.7, label="change of display intensity (range 1)")
    figure.suptitle(
        f'AI-EDITED (SYNTHETIC) NOT FOR DIAGNOSIS   "{record.prompt}"   '
        f"{record.model}, {record.steps} steps, w = {record.guidance:g}, seed {record.seed}\n"
        "red outline: may change, and a band around it; blue outline: must stay",
        fontsize=10,
    )
    with replacing(path) as stream:
        figure.savefig(stream, format=path.suffix.lstrip(".") or "png")


def _close_up(edit: NDArray[np.bool_]) -> tuple[slice, slice]:
    """A square window around the edit mask, with room for its band."""
    rows, cols = np.flatnonzero(edit.any(axis=1)), np.flatnonzero(edit.any(axis=0))
    half = 0.5 * max(np.ptp(rows), np.ptp(cols)) + max(edit.shape) / 10
    spans = []
    for hits, size in ((rows, edit.shape[0]), (cols, edit.shape[1])):
        middle = (hits[0] + hits[-1]) / 2
        spans.append(slice(max(0, int(middle - half)), min(size, int(middle + half))))
    return spans[0], spans[1]


def _reduced(image: NDArray[Any]) -> NDArray[np.float32]:
    """Average blocks of pixels: a panel shows no more, and matplotlib needs 200 bytes for each."""
    step = max(1, max(image.shape) // _PANEL_PX)
    rows, cols = (n // step for n in image.shape)
    blocks = image[: rows * step, : cols * step].reshape(rows, step, cols, step)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def _outline(axis: Any, mask: NDArray[np.bool_], colour: str) -> None:
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=1.0)
