"""DICOMweb of folders: QIDO-RS, WADO-RS and STOW-RS (PS3.18) as far as viewers use them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from email.message import Message
from typing import Annotated, Any, Final

import anyio.to_thread
from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from radedit.lib.errors import NotFoundError, RadEditError
from radedit.lib.serving.dicom_web import PREFIX
from radedit.lib.serving.folder_objects import (
    THUMBNAIL_PX,
    FolderObjects,
    frame_numbers,
    frames,
    picture,
)
from radedit.lib.serving.folder_search import (
    Level,
    Row,
    read_query,
    search,
)
from radedit_dicom.archive import Instance
from radedit_dicom.errors import DicomError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.uids import UID_LENGTH, UID_PATTERN

Uid = Annotated[str, Path(pattern=f"^{UID_PATTERN}$", max_length=UID_LENGTH)]
Numbers = Annotated[str, Path(pattern=r"^[0-9]{1,6}(,[0-9]{1,6}){0,63}$")]
Store = Callable[[bytes, str], Instance]
"""Stores one Part 10 object, of this study unless that is \"\"."""
_JSON: Final = "application/dicom+json"
_DICOM: Final = "application/dicom"
logger = logging.getLogger(__name__)
_CANNOT: Final = 0xC000  # PS3.18, table I.2-2: the object cannot be understood or stored
_ONE: Final = "/studies/{study}/series/{series}/instances/{instance}"


class FolderWeb:
    """The routes of /dicom-web for folders.

    Parameters
    ----------
    archives : where objects are looked for
    store : stores one Part 10 object that was sent
    """

    def __init__(self, archives: Sequence[FolderArchive], store: Store) -> None:
        self._objects = FolderObjects(archives)
        self._store = store

    def router(self) -> APIRouter:
        """Make the routes."""
        router = APIRouter(prefix=PREFIX, tags=["DICOMweb"])
        self._add_search(router)
        self._add_metadata(router)
        self._add_objects(router)
        self._add_pictures(router)
        router.add_api_route("/studies", self.store, methods=["POST"], summary="Store (STOW-RS)")
        router.add_api_route(
            "/studies/{study}", self.store_into, methods=["POST"], summary="Store (STOW-RS)"
        )
        return router

    def _add_search(self, router: APIRouter) -> None:
        def found(level: Level, request: Request, study: str = "", series: str = "") -> Response:
            asked = read_query(request.query_params.multi_items())
            return _json(search(level, self._objects.headers(study, series), asked))

        @router.get("/studies", summary="Search for studies")
        def studies(request: Request) -> Response:
            return found("study", request)

        @router.get("/series", summary="Search for series")
        def all_series(request: Request) -> Response:
            return found("series", request)

        @router.get("/instances", summary="Search for instances")
        def all_instances(request: Request) -> Response:
            return found("instance", request)

        @router.get("/studies/{study}/series", summary="Search for series of a study")
        def series_of(study: Uid, request: Request) -> Response:
            return found("series", request, study)

        @router.get("/studies/{study}/instances", summary="Search for instances of a study")
        def instances_of(study: Uid, request: Request) -> Response:
            return found("instance", request, study)

        @router.get(
            "/studies/{study}/series/{series}/instances", summary="Search for instances of a series"
        )
        def instances_of_series(study: Uid, series: Uid, request: Request) -> Response:
            return found("instance", request, study, series)

    def _add_metadata(self, router: APIRouter) -> None:
        def told(*uids: str) -> Response:
            rows = self._objects.headers(*uids)
            if not rows:
                raise NotFoundError("The folder holds no such object.")
            return _json(rows)

        @router.get("/studies/{study}/metadata", summary="Headers of a study")
        def of_study(study: Uid) -> Response:
            return told(study)

        @router.get("/studies/{study}/series/{series}/metadata", summary="Headers of a series")
        def of_series(study: Uid, series: Uid) -> Response:
            return told(study, series)

        @router.get(f"{_ONE}/metadata", summary="Header of an instance")
        def of_instance(study: Uid, series: Uid, instance: Uid) -> Response:
            return told(study, series, instance)

    def _add_objects(self, router: APIRouter) -> None:
        def given(*uids: str) -> Response:
            paths = self._objects.paths(*uids)
            return multipart(_DICOM, (path.read_bytes() for path in paths))

        @router.get("/studies/{study}", summary="Objects of a study")
        def study(study: Uid) -> Response:
            return given(study)

        @router.get("/studies/{study}/series/{series}", summary="Objects of a series")
        def series(study: Uid, series: Uid) -> Response:
            return given(study, series)

        @router.get(_ONE, summary="One object")
        def instance(study: Uid, series: Uid, instance: Uid) -> Response:
            return given(study, series, instance)

        @router.get(f"{_ONE}/frames/{{numbers}}", summary="Frames of an image, as stored")
        def pixels(study: Uid, series: Uid, instance: Uid, numbers: Numbers) -> Response:
            path = self._objects.paths(study, series, instance)[0]
            return multipart(*frames(path, frame_numbers(numbers)))

    def _add_pictures(self, router: APIRouter) -> None:
        def drawn(request: Request, uids: tuple[str, str, str], largest_px: int = 0) -> Response:
            form = "png" if "image/png" in request.headers.get("accept", "") else "jpeg"
            content = picture(self._objects.paths(*uids)[0], form, largest_px)
            return Response(content, media_type=f"image/{form}")

        @router.get(f"{_ONE}/rendered", summary="A film as a picture")
        def rendered(study: Uid, series: Uid, instance: Uid, request: Request) -> Response:
            return drawn(request, (study, series, instance))

        @router.get(f"{_ONE}/thumbnail", summary="A film as a small picture")
        def thumbnail(study: Uid, series: Uid, instance: Uid, request: Request) -> Response:
            return drawn(request, (study, series, instance), THUMBNAIL_PX)

    async def store(self, request: Request) -> Response:
        """Store the objects of a multipart request."""
        return await self.store_into("", request)

    async def store_into(self, study: Uid, request: Request) -> Response:
        """Store objects of one study."""
        sent = parts(request.headers.get("content-type", ""), await request.body())
        return await anyio.to_thread.run_sync(self._stored, sent, study)

    def _stored(self, sent: Sequence[bytes], study: str) -> Response:
        stored: list[Row] = []
        failed: list[Row] = []
        for content in sent:
            try:
                instance = self._store(content, study)
                stored.append(_referenced(instance.sop_class_uid, instance.sop_instance_uid))
            except (RadEditError, DicomError, HTTPException) as error:
                why = error.detail if isinstance(error, HTTPException) else error
                logger.warning("an object was not stored: %s", why)
                failed.append({"00081197": {"vr": "US", "Value": [_CANNOT]}})
        answer: dict[str, Any] = {"00081199": {"vr": "SQ", "Value": stored}}
        if failed:
            answer["00081198"] = {"vr": "SQ", "Value": failed}
        status = 409 if failed and not stored else 202 if failed else 200
        return JSONResponse(answer, status, media_type=_JSON)


