"""The processes of a route: receive, plan, work, send. Each may be killed at any time."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from radedit.lib.routing.settings import load_route
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.commitment import Reporter
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.intake import Intake
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.notify import notify
from radedit_dicom.router.outbox import strand
from radedit_dicom.router.planning import Planner
from radedit_dicom.router.receiver import Receiver
from radedit_dicom.router.retention import clean_up
from radedit_dicom.router.route import Route
from radedit_dicom.router.route_file import changed
from radedit_dicom.router.sender import Sender
from radedit_dicom.router.sorting import Sorter
from radedit_dicom.router.spool import Spool
from radedit_dicom.router.watch import Watch

REFUSED: Final = "rules refused"
_TICK_S = 0.5
_LOOK_S = 2.0
_SORTED, _SORT_S = 100, 5.0
_NOTIFY_S = 5.0
_CLEAN_S = 600.0
_BEHIND = 5  # niceness of whoever may wait, so that senders need not
_PLAN_MEMORY = 4 << 30  # bytes of address space for whoever reads strangers' headers
_LOG = logging.getLogger("radedit.route")


@dataclass(frozen=True)
class Place:
    """What every process of a route opens."""

    file: Path
    route: Route
    spool: Spool
    journal: Journal
    audit: Audit


def opened(file: Path) -> Place:
    """Read a route's file and open its spool.

    Raises
    ------
    RouteError
        Either cannot be done.
    """
    route = load_route(file)
    spool = Spool(route.spool)
    return Place(file, route, spool, Journal(spool.journal), Audit(spool.audit))


def names(route: Route) -> list[str]:
    """List the processes of a route."""
    workers = [f"work-{number}" for number in range(route.jobs.workers)]
    return ["receive", "plan", "send", *workers]


def run(role: str, file: Path) -> None:
    """Be one process of a route, until SIGTERM.

    Raises
    ------
    RouteError
        The file is wrong, there is no such role, or another process has it.
    """
    place = opened(file)
    if role not in names(place.route):
        raise RouteError(f"There is no role '{role}'; roles are {', '.join(names(place.route))}.")
    end = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: end.set())
    kind = role.partition("-")[0]
    with place.spool.sole(role):
        place.audit.write("started", role=role)
        _ROLES[kind](place, end, role)
        place.audit.write("stopped", role=role)


class _Part(Protocol):
    """What runs in threads of its own."""

    @property
    def is_alive(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


def _receive(place: Place, end: threading.Event, role: str) -> None:
    """Take in what comes over the network and what is put into the watched folder."""
    route = place.route
    place.spool.sweep(place.journal.files())
    intake = Intake(place.spool, place.journal, place.audit, route.receive.reserve_bytes)
    receiver = Receiver(route.receive, intake)
    parts: list[_Part] = []
    if route.watch is not None:
        parts.append(Watch(route.watch, intake, route.receive.bounds.object_bytes))
    if route.http is not None:
        from radedit.lib.routing.web import Web

        parts.append(Web(route, intake, place.audit))
    parts += [Reporter(intake, route.report_to, receiver.asking), receiver]
    with ExitStack() as stack:
        for part in parts:
            part.start()
            stack.callback(part.stop)
        _LOG.info("listening on port %d", receiver.port)
        while not end.wait(_TICK_S):
            if not all(part.is_alive for part in parts):
                raise RuntimeError("a part of the receiver ended")  # all is started again


def _plan(place: Place, end: threading.Event, role: str) -> None:
    """Sort what came, order what the rules say, tell of dead letters, clean up."""
    resource.setrlimit(resource.RLIMIT_AS, (_PLAN_MEMORY, _PLAN_MEMORY))
    _stand_back()
    sorter = Sorter(place.spool, place.journal, place.audit)
    rules = Reloaded(place)
    notices = _Every(_NOTIFY_S, lambda: notify(place.journal, rules.route.webhook))
    cleaning = _Every(
        _CLEAN_S,
        lambda: clean_up(place.spool, place.journal, place.audit, rules.route.keep_days),
    )
    while not end.wait(_TICK_S):
        try:
            rules.look()
            begun = time.monotonic()
            while sorter.sort(_SORTED) == _SORTED and not end.is_set():
                if time.monotonic() - begun > _SORT_S:  # more comes than is sorted: plan between
                    break
            route = rules.route
            planner = Planner(place.spool, place.journal, place.audit, route.completeness)
            planner.plan(route.rules)
            notices.call()
            cleaning.call()
        except (OSError, sqlite3.OperationalError) as error:
            _wait_for_room(error, end)


def _work(place: Place, end: threading.Event, role: str) -> None:
    """Make edits and run suites."""
    from radedit.lib.routing.worker import Worker

    _stand_back()
    worker = Worker(place.spool, place.journal, place.audit, role, place.route.jobs, end)
    enough = place.route.receive.reserve_bytes // 4  # the rest of the reserve is for results
    while not end.is_set():
        try:
            if place.spool.free_bytes() < enough or not worker.one():
                end.wait(_TICK_S)
        except sqlite3.OperationalError as error:
            _wait_for_room(error, end)
            return  # and be started again: what it was at is put back then


def _send(place: Place, end: threading.Event, role: str) -> None:
    """Empty the outboxes; ends, to be started again, when the file names other destinations."""
    destinations = place.route.destinations
    sender = Sender(place.spool, place.journal, place.audit, destinations)
    sender.start()
    reloaded = Reloaded(place)
    stranding = _Every(_NOTIFY_S, lambda: strand(place.journal, place.audit, destinations.keys()))
    while not end.wait(_TICK_S) and sender.is_alive:
        try:
            reloaded.look()
            if reloaded.route.destinations != destinations:
                break
            stranding.call()
        except sqlite3.OperationalError as error:
            _wait_for_room(error, end)
    sender.stop()


_ROLES: Final[dict[str, Callable[[Place, threading.Event, str], None]]] = {
    "receive": _receive,
    "plan": _plan,
    "work": _work,
    "send": _send,
}


class Reloaded:
    """The route as its file says it now; a bad file leaves the one before in force.

    Parameters
    ----------
    place : Place

    Attributes
    ----------
    route : Route
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.route = place.route
        self._bad = ""
        self._look = _Every(_LOOK_S, self._read)

    def look(self) -> None:
        """Read the file again if it has changed."""
        self._look.call()

    def _read(self) -> None:
        try:
            if not changed(self._place.file, self.route.digest):
                self._say("")
                return
            route = load_route(self._place.file)
            if route.spool != self.route.spool:
                raise RouteError("A running route keeps its spool; end it to give it another.")
            self.route = route
            self._say("")
            self._place.audit.write("rules loaded", count=len(route.rules))
        except RouteError as error:
            self._say(str(error))

    def _say(self, refusal: str) -> None:
        if refusal == self._bad:
            return
        self._place.journal.note(REFUSED, refusal)
        self._bad = refusal
        if refusal:
            self._place.audit.write("rules refused", reason=refusal)
            _LOG.warning("the old rules stay: %s", refusal)


class _Every:
    """Calls something at most so often."""

    def __init__(self, seconds: float, what: Callable[[], object]) -> None:
        self._seconds, self._what = seconds, what
        self._last = -seconds

    def call(self) -> None:
        if time.monotonic() - self._last >= self._seconds:
            self._last = time.monotonic()
            self._what()


def _stand_back() -> None:
    """Let receiving and sending go first, also where Linux schedules sessions and not processes."""
    os.nice(_BEHIND)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_BEHIND))


def _wait_for_room(error: Exception, end: threading.Event) -> None:
    _LOG.warning("waiting, since the disk or the journal cannot be used: %s", type(error).__name__)
    end.wait(_LOOK_S)
