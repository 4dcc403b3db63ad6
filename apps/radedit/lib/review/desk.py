"""What the review's routes share: the edits, the readings, and who may be told what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fastapi import Request

from radedit.lib.errors import NotFoundError, ParameterError
from radedit.lib.review import pictures
from radedit.lib.review.cases import Cases
from radedit.lib.review.events import Event, EventStore, checked_reader, newest
from radedit_dicom.archive import Archive
from radedit_dicom.vocabulary import EDIT_COLOUR, EDIT_LABEL, KEEP_COLOUR, KEEP_LABEL

Identify = Callable[[Request], str | None]
Shown = Literal["original", "edited", "edit-mask", "keep-mask", "difference"]


@dataclass(frozen=True)
class ReviewPlace:
    """What is reviewed, and where what is said goes.

    Attributes
    ----------
    results, originals : the archives of the edits and of the films they were made of
    cache : folder for fetched objects
    events : the SQLite file of readings
    pages : the folder viewers/review
    blinded_first : True: nobody is told which picture is edited before having answered
    """

    results: Archive
    originals: Archive
    cache: Path
    events: Path
    pages: Path
    blinded_first: bool = False


class Review:
    """What the routes share.

    Parameters
    ----------
    place : see `ReviewPlace`
    identify : names the user of a request, or None where the server does not know
    """

    def __init__(self, place: ReviewPlace, identify: Identify | None = None) -> None:
        self.place = place
        self.cases = Cases(place.results, place.originals, place.cache)
        self.events = EventStore(place.events)
        self._identify = identify or (lambda request: None)

    def reader(self, request: Request, given: str = "") -> str:
        """Name the reader: whom the server knows, else who the page says it is.

        Raises
        ------
        ParameterError
            Nobody is named, or by a name that a reading cannot carry.
        """
        known = self._identify(request)
        try:
            return checked_reader(known or given)
        except ParameterError as error:
            if not known:
                raise
            raise ParameterError(
                "The name that you signed on with cannot be a reader's; whoever runs the server "
                f"can have RADEDIT_OIDC_USER_CLAIM name another claim. {error}"
            ) from error

    def may_know(self, reader: str, uid: str) -> bool:
        """Whether a reader may be told which picture is the edited one."""
        if not self.place.blinded_first:
            return True
        return any(event.reader == reader for event in self.events.events(uid))

    def listing(self, reader: str, blinded: bool) -> dict[str, Any]:
        """List the edits with what this reader has said; without what would give them away.

        Whoever has said anything of an edit knows it: it was open, or the blinded answer came.
        """
        said = self.events.events()
        decided = newest(said, "decision")
        known = {(event.reader, event.sop_instance_uid) for event in said}
        rows = []
        for number, (uid, edit) in enumerate(self.cases.edits().items(), start=1):
            hidden = (blinded or self.place.blinded_first) and (reader, uid) not in known
            mine = decided.get((reader, uid))
            rows.append(
                {
                    "uid": uid,
                    "number": number,
                    "decision": mine.answer if mine else None,
                    "known": (reader, uid) in known,
                    "prompt": None if hidden else edit.record.prompt,
                    "created": None if hidden else edit.record.created,
                }
            )
        return {"reader": reader, "blinded_first": self.place.blinded_first, "edits": rows}

    def details(self, reader: str, uid: str) -> dict[str, Any]:
        """Tell everything about an edit."""
        edit = self.cases.edit(uid)
        record = edit.record
        self.cases.opened(uid)  # a film that is gone is better said before its pictures fail
        return {
            "uid": uid,
            "edit_id": record.edit_id,
            "created": record.created,
            "model_sha256": record.model_sha256,
            "tool_version": record.tool_version,
            "parameters": record.parameters,
            "scores": dict(self.cases.scores(uid)),
            "masks": sorted(self.cases.masks(uid)),
            "events": [told(e) for e in self.events.events(uid) if e.reader == reader],
        }

    def picture(self, uid: str, shown: Shown, side: int) -> bytes:
        """Draw what is asked for as a PNG."""
        if shown in ("edit-mask", "keep-mask"):
            label, colour = {
                "edit-mask": (EDIT_LABEL, EDIT_COLOUR),
                "keep-mask": (KEEP_LABEL, KEEP_COLOUR),
            }[shown]
            mask = self.cases.masks(uid).get(label)
            if mask is None:
                raise NotFoundError(f"This edit has no {label}.")
            return pictures.outline_picture(mask, colour, side)
        opened = self.cases.opened(uid)
        if shown == "difference":
            return pictures.difference_picture(opened.before, opened.after, side)
        return pictures.film_picture(opened.after if shown == "edited" else opened.before, side)

    def event(self, number: int) -> tuple[Event, list[Event]]:
        """Give an event, and all of the same edit.

        Raises
        ------
        NotFoundError
            There is none of that number.
        """
        found = next((event for event in self.events.events() if event.number == number), None)
        if found is None:
            raise NotFoundError("There is no event of that number.")
        return found, self.events.events(found.sop_instance_uid)


def told(event: Event) -> dict[str, Any]:
    """Write an event as JSON, with whether a blinded answer was right."""
    return asdict(event) | {"is_right": event.is_right}
