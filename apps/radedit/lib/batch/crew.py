"""The processes of a batch run: fed study by study, replaced when one ends, and accounted for.

A process is given no more studies at once than keep it busy. When it ends unasked, its studies
become suspects, and each is tried once more, alone: if the process ends again, that study fails and
the run goes on.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from radedit.lib.batch.cohort import Ahead, Found, Missed, Study
from radedit.lib.batch.journal import Journal
from radedit.lib.batch.plan import FETCHED, BatchPlan
from radedit.lib.batch.summary import Account
from radedit.lib.batch.worker import Ended, Ready, Refused, Vitals, Work, work
from radedit.lib.errors import RadEditError

Row = dict[str, Any]
END_S: Final = 30.0  # for a process that has nothing left to do
LOOK_S: Final = 0.5
LOST: Final = (
    "the process that edited it ended twice, perhaps for want of memory; try it alone with "
    "`radedit edit`."
)


@dataclass(frozen=True)
class News:
    """How far a run is.

    Attributes
    ----------
    row : of the film that has just ended
    ended, total : films that have, and that are known by now
    complete : whether the total is final
    account : the figures so far
    """

    row: Row
    ended: int
    total: int
    complete: bool
    account: Account


@dataclass
class Hand:
    """One process and what it is doing."""

    device: str
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    alone: bool = False  # it has one suspect, and gets nothing else meanwhile
    doing: dict[int, Study] = field(default_factory=dict)
    vitals: Vitals | None = None


class Crew:
    """A run of a plan.

    Parameters
    ----------
    plan : what to do
    found : studies, and what is none
    hear : called after each film
    """

    def __init__(
        self, plan: BatchPlan, found: Iterable[Found], hear: Callable[[News], None]
    ) -> None:
        self.plan, self.hear = plan, hear
        self.account = Account(len(plan.devices), plan.pace)
        self.journal: Journal | None = None
        self._ahead = Ahead(found)
        self._found, self._known = iter(self._ahead), dict[str, Row]()
        self._hands: list[Hand] = []
        self._suspects: deque[tuple[int, Study]] = deque()
        self._tried: set[int] = set()
        self._told: dict[int, set[str]] = {}
        self._past: list[Vitals] = []
        self._number = self._ended = 0
        self._exhausted = False
        self._began = 0.0

    def run(self) -> Journal:
        """Do everything that is left to do.

        Raises
        ------
        RadEditError, DicomError
            The models, the archive or the run's folder are not to be had; what was finished is
            written down.
        """
        self._hands = [self._start(device) for device in self.plan.devices]
        try:
            while self._hands:
                self._feed()
                self._hear_all()
        except KeyboardInterrupt:
            self._drain()
            raise
        finally:
            self._count()
            for hand in self._hands:
                hand.process.kill()
                hand.process.join()
            if self.journal is not None:
                self._sweep()
                self.journal.close()
        assert self.journal is not None
        return self.journal

    def _sweep(self) -> None:
        """Remove fetched films that processes left behind which were killed."""
        shutil.rmtree(self.plan.work / FETCHED, ignore_errors=True)

    def _start(self, device: str) -> Hand:
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        several = len(self.plan.devices) > 1 and device == "cpu"
        threads = max(1, (os.cpu_count() or 1) // len(self.plan.devices)) if several else None
        process = context.Process(target=work, args=(self.plan, device, threads, theirs))
        process.start()
        theirs.close()
        return Hand(device, process, ours)

    # Giving

    def _feed(self) -> None:
        """Give every process what it has room for, and let those go that get nothing any more."""
        for hand in self._hands:
            while hand.ready and not hand.alone and self._room(hand):
                piece = self._next(hand)
                if piece is None:
                    break
                self._give(hand, *piece)
        for hand in list(self._hands):
            if self._exhausted and not self._suspects and not hand.doing:
                self._dismiss(hand)

    def _give(self, hand: Hand, number: int, study: Study) -> None:
        hand.doing[number] = study
        self._told.setdefault(number, set())
        uids = [ref.uid for ref in study.refs]
        known = {uid: self._known[uid] for uid in uids if uid in self._known}
        with suppress(OSError):  # it has ended; `_listen` hears of it
            hand.pipe.send(Work(number, study, known))

    def _dismiss(self, hand: Hand) -> None:
        if hand.ready:
            with suppress(OSError):
                hand.pipe.send(None)
            hand.process.join(END_S)
        hand.process.kill()
        hand.process.join()
        self._leave(hand)

    def _leave(self, hand: Hand) -> None:
        if hand.vitals is not None:
            self._past.append(hand.vitals)
        self._hands.remove(hand)

    def _room(self, hand: Hand) -> bool:
        if self._suspects:
            return not hand.doing
        return len(hand.doing) < self.plan.pace.outstanding

    def _next(self, hand: Hand) -> tuple[int, Study] | None:
        if self._suspects:
            hand.alone = True
            return self._suspects.popleft()
        for found in self._found:
            if isinstance(found, Missed):
                self._end({"input": found.name, "film": "", "state": found.state, "why": found.why})
                continue
            self._number += 1
            return self._number, found
        self._exhausted = True
        return None

    # Hearing

    def _hear_all(self) -> None:
        pipes = {hand.pipe: hand for hand in self._hands}
        for pipe in wait(list(pipes), LOOK_S):
            hand = pipes[pipe]  # type: ignore[index]
            if not self._listen(hand):
                self._replace(hand)

    def _listen(self, hand: Hand) -> bool:
        """Take one message; False = the process has ended."""
        try:
            message = hand.pipe.recv()
        except (EOFError, OSError):
            return False
        match message:
            case Refused(why=why):
                raise RadEditError(why)
            case Ready(model_sha256=digest):
                hand.ready = True
                self._open(digest)
            case Vitals():
                hand.vitals = message
            case Ended(number=number, row=None):
                hand.doing.pop(number, None)
                self._told.pop(number, None)
                hand.alone = False
            case Ended(number=number, row=dict(row)):
                self._told[number].add(row["film"])
                self._end(row)
        return True

    def _open(self, model_sha256: str) -> None:
        facts: Mapping[str, Any] = {**self.plan.facts(), "model_sha256": model_sha256}
        if self.journal is None:
            self.journal, self._began = Journal(self.plan.work, facts), time.perf_counter()
            self._known = self.journal.known()
            self._sweep()

    def _end(self, row: Row) -> None:
        assert self.journal is not None
        again = row.pop("again", False)
        if not again:
            self.journal.add(row)
        self._ended += 1
        self.account.made += row["state"] == "edited" and not again
        self._count()
        ahead = self._ahead
        self.hear(News(row, self._ended, ahead.objects, ahead.complete, self.account))

    def _count(self) -> None:
        """Bring the account up to date."""
        if self._began:
            self.account.wall_s = time.perf_counter() - self._began
        alive = [hand.vitals for hand in self._hands if hand.vitals is not None]
        self.account.take(self._ended, [*self._past, *alive], sum(v.resident for v in alive))

    # Processes that ended unasked

    def _replace(self, hand: Hand) -> None:
        """Put another process in the place of one, and try its studies once more, alone."""
        hand.process.join()
        self._leave(hand)
        if not hand.ready:
            raise RadEditError(
                f"the process for {hand.device} ended before its models were loaded, perhaps for "
                "want of memory; end other programs, or take a smaller model."
            )
        for number, study in hand.doing.items():
            left = tuple(ref for ref in study.refs if ref.uid not in self._told[number])
            if number not in self._tried:
                self._tried.add(number)
                self._suspects.append((number, Study(left)))
                continue
            for ref in left:
                self._end({"input": ref.name, "film": ref.uid, "state": "failed", "why": LOST})
        self._hands.append(self._start(hand.device))

    def _drain(self) -> None:
        """Let films that are on their way end, and begin no other."""
        while doing := {hand.pipe: hand for hand in self._hands if hand.doing}:
            for pipe in wait(list(doing)):
                if not self._listen(doing[pipe]):  # type: ignore[index]
                    self._leave(doing[pipe])  # type: ignore[index]
