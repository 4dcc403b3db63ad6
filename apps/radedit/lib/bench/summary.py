"""From the rows of all patients to figures: one mapping, ready for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import torch

from radedit.lib.bench.figures import Figure, factor, mean, share
from radedit.lib.bench.run import HEADLINE
from radedit.lib.bench.truth import AS_IS, DIFFEDIT, DIFFEDIT_ADDS, RADEDIT, TRUTH, Row

DICE_AT_LEAST, CONTRAST_WITHIN, SPREAD = 0.95, 0.15, 2.0
SEAM_TASK = "removal"
ON_TRUE_LUNG = "_on_true_lung"


def summarise(rows: Sequence[Row], seconds: Sequence[float]) -> dict[str, Any]:
    """Every figure of the bench.

    Parameters
    ----------
    rows : of `truth.measure`, one per patient
    seconds : of `run.seconds`
    """
    removal = {name: _removal(rows, name) for name in rows[0]["removal"]}
    additions = {
        kind: _additions([a for row in rows for a in row["additions"] if a["kind"] == kind])
        for kind in dict.fromkeys(a["kind"] for row in rows for a in row["additions"])
    }
    seams = {SEAM_TASK: _seams([row["removal"] for row in rows], HEADLINE)}
    for kind in DIFFEDIT_ADDS:
        found = [a["methods"] for row in rows for a in row["additions"] if a["kind"] == kind]
        seams[f"added {kind}"] = _seams(found, RADEDIT)
    speed = {
        "median": median(seconds), "min": min(seconds), "max": max(seconds), "n": len(seconds),
        "threads": torch.get_num_threads(),
    }  # fmt: skip
    figures = {"removal": removal, "additions": additions, "seams": seams, "seconds": speed}
    return {"patients": len(rows), **figures, "aims": _aims(figures)}


def is_there(row: Mapping[str, Any], against: str = "") -> bool:
    """Whether a drain's Dice and contrast are both near enough to the truth's.

    Parameters
    ----------
    row : of `truth.measure`
    against : "" = the drain's own shadow, ON_TRUE_LUNG = the film less the true film without it
    """
    near = abs(row[f"drain_contrast{against}"] - 1) <= CONTRAST_WITHIN
    return bool(row[f"drain_dice{against}"] >= DICE_AT_LEAST and near)


def _removal(rows: Sequence[Row], name: str) -> dict[str, Figure]:
    own = [row["removal"][name] for row in rows]
    error = [row["error"] for row in own]
    found = {
        "refused": share([row["refused"] for row in own]),
        "gone": share([row["gone"] for row in own]),
        "drain_called": share([row["drain_called"] for row in own]),
        **{key: mean([row[key] for row in own]) for key in ("error", "elsewhere")},
    }
    for kind in ("", ON_TRUE_LUNG):
        found[f"drain_there{kind}"] = share([is_there(row, kind) for row in own])
        for key in (f"drain_dice{kind}", f"drain_contrast{kind}"):
            found[key] = mean([row[key] for row in own])
    for against in (AS_IS, "sham"):
        other = [row["removal"][against]["error"] for row in rows]
        found[f"{against}_over_error"] = factor(other, error)
    return found


def _additions(cases: Sequence[Row]) -> dict[str, Any]:
    names = dict.fromkeys(name for case in cases for name in case["methods"])
    return {
        "methods": {name: _addition(cases, name) for name in names},
        "places": {
            place: share([c["methods"][RADEDIT]["present"] for c in cases if c["place"] == place])
            for place in sorted({case["place"] for case in cases})
        },
    }


def _addition(cases: Sequence[Row], name: str) -> dict[str, Any]:
    own = [case["methods"][name] for case in cases]
    without = [case["methods"][AS_IS]["error"] for case in cases]
    return {
        "present": share([row["present"] for row in own]),
        "elsewhere_too": share([row["elsewhere_too"] for row in own]),
        "error": mean([row["error"] for row in own]),
        f"{AS_IS}_over_error": factor(without, [row["error"] for row in own]),
        "outside_pixels": sum(row["outside_pixels"] for row in own),
        "outside_max": max(row["outside_max"] for row in own),
        "outside_mean": mean([row["outside_mean"] for row in own]),
        "lungs_dice": mean([row["lungs_dice"] for row in own]),
    }


def _seams(methods: Sequence[Mapping[str, Row]], ours: str) -> dict[str, dict[str, Figure]]:
    shown = {AS_IS: AS_IS, TRUTH: TRUTH, RADEDIT: ours, DIFFEDIT: DIFFEDIT}
    found = {}
    for title, name in shown.items():
        z = [each[name]["seam"] for each in methods if each[name]["seam"] is not None]
        found[title] = {
            "z": mean(z),
            "within": share([abs(value) <= SPREAD for value in z]),
            "gradient_over_film": factor(
                [each[name]["gradient"] for each in methods],
                [each[AS_IS]["gradient"] for each in methods],
            ),
        }
    return found


def _aims(figures: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at, what was seen, and whether it held."""
    ours = figures["removal"][HEADLINE]
    additions = figures["additions"]
    aims = [
        _aim("pneumothorax gone by the judge", ours["gone"], 0.95),
        _aim("drain still there", ours["drain_there"], 0.99),
        _aim("error of leaving the finding in, over the edit's", ours[f"{AS_IS}_over_error"], 1.0),
        _aim("error of the sham, over the edit's", ours["sham_over_error"], 1.0),
    ]
    for kind, found in additions.items():
        aims.append(
            _aim(f"{kind} present where asked for", found["methods"][RADEDIT]["present"], 0.85)
        )
    outside = sum(found["methods"][RADEDIT]["outside_pixels"] for found in additions.values())
    aims.append({
        "what": "pixels changed outside the support", "aim": "0", "seen": outside,
        "held": outside == 0,
    })  # fmt: skip
    for task, seams in figures["seams"].items():
        usual = seams[AS_IS]["within"].get("value", 0.0)
        what = f"border within the film's spread, {task} (untouched film: {usual:.0%})"
        aims.append(_aim(what, seams[RADEDIT]["within"], min(0.95, usual)))
    took = figures["seconds"]["median"]
    aims.append({
        "what": "one edit, median s", "aim": "< 5", "seen": round(took, 2), "held": took < 5
    })  # fmt: skip
    return aims


def _aim(what: str, figure: Figure, least: float) -> dict[str, Any]:
    seen = figure.get("value", 0.0)
    return {"what": what, "aim": f">= {least:.3g}", "seen": round(seen, 4), "held": seen >= least}
