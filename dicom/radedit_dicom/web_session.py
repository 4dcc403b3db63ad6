"""HTTP to an archive: who we are, whom we trust, when to try again, and what went wrong.

A `WebSession` is a `requests.Session` whose `send` does all of that, so that whatever is built
on it (dicomweb-client too) gets whole answers or an `ArchiveError`.
"""

from __future__ import annotations

import email.utils
import logging
import random
import time
from dataclasses import dataclass
from email.message import Message
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from radedit_dicom.access import NO_ACCESS, Access, Authorization
from radedit_dicom.archive import Instance
from radedit_dicom.errors import ArchiveError
from radedit_dicom.web_errors import (
    is_passing,
    status_error,
    transport_error,
)

logger = logging.getLogger(__name__)
# Both write addresses with their queries, which may name a patient.
logging.getLogger("urllib3").setLevel(logging.ERROR)
logging.getLogger("dicomweb_client").setLevel(logging.ERROR)

_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_CHUNK = 1 << 18


@dataclass(frozen=True)
class Backoff:
    """How long to wait between attempts: twice as long each time, less up to half by chance.

    Attributes
    ----------
    first_s, longest_s : float
        Seconds before the second attempt, and before any other.
    longest_asked_s : float
        The longest wait that the archive may ask for (Retry-After) before we give up.
    """

    first_s: float = 0.5
    longest_s: float = 30.0
    longest_asked_s: float = 120.0

    def wait_s(self, attempt: int, asked: str | None) -> float:
        """Say how long to wait after an attempt, 1 the first.

        Parameters
        ----------
        attempt : int
        asked : str or None
            The header Retry-After: seconds or a date (RFC 9110, 10.2.3).

        Raises
        ------
        ArchiveError
            The archive asks for more patience than we have.
        """
        asked_s = _asked_s(asked)
        if asked_s > self.longest_asked_s:
            raise ArchiveError(
                f"The archive is busy and asks to be left alone for {asked_s:.0f} s; try again "
                "after that."
            )
        own = min(self.longest_s, self.first_s * 2.0 ** (attempt - 1))
        return max(asked_s, own * random.uniform(0.5, 1.0))


@dataclass(frozen=True)
class WebAddress:
    """One archive that speaks DICOMweb (PS3.18).

    Attributes
    ----------
    url : str
        Where its resources begin: ``/studies`` and so on follow. No user, no password, no query.
    access : Access
    backoff : Backoff
    concurrency : int
        How many requests run at once, at least 1.
    limit_bytes : int
        The largest answer that is read.
    """

    url: str
    access: Access = NO_ACCESS
    backoff: Backoff = Backoff()
    concurrency: int = 4
    limit_bytes: int = 1 << 29

    def __post_init__(self) -> None:
        """Refuse an address that could not work or that holds a password.

        Raises
        ------
        ArchiveError
        """
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError:
            raise ArchiveError(
                "The archive's address is malformed; give http(s)://HOST:PORT/dicom-web."
            ) from None
        if "@" in parts.netloc:
            raise ArchiveError(
                "The archive's address holds a user or password, which would end up in logs; give "
                "them in RADEDIT_ARCHIVE_USERNAME and RADEDIT_ARCHIVE_PASSWORD_FILE."
            )
        whole = parts.scheme in ("http", "https") and parts.hostname and port != 0
        if not whole or parts.query or parts.fragment or self.concurrency < 1:
            raise ArchiveError(
                "The archive's address must be http(s)://HOST:PORT/PATH without a query, and its "
                "concurrency at least 1."
            )
        url = parts._replace(scheme=parts.scheme.lower()).geturl().rstrip("/")
        object.__setattr__(self, "url", url)


