"""DICOMweb passed on to the archive and back, piece by piece: nothing is held whole."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response, StreamingResponse
from starlette.background import BackgroundTask

from radedit.lib.serving.cut_frames import cut_frames
from radedit.lib.serving.dicom_web import PREFIX, checked_path
from radedit.lib.serving.prefix import prefix_of
from radedit.lib.serving.tls_files import TlsFiles
from radedit_dicom.access import Access, Authorization
from radedit_dicom.locate import open_archive

_SENT: Final = ("accept", "content-type", "content-length", "if-none-match", "range")
_GIVEN: Final = (
    "accept-ranges", "content-length", "content-location", "content-range", "content-type",
    "etag", "last-modified", "warning",
)  # fmt: skip
_KEPT_BACK: Final = 256  # bytes; an address in JSON that is cut by the network is shorter
_CONNECT_S: Final = 10.0
_STORE: Final = re.compile(r"studies(?:/[^/]+)?")


class Proxy:
    """The archive at this origin.

    Its own addresses in answers (Retrieve URL, BulkDataURI) become ours, so that a viewer
    never needs to reach it.

    Parameters
    ----------
    address : of the archive's DICOMweb
    access : how we are let in; the client's own credentials stay here
    on_stored : called when objects have come in
    """

    def __init__(self, address: str, access: Access, on_stored: Callable[[], None]) -> None:
        self._root = address.rstrip("/")
        self._path = urlsplit(self._root).path
        self._on_stored = on_stored
        self._archive = open_archive(address, access)
        self._authorization = Authorization(access)
        trusted = ssl.create_default_context(cafile=access.ca_file and str(access.ca_file))
        self._tls = TlsFiles(trusted, access.ca_file, access.client_cert, access.client_key)
        self._tls.load()
        self._client = httpx2.AsyncClient(
            verify=self._tls.context,
            timeout=httpx2.Timeout(access.timeout_s, connect=_CONNECT_S),
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Close every connection to the archive."""
        await self._client.aclose()

    def router(self) -> APIRouter:
        """Make the routes."""
        router = APIRouter(prefix=PREFIX, tags=["DICOMweb"])

        @router.get("/{path:path}", summary="Search or retrieve (QIDO-RS, WADO-RS)")
        async def retrieve(path: str, request: Request) -> Response:
            return await self._passed(request, checked_path(path), None)

        @router.post("/{path:path}", summary="Store (STOW-RS)")
        async def store(path: str, request: Request) -> Response:
            if not _STORE.fullmatch(checked_path(path)):
                raise HTTPException(404, "Objects are stored at /dicom-web/studies.")
            answer = await self._passed(request, path, request.stream())
            if answer.status_code < 300:
                self._on_stored()
            return answer

        return router

    async def _passed(
        self, request: Request, path: str, body: AsyncIterator[bytes] | None
    ) -> Response:
        headers = {name: request.headers[name] for name in _SENT if name in request.headers}
        headers["accept-encoding"] = "identity"
        if (secret := self._authorization.header()) is not None:
            headers["authorization"] = secret
        self._tls.renew()
        query = rewritten_query(request.url.query)
        address = f"{self._root}/{path}?{query}" if query else f"{self._root}/{path}"
        sent = self._client.build_request(request.method, address, headers=headers, content=body)
        try:
            answer = await self._client.send(sent, stream=True)
        except httpx2.TimeoutException as error:
            raise HTTPException(
                504, "The archive does not answer in time; ask for less."
            ) from error
        except httpx2.TransportError as error:
            raise HTTPException(
                502, "The archive cannot be reached; see whether it runs."
            ) from error
        if answer.status_code >= 400 or 300 <= answer.status_code != 304:
            await answer.aclose()
            if answer.status_code not in (401, 403, 404):
                cut = await cut_frames(self._archive, path)
                if cut is not None:
                    return cut
            raise _refusal(answer.status_code)
        return self._answer(request, answer)

    def _answer(self, request: Request, answer: httpx2.Response) -> Response:
        given = {name: answer.headers[name] for name in _GIVEN if name in answer.headers}
        pieces: AsyncIterator[bytes] = answer.aiter_raw()
        if "json" in given.get("content-type", ""):
            given.pop("content-length", None)
            ours = f"{str(request.base_url).rstrip('/')}{prefix_of(request.scope)}{PREFIX}/"
            pieces = readdressed(pieces, self._path, ours)
        return StreamingResponse(
            pieces, answer.status_code, given, background=BackgroundTask(answer.aclose)
        )


def rewritten_query(query: str) -> str:
    """Repeat `includefield` for each of its values: not every Orthanc reads a list with commas.

    Any other query stays as it was written, to the byte.
    """
    if "includefield" not in query.lower():
        return query
    pairs = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        several = value.split(",") if name.lower() == "includefield" else [value]
        pairs += [(name, one) for one in several]
    return urlencode(pairs)


async def readdressed(pieces: AsyncIterator[bytes], path: str, ours: str) -> AsyncIterator[bytes]:
    """Replace the archive's own addresses in JSON, wherever the network has cut it.

    Parameters
    ----------
    pieces : of the JSON
    path : of the archive's DICOMweb; its host may name itself as it likes
    ours : the address to put instead, with a slash at its end
    """
    theirs = re.compile(rb'"https?:(?://|\\/\\/)[^"/\\]{1,255}' + re.escape(path.encode()) + b"/")
    mine = b'"' + ours.encode()
    held = b""
    async for piece in pieces:
        held = theirs.sub(lambda _: mine, held + piece)
        cut = held.rfind(b'"http', max(0, len(held) - _KEPT_BACK))
        cut = len(held) - 4 if cut < 0 else cut  # the quote and http themselves may be cut
        if cut > 0:
            yield held[:cut]
            held = held[cut:]
    yield held


def _refusal(status: int) -> HTTPException:
    if status in (401, 403):
        return HTTPException(
            502, "The archive does not let this server in; check RADEDIT_ARCHIVE_*."
        )
    if status == 404:
        return HTTPException(404, "The archive holds no such object.")
    if status < 500:
        return HTTPException(status if status >= 400 else 502, "The archive refuses this request.")
    return HTTPException(502, "The archive failed on this request; its own log says why.")
