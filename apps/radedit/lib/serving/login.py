"""The page where a person gives the token, which then stays in a cookie of this browser."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import Scope

from radedit.lib.serving.access import Keeper
from radedit.lib.serving.attempts import Attempts
from radedit.lib.serving.messages import RefusedError, header
from radedit.lib.serving.prefix import prefix_of

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
button.second { background: none; border-color: #39424f; }
:focus-visible { outline: 2px solid #8db8ff; outline-offset: 2px; }
"""
# What stands behind # in a link is sent to no server, so it gets into no log and no referrer.
_SCRIPT: Final = """\
const said = new URLSearchParams(location.hash.slice(1));
const token = said.get('token');
if (token) {
  history.replaceState(null, '', location.pathname + location.search);
  document.getElementById('token').value = token;
  document.getElementById('sign-in').submit();
}
"""
_PAGE: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>RadEdit: sign in</title>
<meta name="viewport" content="width=device-width">
<link rel="stylesheet" href="{prefix}/login/style.css">
<script src="{prefix}/login/sign-in.js" defer></script>
</head><body><main><h1>RadEdit for hospitals</h1>
<p>Research and QA only. Never diagnosis.</p>{said}
<form id="sign-in" method="post" action="{prefix}/login">
<input type="hidden" name="next" value="{next}">
<label for="token">Token of this server</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button></form>
{sign_out}</main></body></html>
"""
_SIGN_OUT: Final = """\
<form method="post" action="{prefix}/logout"><button class="second">Sign out</button></form>
"""
_WRONG: Final = '<p class="refused" role="alert">That token is not this server\'s.</p>'
_IN_ADDRESS: Final = (
    '<p class="refused" role="alert">A token in an address gets into logs and histories, so this '
    "one is not taken; write /login#token=TOKEN, or give it here.</p>"
)
_OUT: Final = '<p role="status">You are signed out.</p>'


def login_page(scope: Scope, path: str, status: int = 200, said: str = "") -> HTMLResponse:
    """Ask for the token.

    Parameters
    ----------
    scope : of the request
    path : where to go afterwards, as this server sees it, with its query
    status : of the answer
    said : HTML of a sentence above the form
    """
    prefix = escape(prefix_of(scope))
    held = status == 200 and f"{COOKIE}=" in (header(scope, b"cookie") or "") and said != _OUT
    sign_out = _SIGN_OUT.format(prefix=prefix) if held else ""
    page = _PAGE.format(prefix=prefix, next=escape(_own(path)), said=said, sign_out=sign_out)
    return HTMLResponse(page, status)


def asked_address(scope: Scope) -> str:
    """Give the path of a request with its query, as it was written."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8")
    query: bytes = scope.get("query_string", b"")
    return (raw + (b"?" + query if query else b"")).decode("latin-1")


def create_router(keepers: Sequence[Keeper], attempts: Attempts) -> APIRouter:
    """Make the routes of /login and /logout.

    Parameters
    ----------
    keepers : who knows tokens; empty = nobody needs one
    attempts : asked about every token
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    async def ask(request: Request, next: str = "/") -> Response:
        if not keepers:
            return RedirectResponse(_own(next), 303)
        said = _IN_ADDRESS if "token" in request.query_params else ""
        return login_page(request.scope, next, said=said)

    @router.post("/login")
    async def sign_in(request: Request) -> Response:
        async with request.form(max_files=0, max_fields=4) as form:
            token, path = str(form.get("token", "")), str(form.get("next", "/"))
        if keepers:
            try:
                user = await attempts.user(request.scope, token)
            except RefusedError as why:
                said = f'<p class="refused" role="alert">{escape(why.sentence)}</p>'
                return login_page(request.scope, path, why.status, said)
            if user is None:
                return login_page(request.scope, path, 401, _WRONG)
        answer = RedirectResponse(_own(path), 303)
        if token:
            answer.set_cookie(COOKIE, token, max_age=KEPT_S, **_place(request))
        return answer

    @router.post("/logout")
    async def sign_out(request: Request) -> Response:
        answer = login_page(request.scope, "/", said=_OUT)
        answer.delete_cookie(COOKIE, **_place(request))
        answer.headers["clear-site-data"] = '"cache"'
        return answer

    @router.get("/login/style.css")
    async def style() -> Response:
        return Response(_STYLE, media_type="text/css")

    @router.get("/login/sign-in.js")
    async def script() -> Response:
        return Response(_SCRIPT, media_type="text/javascript")

    return router


def _place(request: Request) -> dict[str, Any]:
    """Say where the cookie is sent: here only, and nowhere that a script can read it."""
    return {
        "path": prefix_of(request.scope) or "/",
        "httponly": True,
        "samesite": "strict",
        "secure": request.url.scheme == "https",
    }


def _own(path: str) -> str:
    """Let only a path of this server pass as the place to go to."""
    plain = path.isprintable() and path.startswith("/") and "\\" not in path
    return path if plain and not path.startswith("//") else "/"
