"""Masks drawn on a film: expressions evaluated, grown, checked and resolved.

Masks are bool [rows, cols] on the film's own pixel grid, True = inside. This module knows
no server and no archive: whoever evaluates hands in a `Sources`. The language itself is in
`mask_grammar`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from radedit.lib.errors import MaskError
from radedit.lib.mask_grammar import (
    Box,
    Difference,
    Dilated,
    Ellipse,
    Inverse,
    Node,
    Source,
    Union,
)

Mask = NDArray[np.bool_]


class Sources(Protocol):
    """Where the masks that are no shapes come from."""

    def mask(self, kind: str, name: str) -> Mask:
        """Give the mask that `kind:name` stands for: bool [rows, cols] on the film's grid."""
        ...


Known = Callable[[str, str], Mask | None]
"""What a source gives, by kind and name, as far as that is known."""


@dataclass(frozen=True)
class Frame:
    """The film a mask lies on: its size, and its pixel spacing where that is known."""

    rows: int
    cols: int
    spacing_mm: tuple[float, float] | None = None


def evaluate(node: Node, frame: Frame, sources: Sources) -> Mask:
    """Draw an expression on a film.

    Returns
    -------
    bool [rows, cols], True = inside

    Raises
    ------
    MaskError
        A source has another size than the film, or mm are asked for and no spacing is known.
    """
    match node:
        case Box(x0, y0, x1, y1):
            y, x = _pixel_centres(frame)
            return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)
        case Ellipse(cx, cy, rx, ry):
            y, x = _pixel_centres(frame)
            return np.asarray(((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1)
        case Source(kind, name):
            return fitting(sources.mask(kind, name), frame, f"{kind}:{name}")
        case Union(left, right):
            return evaluate(left, frame, sources) | evaluate(right, frame, sources)
        case Difference(left, right):
            return evaluate(left, frame, sources) & ~evaluate(right, frame, sources)
        case Inverse(inner):
            return ~evaluate(inner, frame, sources)
        case Dilated(inner, amount, unit):
            return dilate(evaluate(inner, frame, sources), amount, unit, frame)


def bounds(node: Node, frame: Frame, known: Known) -> tuple[Mask, Mask]:
    """Say between which masks an expression lies, while not all of its sources have been asked.

    Parameters
    ----------
    known : what a source gives, by kind and name; None = that is not known yet

    Returns
    -------
    least, most : bool [rows, cols]; what `evaluate` will draw holds all of the first one, and
        lies in the second one

    Raises
    ------
    MaskError
        As `evaluate`.
    """
    nothing = np.zeros((frame.rows, frame.cols), dtype=bool)
    match node:
        case Source(kind, name):
            mask = known(kind, name)
            if mask is None:
                return nothing, ~nothing
            return (fitting(mask, frame, f"{kind}:{name}"),) * 2
        case Union(left, right):
            (a, b), (c, d) = bounds(left, frame, known), bounds(right, frame, known)
            return a | c, b | d
        case Difference(left, right):
            (a, b), (c, d) = bounds(left, frame, known), bounds(right, frame, known)
            return a & ~d, b & ~c
        case Inverse(inner):
            least, most = bounds(inner, frame, known)
            return ~most, ~least
        case Dilated(inner, _, unit):
            _check_unit(unit, frame)
            least, most = bounds(inner, frame, known)
            return least, most | most.any()  # how far it grows would cost what an edit's mask does
    return (evaluate(node, frame, _NoSources()),) * 2


class _NoSources:
    def mask(self, kind: str, name: str) -> Mask:
        raise AssertionError("a shape asks for no source")


def fitting(mask: Mask, frame: Frame, name: str) -> Mask:
    """Return the mask unchanged if it has the film's size; a MaskError names both otherwise."""
    if mask.shape != (frame.rows, frame.cols):
        found = " x ".join(str(n) for n in mask.shape)
        raise MaskError(
            f"the mask {name} has {found} pixels and the film {frame.rows} x {frame.cols}; "
            "draw it on the film's own grid."
        )
    return mask.astype(bool, copy=False)


def dilate(mask: Mask, amount: float, unit: str, frame: Frame) -> Mask:
    """Grow a mask by a Euclidean distance in "px" or "mm"."""
    _check_unit(unit, frame)
    if not mask.any():
        return mask
    sampling = frame.spacing_mm if unit == "mm" else (1.0, 1.0)
    return np.asarray(distance_transform_edt(~mask, sampling=sampling) <= amount)


def _check_unit(unit: str, frame: Frame) -> None:
    if unit == "mm" and frame.spacing_mm is None:
        raise MaskError("the film states no pixel spacing, so a mask cannot grow in mm; use px.")


def resolve(edit: Mask | None, keep: Mask | None, frame: Frame) -> tuple[Mask, Mask]:
    """Fill in and check the pair of masks an edit runs with.

    Neither is taken out of the other here: how much of the keep mask keeps its values, and so is
    no part of what may change, is decided with the edit's parameters (`cases.prepare`).

    Parameters
    ----------
    edit : bool [rows, cols], True = may change; None = the whole film
    keep : bool [rows, cols], True = must stay; None = nothing

    Returns
    -------
    edit, keep : bool [rows, cols], as they were drawn

    Raises
    ------
    MaskError
        Nothing is left to edit, or a keep mask was given and holds nothing.
    """
    check_pair(edit, None if keep is None else (keep, keep), frame)
    keep = np.zeros((frame.rows, frame.cols), dtype=bool) if keep is None else keep
    return np.ones_like(keep) if edit is None else edit, keep


def check_pair(edit: Mask | None, keep: tuple[Mask, Mask] | None, frame: Frame) -> None:
    """Refuse a pair of masks that no edit can run with, also where only `bounds` are known.

    Parameters
    ----------
    edit : bool [rows, cols], the most that may change; None = the whole film
    keep : bool [rows, cols] each, the least and the most that must stay; None = nothing

    Raises
    ------
    MaskError
        As in `resolve`.
    """
    if keep is not None and not keep[1].any():
        raise MaskError(
            "the keep mask is empty on this film; draw what must stay, or leave it out."
        )
    edit = np.ones((frame.rows, frame.cols), dtype=bool) if edit is None else edit
    if not edit.any():
        raise MaskError("the edit mask is empty on this film; draw a region that may change.")
    if keep is not None and not (edit & ~keep[0]).any():
        raise MaskError("the edit mask lies wholly inside the keep mask; nothing could change.")


def _pixel_centres(frame: Frame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows, cols = np.arange(frame.rows, dtype=np.float64), np.arange(frame.cols, dtype=np.float64)
    return rows[:, None] + 0.5, cols[None, :] + 0.5
