"""The few answers that are sent before any route is asked, as ASGI messages."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send


class RefusedError(Exception):
    """A request that is refused while it is still being read.

    Attributes
    ----------
    status : HTTP status
    sentence : why, and what to do
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    why: RefusedError,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Answer with a sentence and close the connection, since its body is left unread."""
    answer = JSONResponse(
        {"detail": why.sentence}, why.status, {"connection": "close", **(headers or {})}
    )
    await answer(scope, receive, send)


def header(scope: Scope, name: bytes) -> str | None:
    """Give the one value of a request's header; None without it, or with several of them.

    Parameters
    ----------
    name : in lower case
    """
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else None
