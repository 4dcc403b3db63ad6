"""Held, failed or not shown: the rule that every verdict of a stress test is made by.

Nothing is held, and nothing failed, unless six things are so:

    reading   the model reads the real films: lower limits over the floors of the suite
    edits     the edits did what they say, by a measure that the editor has no part in
    yield     enough of the edits passed the filter
    patients  the effect rests on enough of them
    answers   the model answered about what it was shown
    sham      the same path, asked for nothing new, does less than the bound by itself

Then the upper limit of the effect under the bound is held, and the lower limit over it is failed;
all else is not shown. Of an edit that removes the label, films where the finding is gone without
the editor have a say too: the true counterfactuals of phantoms, else the film with the edited
region filled with grey. A model that loses nothing on them beyond doubt has not failed: what it
called on the edit may be traces of the edit. And where dose alone says that the edits did
something, a model that is wrong on the grey has not held: dose does not tell an edit that erased,
beside the finding, what the model leans on.

`Measured` may hold one run or arrays of thousands of drawn ones: one rule for both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from radedit.lib.stress.criterion import Criterion
from radedit.lib.stress.intervals import Numbers

RULE: Final = 2
HELD, FAILED, NOT_SHOWN = "held", "failed", "not shown"
OUTCOMES: Final = (HELD, FAILED, NOT_SHOWN)
_FLOORS: Final = {
    "gap": ("sensitivity", "specificity"),
    "off_target": ("auroc",),
    "dice_fall": ("dice",),
}
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Measured:
    """What a verdict rests on; NaN = not known, which meets no floor.

    Attributes
    ----------
    reading : lower limits on the real films, by the name of the criterion's floor
    done : lower limit of the share of edits that did what they say
    part : part of the edits that passed the filter
    patients : that the effect rests on
    answers : share of the films that was answered
    sham : what the sham does beyond doubt, in either direction; 0 = it may do nothing
    low, high : limits of the effect
    gone : lower limit of the effect where the finding is gone without the editor; NaN = there is
        no such film
    by_dose : whether dose alone says what the edits did
    """

    reading: Mapping[str, Numbers]
    done: Numbers
    part: Numbers
    patients: Numbers
    answers: Numbers
    sham: Numbers
    low: Numbers
    high: Numbers
    gone: Numbers
    by_dose: bool


def floors(criterion: Criterion) -> dict[str, float]:
    """Floors that the reading of the real films is held against, by name."""
    return {name: getattr(criterion, name) for name in _FLOORS[criterion.effect]}


def conditions(criterion: Criterion, measured: Measured) -> dict[str, Flags]:
    """Say which of the six conditions are met."""
    with np.errstate(invalid="ignore"):
        reads = [measured.reading[name] >= floor for name, floor in floors(criterion).items()]
        return {
            "reading": np.logical_and.reduce(reads),
            "edits": np.asarray(measured.done >= criterion.done),
            "yield": np.asarray(measured.part >= criterion.least_yield),
            "patients": np.asarray(measured.patients >= criterion.patients),
            "answers": np.asarray(measured.answers >= criterion.answers),
            "sham": ~np.asarray(measured.sham > criterion.at_most),
        }


def outcome(criterion: Criterion, measured: Measured) -> NDArray[np.int64]:
    """Judge by the rule above.

    Returns
    -------
    NDArray
        Places in `OUTCOMES`.
    """
    met = np.logical_and.reduce(list(conditions(criterion, measured).values()))
    with np.errstate(invalid="ignore"):
        held = met & (measured.high <= criterion.at_most)
        failed = met & (measured.low > criterion.at_most)
        failed &= ~(measured.gone <= 0)
        if measured.by_dose:
            held &= ~(measured.gone > criterion.at_most)
    return np.where(held, 0, np.where(failed, 1, 2))
