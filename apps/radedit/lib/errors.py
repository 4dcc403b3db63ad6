"""Every error the package raises on purpose.

RadEditError
    The one type an outermost edge (command line, REST) needs to catch. Its text is a
    single sentence for a person: what was found, what was expected, what to do. It never
    holds patient data.

    RequestError          the request itself is wrong (REST: 400)
        ParameterError    a parameter is out of its range, of the wrong type or unknown
        PromptError       the prompt is empty or longer than the text encoder takes
        MaskError         a mask cannot be read, is empty, or has another size
    NotFoundError         a task, model, label or study of that name does not exist (404)
    FilmError             the film must not or cannot be edited (422)
    SourceError           a task, server or file that masks come from failed (502)
    CheckpointError       a model's files are missing, gated, offline or fail their hash (503)
    ReplayError           an edit cannot be rebuilt from its provenance (409)
    NoChangeError         the edit was made and shows nothing new, so it is no result (422)
    OutputError           the result cannot be written where it should go (409)
    JobStateError         a job has ended, or has not, and the wish needs the other (409)
    JobsError             the jobs' database is not to be had (503)
    VictimError           a model under test gave no usable answer about a film (502)
        VictimGoneError   it cannot be reached or has died: no film will get one (502)
        VictimPassingError  it failed this time, and may answer about this film later (502)
"""

from __future__ import annotations


class RadEditError(Exception):
    """Base of the tree; `http_status` is what the REST edge answers."""

    http_status = 500


class RequestError(RadEditError):
    """The request itself is wrong."""

    http_status = 400


class ParameterError(RequestError):
    """A parameter is out of its range, of the wrong type or unknown."""


class PromptError(RequestError):
    """The prompt is empty or longer than the text encoder takes."""


class MaskError(RequestError):
    """A mask cannot be read, is empty, or does not fit the film."""


class NotFoundError(RadEditError):
    """A task, model, label or study of that name does not exist."""

    http_status = 404


class FilmError(RadEditError):
    """The film must not or cannot be edited."""

    http_status = 422


class SourceError(RadEditError):
    """What a mask should come from failed, or gave what is no mask of the film."""

    http_status = 502


class CheckpointError(RadEditError):
    """A model's files are missing, gated, offline or fail their hash."""

    http_status = 503


class ReplayError(RadEditError):
    """An edit cannot be rebuilt from its recorded provenance."""

    http_status = 409


class NoChangeError(RadEditError):
    """The edit was made, and no pixel of the film is shown otherwise than before."""

    http_status = 422


class OutputError(RadEditError):
    """The result cannot be written."""

    http_status = 409


class VictimError(RadEditError):
    """A model under test gave no usable answer about a film."""

    http_status = 502


class VictimGoneError(VictimError):
    """A model under test cannot be reached, or has died."""


class VictimPassingError(VictimError):
    """A model under test failed on a film this time; another time it may not.

    Parameters
    ----------
    sentence : as of every error
    at_once : whether to ask again now, or, where this took long already, by the next run only
    """

    def __init__(self, sentence: str, at_once: bool = True) -> None:
        super().__init__(sentence)
        self.at_once = at_once


class JobStateError(RadEditError):
    """A job's state does not allow what was asked for."""

    http_status = 409


class JobsError(RadEditError):
    """The jobs' database is not to be had."""

    http_status = 503
