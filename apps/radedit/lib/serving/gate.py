"""The gate in front of every route: who asks, from where, and whether that is let in."""

from __future__ import annotations

from collections.abc import Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import SplitResult, urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from radedit.lib.serving.access import Keeper
from radedit.lib.serving.attempts import WITHIN_S, Attempts
from radedit.lib.serving.config import is_loopback
from radedit.lib.serving.login import COOKIE, asked_address, login_page
from radedit.lib.serving.messages import RefusedError, header, refuse
from radedit.lib.serving.roles import SAFE, Role, User, needed_role

OPEN: Final = frozenset(
    {
        "/auth",
        "/auth/",
        "/auth/token",
        "/health",
        "/login",
        "/login/sign-in.js",
        "/login/style.css",
        "/logout",
    }
)
_CHALLENGE: Final = {"www-authenticate": 'Bearer realm="radedit"'}
_NOBODY: Final = RefusedError(
    401,
    "This server wants a token; send it as `Authorization: Bearer TOKEN`, or sign in at /login.",
)
_FOREIGN: Final = RefusedError(
    403, "This request comes from another site's page; use this server's own pages."
)
_RENAMED: Final = RefusedError(
    403,
    "Without a token this server answers at localhost and 127.0.0.1 only; set a token to reach "
    "it by another name.",
)


def _not_for(role: Role) -> RefusedError:
    return RefusedError(
        403,
        f"This is for the role {role.name.lower()}, which you do not have; ask whoever runs this "
        "server.",
    )


class Gate:
    """Let in who holds a token; without any keeper, whoever is on this machine.

    A route finds the user's name in `request.state.user` and the role in `request.state.role`.

    Parameters
    ----------
    app : what comes next
    keepers : who knows tokens; empty = everybody is let in
    attempts : asked about every token
    """

    def __init__(self, app: ASGIApp, keepers: Sequence[Keeper], attempts: Attempts) -> None:
        self._app, self._keepers, self._attempts = app, keepers, attempts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        bearer = _bearer(scope)
        if bearer is None and _is_foreign(scope):
            await refuse(scope, receive, send, _FOREIGN)
            return
        if not self._keepers:
            await self._open(scope, receive, send)
            return
        if scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        token = bearer or _cookie(scope)
        try:
            user = await self._attempts.user(scope, token) if token else None
        except RefusedError as why:
            await refuse(scope, receive, send, why, {"retry-after": f"{WITHIN_S:.0f}"})
            return
        needed = needed_role(scope["method"], scope["path"])
        if user is not None and user.role < needed:
            await refuse(scope, receive, send, _not_for(needed))
        elif user is not None:
            await self._app(_by(scope, user), receive, send)
        elif _is_navigation(scope):
            await login_page(scope, asked_address(scope), 401)(scope, receive, send)
        else:
            await refuse(scope, receive, send, _NOBODY, _CHALLENGE)

    async def _open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve this machine, and no page that has renamed itself to it (DNS rebinding)."""
        place = _place(f"//{header(scope, b'host') or ''}")
        if place is None or not is_loopback(place.hostname or ""):
            await refuse(scope, receive, send, _RENAMED)
            return
        await self._app(_by(scope, User("", Role.ADMIN)), receive, send)


def _by(scope: Scope, user: User) -> Scope:
    scope.setdefault("state", {}).update(user=user.name, role=user.role)
    return scope


def _bearer(scope: Scope) -> str | None:
    kind, _, token = (header(scope, b"authorization") or "").partition(" ")
    return token.strip() or None if kind.lower() == "bearer" else None


def _cookie(scope: Scope) -> str | None:
    try:
        found = SimpleCookie(header(scope, b"cookie") or "").get(COOKIE)
    except CookieError:
        return None
    return found.value if found else None


def _is_foreign(scope: Scope) -> bool:
    """Tell whether another site's page sends this: browsers say so, programs send neither."""
    if scope["method"] in SAFE:
        return False
    origin = header(scope, b"origin")
    if origin is not None:
        place = _place(origin)
        return place is None or place.netloc.lower() != (header(scope, b"host") or "").lower()
    return header(scope, b"sec-fetch-site") in ("cross-site", "same-site")


def _place(address: str) -> SplitResult | None:
    """Take an address apart; None if it is none, such as one with half a bracket."""
    try:
        return urlsplit(address)
    except ValueError:
        return None


def _is_navigation(scope: Scope) -> bool:
    """Tell whether a person waits for a page."""
    return scope["method"] == "GET" and "text/html" in (header(scope, b"accept") or "")
