"""A victim behind DICOM: a film is sent to its node, which calls back with SR, SEG or SC."""

from __future__ import annotations

import fcntl
import io
import os
import queue
import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    EnhancedSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)
from pynetdicom import evt
from pynetdicom.events import Event, EventHandlerType

from radedit.lib.errors import (
    FilmError,
    ParameterError,
    VictimError,
    VictimGoneError,
    VictimPassingError,
)
from radedit.lib.victims.about import About
from radedit.lib.victims.asking import asked
from radedit.lib.victims.preprocessing import checked
from radedit.lib.victims.protocol import Answer, Display, Mask, VictimCard
from radedit.lib.victims.remote_films import SENT_DICOM, as_displayed, object_of
from radedit.lib.victims.scores import usable_scores
from radedit_dicom.dimse_address import DimseAddress, DimseTimeouts
from radedit_dicom.dimse_association import DroppedError
from radedit_dicom.dimse_receive import listening
from radedit_dicom.dimse_send import send_all
from radedit_dicom.errors import ArchiveError, DicomError, UnsupportedImageError
from radedit_dicom.film import Film
from radedit_dicom.measurements import measured, references, texts, written
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import read_film
from radedit_dicom.readback import part10
from radedit_dicom.segment_reader import read_segmentation

_KINDS: Final[Mapping[str, str]] = {
    BasicTextSRStorage: "sr",
    EnhancedSRStorage: "sr",
    ComprehensiveSRStorage: "sr",
    Comprehensive3DSRStorage: "sr",
    SegmentationStorage: "seg",
    SecondaryCaptureImageStorage: "sc",
}
_PLACE = re.compile(r"(?P<ae>[^@]{1,16})@(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):(?P<port>\d+)")
_SUCCESS, _TOO_LARGE = 0x0000, 0xA700
_HANG_UP_S = 5.0