class WebSession(requests.Session):
    """Authenticates, trusts, waits and tries again as a `WebAddress` says.

    Parameters
    ----------
    address : WebAddress
    """

    def __init__(self, address: WebAddress) -> None:
        super().__init__()
        self.address = address
        self.trust_env = False  # no .netrc, no proxy: nobody else sees the password
        access = address.access
        self.verify = str(access.ca_file) if access.ca_file else True
        if access.client_cert:
            cert, key = str(access.client_cert), access.client_key
            self.cert = (cert, str(key)) if key else cert
        self._authorization = Authorization(access)
        # Packing pixels costs more than sending them inside one hospital.
        self.headers.update({"Accept": "application/dicom+json", "Accept-Encoding": "identity"})
        size = address.concurrency
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=size, pool_block=True)
        for scheme in ("http://", "https://"):
            self.mount(scheme, adapter)

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Follow no redirect: it would take the password to somebody else."""
        return None

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send a request until it is answered in whole.

        Every request made here may be repeated: searches and reads change nothing, and an
        archive that is sent an object twice holds it once.

        Raises
        ------
        RefusalError
            The archive answers with an error.
        ArchiveError
            It cannot be reached, is not trusted, or does not answer in whole.
        """
        request.headers.pop("Host", None)  # dicomweb-client leaves out the port
        attempts = self.address.access.attempts
        for attempt in range(1, attempts + 1):
            asked = None
            self._authorise(request)
            try:
                response = self._once(request, kwargs)
            except requests.RequestException as error:
                failure = transport_error(error, self.address.url)
                if not is_passing(error):
                    raise failure from None
            else:
                if response.status_code < 300:
                    return response
                failure = status_error(response, self.address.url)
                if response.status_code == 401 and self._authorise(request):
                    continue  # the secret was renewed while it was on its way
                if response.status_code not in _BUSY:
                    raise failure
                asked = response.headers.get("Retry-After")
            if attempt < attempts:
                wait_s = self.address.backoff.wait_s(attempt, asked)
                logger.info("archive: attempt %d failed, next in %.1f s", attempt, wait_s)
                time.sleep(wait_s)
        raise failure

    def _authorise(self, request: requests.PreparedRequest) -> bool:
        """Show who we are; True: by another secret than before."""
        header, before = self._authorization.header(), request.headers.get("Authorization")
        if header is not None:
            request.headers["Authorization"] = header
        return header != before

    def _once(self, request: requests.PreparedRequest, kwargs: dict[str, Any]) -> requests.Response:
        timeouts = (min(10.0, self.address.access.timeout_s), self.address.access.timeout_s)
        with super().send(request, **(kwargs | {"stream": True, "timeout": timeouts})) as response:
            body = bytearray()
            for chunk in response.iter_content(_CHUNK):
                body += chunk
                if len(body) > self.address.limit_bytes:
                    raise ArchiveError(
                        f"The archive's answer is longer than {self.address.limit_bytes} bytes; "
                        "ask for less, or raise the limit."
                    )
        return _whole(response, bytes(body))


def resource(instance: Instance) -> str:
    """Give the path of an instance (PS3.18 10.4.1), behind the archive's address."""
    return (
        f"studies/{instance.study_instance_uid}/series/{instance.series_instance_uid}"
        f"/instances/{instance.sop_instance_uid}"
    )


def parts(response: requests.Response) -> list[bytes]:
    """Take a multipart answer apart (RFC 2046, 5.1.1); any other is one part.

    Raises
    ------
    requests.exceptions.ChunkedEncodingError
        The end is missing.
    """
    header = Message()
    header["Content-Type"] = response.headers.get("Content-Type", "")
    boundary = header.get_boundary()
    if boundary is None:
        return [response.content]
    pieces = (b"\r\n" + response.content).split(b"\r\n--" + boundary.encode("latin-1"))
    if not pieces.pop().startswith(b"--"):
        raise requests.exceptions.ChunkedEncodingError("the end of the answer is missing")
    return [piece.partition(b"\r\n\r\n")[2] for piece in pieces[1:]]


def _whole(response: requests.Response, body: bytes) -> requests.Response:
    """Give an answer with its body read, and checked for its end."""
    whole = requests.Response()
    whole.status_code, whole.reason = response.status_code, response.reason
    whole.headers, whole.url, whole.request = response.headers, response.url, response.request
    whole.encoding = response.encoding
    whole.raw = BytesIO(body)
    if whole.status_code < 300:
        parts(whole)
    return whole


def _asked_s(header: str | None) -> float:
    """Read Retry-After; what cannot be read asks for nothing."""
    if header is None:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return max(0.0, until.timestamp() - time.time())
