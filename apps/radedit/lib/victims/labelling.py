"""A task of a MONAI Label server as a victim: its label image, its classifier's prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from radedit.lib.errors import (
    MaskError,
    ParameterError,
    SourceError,
    VictimError,
    VictimGoneError,
    VictimPassingError,
)
from radedit.lib.remote import RemoteAnswer, remote_answer
from radedit.lib.remote_access import RemoteAccess, RemoteTask, addressed, remote_access
from radedit.lib.victims.about import About
from radedit.lib.victims.asking import asked
from radedit.lib.victims.preprocessing import checked
from radedit.lib.victims.protocol import Answer, Display, Mask, VictimCard
from radedit.lib.victims.remote_films import SENT_DICOM, as_displayed, film_of
from radedit.lib.victims.scores import labelled, usable_scores
from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.film import Film

_LOOK_S = 10.0


@dataclass(frozen=True)
class TaskVictim:
    """A task of another server.

    Attributes
    ----------
    card : VictimCard
    task : where
    about : for limits and for labels in our words
    """

    card: VictimCard
    task: RemoteTask
    about: About

    def answer(
        self, display: Display, valid: Mask | None = None, film: Film | None = None
    ) -> Answer:
        """Ask about one film, which goes there without its identity; see `protocol.Victim`."""
        given = film_of(display) if film is None else film
        checked(display)
        found = asked(self.about.limits, lambda: self._asked(given))
        scores = _predicted(found.said.get("prediction"))
        if found.masks is None and not scores:
            raise VictimError(
                f"the task {self.task.name} gave neither a label image nor a prediction."
            )
        segments = None
        if found.masks is not None:
            segments = self.about.renamed(as_displayed(found.masks, film))
        usable, assumed = usable_scores(self.about.renamed(scores), self.about.unit, True)
        return Answer(usable, segments, assumed)

    def _asked(self, film: Film) -> RemoteAnswer:
        limits = self.about.limits
        access = RemoteAccess((self.task.server,), max(1, round(limits.timeout_s)), limits.max_mb)
        try:
            return remote_answer(self.task, film, access)
        except UnsupportedImageError as error:
            raise VictimError(str(error)) from error
        except SourceError as error:
            # One film that it cannot do, or a server that is gone: its /info tells.
            if _is_there(self.task.server):
                raise VictimPassingError(
                    f"The task {self.task.name} gave no usable answer of the film within "
                    f"{limits.timeout_s:g} s; its server's log says why.",
                    at_once=False,
                ) from error
            raise VictimGoneError(
                "The model's MONAI Label server does not answer; see that it runs at the address."
            ) from error


def open_task(place: str, about: About) -> TaskVictim:
    """Make a victim of ``URL/NAME``; nothing is asked of it yet.

    Raises
    ------
    ParameterError
        The address has another form.
    """
    server, _, _ = place.rpartition("/")
    try:
        task, label = addressed(place, remote_access({"remote_servers": [server]}))
    except (MaskError, ParameterError) as error:
        raise ParameterError("write monailabel:http(s)://HOST:PORT/TASK.") from error
    if label:
        raise ParameterError("write monailabel:URL/TASK without a label; all of them are read.")
    return TaskVictim(about.card(task.name, SENT_DICOM), task, about)


def _predicted(prediction: Any) -> dict[str, Any]:
    """Read what MONAI Label's ClassificationWriter writes: [{"label": ..., "score": ...}, ...]."""
    if prediction is None:
        return {}
    if not isinstance(prediction, list) or not all(isinstance(p, Mapping) for p in prediction):
        raise VictimError("the task's prediction is no list of labels with their scores.")
    return labelled([dict(p) for p in prediction]) if prediction else {}


def _is_there(server: str) -> bool:
    try:
        return requests.get(f"{server}/info/", timeout=_LOOK_S, allow_redirects=False).ok
    except requests.RequestException:
        return False
