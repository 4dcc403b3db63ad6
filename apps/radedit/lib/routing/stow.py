"""STOW-RS into the spool: a multipart request, object by object, never decoded."""

from __future__ import annotations

import asyncio
from email.message import Message
from typing import Any

from pydicom.dataset import Dataset
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from radedit_dicom.router.bounded_socket import Bounds
from radedit_dicom.router.errors import OUT_OF_RESOURCES, RefusedError
from radedit_dicom.router.intake import Intake
from radedit_dicom.router.part10 import Part10, opened

SOURCE = "stow"
_JSON = "application/dicom+json"
_BOUNDARY_BYTES = 70  # RFC 2046 5.1.1


async def store(request: Request, intake: Intake, bounds: Bounds) -> Response:
    """Answer one STOW-RS request (PS3.18 10.5).

    Parameters
    ----------
    request : Request
        ``multipart/related; type="application/dicom"``.
    intake : Intake
    bounds : Bounds
        The body is counted against `total_bytes`, a message against `object_bytes`.

    Returns
    -------
    Response
        200: all taken; 202: some; 409: none; 507: there is no room. The failed and the taken
        are listed as the standard says.
    """
    boundary = _boundary(request.headers.get("content-type", ""))
    if boundary is None:
        return _sentence(415, 'Send multipart/related; type="application/dicom" with a boundary.')
    body = bytearray()
    try:
        async with asyncio.timeout(bounds.object_s):
            async for chunk in request.stream():
                if len(body) + len(chunk) > bounds.object_bytes:
                    return _sentence(413, "The request is larger than this node takes at once.")
                bounds.hold(len(chunk))
                body += chunk
        return await run_in_threadpool(_take_all, body, boundary, intake)
    except TimeoutError:
        return _sentence(408, "The request takes too long; send it faster, or in parts.")
    except OSError:
        return _sentence(503, "Too much is coming in at the same time; try again later.")
    finally:
        bounds.hold(-len(body))


def _take_all(body: bytearray, boundary: bytes, intake: Intake) -> Response:
    contents = parts(body, boundary)
    if not contents:
        return _sentence(400, "The request holds no part; check its boundary.")
    answer = Dataset()
    taken, failed, worst = [], [], 0
    for content in contents:
        item = Dataset()
        try:
            part10 = _opened(content, intake)
            item.ReferencedSOPClassUID = part10.sop_class
            item.ReferencedSOPInstanceUID = part10.uid
            intake.take_whole(part10, SOURCE)
            taken.append(item)
        except RefusedError as refusal:
            item.FailureReason = refusal.status
            worst = max(worst, refusal.status)
            failed.append(item)
    if taken:
        answer.ReferencedSOPSequence = taken
    if failed:
        answer.FailedSOPSequence = failed
    status = 200 if not failed else 202 if taken else 507 if worst == OUT_OF_RESOURCES else 409
    return Response(answer.to_json(), status, media_type=_JSON)


def _opened(content: memoryview, intake: Intake) -> Part10:
    try:
        return opened(content)
    except RefusedError as refusal:
        intake.refused(SOURCE, str(refusal))
        raise


def parts(body: bytes | bytearray, boundary: bytes) -> list[memoryview]:
    """Split a multipart body (RFC 2046 5.1.1) into the contents of its parts, copying nothing."""
    found: list[memoryview] = []
    view, mark = memoryview(body), b"\r\n--" + boundary
    at = len(mark) - 2 if body.startswith(mark[2:]) else _behind(body, mark, 0)
    while at >= 0 and not body.startswith(b"--", at):
        after = _behind(body, mark, at)
        end = len(body) if after < 0 else after - len(mark)
        blank = body.find(b"\r\n\r\n", at, end)
        if blank >= 0:
            found.append(view[blank + 4 : end])
        at = after
    return found


def _behind(body: bytes | bytearray, mark: bytes, at: int) -> int:
    """Give the place behind the next mark; -1: there is none."""
    found = body.find(mark, at)
    return found if found < 0 else found + len(mark)


def _boundary(content_type: str) -> bytes | None:
    message = Message()
    message["content-type"] = content_type
    boundary: Any = message.get_param("boundary")
    if message.get_content_type() != "multipart/related" or not isinstance(boundary, str):
        return None
    return boundary.encode("latin-1", "replace") if 0 < len(boundary) <= _BOUNDARY_BYTES else None


def _sentence(status: int, words: str) -> JSONResponse:
    return JSONResponse({"detail": words}, status)
