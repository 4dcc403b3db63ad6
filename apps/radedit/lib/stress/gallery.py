"""Pictures for the report: the best, the worst and the rejected edits of a suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from radedit.lib.errors import RadEditError
from radedit.lib.stress import figures
from radedit.lib.stress.findings import Found
from radedit.lib.stress.ledger import EDITS
from radedit.lib.stress.runner import Plan
from radedit.lib.stress.variants import drawn_masks, kept_edit
from radedit_dicom.errors import DicomError
from radedit_dicom.pixels import to_display

EACH = 2  # best, worst and rejected of every suite


def gallery_of(plan: Plan, found: Found) -> list[dict[str, str]]:
    """Choose edits by their score and draw them; films that are gone are left out."""
    made = [row for key, row in found.films.items() if key[1] == "edit" and "refused" not in row]
    made.sort(key=_score)
    accepted = [row for row in made if row["accepted"]]
    rejected = [row for row in made if not row["accepted"]]
    chosen = [("best", row) for row in accepted[::-1][:EACH]]
    chosen += [("worst accepted", row) for row in accepted[:EACH]]
    chosen += [("rejected", row) for row in rejected[:EACH]]
    drawn = []
    for title, row in chosen:
        figure = _drawn(plan, found, row)
        if figure:
            drawn.append({"title": title, "caption": _caption(row), "figure": figure})
    return drawn


def _score(row: Mapping[str, Any]) -> float:
    value = row["scores"].get("directional_similarity")
    return -2.0 if value is None else float(value)


def _caption(row: Mapping[str, Any]) -> str:
    score = row["scores"].get("directional_similarity")
    said = "not scorable" if score is None else f"directional similarity {score:.2f}"
    why = "; ".join(row["reasons"])
    return f"{row['edit']}, seed {row['seed']}, {said}{': ' + why if why else ''}"


def _drawn(plan: Plan, found: Found, row: Mapping[str, Any]) -> str:
    try:
        subject = plan.cohort.subject(int(found.subjects[row["subject"]]["number"]))
        edited = kept_edit(plan.out / EDITS / row["file"], subject.film)
        edit = next(e for e in plan.suite.edits if e.name == row["edit"])
        mask = drawn_masks(subject, edit).get("edit")
    except (RadEditError, DicomError):
        return ""
    if edited is None:
        return ""
    return figures.pair(to_display(subject.film), to_display(edited), mask)
