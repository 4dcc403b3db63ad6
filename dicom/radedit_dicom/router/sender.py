"""Sends what waits in the outboxes: each destination by threads of its own.

"Sent" is said only when the destination itself showed it: it gave the object back and it is
the same, or it committed to keep it. What may have arrived before is asked for first.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Literal

import pydicom
from pydicom.dataset import FileDataset

from radedit_dicom.access import NO_ACCESS, Access
from radedit_dicom.archive import Archive, Query, instance_of, query_of
from radedit_dicom.dimse import DimseArchive
from radedit_dicom.dimse_association import DroppedError
from radedit_dicom.errors import ArchiveError, DicomError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.locate import open_archive
from radedit_dicom.readback import compare
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.journal import Journal, now
from radedit_dicom.router.outbox import WAITING, Delivery, Outbox, Patience
from radedit_dicom.router.spool import Spool, read

_IDLE_S = 0.3
_NOBODY = "2.25.0"  # a UID that no object has
_LOG = logging.getLogger("radedit.route")


class UnreachableError(ArchiveError):
    """A destination cannot be reached, or takes nothing at all for now."""


@dataclass(frozen=True)
class Destination:
    """Where objects go.

    Attributes
    ----------
    name : str
    address : str
        As `locate.open_archive` takes it.
    access : Access
    verify : "readback" or "commitment"
        What proves that an object arrived; commitment is for DIMSE only.
    concurrency : int
        How many objects are on their way at once.
    patience : Patience
    look_again_s : float
        So long after an object has arrived it is asked for once more, before it counts as sent:
        archives exist that delete what came twice. 0: it is not.
    """

    name: str
    address: str
    access: Access = NO_ACCESS
    verify: Literal["readback", "commitment"] = "readback"
    concurrency: int = 1
    patience: Patience = field(default_factory=Patience)
    look_again_s: float = 0.0


class Line:
    """The way to one destination.

    Parameters
    ----------
    destination : Destination

    Raises
    ------
    RouteError
        It cannot be asked for commitment.
    ArchiveError
        Its address is malformed.
    """

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self._archive: Archive = open_archive(destination.address, destination.access)
        if destination.verify == "commitment" and not isinstance(self._archive, DimseArchive):
            raise RouteError(
                f"The destination '{destination.name}' is no DIMSE archive, so it cannot be asked "
                'for storage commitment; give verify = "readback".'
            )

    def deliver(self, content: bytes, *, again: bool) -> tuple[str, ...]:
        """Bring one object there, and see that it is there.

        Parameters
        ----------
        content : bytes
            Part 10.
        again : bool
            True: it may be there from an earlier attempt, so that is asked first.

        Returns
        -------
        tuple of str
            Attributes of the patient and the study that the destination keeps otherwise.

        Raises
        ------
        UnreachableError
            The destination cannot be reached.
        DicomError
            It does not take the object, or does not show it afterwards.
        """
        dataset = pydicom.dcmread(BytesIO(content))
        try:
            if isinstance(self._archive, FolderArchive):
                self._archive.place(dataset)  # which asks first, and reads back
                return ()
            coerced = self._held(dataset) if again else None
            return self._store(dataset) if coerced is None else coerced
        except DroppedError as error:
            raise UnreachableError(str(error)) from None
        except ArchiveError as error:
            if not self._answers():
                raise UnreachableError(str(error)) from None
            raise

    def check(self, content: bytes) -> tuple[str, ...]:
        """See that an object that has arrived is there still. Returns and raises as `deliver`."""
        dataset = pydicom.dcmread(BytesIO(content))
        try:
            coerced = self._held(dataset)
            if coerced is None:
                raise ArchiveError(
                    "The destination showed the object when it arrived and does not hold it any "
                    "more; it is sent again."
                )
            return coerced
        except ArchiveError as error:
            if isinstance(error, DroppedError) or not self._answers():
                raise UnreachableError(str(error)) from None
            raise

    def _store(self, dataset: FileDataset) -> tuple[str, ...]:
        if self.destination.verify == "commitment":
            assert isinstance(self._archive, DimseArchive)
            self._archive.commit(self._archive.send([dataset]))
            return ()
        return self._archive.store([dataset])[0].coerced

    def _held(self, dataset: FileDataset) -> tuple[str, ...] | None:
        """Look whether the destination holds an object, and what it keeps otherwise; None: no."""
        instance = instance_of(dataset)
        if self.destination.verify == "commitment":
            assert isinstance(self._archive, DimseArchive)
            try:
                self._archive.commit([instance])
            except DroppedError:
                raise
            except ArchiveError:
                return None
            return ()
        found = self._archive.find(query_of(instance))
        strict = self.destination.access.strict
        compared = (compare(dataset, self._archive.fetch(each), strict=strict) for each in found)
        return next((each.coerced for each in compared if each.differs is None), None)

    def _answers(self) -> bool:
        """Tell whether the destination answers at all, to tell its refusal from its absence."""
        try:
            if isinstance(self._archive, DimseArchive):
                self._archive.echo()
            else:
                self._archive.find(Query(sop_instance_uid=_NOBODY))
        except ArchiveError:
            return False
        return True


class Sender:
    """Sends until it is stopped.

    Parameters
    ----------
    spool, journal, audit
        Of the route.
    destinations : mapping
        By name.
    """

    def __init__(
        self,
        spool: Spool,
        journal: Journal,
        audit: Audit,
        destinations: Mapping[str, Destination],
    ) -> None:
        self._end = threading.Event()
        self._ways = [
            _Way(spool, journal, audit, destination) for destination in destinations.values()
        ]
        self._threads = [
            threading.Thread(target=way.run, args=(self._end,), name=f"send {name}", daemon=True)
            for way, (name, destination) in zip(self._ways, destinations.items(), strict=True)
            for _ in range(destination.concurrency)
        ]

    def start(self) -> None:
        """Put back what an earlier process was at, and send, in threads of its own."""
        for way in self._ways:
            way.outbox.recover()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish what is on its way, and take up nothing more."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    @property
    def is_alive(self) -> bool:
        """Whether every thread is at work."""
        return all(thread.is_alive() for thread in self._threads)


class _Way:
    """What the threads of one destination share: its outbox, and how it does."""

    def __init__(
        self, spool: Spool, journal: Journal, audit: Audit, destination: Destination
    ) -> None:
        self.outbox = Outbox(
            journal, audit, destination.name, destination.patience, destination.look_again_s
        )
        self._spool, self._journal = spool, journal
        self._line = Line(destination)
        self._away = 0  # attempts since it was last reached
        self._not_before = 0.0

    def run(self, end: threading.Event) -> None:
        while not end.is_set():
            try:
                idle = time.monotonic() < self._not_before or not self._one(end)
            except sqlite3.OperationalError as error:  # a full disk: nothing is lost by waiting
                _LOG.warning("the journal cannot be written: %s", error)
                idle = True
            if idle:
                end.wait(_IDLE_S)

    def _one(self, end: threading.Event) -> bool:
        """Send one object; False: none is due."""
        delivery = self.outbox.claim()
        if delivery is None:
            return False
        note = self._attempt(delivery)
        while True:  # until it is noted: what is on its way is nobody else's
            try:
                note()
                return True
            except sqlite3.OperationalError:
                if end.wait(_IDLE_S):
                    return True  # the next process puts it back, and asks before it sends

    def _attempt(self, delivery: Delivery) -> Callable[[], None]:
        """Send an object, and give what is to be noted of it."""
        began = time.monotonic()
        try:
            content = read(self._spool.folder / delivery.file)
            if delivery.has_arrived:
                coerced = self._line.check(content)
            else:
                coerced = self._line.deliver(content, again=delivery.attempts > 0)
        except UnreachableError as error:
            self._pause()
            said, refused = str(error), False
            if delivery.has_arrived:
                return lambda: self.outbox.not_seen(delivery, said)
        except DicomError as error:
            said, refused = str(error), True
        except Exception as error:  # the outermost edge of one object
            said = f"Unexpected {type(error).__name__} while sending; report this defect."
            refused = True
        else:
            seconds = time.monotonic() - began
            return lambda: self._reached(delivery, seconds, coerced)
        return lambda: self.outbox.failed(delivery, said, refused=refused)

    def _pause(self) -> None:
        """Leave the destination alone for a while, rather than try it with every object."""
        self._away += 1
        self._not_before = time.monotonic() + self.outbox.patience.wait_s(self._away)

    def _reached(self, delivery: Delivery, seconds: float, coerced: tuple[str, ...]) -> None:
        self.outbox.sent(delivery, seconds, coerced)
        if not self._away:
            return
        self._away = 0
        with self._journal.change() as change:  # it is back: what waited for that is due
            change.execute(
                "UPDATE deliveries SET not_before = ? WHERE destination = ? AND state = ? "
                "AND refusals = 0",
                (now(), self.outbox.destination, WAITING),
            )
