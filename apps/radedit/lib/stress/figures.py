"""The report's figures as PNG in a data address, so that one HTML file holds all of it."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from radedit.lib.stress.subjects import Image, Mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, Any]
INK, PALE, RED, BLUE = "#1b2733", "#9aa7b3", "#b3261e", "#1f5fa8"
GREEN = "#1d6f42"
MANY = 8  # rows of a figure, from which on each has one line
OUTCOMES = {
    "held": (GREEN, "o", GREEN),
    "failed": (RED, "s", RED),
    "not shown": (INK, "o", "white"),
}
_GAP = (("lost", "right before, wrong after", BLUE), ("shaken", "the same on the sham", PALE),
        ("reference", "wrong on real films like the edited", INK),
        ("lost_truly", "wrong on the truth", RED))  # fmt: skip
_OTHER = (("raw", "edit", BLUE), ("sham", "sham", PALE), ("corrected", "effect", INK),
          ("true", "truth", RED))  # fmt: skip
_LEVELS = (("level_real", "real", INK), ("level_sham", "sham", PALE),
           ("level_edited", "edited", BLUE), ("level_true", "truth", RED))  # fmt: skip


def forest(rows: Sequence[Row]) -> str:
    """Draw the effect that each verdict rests on, with its interval, bound and outcome.

    Parameters
    ----------
    rows : `suite`, `who`, `edit`, `effect`, `at_most`, `outcome`; an effect that no verdict can
        rest on has no value
    """
    many = len(rows) > MANY
    figure, axes = _axes(7.2, 0.9 + (0.24 if many else 0.36) * max(1, len(rows)))
    for at, row in enumerate(rows):
        colour, marker, face = OUTCOMES[row["outcome"]]
        effect = row["effect"]
        axes.plot([row["at_most"]] * 2, [at - 0.4, at + 0.4], color=RED, lw=1.2, ls=":")
        if effect.get("low") is not None:
            axes.plot([effect["low"], effect["high"]], [at, at], color=colour, lw=1.6)
        if effect.get("value") is not None:
            axes.plot([effect["value"]], [at], marker, color=colour, mfc=face, ms=6)
        said = f"{row['outcome']}, n {effect.get('n', 0)}"
        axes.annotate(said, (1.01, at), xycoords=("axes fraction", "data"), va="center",
                      fontsize=8, color=colour, fontweight="bold")  # fmt: skip
    axes.axvline(0, color=PALE, lw=0.8)
    names = [f"{row['who']}{', ' if many else chr(10)}{row['edit']}" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(
        "effect with its 95 % interval; dotted: the bound that was set before", fontsize=8
    )
    return encoded(figure)


def effects(victims: Sequence[Row], kind: str) -> str:
    """Draw what each effect is made of, with intervals."""
    return _dots(victims, _GAP if kind == "gap" else _OTHER, "share of patients" if kind == "gap"
                 else "change, 95 % interval")  # fmt: skip


def levels(victims: Sequence[Row], what: str) -> str:
    """Draw how good each model is on real, sham, edited and true films."""
    return _dots(victims, _LEVELS, what)


def _dots(victims: Sequence[Row], keys: Sequence[tuple[str, str, str]], what: str) -> str:
    rows = [(v, e) for v in victims for e in v["effects"]]
    figure, axes = _axes(7.2, 1.0 + 0.42 * max(1, len(rows)))
    for at, (_, effect) in enumerate(rows):
        for step, (key, _, colour) in enumerate(keys):
            _interval(axes, effect[key], at + 0.2 * (step - 1.5), colour)
    axes.axvline(0, color=PALE, lw=0.8)
    axes.set_yticks(range(len(rows)), [f"{_who(v)}\n{e['edit']}" for v, e in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(what, fontsize=8)
    shown = [(title, colour) for _, title, colour in keys]
    _legend(axes, shown, ncols=len(shown), loc="lower center", bbox_to_anchor=(0.4, 1.0))
    return encoded(figure)


def doses(victims: Sequence[Row]) -> str:
    """Draw how often a finding is called by the measured change; "" where no doses were given."""
    rows = [(v, e["response"]) for v in victims for e in v["effects"] if e["response"]]
    if not rows:
        return ""
    figure, axes = _axes(7.2, 2.8)
    for (victim, dose), colour in zip(rows, (BLUE, RED, INK, PALE) * 3, strict=False):
        x, y = np.array(dose["points"], float).T
        edges = np.unique(np.quantile(x, np.linspace(0, 1, 7)))
        at = np.clip(np.searchsorted(edges, x, "right") - 1, 0, max(0, len(edges) - 2))
        middle = [x[at == b].mean() for b in np.unique(at)]
        axes.plot(middle, [y[at == b].mean() for b in np.unique(at)], "o-", color=colour, ms=4,
                  label=_who(victim))  # fmt: skip
    axes.set_xlabel("measured mean change inside the edit mask, display intensity 0 to 1")
    axes.set_ylabel("called, share of films")
    axes.set_ylim(-0.03, 1.03)
    axes.legend(fontsize=8, frameon=False)
    return encoded(figure)


def corruptions(victims: Sequence[Row]) -> str:
    """Draw damage by severity of each corruption; "" where none was asked for."""
    if not any(v["corruptions"] for v in victims):
        return ""
    names = sorted({row["name"] for v in victims for row in v["corruptions"]})
    figure, grid = _grid(len(names))
    for axes, name in zip(grid, names, strict=True):
        for victim, colour in zip(victims, (BLUE, RED, INK, PALE) * 3, strict=False):
            rows = sorted((r["severity"], r["value"]) for r in victim["corruptions"]
                          if r["name"] == name and r["value"] is not None)  # fmt: skip
            if rows:
                axes.plot(*zip(*rows, strict=True), "o-", color=colour, ms=3, label=_who(victim))
        axes.set_title(name, fontsize=8)
        axes.set_xticks([1, 3, 5])
        axes.tick_params(labelsize=7)
    grid[0].set_ylabel("damage added", fontsize=8)
    if grid[-1].get_legend_handles_labels()[0]:
        grid[-1].legend(fontsize=6, frameon=False)
    return encoded(figure)


def agreement(points: Sequence[Row]) -> str:
    """Draw estimated against true gaps with their intervals; the line is equality."""
    figure, axes = _axes(3.6, 3.4)
    for point in points:
        x, y = point["true"], point["estimated"]
        axes.plot([x["value"]], [y["value"]], "o", color=BLUE, ms=4)
        if y["low"] is not None:
            axes.plot([x["value"]] * 2, [y["low"], y["high"]], color=BLUE, lw=1)
    axes.plot([-0.1, 1.05], [-0.1, 1.05], color=PALE, lw=0.8)
    axes.set_xlabel("true gap")
    axes.set_ylabel("estimated gap")
    return encoded(figure)


def pair(before: Image, after: Image, edit: Mask | None) -> str:
    """Draw a film before and after, and the difference with the edit mask's outline."""
    figure, grid = _grid(3, 2.1)
    change = after - before
    reach = max(0.05, float(np.abs(change).max()))
    for axes, image, title in zip(
        grid, (before, after, change), ("film", "edit", "difference"), strict=True
    ):
        if title == "difference":
            axes.imshow(image, cmap="RdBu_r", vmin=-reach, vmax=reach)
            if edit is not None and edit.any() and not edit.all():
                axes.contour(edit, [0.5], colors=INK, linewidths=0.6)
        else:
            axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(title, fontsize=7)
        axes.set_axis_off()
    return encoded(figure, 110)


def encoded(figure: Figure, dpi: int = 130) -> str:
    """Give a figure as a data address."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=dpi, bbox_inches="tight")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def _who(victim: Row) -> str:
    label = f" ({victim['label']})" if victim["label"] else ""
    return f"{victim['card']['name']}{label}"


def _legend(axes: Axes, shown: Sequence[tuple[str, str]], **place: Any) -> None:
    """Name colours whether or not anything of them could be drawn."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=title) for title, colour in shown]
    axes.legend(handles=handles, fontsize=7, frameon=False, **place)


def _interval(axes: Axes, found: Row, at: float, colour: str) -> None:
    if found["value"] is None:
        return
    axes.plot([found["value"]], [at], "o", color=colour, ms=4)
    if found["low"] is not None:
        axes.plot([found["low"], found["high"]], [at, at], color=colour, lw=1.4)


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure as Blank

    figure = Blank(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    return figure, axes


def _grid(columns: int, height: float = 2.2) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure as Blank

    figure = Blank(figsize=(7.2, height), layout="constrained")
    return figure, [figure.add_subplot(1, columns, at + 1) for at in range(columns)]
