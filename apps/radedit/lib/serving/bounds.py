"""No request body is longer than its route allows; a longer one is not read to its end."""

from __future__ import annotations

from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from radedit.lib.serving.config import MB, Limits
from radedit.lib.serving.messages import RefusedError, header, refuse

_FORM_BYTES: Final = 64 * 1024
_READ_ANYWAY: Final = MB  # to close a connection on what was sent can cost the client the answer


class BodyBounds:
    """Refuse a body by its announced length, and one of unknown length when it is exceeded.

    Parameters
    ----------
    app : what comes next
    limits : how much each route takes
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self._app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        announced = header(scope, b"content-length") or "0"
        # h11 lets no other length than a number of at most 20 digits pass.
        if announced.isascii() and announced.isdigit() and int(announced) > limit:
            await refuse(scope, receive, send, _too_long(limit))
            return
        is_long = not announced.isdigit() or int(announced) > _READ_ANYWAY
        body = _Body(receive, limit, is_long or _is_chunked(scope))
        await self._app(scope, body.receive, lambda message: send(body.answered(message)))

    def _limit(self, path: str) -> int:
        if path.startswith("/radedit/jobs"):
            return self._limits.job_bytes
        if path.startswith(("/login", "/review", "/auth")):
            return _FORM_BYTES
        return self._limits.body_bytes


class _Body:
    """A body while it is read.

    Parameters
    ----------
    receive : gives its next piece (ASGI)
    limit : in bytes
    is_long : whether it may be more than what is read and thrown away behind an answer
    """

    def __init__(self, receive: Receive, limit: int, is_long: bool) -> None:
        self._receive, self._limit = receive, limit
        self._read = 0
        self._is_left = is_long

    async def receive(self) -> Message:
        """Give the next piece; refuse the one that makes it too long."""
        message = await self._receive()
        self._read += len(message.get("body", b""))
        if self._read > self._limit:
            why = _too_long(self._limit)
            raise HTTPException(why.status, why.sentence)
        self._is_left = self._is_left and message.get("more_body", False)
        return message

    def answered(self, message: Message) -> Message:
        """Close the connection behind an answer that did not wait for a long body's end."""
        if message["type"] == "http.response.start" and self._is_left:
            headers = [pair for pair in message["headers"] if pair[0].lower() != b"connection"]
            return {**message, "headers": [*headers, (b"connection", b"close")]}
        return message


def _is_chunked(scope: Scope) -> bool:
    return header(scope, b"transfer-encoding") is not None


def _too_long(limit: int) -> RefusedError:
    size = f"{limit // MB} MB" if limit >= MB else f"{limit // 1024} kB"
    return RefusedError(
        413, f"The request's body is longer than {size}, the most taken here; send less."
    )
