"""A RadEdit server, asked over HTTP with the standard library alone.

Slicer's own Python need not be changed for it, and it says every failure in one sentence.
"""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

TIMEOUT_S = 20.0
MAX_STUDIES = 200  # in a list that somebody chooses from
MAX_BYTES = 512 * 2**20  # of one answer: films are 10 to 100 MB
DICOM_PARTS = 'multipart/related; type="application/dicom"'
FILM_MODALITIES = ("CR", "DX")
_OVER = ("done", "failed", "cancelled")


class ServerError(Exception):
    """The server refused, failed or cannot be reached; its text is a sentence for a person."""


@dataclass(frozen=True)
class Study:
    """A study as the archive lists it; `title` is what to show in a list."""

    uid: str
    title: str


@dataclass(frozen=True)
class FilmId:
    """One instance: its three UIDs, and what to show in a list."""

    study_uid: str
    series_uid: str
    sop_uid: str
    title: str = ""


@dataclass(frozen=True)
class Job:
    """An edit that the server works on.

    Attributes
    ----------
    state : "queued", "running", "done", "failed" or "cancelled"
    done, total : steps of denoising; total 0 = not known yet
    stage : what is being done, in a word or two
    error : one sentence when it failed, else ""
    result : what the edit gave (UIDs, scores, seconds); empty unless done
    """

    id: str
    state: str
    done: int
    total: int
    stage: str
    error: str
    result: Mapping[str, Any]

    @property
    def is_done(self) -> bool:
        """Whether there is a result."""
        return self.state == "done"

    @property
    def is_over(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in _OVER


class Client:
    """A server.

    Parameters
    ----------
    url : http(s)://HOST[:PORT], without a path
    token : what the server was given to know its users by; "" when it has none
    timeout_s : for each request
    """

    def __init__(self, url: str, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.strip().rstrip("/")
        if not _is_address(self.url):
            raise ServerError("The server's address must be http(s)://HOST:PORT.")
        self._token = token.strip()
        if not (self._token.isascii() and self._token.isprintable()):
            raise ServerError("The token holds letters that no token has; copy it again.")
        self._timeout_s = timeout_s
        # A redirection would take the token to wherever it points.
        self._opener = urllib.request.build_opener(_NoRedirection())

    def options(self) -> dict[str, Any]:
        """Parameters with their ranges, models, mask tasks, prompts and findings."""
        return self._object("GET", "/radedit/options")

    def image_of(self, sop_uid: str) -> str:
        """Find a film on the server by its SOP Instance UID; ServerError when it is not there."""
        return str(self._object("GET", "/radedit/images", {"sop_instance_uid": sop_uid})["image"])

    def studies(self, limit: int = MAX_STUDIES) -> list[Study]:
        """List studies of the archive, so many at most."""
        query = {"limit": str(limit), "includefield": "StudyDescription"}
        rows = self._list("/dicom-web/studies", query)
        return [Study(_value(r, "0020000D"), _title(r, _STUDY_TITLE)) for r in rows]

    def films(self, study_uid: str) -> list[FilmId]:
        """List the CR and DX instances of a study."""
        base = f"/dicom-web/studies/{quote(study_uid)}/series"
        found = []
        for series in self._list(base, {}):
            if _value(series, "00080060") not in FILM_MODALITIES:
                continue
            series_uid = _value(series, "0020000E")
            title = _title(series, _SERIES_TITLE)
            for row in self._list(f"{base}/{quote(series_uid)}/instances", {}):
                found.append(FilmId(study_uid, series_uid, _value(row, "00080018"), title))
        return found

    def instance(self, film: FilmId) -> bytes:
        """Fetch one object as a DICOM file's content."""
        path = (
            f"/dicom-web/studies/{quote(film.study_uid)}/series/{quote(film.series_uid)}"
            f"/instances/{quote(film.sop_uid)}"
        )
        kind, body = self._send("GET", path, accept=DICOM_PARTS)
        return _first_part(kind, body)

    def submit(self, request: Mapping[str, Any]) -> Job:
        """Ask for an edit; the same request again gives the same job."""
        return _job(self._object("POST", "/radedit/jobs", body=request))

    def job(self, job_id: str) -> Job:
        """Say how far a job is."""
        return _job(self._object("GET", f"/radedit/jobs/{quote(job_id)}"))

    def cancel(self, job_id: str) -> None:
        """End a job within one step."""
        self._send("DELETE", f"/radedit/jobs/{quote(job_id)}")

    def retry(self, job_id: str) -> Job:
        """Run a job again that failed or was cancelled."""
        return _job(self._object("POST", f"/radedit/jobs/{quote(job_id)}/retry"))

    def _list(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        _, body = self._send("GET", path, query, accept="application/dicom+json")
        rows = _parsed(body) if body.strip() else []  # 204: nothing matches
        if not isinstance(rows, list):
            raise _unusable()
        return rows

    def _object(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        found = _parsed(self._send(method, path, query, body)[1])
        if not isinstance(found, dict):
            raise _unusable()
        return found

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        accept: str = "application/json",
    ) -> tuple[str, bytes]:
        """Make one request; give the answer's content type and content."""
        address = f"{self.url}{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Accept": accept}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(address, content, headers, method=method)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return _read(answer)
        except urllib.error.HTTPError as error:
            with error:
                raise ServerError(_refusal(error)) from error
        except TimeoutError as error:
            raise _too_slow(self._timeout_s) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, socket.timeout):
                raise _too_slow(self._timeout_s) from error
            raise ServerError(
                f"The server cannot be reached ({type(error.reason).__name__}); see that it runs "
                "at this address."
            ) from error
        except (OSError, http.client.IncompleteRead) as error:
            raise _broken_off() from error
        except (http.client.HTTPException, ValueError) as error:  # speaks no HTTP, or has no name
            raise _unusable() from error


class _NoRedirection(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


_STUDY_TITLE = ("00080020", "00100010", "00100020", "00081030")  # date, name, id, description
_SERIES_TITLE = ("00080060", "0008103E", "00200011")  # modality, description, number


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    origin = parts.scheme in ("http", "https") and parts.hostname and port != 0
    return bool(origin and not (parts.username or parts.path or parts.query or parts.fragment))


def _read(answer: Any) -> tuple[str, bytes]:
    body = answer.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ServerError(f"The server's answer is larger than {MAX_BYTES >> 20} MiB.")
    if answer.length:  # of what was announced, so much did not come
        raise _broken_off()
    return answer.headers.get("Content-Type", ""), body


def _refusal(error: urllib.error.HTTPError) -> str:
    """Take the server's own sentence out of a refusal."""
    if error.code in (401, 403):
        return "The server wants a token, or another one; ask who runs it."
    try:
        said = json.loads(error.read(2**16))["detail"]
    except (ValueError, KeyError, TypeError, OSError):
        said = ""
    return said if isinstance(said, str) and said else f"The server answered {error.code}."


def _too_slow(timeout_s: float) -> ServerError:
    return ServerError(f"The server gave no answer within {timeout_s:g} s; see what it does.")


def _broken_off() -> ServerError:
    return ServerError("The server broke off in the middle; try again.")


def _unusable() -> ServerError:
    return ServerError("What answers at this address is no RadEdit server; check the address.")


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise _unusable() from error


def _job(found: Mapping[str, Any]) -> Job:
    try:
        return Job(
            id=str(found["id"]),
            state=str(found["state"]),
            done=int(found.get("done") or 0),
            total=int(found.get("total") or 0),
            stage=str(found.get("stage") or ""),
            error=str(found.get("error") or ""),
            result=found.get("result") or {},
        )
    except (KeyError, ValueError) as error:
        raise _unusable() from error


def _value(row: Mapping[str, Any], tag: str) -> str:
    """First value of an attribute in DICOM JSON (PS3.18 F.2), as text; "" when there is none."""
    values = (row.get(tag) or {}).get("Value") or [""]
    first = values[0]
    if isinstance(first, dict):  # a person's name
        first = first.get("Alphabetic", "")
    return str(first)


def _title(row: Mapping[str, Any], tags: tuple[str, ...]) -> str:
    return " · ".join(text for text in (_value(row, tag) for tag in tags) if text)


def _first_part(kind: str, body: bytes) -> bytes:
    """First part of a multipart answer (RFC 2046 5.1), or the whole of one that has no parts."""
    header = Message()
    header["Content-Type"] = kind
    boundary = header.get_param("boundary")
    if header.get_content_maintype() != "multipart":
        return body
    if not isinstance(boundary, str):
        raise _unusable()
    start = body.find(b"\r\n\r\n")
    end = body.find(b"\r\n--" + boundary.encode("latin-1"), start)
    if start < 0 or end < 0:
        raise _broken_off()
    return body[start + 4 : end]
