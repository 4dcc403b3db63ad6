"""What can go wrong between us and an archive on the web, one sentence each.

Nothing that the archive or a library wrote is quoted: it may hold a patient's name, or the
address with a query.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import requests
from urllib3.exceptions import NameResolutionError

from radedit_dicom.errors import ArchiveError


class RefusalError(ArchiveError):
    """The archive answered a request with an error.

    Attributes
    ----------
    status : int
        The HTTP status code.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


_DROPS = "drops the connection; try again"
_SHOW_OURS = "give our certificate in RADEDIT_ARCHIVE_CLIENT_CERT if it wants one"
_STATUS = {
    400: (
        "does not understand this request (HTTP 400); check that the address is that of its "
        "DICOMweb, which /studies follows, and that the object is sound"
    ),
    401: (
        "does not accept our user name and password, or token (HTTP 401); check "
        "RADEDIT_ARCHIVE_USERNAME and RADEDIT_ARCHIVE_PASSWORD_FILE, or ..._TOKEN_FILE"
    ),
    403: "forbids this request (HTTP 403); ask its administrator for the permission",
    404: "has no DICOMweb there (HTTP 404); give the address that /studies follows",
    405: "does not offer this service (HTTP 405); check the address, or use another archive",
    406: "cannot answer in DICOM JSON or DICOM (HTTP 406); check the address",
    409: "refuses the object (HTTP 409); look for it, and for the reason in the archive's log",
    413: "does not take objects of this size (HTTP 413); raise its limit",
    429: "is busy (HTTP 429); try again later",
    503: "is busy or not ready (HTTP 503); try again later",
    507: "has no space left (HTTP 507); make room in it and store the same again",
}


def status_error(response: requests.Response, url: str) -> RefusalError:
    """Say in one sentence what an HTTP status means here.

    Parameters
    ----------
    response : requests.Response
        With a status of 300 or more.
    url : str
        The archive's address, which holds no password.
    """
    status = response.status_code
    said = _STATUS.get(status)
    if said is None and status < 400:
        said = (
            f"redirects to another address (HTTP {status}), which is not followed since it would "
            "be given the password; give its final address"
        )
    if said is None:
        whose = "fails at" if status >= 500 else "refuses"
        said = f"{whose} this request (HTTP {status}); look for the reason in its log"
    return RefusalError(f"The archive at {url} {said}.", status)


def transport_error(error: requests.RequestException, url: str) -> ArchiveError:
    """Say in one sentence why there is no whole answer.

    Parameters
    ----------
    error : requests.RequestException
        Not quoted.
    url : str
        The archive's address, which holds no password.
    """
    said = _reason(error)
    if url.startswith("https:") and said.startswith(_DROPS):
        said += f", or {_SHOW_OURS}"  # some servers just hang up on who shows none
    return ArchiveError(f"The archive at {url} {said}.")


def is_passing(error: requests.RequestException) -> bool:
    """Tell whether the same request may succeed in a moment."""
    if _host_is_unknown(error) or _refuses_tls(error):
        return False
    return isinstance(
        error,
        requests.ConnectionError | requests.Timeout | requests.exceptions.ChunkedEncodingError,
    )


def _reason(error: requests.RequestException) -> str:
    if _host_is_unknown(error):
        return "has a host name that is not known here; check its spelling"
    tls = _refuses_tls(error)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return (
            "shows a TLS certificate that is not trusted for this host; name its authority in "
            "RADEDIT_ARCHIVE_CA_FILE and check the host name"
        )
    if tls is not None:
        return f"and we cannot agree on TLS; check http or https, and {_SHOW_OURS}"
    if isinstance(error, requests.Timeout):
        return "does not answer in time; try again, or raise RADEDIT_ARCHIVE_TIMEOUT_S"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "breaks off in the middle of its answer; try again"
    refused = any(isinstance(cause, ConnectionRefusedError) for cause in _causes(error))
    if refused:
        return "cannot be reached: nothing listens there; start it, or check host and port"
    if isinstance(error, requests.ConnectionError):
        return _DROPS
    return f"cannot be asked ({type(error).__name__}); check the address and the TLS files"


def _host_is_unknown(error: BaseException) -> bool:
    return any(isinstance(cause, NameResolutionError) for cause in _causes(error))


def _refuses_tls(error: BaseException) -> ssl.SSLError | None:
    """Find a TLS failure that will come again; a handshake cut short is none."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, ssl.SSLEOFError | ssl.SSLZeroReturnError
        ):
            return cause
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk through what an error was made of, by whichever way it was wrapped."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        inner = [found.__cause__, found.__context__, getattr(found, "reason", None), *found.args]
        waiting += [cause for cause in inner if isinstance(cause, BaseException)]
