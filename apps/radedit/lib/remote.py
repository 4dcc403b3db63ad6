"""Masks from a task of another MONAI Label server, over its REST interface.

The film goes there as a session, without its identity, and the session is removed whatever
happens. Only servers that the settings list are called, no redirection is followed, and one
deadline and one limit of size hold for the whole exchange.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import numpy as np
import requests
import urllib3
from numpy.typing import NDArray
from requests_toolbelt.multipart import (
    ImproperBodyPartContentException,
    MultipartDecoder,
    NonMultipartContentTypeException,
)

from radedit.lib.errors import MaskError, NotFoundError, SourceError
from radedit.lib.mask_files import label_numbers, read_labels
from radedit.lib.remote_access import TASK_NAME, RemoteAccess, RemoteTask
from radedit_dicom.deidentified import deidentified
from radedit_dicom.film import Film
from radedit_dicom.readback import part10

Mask = NDArray[np.bool_]
ANSWER: Final = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": True}
"""What MONAI Label's own writer is asked for; a task that has its own form keeps it."""
SESSION_S: Final = 900  # a session that could not be removed goes by itself after this
CLEAN_UP_S: Final = 10  # for removing the session when the deadline has passed
_CHUNK: Final = 64 * 2**10
_KINDS: Final = (".nii.gz", ".nii", ".nrrd", ".png", ".dcm")
logger = logging.getLogger(__name__)


def remote_masks(task: RemoteTask, film: Film, access: RemoteAccess) -> Mapping[str, Mask]:
    """Have another server segment a film.

    Parameters
    ----------
    task : where; its server must be one of `access`
    film : sent without its identity, see `deidentified`
    access : deadline and limit of size

    Returns
    -------
    label to bool [rows, cols] on the film's grid, True = inside

    Raises
    ------
    NotFoundError
        The server has no such task.
    SourceError
        The server cannot be reached, is too slow, refuses, or answers what is no label image
        of this film.
    UnsupportedImageError
        Text is burned into the film, so it must not be sent.
    """
    masks = remote_answer(task, film, access).masks
    if masks is None:
        raise _unusable("it holds no label image")
    return masks


@dataclass(frozen=True, eq=False)
class RemoteAnswer:
    """What a task of another server says of a film.

    Attributes
    ----------
    masks : label to bool [rows, cols], True = inside; None when no label image came
    said : the answer's parameters, such as the `prediction` of a classifier
    """

    masks: Mapping[str, Mask] | None
    said: Mapping[str, Any]


def remote_answer(task: RemoteTask, film: Film, access: RemoteAccess) -> RemoteAnswer:
    """Have another server's task look at a film; arguments and errors as in `remote_masks`."""
    content = part10(deidentified(film))
    started = time.monotonic()
    with requests.Session() as http:
        call = _Calls(http, task.server, started + access.timeout_s, access)
        declared = _declared(call, task)
        session = _open_session(call, content)
        try:
            query = {"session_id": session, "output": "all"}
            form = {"params": json.dumps(ANSWER)}
            answer = call("POST", f"/infer/{quote(task.name)}", params=query, data=form)
        finally:
            _close_session(call, session)
    logger.info("remote task %s took %.3f s", task.name, time.monotonic() - started)
    said, image = _parts(answer)
    if image is None:
        return RemoteAnswer(None, said)
    names = label_numbers(said.get("label_names")) or label_numbers(declared.get("labels"))
    return RemoteAnswer(_read(image[1], image[0], names, film), said)


@dataclass(frozen=True)
class _Answer:
    content: bytes
    kind: str

    def json(self) -> dict[str, Any]:
        try:
            found = json.loads(self.content)
        except ValueError as error:
            raise _unusable("it is no JSON") from error
        if not isinstance(found, dict):
            raise _unusable("it is no JSON object")
        return found


