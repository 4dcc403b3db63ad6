"""What stands around all routes: headers for browsers, a log without ids, figures, last resort."""

from __future__ import annotations

import logging
import time
import traceback
from pathlib import Path
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from radedit.lib.serving.messages import RefusedError, refuse
from radedit.lib.serving.metrics import Metrics

#: For our own pages and answers: nothing but this origin, and no script or style in the page.
STRICT: Final = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_ALWAYS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    # Without any referrer browsers call the login form's own origin null, and the gate refuses it.
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
_UNFORESEEN: Final = RefusedError(
    500, "The request failed for a reason nobody foresaw; the server's log says where."
)
logger = logging.getLogger("radedit.access")


class Watch:
    """Serve, then say in the log and in the figures what was asked for, by route and not by id.

    Parameters
    ----------
    app : what comes next
    metrics : the figures
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0

        async def send_watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _with_ours(message["headers"], scope)}
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except Exception as error:  # the outermost edge: no traceback, which may quote values
            logger.error("request failed: %s", place_of(error))
            if not status:
                await refuse(scope, receive, send_watched, _UNFORESEEN)
        finally:
            seconds = time.perf_counter() - started
            route = route_of(scope)
            self._metrics.observe(scope["method"], route, status, seconds)
            logger.info("%s %s %d %.0f ms", scope["method"], route, status, seconds * 1000)


def route_of(scope: Scope) -> str:
    """Name the route that served a request by its template, which holds no id."""
    template = getattr(scope.get("route"), "path", None)
    return str(template) if template else "(none)"


def place_of(error: BaseException) -> str:
    """Say where an error came from, without its text."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    calls = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{type(error).__name__} in {', '.join(calls)}"


def _with_ours(headers: list[tuple[bytes, bytes]], scope: Scope) -> list[tuple[bytes, bytes]]:
    """Add what every answer carries; a policy that the route has set itself stays."""
    names = {name.lower() for name, _ in headers}
    added = [pair for pair in _ALWAYS if pair[0] not in names]
    if b"content-security-policy" not in names:
        added.append((b"content-security-policy", STRICT.encode()))
    if b"cache-control" not in names:
        added.append((b"cache-control", b"no-store"))
    return [*headers, *added]
