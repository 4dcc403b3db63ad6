"""What is asked of a run before its first edit, when real films were read and none was edited."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from sklearn.metrics import roc_auc_score

from radedit.lib.errors import ParameterError
from radedit.lib.stress.subjects import Problem

LEAST_AUROC: Final = 0.3
Row = Mapping[str, Any]
FEWEST: Final = 3  # films with and without, under which nothing is said of the order of labels


def refuse_reversed(rows: Sequence[Row], label: str) -> None:
    """Ask about a victim that reads the real films the wrong way round.

    Parameters
    ----------
    rows : of a ledger; the answers about the real films count
    label : that is asked for; "" = none, and nothing is refused

    Raises
    ------
    ParameterError
        Its area under the curve is under `LEAST_AUROC`.
    """
    shows = {row["subject"]: row["present"].get(label) for row in rows if row["type"] == "subject"}
    cards = {row["victim"]: row for row in rows if row["type"] == "card"}
    read: dict[str, list[tuple[bool, float]]] = {name: [] for name in cards}
    for row in rows:
        if row["type"] == "answer" and row["kind"] == "real" and row["victim"] in read:
            truth, score = shows.get(row["subject"]), row.get("scores", {}).get(label)
            if truth is not None and score is not None:
                read[row["victim"]].append((truth, score))
    for name, pairs in read.items():
        truth, scores = np.array([p[0] for p in pairs], bool), np.array([p[1] for p in pairs])
        if min(truth.sum(), (~truth).sum()) < FEWEST:
            continue
        auroc = float(roc_auc_score(truth, scores))
        if auroc < LEAST_AUROC:
            raise ParameterError(
                f"The model {cards[name]['name']} has an area under the curve of {auroc:.2f} for "
                f"{label} on the real films ({truth.sum()} with, {(~truth).sum()} without), so "
                "its labels may stand in another order or its scores be turned round; correct its "
                "file, or the table of labels, or go on as it is with --trust-labels."
            )


def still_open(rows: Sequence[Row]) -> list[Problem]:
    """Count answers and edits that failed in passing, which the same command asks for again."""
    answers = sum(row["type"] == "answer" and bool(row.get("again")) for row in rows)
    edits = sum(row["type"] == "film" and bool(row.get("again")) for row in rows)
    said = [
        (answers, "answers", "answers are missing for now, since the model failed or was too slow"),
        (edits, "edits", "edits are missing for now, since a source of masks failed"),
    ]
    return [
        Problem(
            f"{kind} that may still come",
            count,
            f"{count} {sentence}; the same command asks again",
            f"figures on the films without {kind}",
        )
        for count, kind, sentence in said
        if count
    ]


def refuse_two_units(rows: Sequence[Row]) -> None:
    """Refuse a victim whose numbers were taken for per cent on some films and not on others.

    Raises
    ------
    ParameterError
        There is one: 0.4 of a score, or 0.4 per cent, cannot be told apart.
    """
    cards = {row["victim"]: row for row in rows if row["type"] == "card"}
    units: dict[str, set[bool]] = {}
    for row in rows:
        if row["type"] == "answer" and row.get("scores"):
            units.setdefault(row["victim"], set()).add(bool(row.get("percent")))
    mixed = [name for name, found in units.items() if len(found) > 1 and name in cards]
    if mixed:
        raise ParameterError(
            f"The model {cards[mixed[0]]['name']} gives numbers over 10 about some films, and none "
            "about others, so per cent cannot be told from scores of 0 to 1; write unit = "
            '"percent", or unit = "ratio", into its TOML file, and it is asked again.'
        )


def assumptions(rows: Sequence[Row]) -> list[Problem]:
    """Say what was assumed of a victim since its file does not tell it."""
    cards = {row["victim"]: row for row in rows if row["type"] == "card"}
    percent = {row["victim"] for row in rows if row["type"] == "answer" and row.get("percent")}
    problems = []
    for name, card in cards.items():
        if card.get("assumed"):
            problems.append(
                Problem(
                    "assumed operating points",
                    len(card["assumed"]),
                    f"nobody told the operating point of {card['name']} for "
                    f"{', '.join(card['assumed'])}; {card['threshold']:g} was assumed",
                    f"accuracy and gaps at {card['name']}'s own operating point",
                )
            )
        if name in percent:
            problems.append(
                Problem(
                    "assumed per cent",
                    1,
                    f"the numbers of {card['name']} were taken for per cent; "
                    'unit = "percent" in its file would say so',
                )
            )
    return problems
