"""One outbox per destination: what waits, what is on its way, what came to nothing."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from radedit_dicom.router.audit import Audit
from radedit_dicom.router.journal import Journal, insert, now

HELD, WAITING, SENDING, ARRIVED, SENT, DEAD, DISCARDED = (
    "held", "waiting", "sending", "arrived", "sent", "dead", "discarded",
)  # fmt: skip
_STRANDED = (
    "The route's file names this destination no more; name it again and retry, or discard this."
)


@dataclass(frozen=True)
class Patience:
    """How often and how long a destination is tried.

    Attributes
    ----------
    refusals : int
        So many refusals of one object make it a dead letter.
    give_up_s : float
        An object older than this is a dead letter when the destination cannot be reached.
    first_s, longest_s : float
        The wait after a failure: doubled each time, less up to half of it by chance.
    """

    refusals: int = 5
    give_up_s: float = 72 * 3600.0
    first_s: float = 5.0
    longest_s: float = 900.0

    def wait_s(self, attempt: int) -> float:
        """Give the wait behind the n-th attempt, counted from 1."""
        longest = min(self.longest_s, self.first_s * 2.0 ** min(attempt - 1, 30))
        return longest * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class Delivery:
    """One object on its way to one destination.

    Attributes
    ----------
    number : int
        The row.
    file : str
        Within the spool.
    attempts, refusals : int
        Before this one. With an attempt before, the destination may have it already.
    has_arrived : bool
        True: the destination showed it a while ago, and is to be asked once more.
    """

    number: int
    destination: str
    uid: str
    file: str
    attempts: int
    refusals: int
    created: float
    has_arrived: bool = False


@dataclass(frozen=True)
class Order:
    """An object that is to go to a destination.

    Attributes
    ----------
    file : str
        Within the spool.
    job : str
        What ordered it.
    held : bool
        True: a person must release it first.
    """

    destination: str
    uid: str
    file: str
    job: str
    priority: int = 0
    held: bool = False


def enqueue(change: sqlite3.Connection, order: Order) -> bool:
    """Put an object into a destination's outbox; False: it is, or was, there already."""
    row = {
        "destination": order.destination,
        "uid": order.uid,
        "file": order.file,
        "job": order.job,
        "state": HELD if order.held else WAITING,
        "priority": order.priority,
        "created": now(),
    }
    return insert(change, "deliveries", row)


def strand(journal: Journal, audit: Audit, known: Collection[str]) -> int:
    """Make dead letters of what waits for a destination that the route's file names no more.

    Otherwise they would wait unseen; `retry` sends them when the destination is named again.

    Parameters
    ----------
    journal, audit
        Of the route.
    known : collection of str
        Destinations of the file.

    Returns
    -------
    int
        How many there were.
    """
    marks = ", ".join("?" * len(known))
    elsewhere = f"destination NOT IN ({marks})"
    arrived = f"state = '{ARRIVED}' AND {elsewhere}"
    if journal.row(f"SELECT 1 FROM deliveries WHERE {arrived} LIMIT 1", tuple(known)) is not None:
        with journal.change() as change:  # it was there, and nobody can be asked once more
            change.execute(
                f"UPDATE deliveries SET state = ?, ended = ? WHERE {arrived}",
                (SENT, now(), *known),
            )
    stranded = f"state IN ('{WAITING}', '{SENDING}') AND {elsewhere}"
    if journal.row(f"SELECT 1 FROM deliveries WHERE {stranded} LIMIT 1", tuple(known)) is None:
        return 0
    with journal.change() as change:
        rows = change.execute(
            "UPDATE deliveries SET state = ?, error = ?, ended = ?, notified = 0, "
            f"attempts = attempts + (state = '{SENDING}') WHERE {stranded} "
            "RETURNING uid, destination",
            (DEAD, _STRANDED, now(), *known),
        ).fetchall()
    for row in rows:
        audit.write("dead", uid=row["uid"], destination=row["destination"], reason=_STRANDED)
    return len(rows)


