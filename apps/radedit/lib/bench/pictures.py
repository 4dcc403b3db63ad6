"""The bench's pictures: films side by side, with the masks' outlines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_gradient_magnitude

from radedit.lib.bench.measures import Image, Mask, border_band, scale_of
from radedit.lib.bench.truth import AS_IS, DIFFEDIT, RADEDIT, TRUTH
from radedit.lib.errors import OutputError
from radedit.lib.whole_files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EDIT, KEEP = "#ff5252", "#40c4ff"
Kept = Mapping[str, Any]
Window = tuple[slice, slice]
WHOLE: Window = np.s_[:, :]
REMOVAL = (
    (AS_IS, "film"),
    ("radedit, values kept", "RadEdit, values kept"),
    ("radedit, attenuation kept", "RadEdit, attenuation kept"),
    ("radedit, no keep mask", "RadEdit, no keep mask"),
    ("global prompt", "global prompt"),
    (TRUTH, "truth"),
)
ADDED = ((AS_IS, "film"), (RADEDIT, "RadEdit"), (TRUTH, "truth"))
SEAM = ((AS_IS, "film"), (RADEDIT, "RadEdit"), (DIFFEDIT, "DiffEdit"), (TRUTH, "truth"))
KINDS = ("consolidation", "effusion", "pacemaker")


def draw_all(kept: Sequence[Kept], folder: Path) -> list[Path]:
    """Draw the four pictures of the first patients' films.

    Parameters
    ----------
    kept : of `run.pictured`, one per patient
    folder : made if missing

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [
            _removal(kept, folder / "truth-removal.png"),
            _drains(kept, folder / "truth-drain.png"),
            _additions(kept[:2], folder / "truth-additions.png"),
            _seam(kept[:3], folder / "truth-seam.png"),
        ]
    except OSError as error:
        raise OutputError(
            f"the pictures cannot be written ({error.strerror or type(error).__name__})."
        ) from None


def _removal(kept: Sequence[Kept], path: Path) -> Path:
    def panel(axis: Axes, row: int, column: int) -> str:
        name, title = REMOVAL[column]
        films = kept[row]
        _show(axis, films[f"removal/{name}"])
        if name == AS_IS:
            outline(axis, films["removal/edit mask"], EDIT)
            outline(axis, films["removal/keep mask"], KEEP)
        return title

    heading = "Pneumothorax removed (red: edit mask), drain kept (blue: keep mask)"
    return _grid((len(kept), len(REMOVAL)), panel, heading, path)


def _drains(kept: Sequence[Kept], path: Path) -> Path:
    """What of each film is the drain's: the film less the same film without it, both edited."""

    def panel(axis: Axes, row: int, column: int) -> str:
        name, title = REMOVAL[column]
        films = kept[row]
        window = _around(films["removal/keep mask"])
        axis.imshow(films[f"removal/{name} shadow"][window], cmap="gray", vmin=0.3, vmax=0.8)
        return title

    heading = "The drain's own shadow: the film less the same film without the drain, edited alike"
    return _grid((len(kept), len(REMOVAL)), panel, heading, path)


def _additions(kept: Sequence[Kept], path: Path) -> Path:
    def panel(axis: Axes, row: int, column: int) -> str:
        name, title = ADDED[column % len(ADDED)]
        films, kind = kept[column // len(ADDED)], KINDS[row]
        _show(axis, films[f"{kind}/{name}"])
        if name == AS_IS:
            outline(axis, films[f"{kind}/edit mask"], EDIT)
        return f"{kind}: {title}"

    heading = "Findings and a device added (red: edit mask)"
    return _grid((len(KINDS), len(ADDED) * len(kept)), panel, heading, path)


def _seam(kept: Sequence[Kept], path: Path) -> Path:
    def panel(axis: Axes, row: int, column: int) -> str:
        name, title = SEAM[column]
        films = {key: kept[row][f"consolidation/{key}"] for key, _ in SEAM}
        mask = kept[row]["consolidation/edit mask"]
        window = _worst(films[DIFFEDIT] - films[AS_IS], mask)
        _show(axis, films[name], window)
        if name == AS_IS:
            outline(axis, mask[window], EDIT)
        return title

    heading = "Consolidation added: where DiffEdit's border shows most (red: edit mask's border)"
    return _grid((len(kept), len(SEAM)), panel, heading, path)


def _around(mask: Mask) -> Window:
    """The rows and columns of a mask, with some margin."""
    spans = []
    for axis in (1, 0):
        hits = np.flatnonzero(mask.any(axis=axis))
        margin = mask.shape[1 - axis] // 16
        spans.append(slice(max(0, int(hits[0]) - margin), int(hits[-1]) + margin + 1))
    return spans[0], spans[1]


def _worst(change: Image, mask: Mask) -> Window:
    """A window of a quarter of the film's side where a change is steepest along the border."""
    px = scale_of(mask.shape)
    steep = gaussian_gradient_magnitude(change, px) * border_band(mask)
    middle = np.unravel_index(np.argmax(gaussian_filter(steep, 12 * px)), mask.shape)
    half = max(mask.shape) // 8
    spans = []
    for at, size in zip(middle, mask.shape, strict=True):
        start = int(min(max(0, at - half), max(0, size - 2 * half)))
        spans.append(slice(start, start + 2 * half))
    return spans[0], spans[1]


def _grid(
    shape: tuple[int, int], panel: Callable[[Axes, int, int], str], heading: str, path: Path
) -> Path:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = shape
    figure = Figure(figsize=(2.3 * columns, 2.35 * rows + 0.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for row in range(rows):
        for column in range(columns):
            axis = figure.add_subplot(rows, columns, row * columns + column + 1)
            axis.set_axis_off()
            title = panel(axis, row, column)
            axis.set_title(title, fontsize=8)
    figure.suptitle(f"{heading}. Simulated films, not for diagnosis", fontsize=9)
    with replacing(path) as stream:
        figure.savefig(stream, format="png")
    return path


def _show(axis: Axes, image: Image, window: Window = WHOLE) -> None:
    axis.imshow(image[window], cmap="gray", vmin=0, vmax=1)


def outline(axis: Axes, mask: Mask, colour: str) -> None:
    """Draw a mask's border, if it has one."""
    if mask.any() and not mask.all():
        axis.contour(mask, levels=[0.5], colors=[colour], linewidths=0.8)
