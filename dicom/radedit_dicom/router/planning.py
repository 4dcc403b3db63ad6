"""From complete studies to work: a case is closed once, and all that follows is in the journal."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from radedit_dicom.errors import DicomError
from radedit_dicom.parsing import parse
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.journal import Journal, insert, now
from radedit_dicom.router.outbox import Order, enqueue
from radedit_dicom.router.rules import Action, Facts, Rule, deciding
from radedit_dicom.router.spool import Spool

PLANNED, UNMATCHED, GUARDED, DISCARDED = "planned", "unmatched", "guarded", "discarded"
_SYNTHETIC = "It says that it is synthetic (SyntheticData YES), and edits are never edited again."


@dataclass(frozen=True)
class Completeness:
    """When a study counts as complete.

    Attributes
    ----------
    quiet_s : float
        Nothing more came for so long.
    limit_s : float
        Or so long ago the first of it came, whatever comes still.
    """

    quiet_s: float = 120.0
    limit_s: float = 3600.0


@dataclass(frozen=True)
class Planner:
    """Closes cases and orders what the rules say.

    Attributes
    ----------
    spool, journal, audit
        Of the route.
    completeness : Completeness
    """

    spool: Spool
    journal: Journal
    audit: Audit
    completeness: Completeness

    def plan(self, rules: Sequence[Rule]) -> int:
        """Close every case that is complete, as of the oldest object that is not sorted yet.

        That one may belong to any study, so nobody can say what fell quiet since it came.

        Returns
        -------
        int
            How many were closed.
        """
        at = now()
        oldest = self.journal.row(
            "SELECT min(received) AS received FROM instances WHERE state = 'received'"
        )
        if oldest is not None and oldest["received"] is not None:
            at = min(at, float(oldest["received"]))
        due = self.journal.rows(
            "SELECT id, study, number FROM cases WHERE closed IS NULL "
            "AND (last <= ? OR opened <= ?) ORDER BY opened",
            (at - self.completeness.quiet_s, at - self.completeness.limit_s),
        )
        for case in due:
            self._close(case, rules)
        return len(due)

    def _close(self, case: sqlite3.Row, rules: Sequence[Rule]) -> None:
        rows = self.journal.rows(
            "SELECT uid, file, source, received FROM instances WHERE case_id = ? "
            "AND state = 'waiting' ORDER BY received",
            (case["id"],),
        )
        decided = [(row, *self._decide(row, rules)) for row in rows]
        with self.journal.change() as change:
            for row, fired, facts in decided:
                state, reason = _ordered(change, row, (fired, facts), int(case["id"]))
                change.execute(
                    "UPDATE instances SET state = ?, reason = ? WHERE uid = ?",
                    (state, reason, row["uid"]),
                )
            change.execute("UPDATE cases SET closed = ? WHERE id = ?", (now(), case["id"]))
        self.audit.write(
            "planned", case=case["id"], study=case["study"], number=case["number"], count=len(rows)
        )

    def _decide(self, row: sqlite3.Row, rules: Sequence[Rule]) -> tuple[list[Rule], Facts | str]:
        try:
            facts = facts_of(self.spool, row)
        except DicomError as error:  # it was readable when it came
            return [], str(error)
        return deciding(rules, facts), facts


def facts_of(spool: Spool, row: sqlite3.Row) -> Facts:
    """Read what rules ask of an object.

    Parameters
    ----------
    spool : Spool
    row : sqlite3.Row
        With uid, file, source and received.

    Raises
    ------
    DicomError
        Its file cannot be read.
    """
    header = parse(spool.folder / row["file"], pixels=False)
    return Facts(row["uid"], row["source"], datetime.fromtimestamp(row["received"]), header)


def _ordered(
    change: sqlite3.Connection,
    row: sqlite3.Row,
    decision: tuple[list[Rule], Facts | str],
    case: int,
) -> tuple[str, str]:
    """Order what rules say of one object; give its state, and the reason."""
    fired, facts = decision
    if isinstance(facts, str):
        return "quarantined", facts
    if not fired:
        return UNMATCHED, "No rule fires for it."
    done, guarded = 0, False
    for rule in fired:
        for number, action in enumerate(rule.actions, 1):
            if action.kind == "discard":
                return DISCARDED, f"Rule '{rule.name}': {action.reason}"
            if action.kind in ("edit", "stress") and facts.is_synthetic:
                guarded = True
                continue
            _order(change, row, (rule, number, action), case)
            done += 1
    names = ", ".join(rule.name for rule in fired)
    if not done:
        return (GUARDED, _SYNTHETIC) if guarded else (UNMATCHED, "Its rule does nothing with it.")
    return PLANNED, f"Rule {names}." + (f" {_SYNTHETIC}" if guarded else "")


def _order(
    change: sqlite3.Connection, row: sqlite3.Row, what: tuple[Rule, int, Action], case: int
) -> None:
    rule, number, action = what
    name = _job_id(rule.name, number, row["uid"])
    if action.kind in ("forward", "hold"):
        for destination in action.to:
            order = Order(
                destination, row["uid"], row["file"], name, rule.priority, held=action.held
            )
            enqueue(change, order)
        return
    if action.kind == "stress":
        _gather(change, rule, action, str(row["uid"]))
        return
    job = _row(name, "edit", rule, action) | {"subject": row["uid"], "case_id": case}
    insert(change, "jobs", job)


def _gather(change: sqlite3.Connection, rule: Rule, action: Action, uid: str) -> None:
    """Add an object to the day's cohort of a stress suite, which runs when the day is over."""
    ends = _next(str(action.settings.get("at", "00:00")))
    suite = str(action.settings.get("suite", ""))
    job = _row("", "stress", rule, action) | {"subject": suite}
    while True:
        name = _job_id(rule.name, suite, f"{ends:%Y-%m-%d}")
        insert(change, "jobs", job | {"id": name, "not_before": ends.timestamp()})
        row = change.execute("SELECT attempts FROM jobs WHERE id = ?", (name,)).fetchone()
        if row["attempts"] == 0:
            break
        ends += timedelta(days=1)  # that day's run has begun meanwhile
    insert(change, "cohorts", {"job": name, "uid": uid})


def _next(clock: str, at: Callable[[], datetime] = datetime.now) -> datetime:
    hour, minute = (int(part) for part in clock.split(":"))
    today = at().replace(hour=hour, minute=minute, second=0, microsecond=0)
    return today if today > at() else today + timedelta(days=1)


def _row(name: str, kind: str, rule: Rule, action: Action) -> dict[str, Any]:
    kept = {"to": list(action.to), "review": action.review, "settings": dict(action.settings)}
    return {
        "id": name,
        "kind": kind,
        "rule": rule.name,
        "action": json.dumps(kept, sort_keys=True),
        "state": "queued",
        "priority": rule.priority,
        "created": now(),
    }


def _job_id(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:24]
