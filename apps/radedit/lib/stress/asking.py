"""Victims opened by name, and asked about one film; what they do not answer is counted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from radedit.lib.errors import FilmError, VictimError, VictimGoneError, VictimPassingError
from radedit.lib.stress.segment_measures import outline_measures
from radedit.lib.stress.subjects import Mask
from radedit.lib.stress.suite import Question
from radedit.lib.stress.sweep import load_swept
from radedit.lib.stress.variants import Shown
from radedit.lib.victims.embedded import VICTIMS, load_victim
from radedit.lib.victims.protocol import Answer, Display, Victim

SWEEP = "sweep:"


def open_named(spec: str) -> Victim:
    """Open a victim: an embedded one's name, `sweep:NAME`, or what `victims` understands.

    Raises
    ------
    NotFoundError, CheckpointError, ParameterError
        There is none of that name, or it cannot be loaded.
    """
    if spec.startswith(SWEEP):
        return load_swept(spec.removeprefix(SWEEP))
    if spec in VICTIMS:
        return load_victim(spec)
    from radedit.lib.victims.locate import open_victim

    return open_victim(spec)


def is_ours(spec: str) -> bool:
    """Say whether a victim is one that ships with RadEdit."""
    return spec.startswith(SWEEP) or spec.removeprefix("embedded:") in VICTIMS


@dataclass(frozen=True)
class Asked:
    """What came of one question.

    Attributes
    ----------
    scores : label to score; empty where there is no answer
    measures : dice, hd95_mm, assd_mm, where a structure was asked for
    missing : why there is no answer; "" = there is one
    again : whether it may come another time, so that the next run asks again
    percent : whether its numbers were taken for per cent, though nobody said so
    """

    scores: dict[str, float]
    measures: dict[str, float | None]
    missing: str = ""
    again: bool = False
    percent: bool = False

    def as_row(self) -> dict[str, Any]:
        """Give what is not empty."""
        return {key: value for key, value in asdict(self).items() if value}


def ask(
    victim: Victim, shown: Shown, question: Question, region: Mask | None, anew: bool = False
) -> Asked:
    """Ask one victim about one film, as the patient stands.

    Parameters
    ----------
    region : bool [rows, cols], the structure's true outline; None where a label is asked for
    anew : whatever answers the victim keeps

    Raises
    ------
    VictimGoneError
        The run must stop, to be gone on with later.
    """
    film = shown.film
    display, valid = facing(shown)
    try:
        asked = getattr(victim, "asked_anew", victim.answer) if anew else victim.answer
        answer = asked(display, valid, film)
    except VictimGoneError:
        raise
    except VictimPassingError as error:
        return Asked({}, {}, str(error), again=True)
    except (VictimError, FilmError) as error:
        return Asked({}, {}, str(error))
    if region is None:
        return _scores(answer, question)
    outline = (answer.segments or {}).get(question.structure)
    if outline is None:
        return Asked({}, {}, _not_said("outline", [question.structure], answer.segments))
    if film.is_mirrored:
        outline = outline[:, ::-1]
    return Asked({}, outline_measures(outline, region, film.spacing_mm))


def facing(shown: Shown) -> tuple[Display, Mask]:
    """Give a film's display and measured pixels as the patient stands."""
    display, valid = shown.display, ~shown.film.padding
    if not shown.film.is_mirrored:
        return display, valid
    return np.ascontiguousarray(display[:, ::-1]), np.ascontiguousarray(valid[:, ::-1])


def _scores(answer: Answer, question: Question) -> Asked:
    wanted = [label for label in (question.label, *question.watch) if label]
    found = {label: float(answer.scores[label]) for label in wanted if label in answer.scores}
    if not found:
        return Asked({}, {}, _not_said("score", wanted, answer.scores))
    return Asked(found, {}, percent=answer.is_percent)


def _not_said(what: str, wanted: Sequence[str], given: Collection[str] | None) -> str:
    said = ", ".join(sorted(given or ())) or "nothing"
    return f"no {what} of {' or '.join(wanted)} in the answer, which speaks of {said}"
