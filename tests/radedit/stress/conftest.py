"""Rows of a run whose effects are known, and small cohorts of phantoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from radedit.lib.stress.suite import Suite, parse_suite

Row = dict[str, Any]

SUITE = """
name = "known"
title = "A finding removed"
intended_use = "Reads a finding"
shift = "manifestation"

[question]
label = "finding"

[[edits]]
name = "removed"
prompt = "No acute cardiopulmonary process"
where = { finding = true }
removes = ["finding"]
seeds = [0, 1]

[criterion]
at_most = 0.10
patients = 10
least_yield = 0.5
sensitivity = 0.5
specificity = 0.5
"""


@pytest.fixture(scope="session")
def known_suite() -> Suite:
    return parse_suite(SUITE.encode())


def rows_of(
    scores: Mapping[str, Callable[[int, str], float | None]],
    patients: int,
    well: Callable[[int], float] = lambda n: 0.1,
) -> list[Row]:
    """Rows of films with a finding that was removed, and of as many films without it.

    Parameters
    ----------
    scores : victim to a function of the patient's number and the kind of film
    well : score of each film without the finding, by every victim; read right unless told
    """
    rows: list[Row] = [
        {
            "type": "card", "victim": name, "name": name, "version": "1", "threshold": 0.5,
            "thresholds": {"finding": 0.5, "other": 0.5}, "preprocessing": "none",
            "sha256": None, "world": "",
        }
        for name in scores
    ]  # fmt: skip
    films = [("real", "", 0), ("edit", "removed", 0), ("edit", "removed", 1),
             ("sham", "removed", 0), ("sham", "removed", 1), ("truth", "removed", 0),
             ("blur", "removed", 0)]  # fmt: skip
    for n in range(patients):
        key = f"s{n}"
        rows.append(
            {
                "type": "subject", "number": n, "subject": key, "patient": f"p{n}", "group": "ill",
                "present": {"finding": True}, "traits": {"sex": "FM"[n % 2]}, "spacing_mm": [1, 1],
            }
        )  # fmt: skip
        for kind, edit, seed in films:
            arm = {"subject": key, "kind": kind, "edit": edit, "seed": seed, "level": 0.0}
            if kind in ("edit", "sham"):
                about = {
                    "accepted": True,
                    "reasons": [],
                    "scores": {},
                    "dose": 0.1 if kind == "edit" else 0.05,
                    "seconds": 1.0,
                    "ssim_outside": 1.0,
                    "features": [],
                    "file": f"{key}-{kind}-{seed}.npz",
                }
                rows.append({"type": "film", **arm, **about})
            for name, score in scores.items():
                value = score(n, kind)
                said = {"missing": "no answer"} if value is None else {"scores": {"finding": value}}
                rows.append({"type": "answer", "victim": name, **arm, **said})
    for n in range(patients, 2 * patients):
        rows.append(
            {
                "type": "subject", "number": n, "subject": f"s{n}", "patient": f"p{n}",
                "group": "well", "present": {"finding": False}, "traits": {"sex": "FM"[n % 2]},
                "spacing_mm": [1, 1],
            }
        )  # fmt: skip
        arm = {"subject": f"s{n}", "kind": "real", "edit": "", "seed": 0, "level": 0.0}
        rows += [
            {"type": "answer", "victim": name, **arm, "scores": {"finding": well(n)}}
            for name in scores
        ]
    return rows


@pytest.fixture(scope="session", name="rows_of")
def rows_of_fixture() -> Callable[..., list[Row]]:
    return rows_of
