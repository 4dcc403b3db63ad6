"""A server that a reverse proxy offers below a path of another one, such as /radedit.

Everything inside sees paths from the root on; what leads back out (redirections, the cookie,
pages) gets the prefix in front.
"""

from __future__ import annotations

import re
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from radedit.lib.errors import ParameterError
from radedit.lib.serving.messages import header

_KEY: Final = "radedit.prefix"
_PREFIX: Final = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){1,8}")


class Prefix:
    """Take the prefix off requests, and put it into `location` and the cookie's path.

    Parameters
    ----------
    app : what comes next
    root_path : of `--root-path`; "" = none, unless the proxy says one in X-Forwarded-Prefix,
        which no page of another site can have a browser send
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        said = (header(scope, b"x-forwarded-prefix") or "") if scope["type"] == "http" else ""
        said = said.rstrip("/")
        prefix = said if _PREFIX.fullmatch(said) else self._root_path
        if scope["type"] != "http" or not prefix:
            await self._app(scope, receive, send)
            return
        inside = {**scope, _KEY: prefix}
        if self._root_path:  # a proxy that says its prefix has taken it off
            inside["path"] = _without(scope["path"], prefix)
            raw = scope.get("raw_path") or scope["path"].encode()
            inside["raw_path"] = _without(raw.decode("latin-1"), prefix).encode("latin-1")

        async def send_outside(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [(k, _outside(k, v, prefix, scope)) for k, v in message["headers"]]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(inside, receive, send_outside)


def prefix_of(scope: Scope) -> str:
    """Give what stands in front of every path of this server, "" or such as "/radedit"."""
    return str(scope.get(_KEY, ""))


def checked_root_path(root_path: str) -> str:
    """Check --root-path, and give it without a slash at its end.

    Raises
    ------
    ParameterError
        It is no plain path.
    """
    plain = root_path.rstrip("/")
    if plain and not _PREFIX.fullmatch(plain):
        raise ParameterError(
            f"--root-path is '{root_path[:60]}'; give the path at which the proxy offers this "
            "server, such as /radedit."
        )
    return plain


def _without(path: str, prefix: str) -> str:
    return path[len(prefix) :] or "/" if f"{path}/".startswith(f"{prefix}/") else path


def _outside(name: bytes, value: bytes, prefix: str, scope: Scope) -> bytes:
    """Give a header of an answer as it must be outside."""
    if name.lower() != b"location":
        return value
    text = value.decode("latin-1")
    own = f"://{header(scope, b'host') or ''}/"
    before, found, path = text.partition(own)
    if found and before in ("http", "https"):
        start, path = f"{before}{own[:-1]}", f"/{path}"
    elif text.startswith("/") and not text.startswith("//"):
        start, path = "", text
    else:
        return value
    return f"{start}{prefix}{_without(path, prefix)}".encode("latin-1")
