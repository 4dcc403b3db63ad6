"""Who the cohort was, and what became of its edits: yield, reasons, fidelity, contradictions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest

from radedit.lib.stress.findings import Found
from radedit.lib.stress.privacy import privacy_of
from radedit.lib.stress.quality import coverage, kid
from radedit.lib.stress.subjects import Problem
from radedit.lib.stress.suite import Edit

Result = dict[str, Any]
READER_ERRS = 0.1  # the embedded judge's measured errors are fewer on what suites ask for
DOUBT = 0.01


def cohort_of(found: Found) -> Result:
    """Count films, patients, groups and traits."""
    rows = list(found.subjects.values())
    traits: dict[str, Counter[str]] = {}
    for row in rows:
        for trait, name in row["traits"].items():
            traits.setdefault(trait, Counter())[name] += 1
    return {
        "films": len(rows),
        "patients": len({row["patient"] for row in rows}),
        "groups": dict(Counter(row["group"] for row in rows)),
        "traits": {trait: dict(names) for trait, names in sorted(traits.items())},
    }


def yield_of(found: Found, edit: Edit, facts: Mapping[str, Any] | None = None) -> Result:
    """Count what was made of an edit, what passed the filter, and why the rest did not.

    The yield is of all that should have been made: a film without a mask counts as not made.
    """
    rows = [
        row
        for (_, kind, name, _), row in found.films.items()
        if kind == "edit" and name == edit.name
    ]
    refused = {row["subject"]: row["refused"] for row in rows if "refused" in row}
    made = [row for row in rows if "refused" not in row]
    good = [row for row in made if row["accepted"]]
    asked = len({row["subject"] for row in rows}) * len(edit.seeds)
    # Reasons with their figures cut off, so that equal ones are counted together.
    why = Counter(_kind_of(reason) for row in made for reason in row["reasons"])
    outside = [row["ssim_outside"] for row in good if row["ssim_outside"] is not None]
    return {
        "edit": edit.name,
        "asked": asked,
        "made": len(made),
        "accepted": len(good),
        "yield": len(good) / asked if asked else 0.0,
        "reasons": dict(why.most_common()),
        "refused": dict(Counter(refused.values())),
        "seconds": float(np.median([row["seconds"] for row in made])) if made else None,
        "ssim_outside": float(np.mean(outside)) if outside else None,
        **{key: _mean_of(good, key) for key in ("attention_iou", "attention_chance")},
        **_fidelity(good),
        "privacy": privacy_of(
            [{**row, "patient": found.patient(row["subject"])} for row in good], facts or {}
        ),
    }


def _mean_of(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    known = [row[key] for row in rows if row.get(key) is not None]
    return float(np.mean(known)) if known else None


def _kind_of(reason: str) -> str:
    head, _, tail = reason.partition(" is under ")
    return f"{head.rsplit(' ', 1)[0]} under {tail}" if tail else reason


def _fidelity(rows: Sequence[Mapping[str, Any]]) -> Result:
    """Distance of edited films to their own sources, on the features of our own encoder.

    One edit of each film, since seeds of the same film are each other's nearest neighbours.
    """
    first = {row["subject"]: row["features"] for row in reversed(rows) if row["features"]}
    if len(first) < 2:
        return {"kid": None, "precision": None, "recall": None}
    real, edited = (np.array([pair[i] for pair in first.values()]) for i in (0, 1))
    overlap = coverage(real, edited)
    return {
        "kid": kid(real, edited),
        "precision": None if overlap is None else overlap.precision,
        "recall": None if overlap is None else overlap.recall,
    }


def contradictions(found: Found) -> list[Problem]:
    """Say which labels are doubtful: masks contradict them, or an independent reader does."""
    problems = []
    empty = {
        row["subject"]
        for row in found.films.values()
        if "refused" in row and "mask is empty" in row["refused"]
    }
    if empty:
        problems.append(
            Problem(
                "labels that the masks contradict",
                len(empty),
                f"{len(empty)} films are said to show what their mask does not; they were not "
                "edited",
                "effects on those films, and accuracy as far as their labels are wrong",
            )
        )
    label = found.suite.question.label
    both = [
        (row["present"][label], row["reader"])
        for row in found.subjects.values()
        if row.get("reader") is not None and row["present"].get(label) is not None
    ]
    other = sum(said != seen for said, seen in both)
    if both and binomtest(other, len(both), READER_ERRS, alternative="greater").pvalue < DOUBT:
        problems.append(
            Problem(
                "labels that an independent reader contradicts",
                other,
                f"the independent reader contradicts {other} of {len(both)} labels, more than "
                f"the {READER_ERRS:.0%} that it may be wrong itself",
                "accuracy on the real films, and gaps measured against it",
            )
        )
    return problems
