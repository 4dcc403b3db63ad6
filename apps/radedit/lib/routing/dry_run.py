"""Which rule would fire for which object, and why; nothing is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from radedit_dicom.errors import DicomError
from radedit_dicom.parsing import parse
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.planning import facts_of
from radedit_dicom.router.route import Route
from radedit_dicom.router.rules import Facts, Rule, deciding
from radedit_dicom.router.spool import Spool


def explain_files(route: Route, paths: Sequence[Path], source: str) -> Iterator[dict[str, Any]]:
    """Say what would become of files, had they come now.

    Parameters
    ----------
    route : Route
    paths : sequence of Path
        Files and folders.
    source : str
        The AE title that they would come from.

    Yields
    ------
    dict
        As `explain`; "file" beside it.
    """
    for path in paths:
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            try:
                header = parse(file, pixels=False)
            except DicomError as error:
                yield {"file": str(file), "outcome": f"quarantined: {error}", "rules": []}
                continue
            uid = str(header.get("SOPInstanceUID", ""))
            facts = Facts(uid, source, datetime.now(), header)
            yield {"file": str(file), **explain(route.rules, facts)}


def explain_stored(route: Route) -> Iterator[dict[str, Any]]:
    """Say what would become of the objects in the spool, had they come again.

    Yields
    ------
    dict
        As `explain`.
    """
    spool = Spool(route.spool)
    journal = Journal(spool.journal)
    try:
        for row in journal.rows(
            "SELECT uid, file, source, received FROM instances "
            "WHERE state NOT IN ('quarantined', 'removed') ORDER BY received"
        ):
            try:
                yield explain(route.rules, facts_of(spool, row))
            except DicomError as error:
                yield {"uid": row["uid"], "outcome": f"quarantined: {error}", "rules": []}
    finally:
        journal.close()


def explain(rules: Sequence[Rule], facts: Facts) -> dict[str, Any]:
    """Say of one object which rules would fire, and why or why not; no value of it is told.

    Returns
    -------
    dict
        "uid"; "outcome" in words; "rules", each with "name", "fires", "asked" and "actions".
    """
    fired = deciding(rules, facts)
    told = []
    for rule in rules:
        told.append(
            {
                "name": rule.name,
                "fires": rule in fired,
                "asked": [{"what": what, "is so": so} for what, so in rule.why(facts)],
                "actions": [
                    action.kind + (f" to {', '.join(action.to)}" if action.to else "")
                    for action in rule.actions
                ],
            }
        )
        if rule in fired and not rule.go_on:
            break  # those behind it are not asked
    return {"uid": facts.uid, "outcome": _outcome(fired, facts), "rules": told}


def _outcome(fired: Sequence[Rule], facts: Facts) -> str:
    if not fired:
        return "unmatched: no rule fires"
    said = "; ".join(
        f"{action.kind}{' to ' + ', '.join(action.to) if action.to else ''} (rule '{rule.name}')"
        for rule in fired
        for action in rule.actions
    )
    edits = any(action.kind in ("edit", "stress") for rule in fired for action in rule.actions)
    if facts.is_synthetic and edits:
        said += "; but it says that it is synthetic, so it is not edited"
    return said
