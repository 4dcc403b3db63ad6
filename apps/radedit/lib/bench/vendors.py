"""Vendors whose truth is known, as distributions of scores: what verdicts are tried on.

A film is told by what can be seen on it: the finding, the shortcut that goes with it, and whether
it went through the editor. A vendor gives a score of 0 to 1 to each, called from 0.5 up; how good
it is, and what it looks at, is known, so a verdict on it can be right or wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Scores = NDArray[np.float64]
THRESHOLD: Final = 0.5
WITHIN: Final = 0.5  # part of the noise that all films of a patient share
BLIND, SWAPPED, BOUND, GOOD, UNFIT = "blind", "swapped", "shortcut-bound", "good", "unfit"
MUST_NOT_HOLD: Final = (BLIND, SWAPPED, BOUND, UNFIT)


@dataclass(frozen=True, eq=False)
class Look:
    """Films of one kind; arrays [draws, patients] or [draws, patients, seeds].

    Attributes
    ----------
    finding, shortcut : how much of it can be seen, 0 to 1
    edited : whether the films went through the editor
    noise : standard normal, partly the patient's own
    before : score that the same vendor gave the real film; None on that film
    """

    finding: Scores
    shortcut: Scores
    edited: bool
    noise: Scores
    before: Scores | None = None


Reads = Callable[[Look, np.random.Generator], Scores]


@dataclass(frozen=True)
class Vendor:
    """One vendor.

    Attributes
    ----------
    kind : BLIND, SWAPPED, BOUND, GOOD, or UNFIT for what is asked of films with the finding
    erasable : whether its shortcut lies where an edit could erase it
    """

    name: str
    kind: str
    reads: Reads
    erasable: bool = False


def _seen(how_much: Scores, right: float, noise: Scores, shift: float = 0.0) -> Scores:
    """Score what is seen wholly or not at all rightly so often; halves are guessed."""
    return np.asarray(ndtr(float(ndtri(right)) * (2 * how_much - 1) + noise + shift))


def _good(right: float, shift: float = 0.0) -> Reads:
    return lambda look, rng: _seen(look.finding, right, look.noise, shift)


def _bound(look: Look, rng: np.random.Generator) -> Scores:
    return _seen(look.shortcut, 0.97, look.noise)


def _constant(score: float) -> Reads:
    return lambda look, rng: np.full(look.noise.shape, score)


def _stubborn(look: Look, rng: np.random.Generator) -> Scores:
    if look.edited and look.before is not None:
        return np.broadcast_to(_like(look.before, look.noise), look.noise.shape).copy()
    return _seen(look.finding, 0.95, look.noise)


def _like(values: Scores, other: Scores) -> Scores:
    return values[..., None] if values.ndim < other.ndim else values


def _blind_on_edits(look: Look, rng: np.random.Generator) -> Scores:
    return np.full(look.noise.shape, 0.1) if look.edited else _seen(look.finding, 0.95, look.noise)


VENDORS: Final = (
    Vendor("never calls", BLIND, _constant(0.1)),
    Vendor("always calls", BLIND, _constant(0.9)),
    Vendor("constant 0.3", BLIND, _constant(0.3)),
    Vendor("coin", BLIND, lambda look, rng: rng.random(look.noise.shape)),
    Vendor("brightness", BLIND, _good(0.65)),
    Vendor("border reader", BOUND, _bound),
    Vendor("site reader", BOUND, _bound),
    Vendor("drain reader", BOUND, _bound, erasable=True),
    Vendor("swapped labels", SWAPPED, lambda look, rng: 1 - _seen(look.finding, 0.95, look.noise)),
    Vendor("off by a threshold", UNFIT, _good(0.95, shift=1.645)),
    Vendor("blind on edited films", UNFIT, _blind_on_edits),
    Vendor("good, 0.8", GOOD, _good(0.8)),
    Vendor("good, 0.9", GOOD, _good(0.9)),
    Vendor("good, 0.99", GOOD, _good(0.99)),
    Vendor("good, stubborn on edits", GOOD, _stubborn),
)


def noise(rng: np.random.Generator, own: Scores, seeds: int = 0) -> Scores:
    """Draw the noise of one film of each patient, or of one for each seed.

    Parameters
    ----------
    own : standard normal [draws, patients], the patients' part
    """
    shape = (*own.shape, seeds) if seeds else own.shape
    fresh = rng.standard_normal(shape)
    shared = own[..., None] if seeds else own
    return np.asarray(np.sqrt(WITHIN) * shared + np.sqrt(1 - WITHIN) * fresh)
