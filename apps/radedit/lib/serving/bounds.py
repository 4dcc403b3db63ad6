"""No request body is longer than its route allows; a longer one is not read to its end."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from radedit.lib.serving.config import MB, Limits
from radedit.lib.serving.messages import RefusedError, header, refuse

_FORM_BYTES = 64 * 1024


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
        await self._app(scope, _bounded(receive, limit), send)

    def _limit(self, path: str) -> int:
        if path.startswith("/radedit/jobs"):
            return self._limits.job_bytes
        if path.startswith(("/login", "/review")):
            return _FORM_BYTES
        return self._limits.body_bytes


def _bounded(receive: Receive, limit: int) -> Receive:
    read = 0

    async def receive_bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > limit:
            why = _too_long(limit)
            raise HTTPException(why.status, why.sentence, {"connection": "close"})
        return message

    return receive_bounded


def _too_long(limit: int) -> RefusedError:
    size = f"{limit // MB} MB" if limit >= MB else f"{limit // 1024} kB"
    return RefusedError(
        413, f"The request's body is longer than {size}, the most taken here; send less."
    )
