"""What the first page says: the outcome in sentences, what was not shown and why, and pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from typing import Any

from radedit.lib.stress import statistics
from radedit.lib.stress.findings import Effect, Found, asked_of, effect_of, less
from radedit.lib.stress.verdict import FAILED, HELD, NOT_SHOWN

Row = dict[str, Any]
FEW = 3  # that are named in the sentence


def verdict_rows(suites: Sequence[Mapping[str, Any]]) -> list[Row]:
    """One row of each suite, model and label, for the forest plot and the list of what failed."""
    rows = []
    for one in suites:
        for victim in one["result"]["victims"]:
            verdict = victim["verdict"]
            label = f" ({victim['label']})" if victim["label"] else ""
            of_right = one["suite"]["criterion"]["effect"] == "gap"
            known = verdict.get("among") != "all" or not of_right
            rows.append(
                {
                    "suite": one["suite"]["title"],
                    "who": f"{victim['card']['name']}{label}",
                    "edit": verdict.get("edit", ""),
                    "effect": verdict.get("effect", {}) if known else {},
                    "at_most": one["suite"]["criterion"]["at_most"],
                    "outcome": verdict["outcome"],
                    "why": verdict["why"],
                }
            )
    return rows


def sentence(rows: Sequence[Row]) -> str:
    """Say in a sentence or two what came out; which ones stands below where there are many."""
    said = []
    several = len({row["suite"] for row in rows}) > 1
    for name, words in ((FAILED, "Failed"), (HELD, "Held"), (NOT_SHOWN, "Not shown")):
        some = [
            f"{row['who']} in “{row['suite']}”" if several else row["who"]
            for row in rows
            if row["outcome"] == name
        ]
        if some:
            few = len(some) <= FEW
            said.append(f"{words}: {'; '.join(some) if few else f'{len(some)} of {len(rows)}'}.")
    return " ".join(said) or "Nothing was tested."


def pairs_of(found: Found) -> list[Row]:
    """Compare every two models on the same edits, on the patients that both read right before.

    Returns
    -------
    One row of each pair, label and edit: "one", "other", "label", "edit", and "difference", what
    `one` loses more than `other`, paired within the patient
    """
    rows = []
    by_label: dict[str, list[str]] = {}
    for asked in asked_of(found):
        by_label.setdefault(asked.label, []).append(asked.victim)
    for edit in found.suite.edits:
        effects = {
            (asked.victim, asked.label): effect_of(found, asked, edit) for asked in asked_of(found)
        }
        for label, victims in by_label.items():
            for one, other in combinations(victims, 2):
                rows.append(_pair(found, effects[one, label], effects[other, label]))
    return rows


def _pair(found: Found, one: Effect, other: Effect) -> Row:
    apart = less(one.lost, other.lost) if one.is_gap else less(one.compared, other.compared)
    return {
        "one": found.cards[one.asked.victim]["name"],
        "other": found.cards[other.asked.victim]["name"],
        "label": one.asked.label,
        "edit": one.edit.name,
        "difference": asdict(statistics.mean_of(list(apart.values()), one.kind)),
    }