@dataclass(frozen=True)
class NodeVictim:
    """A DICOM node.

    Attributes
    ----------
    card : VictimCard
    address : of the node, and where we listen for its results
    about : what is waited for, and how long
    """

    card: VictimCard
    address: DimseAddress
    about: About

    def answer(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Ask about one film, which goes there without its identity; see `protocol.Victim`."""
        if film is not None and film.shape != checked(display).shape:
            raise FilmError("the display and the film are of another size; give those of one film.")
        try:
            sent = object_of(display, film)
        except UnsupportedImageError as error:
            raise VictimError(str(error)) from error
        results = asked(self.about.limits, lambda: self._results(sent))
        scores: dict[str, float] = {}
        segments: dict[str, Mask] | None = None
        for kind, dataset in results.items():
            if kind == "seg":
                segments = as_displayed(_masks(dataset, sent), film)
            else:
                scores |= self._scores(kind, dataset)
        if segments is not None:
            segments = self.about.renamed(segments)
        usable, assumed = usable_scores(self.about.renamed(scores), self.about.unit, True)
        return Answer(usable, segments, assumed)

    def _scores(self, kind: str, dataset: Dataset) -> dict[str, float]:
        form = self.about.dicom
        try:
            if kind == "sr" and form.sr_pattern:
                found = written(texts(dataset), form.sr_pattern)
            elif kind == "sr":
                found = measured(dataset)
            else:
                found = written(str(dataset.get(form.text_attribute, "")), form.text_pattern)
        except ValueError as error:
            raise VictimError(
                f"The model's {kind.upper()} holds a score that is no number; see text_pattern "
                "under [dicom] in its TOML file, or ask its vendor."
            ) from error
        if not found:
            raise VictimError(
                f"The model's {kind.upper()} holds no score that can be read; see [dicom] and "
                "[rename] in its TOML file."
            )
        return found

    def _results(self, sent: Dataset) -> dict[str, Dataset]:
        """Send a film and wait for all kinds of results that refer to it."""
        inbox = _Inbox(self.about.limits.max_mb * 2**20)
        caller = self._caller()
        try:
            with (
                _turn(self.about.dicom.listen_port),
                listening(caller, inbox.handlers(), tuple(_KINDS)),
            ):
                self._send(sent)
                results = self._awaited(sent, inbox)
                inbox.settle()
                return results
        except ArchiveError as error:  # of the port that we listen on
            raise VictimGoneError(str(error)) from error

    def _send(self, sent: Dataset) -> None:
        try:
            send_all(self.address, [dcmread(io.BytesIO(part10(sent)))])
        except DroppedError as error:
            raise VictimGoneError(
                f"The model's node {self.address} cannot be reached; see that it runs."
            ) from error
        except ArchiveError as error:
            raise VictimError(f"The model's node took no film: {error}") from error

    def _awaited(self, sent: Dataset, inbox: _Inbox) -> dict[str, Dataset]:
        wanted = set(self.about.dicom.results)
        ours = {str(sent.SOPInstanceUID), str(sent.StudyInstanceUID)}
        end = time.monotonic() + self.about.limits.timeout_s
        found: dict[str, Dataset] = {}
        while set(found) != wanted:
            try:
                content = inbox.arrived.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                missing = ", ".join(sorted(wanted - set(found))).upper()
                raise VictimPassingError(
                    f"The model's node gave no {missing} of the film within "
                    f"{self.about.limits.timeout_s:g} s.",
                    at_once=False,
                ) from None
            try:
                dataset = parse(content, pixels=True)
            except (DicomError, InvalidDicomError):
                continue  # of no use; the time limit speaks if nothing better comes
            kind = _KINDS.get(str(dataset.get("SOPClassUID")), "")
            if kind in wanted and ours & references(dataset):  # a late one of another film: no
                found[kind] = dataset
        return found

    def _caller(self) -> DimseAddress:
        """Say who may call us, and where."""
        form = self.about.dicom
        return DimseAddress(
            host=self.address.host,
            port=self.address.port,
            called_ae_title=form.result_ae or self.address.called_ae_title,
            calling_ae_title=form.our_ae,
            move_host=form.listen_host,
            move_port=form.listen_port,
        )


@contextmanager
def _turn(port: int) -> Iterator[None]:
    """Wait until no other process or thread of a run listens where the node calls back."""
    path = Path(tempfile.gettempdir()) / f"radedit-node-{port}-{os.getuid()}.lock"
    with path.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # let go of when it is closed, however that comes
        yield


class _Inbox:
    """Takes in what the node sends, and knows whether it is still connected.

    Parameters
    ----------
    limit_bytes : of one object
    """

    def __init__(self, limit_bytes: int) -> None:
        self.arrived: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._limit_bytes = limit_bytes
        self._callers = 0
        self._changed = threading.Condition()

    def handlers(self) -> list[EventHandlerType]:
        """List what to bind where the node calls."""
        return [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_CONN_OPEN, lambda _: self._count(1)),
            (evt.EVT_CONN_CLOSE, lambda _: self._count(-1)),
        ]

    def settle(self) -> None:
        """Let the node hang up by itself, for a moment: a line that is cut worries its operator."""
        with self._changed:
            self._changed.wait_for(lambda: self._callers <= 0, _HANG_UP_S)

    def _store(self, event: Event) -> int:
        content = event.encoded_dataset()
        if len(content) > self._limit_bytes:
            return _TOO_LARGE
        self.arrived.put(content)
        return _SUCCESS

    def _count(self, change: int) -> None:
        with self._changed:
            self._callers += change
            self._changed.notify_all()


def open_node(place: str, about: About) -> NodeVictim:
    """Make a victim of ``AE@HOST:PORT``; nothing is asked of it yet.

    Raises
    ------
    ParameterError
        The address, or the pattern for texts, has another form.
    """
    found = _PLACE.fullmatch(place)
    if found is None:
        raise ParameterError("write dicom:AE@HOST:PORT for a DICOM node.")
    for name in ("text_pattern", "sr_pattern"):
        pattern = getattr(about.dicom, name)
        if pattern and not {"label", "score"} <= _groups(pattern, name):
            raise ParameterError(
                f"dicom.{name} needs the groups (?P<label>...) and (?P<score>...)."
            )
    limits = about.limits
    try:
        address = DimseAddress(
            host=found["host"].strip("[]"),
            port=int(found["port"]),
            called_ae_title=found["ae"],
            calling_ae_title=about.dicom.our_ae,
            timeouts=DimseTimeouts(response_s=limits.timeout_s),
            retries=0,
        )
        victim = NodeVictim(about.card(found["ae"], SENT_DICOM), address, about)
        victim._caller()
    except ArchiveError as error:
        raise ParameterError(str(error)) from error
    return victim


def _groups(pattern: str, name: str) -> set[str]:
    try:
        return set(re.compile(pattern).groupindex)
    except re.error as error:
        raise ParameterError(f"dicom.{name} is no regular expression ({error.msg}).") from error


def _masks(dataset: Dataset, sent: Dataset) -> dict[str, Mask]:
    """Read the segments of the film as it was sent."""
    try:
        return read_segmentation(dataset, read_film(sent, allow_synthetic=True))
    except DicomError as error:
        raise VictimError(f"The model's SEG cannot be read: {error}") from error
