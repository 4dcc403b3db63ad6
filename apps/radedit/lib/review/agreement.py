"""How far readers agree on edits, and how often they see which picture is the edited one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

from radedit.lib.review.events import ANSWERS, Event, newest

DECISIONS = ANSWERS["decision"]


@dataclass(frozen=True)
class Agreement:
    """Two readers on the edits that both decided on.

    Attributes
    ----------
    readers : their names
    edits : how many edits both decided on
    table : [3][3] counts; rows: first reader, columns: second, in the order of `DECISIONS`
    observed : share of edits with the same decision, 0 to 1
    kappa : Cohen's, -1 to 1; None where both gave one and the same answer to all, or nothing
    interval : 95 % interval of kappa (Fleiss, Cohen and Everitt 1969, large samples), or None
    """

    readers: tuple[str, str]
    edits: int
    table: tuple[tuple[int, ...], ...]
    observed: float
    kappa: float | None
    interval: tuple[float, float] | None


def agreements(events: list[Event]) -> list[Agreement]:
    """Compare every two readers by their newest decisions.

    Returns
    -------
    list of Agreement
        By the readers' names; only of pairs that share an edit.
    """
    decided: dict[str, dict[str, str]] = {}
    for (reader, uid), event in newest(events, "decision").items():
        decided.setdefault(reader, {})[uid] = event.answer
    pairs = combinations(sorted(decided), 2)
    return [
        _agreement((first, second), decided[first], decided[second])
        for first, second in pairs
        if decided[first].keys() & decided[second].keys()
    ]


@dataclass(frozen=True)
class Detection:
    """How a reader fared when not told which picture is the edited one.

    Attributes
    ----------
    reader : name
    right, wrong, unsure : counts of blinded answers
    """

    reader: str
    right: int
    wrong: int
    unsure: int


def detections(events: list[Event]) -> list[Detection]:
    """Count each reader's blinded answers, by the readers' names."""
    answers: dict[str, list[bool | None]] = {}
    for (reader, _), event in newest(events, "blinded").items():
        answers.setdefault(reader, []).append(event.is_right)
    return [
        Detection(reader, given.count(True), given.count(False), given.count(None))
        for reader, given in sorted(answers.items())
    ]


def _agreement(
    readers: tuple[str, str], first: dict[str, str], second: dict[str, str]
) -> Agreement:
    from sklearn.metrics import accuracy_score, cohen_kappa_score, confusion_matrix

    shared = sorted(first.keys() & second.keys())
    one, other = [first[uid] for uid in shared], [second[uid] for uid in shared]
    table = confusion_matrix(one, other, labels=DECISIONS)
    # With one answer from both, chance alone agrees fully and kappa is 0/0.
    defined = len({*one, *other}) > 1
    kappa = float(cohen_kappa_score(one, other, labels=DECISIONS)) if defined else None
    return Agreement(
        readers=readers,
        edits=len(shared),
        table=tuple(tuple(int(count) for count in row) for row in table),
        observed=float(accuracy_score(one, other)),
        kappa=kappa,
        interval=_interval(table) if defined else None,
    )


def _interval(table: object) -> tuple[float, float] | None:
    import numpy as np
    from statsmodels.stats.inter_rater import cohens_kappa

    counts = np.asarray(table)
    used = (counts.sum(axis=0) + counts.sum(axis=1)) > 0  # an unused answer is no category
    found = cohens_kappa(counts[used][:, used])
    low, high = float(found.kappa_low), float(found.kappa_upp)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return max(low, -1.0), min(high, 1.0)