@dataclass
class _Calls:
    """Requests to one server that share a deadline and a limit of size."""

    http: requests.Session
    server: str
    deadline: float
    access: RemoteAccess
    headers: Mapping[str, str] = field(default_factory=lambda: {"Accept-Encoding": "identity"})

    def __call__(self, method: str, path: str, **sent: Any) -> _Answer:
        """Make one request; any answer but 200 is an error, redirections among them."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise self._too_slow()
        try:
            with self.http.request(
                method,
                self.server + path,
                headers=self.headers,
                timeout=left,
                allow_redirects=False,
                stream=True,
                **sent,
            ) as response:
                if response.status_code != requests.codes.ok:
                    raise SourceError(
                        f"the mask server answered {response.status_code} to {method} "
                        f"{path.split('?')[0]}; its log says why."
                    )
                return _Answer(self._body(response), response.headers.get("Content-Type", ""))
        except (requests.Timeout, urllib3.exceptions.TimeoutError) as error:
            raise self._too_slow() from error
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise SourceError(
                f"the mask server cannot be reached or broke off ({type(error).__name__}); see "
                "that it runs at the address in remote_servers."
            ) from error

    def _body(self, response: requests.Response) -> bytes:
        """Read what comes as it comes, so that bytes that trickle cannot pass the deadline."""
        body = bytearray()
        while chunk := response.raw.read1(_CHUNK, decode_content=False):
            body += chunk
            if len(body) > self.access.max_mb * 2**20:
                raise SourceError(
                    f"the mask server's answer is larger than {self.access.max_mb} MiB, the limit "
                    "that remote_max_mb sets."
                )
            if time.monotonic() > self.deadline:
                raise self._too_slow()
        if response.headers.get("Content-Length", str(len(body))) != str(len(body)):
            raise _unusable("it is cut off")
        return bytes(body)

    def _too_slow(self) -> SourceError:
        return SourceError(
            f"the mask server gave no mask within {self.access.timeout_s} s; see what it does, or "
            "raise remote_timeout_s."
        )


def _declared(call: _Calls, task: RemoteTask) -> Mapping[str, Any]:
    """Ask what the server says of the task, before a film is sent to it."""
    models = call("GET", "/info/").json().get("models")
    if not isinstance(models, dict):
        raise _unusable("it is no MONAI Label server's")
    if task.name not in models:
        known = ", ".join(sorted(str(name) for name in models))
        raise NotFoundError(f"the mask server has no task '{task.name}'; it has {known or 'none'}.")
    about = models[task.name]
    return about if isinstance(about, dict) else {}


def _open_session(call: _Calls, content: bytes) -> str:
    """Send a film; give the session's id."""
    files = {"files": ("film.dcm", content, "application/dicom")}
    answer = call("PUT", "/session/", params={"expiry": SESSION_S}, files=files).json()
    session = str(answer.get("session_id", ""))
    if not TASK_NAME.fullmatch(session):
        raise _unusable("it names no session")
    return session


def _close_session(call: _Calls, session: str) -> None:
    """Remove the film from the server, also after the deadline."""
    call.deadline = max(call.deadline, time.monotonic() + CLEAN_UP_S)
    try:
        call("DELETE", f"/session/{session}")
    except SourceError as error:
        logger.warning("a session on the mask server was not removed: %s", error)


def _parts(answer: _Answer) -> tuple[dict[str, Any], tuple[str, bytes] | None]:
    """Take an answer apart: parameters, and name and content of the label image if one came."""
    try:
        parts = MultipartDecoder(answer.content, answer.kind).parts
    except (
        NonMultipartContentTypeException,  # parameters only, as JSON
        ImproperBodyPartContentException,
        AttributeError,  # no boundary
        ValueError,
    ):
        return _parameters(answer), None
    said: dict[str, Any] = {}
    image: tuple[str, bytes] | None = None
    for part in parts:
        header = Message()
        header["Content-Disposition"] = part.headers.get(b"Content-Disposition", b"").decode(
            "latin-1"
        )
        if header.get_filename():
            image = str(header.get_filename()), part.content
        elif header.get_param("name", header="Content-Disposition") == "params":
            said = _Answer(part.content, "").json()
    return said, image


def _parameters(answer: _Answer) -> dict[str, Any]:
    if not answer.kind.startswith("application/json"):
        return {}
    return answer.json()


def _read(image: bytes, name: str, names: Mapping[str, int], film: Film) -> dict[str, Mask]:
    kind = next((kind for kind in _KINDS if name.lower().endswith(kind)), None)
    if kind is None:
        raise _unusable(f"its label image is of none of the kinds {', '.join(_KINDS)}")
    with tempfile.TemporaryDirectory(prefix="radedit-remote-") as folder:
        path = Path(folder) / f"answer{kind}"
        path.write_bytes(image)
        try:
            return read_labels(path, names, film)
        except MaskError as error:
            raise _unusable(str(error).rstrip(".")) from error


def _unusable(why: str) -> SourceError:
    return SourceError(f"the mask server's answer cannot be used: {why}.")
