"""The way of the films in one process: fetch and masks, edit, store, all at the same time.

    studies -> feeders -> [waiting films] -> editing -> [edited films] -> storers -> told

Feeders and storers are threads; the editing is done by who calls `run`. A film takes a seat
before its pixels are read and gives it back when it is stored or has failed, so the seats, and not
the number of films, say how much memory is needed: where storing is slow, fetching waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from radedit.lib.batch.cohort import Ref, Study
from radedit.lib.batch.journal import SETTLED, state_of
from radedit.lib.batch.memory import is_out_of_memory, release_memory
from radedit.lib.batch.plan import Pace
from radedit.lib.batch.results import Results
from radedit.lib.batch.stages import Clock
from radedit.lib.bulk import unexpected
from radedit.lib.cases import Case, EditRequest, Prepared
from radedit.lib.errors import RadEditError
from radedit.lib.pipeline import Edited, Editor
from radedit.lib.sources import FilmSources
from radedit_dicom.archive import Archive
from radedit_dicom.cache import Cache
from radedit_dicom.errors import DicomError
from radedit_dicom.film import read_film
from radedit_dicom.frontal import View, Wanted, choose_frontal
from radedit_dicom.headers import headers
from radedit_dicom.parsing import parse

Row = dict[str, Any]


@dataclass(frozen=True)
class Shop:
    """What the films of a run have in common.

    Attributes
    ----------
    editor, request, results : with what, what, and where to
    archive : where films and `seg:` masks come from
    cache : folder for fetched films
    pace : how many at once
    derived : whether secondary and derived images are edited too
    """

    editor: Editor
    request: EditRequest
    archive: Archive
    results: Results
    cache: Path
    pace: Pace = field(default_factory=Pace)
    derived: bool = False


@dataclass
class Given:
    """A study on its way; it has ended when nothing of it is left.

    Attributes
    ----------
    known : rows of an earlier run about its films, by SOP Instance UID
    """

    number: int
    study: Study
    known: dict[str, Row]
    left: int = 1  # the study itself, until all its films are on their way


@dataclass(frozen=True, eq=False)
class Waiting:
    """A film whose masks are drawn."""

    given: Given
    ref: Ref
    prepared: Prepared


@dataclass
class Line:
    """The pipeline of one process.

    Parameters
    ----------
    shop : what the films have in common
    tell : called with (number of the study, row) when a film has ended, and with (number, None)
        when the last of the study has; from any thread, one call at a time
    """

    shop: Shop
    tell: Callable[[int, Row | None], None]
    clock: Clock = field(default_factory=Clock)
    most_in_memory: int = 0
    _inbox: SimpleQueue[Given | None] = field(default_factory=SimpleQueue)
    _outbox: SimpleQueue[tuple[Waiting, Edited] | None] = field(default_factory=SimpleQueue)
    _waiting: deque[Waiting] = field(default_factory=deque)
    _upstream: int = 0  # studies that may still bring films
    _closed: bool = False
    _broken: BaseException | None = None
    _seated: int = 0

    def __post_init__(self) -> None:
        """Lay out the seats."""
        self._seats = threading.Semaphore(self.shop.pace.seats)
        self._change = threading.Condition()
        self._telling = threading.Lock()
        self._size = self.shop.pace.films
        self._cache = Cache(self.shop.archive, self.shop.cache)

    def put(self, number: int, study: Study, known: dict[str, Row] | None = None) -> None:
        """Send a study on its way; who gives no more than `pace.outstanding` bounds the rest."""
        with self._change:
            self._upstream += 1
        self._inbox.put(Given(number, study, known or {}))

    def close(self) -> None:
        """Say that no study comes any more."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for _ in range(self.shop.pace.feeders):
            self._inbox.put(None)

    def run(self) -> None:
        """Edit until the line is closed and empty, or raise what ended one of its threads."""
        pace = self.shop.pace
        works = [self._feed] * pace.feeders + [self._store] * pace.storers
        threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True) for work in works
        ]
        for thread in threads:
            thread.start()
        while batch := self._next():
            self._edit(batch)
            del batch  # its pixels are not ours to keep while the next one is waited for
        for _ in range(pace.storers):
            self._outbox.put(None)
        for thread in threads:
            thread.join()
        if self._broken is not None:
            raise self._broken

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do a thread's work; should it end too early, so does `run`."""
        try:
            work()
        except BaseException as error:
            with self._change:
                self._broken = error
                self._change.notify_all()

    # Feeding

    def _feed(self) -> None:
        while (given := self._inbox.get()) is not None:
            for ref in self._chosen(given):
                self._prepare(given, ref)
            for ref in given.study.refs:
                self._cache.drop(ref.instance)
            with self._change:
                self._upstream -= 1
                self._change.notify_all()
            self._ended(given)

    def _chosen(self, given: Given) -> list[Ref]:
        """Choose a study's films by headers, unless an earlier run did; tell about the others."""
        unknown: dict[Ref, View] = {}
        asked = [ref.instance for ref in given.study.refs if ref.uid not in given.known]
        told = headers(self.shop.archive, asked) if len(asked) > 1 else {}
        for ref in given.study.refs:
            row = given.known.get(ref.uid)
            try:
                if row is not None and self._is_settled(row):
                    self._end(given, ref, {**row, "again": True}, seated=False)
                    continue
                with self.clock.busy("fetch"):
                    header = told.get(ref.uid)
                    unknown[ref] = View.of(header or parse(self._path(ref), pixels=False))
            except Exception as error:  # the outermost edge of one object
                self._end(given, ref, {"state": "failed", "why": sentence(error)}, seated=False)
        try:
            choice = choose_frontal(unknown, Wanted(priors=True, derived=self.shop.derived))
        except Exception as error:  # the outermost edge of one study
            for ref in unknown:
                self._end(given, ref, {"state": "failed", "why": sentence(error)}, seated=False)
            return []
        for ref, why in choice.passed_over.items():
            self._end(given, ref, {"state": "passed over", "why": why}, seated=False)
        return list(choice.chosen)

    def _is_settled(self, row: Row) -> bool:
        if row["state"] in SETTLED:
            return True
        with self.clock.busy("fetch"):
            return row["state"] != "failed" and self.shop.results.still_there(row)

    def _path(self, ref: Ref) -> Path:
        return ref.path if ref.path is not None else self._cache.path_of(ref.instance)

    def _prepare(self, given: Given, ref: Ref) -> None:
        """Read one film and draw its masks; it waits for the network then."""
        self._sit(given)
        try:
            with self.clock.busy("masks"):
                film = read_film(self._path(ref))
                self.shop.results.outbox(film).check_film(film)
                remotes = self.shop.editor.settings.remotes
                sources = FilmSources(film, archive=self.shop.archive, remotes=remotes)
                prepared = self.shop.editor.prepare(Case(film, self.shop.request, sources))
            edit_id = self.shop.editor.edit_id(prepared)
            with self.clock.busy("fetch", 0):
                held = self.shop.results.held(film, edit_id)
        except Exception as error:  # the outermost edge of one film
            self._end(given, ref, {"state": "failed", "why": sentence(error)})
            return
        if held is not None:
            self._end(given, ref, {"state": "already there", **held})
            return
        with self._change:
            self._waiting.append(Waiting(given, ref, prepared))
            self._change.notify_all()

    # Editing

    def _next(self) -> list[Waiting]:
        """Wait for a full batch, or for as much as will come; empty at the end."""

        def is_ready() -> bool:
            dry = self._upstream == 0 and (self._closed or bool(self._waiting))
            return len(self._waiting) >= self._size or dry or self._broken is not None

        with self._change:
            self._change.wait_for(is_ready)
            if self._broken is not None:
                raise self._broken
            count = min(self._size, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]

    def _edit(self, batch: Sequence[Waiting]) -> None:
        """Edit films in a batch of the size that all batches have; see `_edited`."""
        try:
            with self.clock.busy("edit", len(batch)):
                edited = self._edited([one.prepared for one in batch])
        except Exception as error:
            if not is_out_of_memory(error):
                self._edit_apart(batch, error)
                return
        else:
            for pair in zip(batch, edited, strict=True):
                self._outbox.put(pair)
            return
        # Only here, where nothing refers to the failed batch any more, is its memory free.
        release_memory()
        if self._size == 1:
            why = "the memory of the device does not suffice for this edit; take a smaller model."
            return self._end(batch[0].given, batch[0].ref, {"state": "failed", "why": why})
        self._size = (self._size + 1) // 2
        for first in range(0, len(batch), self._size):
            self._edit(batch[first : first + self._size])

    def _edit_apart(self, batch: Sequence[Waiting], error: Exception) -> None:
        """Find the one that a batch failed for: one film's trouble is its own."""
        if len(batch) == 1:
            row = {"state": "failed", "why": sentence(error)}
            self._end(batch[0].given, batch[0].ref, row)
            return
        for one in batch:
            self._edit([one])

    def _edited(self, prepared: list[Prepared]) -> list[Edited]:
        """Edit in one shape, since kernels choose by it: the last film fills the empty places."""
        empty = self._size - len(prepared)
        return self.shop.editor.edit_batch(prepared + prepared[-1:] * empty)[: len(prepared)]

    # Storing

    def _store(self) -> None:
        while (pair := self._outbox.get()) is not None:
            waiting, edited = pair
            del pair
            try:
                with self.clock.busy("store"):
                    delivered = self.shop.results.outbox(edited.film).deliver(edited)
                row = {"state": "edited", **self.shop.results.row(delivered)}
                del delivered
            except Exception as error:  # the outermost edge of one film
                row = {"state": state_of(error), "why": sentence(error)}
            given, ref = waiting.given, waiting.ref
            del waiting, edited  # before the seat is free, so that the pixels are
            self._end(given, ref, row)

    # Seats

    def _sit(self, given: Given) -> None:
        self._seats.acquire()
        with self._telling:
            given.left += 1
            self._seated += 1
            self.most_in_memory = max(self.most_in_memory, self._seated)

    def _end(self, given: Given, ref: Ref, row: Row, seated: bool = True) -> None:
        """Tell what became of an object, and free its seat if it had one."""
        with self._telling:
            self._seated -= seated
            self.tell(given.number, {"input": ref.name, "film": ref.uid, **row})
        if seated:
            self._seats.release()
            self._ended(given)

    def _ended(self, given: Given) -> None:
        with self._telling:
            given.left -= 1
            if given.left == 0:
                self.tell(given.number, None)


def sentence(error: Exception) -> str:
    """Say in one sentence what went wrong, without a value of the film's."""
    if isinstance(error, (RadEditError, DicomError)):
        return str(error)
    return unexpected(error)
