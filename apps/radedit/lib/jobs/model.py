"""A request for an edit, and the job that it becomes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

State = Literal["queued", "running", "done", "failed", "cancelled"]
STATES: Final[tuple[State, ...]] = ("queued", "running", "done", "failed", "cancelled")
ENDED: Final[frozenset[State]] = frozenset({"done", "failed", "cancelled"})
EDIT: Final = "edit"  # the one kind of job there is
TOGETHER: Final = 4  # waiting jobs that share a batch at most, unless a worker is told otherwise
STORING: Final = "storing"  # the stage that cannot be cancelled any more


@dataclass(frozen=True)
class JobRequest:
    """What to do with one film of the served studies.

    Attributes
    ----------
    image : the film's id, as the server's datastore lists it
    prompt, edit_mask, keep_mask, invert_prompt, film_text, model, parameters : as in
        `cases.EditRequest`
    study_mode : "new" (a QA study per edit) or "same" (the film's own study)
    masks : name to PNG file of the film's size; `uploaded:NAME` in the mask grammar
    user : who asks; the same request of another user is the same job
    """

    image: str
    prompt: str
    edit_mask: str | None = None
    keep_mask: str | None = None
    invert_prompt: str = ""
    film_text: str = ""
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    study_mode: Literal["new", "same"] = "new"
    masks: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    user: str = ""

    def as_json(self) -> dict[str, Any]:
        """Give every field; of a mask its SHA-256 instead of its bytes."""
        return {
            "image": self.image,
            "prompt": self.prompt,
            "edit_mask": self.edit_mask,
            "keep_mask": self.keep_mask,
            "invert_prompt": self.invert_prompt,
            "film_text": self.film_text,
            "model": self.model,
            "parameters": dict(self.parameters),
            "study_mode": self.study_mode,
            "masks": {n: hashlib.sha256(png).hexdigest() for n, png in self.masks.items()},
            "user": self.user,
        }

    @property
    def id(self) -> str:
        """32 hex digits, the same for the same content; the user is no part of it."""
        content = {**self.as_json(), "user": None}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Job:
    """One job as it stands.

    Attributes
    ----------
    id : `JobRequest.id`
    state : one of `STATES`
    request : `JobRequest.as_json()`
    done, total : diffusion steps; total is 0 until they are counted
    stage : what a running job does now, in a word or two; "" while it does not run
    attempts : how often it was begun, each retry and each restart of a killed worker included
    result : of a done job, `Delivered.summary()`, its seconds those of the whole batch
    error : of a failed job, one sentence
    created, started, ended : in UTC; `started` of the last attempt
    version : grows with every change
    """

    id: str
    state: State
    request: Mapping[str, Any]
    done: int = 0
    total: int = 0
    stage: str = ""
    attempts: int = 0
    result: Mapping[str, Any] | None = None
    error: str | None = None
    created: datetime | None = None
    started: datetime | None = None
    ended: datetime | None = None
    version: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens unless it is tried again."""
        return self.state in ENDED

    def as_json(self) -> dict[str, Any]:
        """Give the job as the server and `radedit jobs --json` show it; times in ISO 8601."""
        return {
            "id": self.id,
            "state": self.state,
            "image": self.request["image"],
            "prompt": self.request["prompt"],
            "done": self.done,
            "total": self.total,
            "stage": self.stage,
            "attempts": self.attempts,
            "result": None if self.result is None else dict(self.result),
            "error": self.error,
            "created": _iso(self.created),
            "started": _iso(self.started),
            "ended": _iso(self.ended),
            "request": dict(self.request),
        }


def moment(seconds: float | None) -> datetime | None:
    """Turn seconds since 1970 into a time in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="milliseconds")