def parts(content_type: str, body: bytes) -> list[bytes]:
    """Take the body of a STOW-RS request apart.

    Raises
    ------
    fastapi.HTTPException
        415: it is no multipart/related of DICOM objects; 400: its end is missing.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    kind = str(header.get_param("type", ""))
    if header.get_content_type() != "multipart/related" or not boundary or kind != _DICOM:
        raise HTTPException(415, f'Send multipart/related with type="{_DICOM}".')
    pieces = (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
    if len(pieces) < 3 or not pieces.pop().startswith(b"--"):
        raise HTTPException(400, "The end of the request is missing, or it holds no object.")
    return [piece.partition(b"\r\n\r\n")[2] for piece in pieces[1:]]


def _referenced(sop_class: str, sop_instance: str) -> Row:
    return {
        "00081150": {"vr": "UI", "Value": [sop_class]},
        "00081155": {"vr": "UI", "Value": [sop_instance]},
    }


def _json(rows: Sequence[Row]) -> Response:
    return JSONResponse(list(rows), media_type=_JSON)


def multipart(media: str, contents: Iterable[bytes]) -> Response:
    """Send parts one after the other, each read when its turn comes."""
    boundary = uuid.uuid4().hex
    kind = media.partition(";")[0]

    def pieces() -> Iterable[bytes]:
        for content in contents:
            head = (
                f"--{boundary}\r\nContent-Type: {media}\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            yield head.encode()
            yield content
            yield b"\r\n"
        yield f"--{boundary}--\r\n".encode()

    answer = f'multipart/related; type="{kind}"; boundary={boundary}'
    return StreamingResponse(pieces(), headers={"content-type": answer})
