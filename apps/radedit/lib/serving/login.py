"""The page where a person gives the token, which then stays in a cookie of this browser."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from radedit.lib.serving.access import Keeper, user_of

COOKIE: Final = "radedit_token"
KEPT_S: Final = 12 * 3600
_STYLE: Final = """\
body { font: 16px/1.5 system-ui, sans-serif; background: #10141a; color: #e6e9ee;
  display: grid; place-items: center; min-height: 100vh; margin: 0; }
main { width: min(26rem, 90vw); }
h1 { font-size: 1.4rem; margin: 0 0 .2rem; }
p { color: #9aa4b2; margin: .2rem 0 1.2rem; }
p.refused { color: #ff9d8a; }
label { display: block; margin-bottom: .3rem; }
input, button { box-sizing: border-box; width: 100%; padding: .6rem .7rem; font: inherit;
  border-radius: 6px; border: 1px solid #39424f; background: #181e26; color: inherit; }
button { margin-top: .9rem; background: #2f6fde; border-color: #2f6fde; cursor: pointer; }
:focus-visible { outline: 2px solid #8db8ff; outline-offset: 2px; }
"""
_PAGE: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>RadEdit: sign in</title>
<meta name="viewport" content="width=device-width"><link rel="stylesheet" href="/login/style.css">
</head><body><main><h1>RadEdit for hospitals</h1>
<p>Research and QA only. Never diagnosis.</p>{said}
<form method="post" action="/login"><input type="hidden" name="next" value="{next}">
<label for="token">Token of this server</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button></form></main></body></html>
"""
_WRONG: Final = '<p class="refused" role="alert">That token is not this server\'s.</p>'
_GO_ON: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>RadEdit</title>
<meta http-equiv="refresh" content="0;url={next}"></head>
<body><a href="{next}">Go on</a></body></html>
"""


def login_page(path: str, status: int = 200, said: str = "") -> HTMLResponse:
    """Ask for the token.

    Parameters
    ----------
    path : where to go afterwards
    status : of the answer
    said : HTML of a sentence above the form
    """
    return HTMLResponse(_PAGE.format(next=escape(_own(path)), said=said), status)


def create_router(keepers: Sequence[Keeper]) -> APIRouter:
    """Make the routes of /login.

    Parameters
    ----------
    keepers : who knows tokens; empty = nobody needs one
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    async def ask(request: Request, token: str = "", next: str = "/") -> Response:
        if not keepers:
            return RedirectResponse(_own(next), 303)
        if not token:
            return login_page(next)
        if await user_of(token, keepers) is None:
            return login_page(next, 401, _WRONG)
        # No redirection: a link from a mail is another site's, and so is what it redirects to,
        # and to those a strict cookie is not sent.
        page = HTMLResponse(_GO_ON.format(next=escape(_own(next))))
        return _remembering(page, token, request)

    @router.post("/login")
    async def sign_in(request: Request) -> Response:
        async with request.form(max_files=0, max_fields=4) as form:
            token, path = str(form.get("token", "")), str(form.get("next", "/"))
        if keepers and (not token or await user_of(token, keepers) is None):
            return login_page(path, 401, _WRONG)
        return _remembering(RedirectResponse(_own(path), 303), token, request)

    @router.get("/login/style.css")
    async def style() -> Response:
        return Response(_STYLE, media_type="text/css")

    return router


def _remembering(answer: Response, token: str, request: Request) -> Response:
    if token:
        answer.set_cookie(
            COOKIE,
            token,
            max_age=KEPT_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return answer


def _own(path: str) -> str:
    """Let only a path of this server pass as the place to go to."""
    plain = path.isprintable() and path.startswith("/") and "\\" not in path
    return path if plain and not path.startswith("//") else "/"
