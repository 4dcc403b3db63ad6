"""Which rule would fire for which object, and why; nothing is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from radedit.lib.errors import RadEditError
from radedit.lib.prompt_check import PromptCheck
from radedit.lib.settings import Settings
from radedit_dicom.errors import DicomError, NotDicomError
from radedit_dicom.film import read_film
from radedit_dicom.objects import Destination
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.part10 import opened
from radedit_dicom.router.planning import facts_of
from radedit_dicom.router.route import Route
from radedit_dicom.router.rules import Facts, Rule, deciding
from radedit_dicom.router.sorting import examined
from radedit_dicom.router.spool import Spool

_OF_FILMS = ("edit", "stress")  # kinds of actions that take nothing but a film


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
                named = opened(_content(file))
                header = examined(file, named.uid, named.sop_class)
            except DicomError as error:
                yield {"file": str(file), "outcome": f"quarantined: {error}", "rules": []}
                continue
            facts = Facts(named.uid, source, datetime.now(), header)
            yield {"file": str(file), **explain(route.rules, facts, file)}


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise NotDicomError(
            f"The file cannot be read ({error.strerror}); give one that can."
        ) from None


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
                yield explain(route.rules, facts_of(spool, row), spool.folder / row["file"])
            except DicomError as error:
                yield {"uid": row["uid"], "outcome": f"quarantined: {error}", "rules": []}
    finally:
        journal.close()


def check_words(route: Route, settings: Settings) -> None:
    """Refuse a route whose edits have prompts that their models do not take.

    It is no part of reading a route's file, for it needs a model's tokenizer, and the processes
    of a route have no room for that.

    Raises
    ------
    RouteError
        Names the words.
    """
    prompts = PromptCheck(settings)
    for action in (each for rule in route.rules for each in rule.actions if each.kind == "edit"):
        given = action.settings
        try:
            prompts.check(
                given.get("model"),
                given["prompt"],
                given.get("invert_prompt", ""),
                given.get("film_text", ""),
            )
        except RadEditError as error:
            raise RouteError(f"In the route's file, an action of kind edit: {error}") from None


def explain(rules: Sequence[Rule], facts: Facts, file: Path) -> dict[str, Any]:
    """Say of one object which rules would fire, and why or why not; no value of it is told.

    Parameters
    ----------
    rules : sequence of Rule
    facts : Facts
    file : Path
        The object; where a rule orders an edit it is read as the edit would read it.

    Returns
    -------
    dict
        "uid"; "outcome" in words; "refused", why no edit would be made of it, "" = one would, or
        none is ordered; "rules", each with "name", "fires", "asked" and "actions".
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
    refused = _refused(fired, facts, file)
    outcome = _outcome(fired) + (f"; but no edit is made of it: {refused}" if refused else "")
    return {"uid": facts.uid, "outcome": outcome, "refused": refused, "rules": told}


def _refused(fired: Sequence[Rule], facts: Facts, file: Path) -> str:
    """Say why the edits that are ordered of an object would not be made."""
    ordered = [action for rule in fired for action in rule.actions if action.kind in _OF_FILMS]
    if not ordered:
        return ""
    if facts.is_synthetic:
        return "It says that it is synthetic, so it is not edited."
    try:
        film = read_film(file)
        for action in ordered:
            if action.kind == "edit":
                Destination("same" if action.settings.get("study") == "same" else "new").check(film)
    except DicomError as error:
        return str(error)
    return ""


def _outcome(fired: Sequence[Rule]) -> str:
    if not fired:
        return "unmatched: no rule fires"
    return "; ".join(
        f"{action.kind}{' to ' + ', '.join(action.to) if action.to else ''} (rule '{rule.name}')"
        for rule in fired
        for action in rule.actions
    )