class Outbox:
    """The outbox of one destination.

    Parameters
    ----------
    journal, audit
        Of the route.
    destination : str
    patience : Patience
    look_again_s : float
        So long after an object has arrived the destination is asked once more before it counts
        as sent; 0: it is sent when it arrives.
    """

    def __init__(
        self,
        journal: Journal,
        audit: Audit,
        destination: str,
        patience: Patience,
        look_again_s: float = 0.0,
    ) -> None:
        self._journal, self._audit = journal, audit
        self.destination, self.patience = destination, patience
        self._look_again_s = look_again_s

    def recover(self) -> int:
        """Put back what was on its way when the sender ended; it may have arrived."""
        with self._journal.change() as change:
            done = change.execute(
                "UPDATE deliveries SET state = ?, attempts = attempts + 1 "
                "WHERE destination = ? AND state = ?",
                (WAITING, self.destination, SENDING),
            )
            return done.rowcount

    def claim(self) -> Delivery | None:
        """Take the next object that is due: by priority, then the oldest.

        What has arrived and is due to be asked for once more comes last.
        """
        return self._claim(WAITING) or self._claim(ARRIVED)

    def _claim(self, state: str) -> Delivery | None:
        due = (
            "SELECT id FROM deliveries WHERE destination = ? AND state = ? AND not_before <= ? "
            "ORDER BY priority DESC, id LIMIT 1"
        )
        values = (self.destination, state, now())
        if self._journal.row(due, values) is None:  # without the cost of a transaction
            return None
        with self._journal.change() as change:
            row = change.execute(
                f"UPDATE deliveries SET state = ? WHERE id = ({due}) RETURNING *",
                (SENDING, *values),
            ).fetchone()
        if row is None:
            return None
        return Delivery(
            number=row["id"],
            destination=row["destination"],
            uid=row["uid"],
            file=row["file"],
            attempts=row["attempts"],
            refusals=row["refusals"],
            created=row["created"],
            has_arrived=state == ARRIVED,
        )

    def sent(self, delivery: Delivery, seconds: float, coerced: Sequence[str] = ()) -> None:
        """Note that the destination has it, by its own word; for good, or until the second look.

        Parameters
        ----------
        delivery : Delivery
        seconds : float
            It took.
        coerced : sequence of str
            Attributes of the patient and the study that the destination keeps otherwise.
        """
        told = f"The destination keeps other values of {', '.join(coerced)}." if coerced else ""
        is_sent = delivery.has_arrived or not self._look_again_s
        state, at = SENT if is_sent else ARRIVED, now()
        with self._journal.change() as change:
            change.execute(
                "UPDATE deliveries SET state = ?, attempts = attempts + 1, error = ?, ended = ?, "
                "not_before = ? WHERE id = ?",
                (state, told, at if is_sent else None, at + self._look_again_s, delivery.number),
            )
        self._audit.write(
            state, uid=delivery.uid, destination=self.destination, seconds=round(seconds, 3),
            attempts=delivery.attempts + 1, **({"reason": told} if told else {}),
        )  # fmt: skip

    def not_seen(self, delivery: Delivery, error: str) -> None:
        """Note that a destination cannot be asked whether it has an object still; asked later."""
        with self._journal.change() as change:
            change.execute(
                "UPDATE deliveries SET state = ?, error = ?, not_before = ? WHERE id = ?",
                (ARRIVED, error, now() + self.patience.longest_s, delivery.number),
            )

    def failed(self, delivery: Delivery, error: str, *, refused: bool) -> None:
        """Note a failure: tried again later, or a dead letter.

        Parameters
        ----------
        delivery : Delivery
        error : str
            One sentence, no patient data.
        refused : bool
            True: the destination answered, and does not take it. False: it was not reached.
        """
        refusals = delivery.refusals + refused
        attempts = delivery.attempts + 1
        dead = refusals >= self.patience.refusals if refused else self._is_too_old(delivery)
        wait_s = self.patience.wait_s(refusals if refused else attempts)
        with self._journal.change() as change:
            change.execute(
                "UPDATE deliveries SET state = ?, attempts = ?, refusals = ?, error = ?, "
                "not_before = ?, ended = ?, notified = 0 WHERE id = ?",
                (
                    DEAD if dead else WAITING,
                    attempts,
                    refusals,
                    error,
                    now() + wait_s,
                    now() if dead else None,
                    delivery.number,
                ),
            )
        self._audit.write(
            "dead" if dead else "not sent", uid=delivery.uid, destination=self.destination,
            reason=error, attempts=attempts,
        )  # fmt: skip

    def _is_too_old(self, delivery: Delivery) -> bool:
        return now() - delivery.created > self.patience.give_up_s
