"""A route's page: status for a person, metrics for Prometheus, and STOW-RS for senders."""

from __future__ import annotations

import hmac
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import uvicorn
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route as HttpRoute

from radedit.lib.punctual import PunctualProtocol
from radedit.lib.routing.metrics import exposition
from radedit.lib.routing.stow import store
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.desk import TROUBLE, Desk, Item
from radedit_dicom.router.errors import RouteError
from radedit_dicom.router.intake import Intake
from radedit_dicom.router.route import Route
from radedit_dicom.router.route_file import secret

_START_S = 30.0
_SHOWN = 200  # of each state
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
_PAGE = Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>RadEdit route</title>
<meta http-equiv="refresh" content="10">
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #1b1f24; background: #fff; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #d0d7de;
         vertical-align: top; overflow-wrap: break-word; }
.bad { color: #a40e26; font-weight: 600; } .ok { color: #116329; }
</style></head><body>
<h1>RadEdit route <small>{{ at }}</small></h1>
<p>Research and QA only, never diagnosis. The page holds no patient data.</p>
{% if status["rules refused"] %}
<p class="bad">The route's file was changed and refused; the rules before it are in force:
{{ status["rules refused"] }}</p>{% endif %}
<h2>Processes</h2>
<p>{% for name, up in processes.items() %}{{ name }}
<span class="{{ 'ok' if up else 'bad' }}">{{ 'runs' if up else 'does not run' }}</span>
&nbsp; {% endfor %}</p>
<h2>Counts</h2>
<table><tr><th>what</th><th>by state</th></tr>
{% for name in ["objects", "jobs", "refused"] %}<tr><td>{{ name }}</td><td>
{% for state, count in status[name].items() %}{{ state }} {{ count }}<br>{% else %}none{% endfor %}
</td></tr>{% endfor %}
<tr><td>open studies</td><td>{{ status["open studies"] }}</td></tr>
<tr><td>set apart</td><td>{{ status["set apart"] }}</td></tr>
<tr><td>free disk</td><td>{{ "%.1f"|format(status["free bytes"] / 1e9) }} GB</td></tr></table>
<h2>Destinations</h2>
<table><tr><th>name</th><th>by state</th><th>oldest waiting</th></tr>
{% for name, states in status["destinations"].items() %}<tr><td>{{ name }}</td><td>
{% for state, count in states.items() if state != "oldest waiting s" -%}
<span class="{{ 'bad' if state == 'dead' else 'ok' }}">{{ state }} {{ count }}</span>&nbsp;
{% endfor %}
</td><td>{{ "%.0f"|format(states["oldest waiting s"]) }} s</td></tr>
{% else %}<tr><td colspan="3">nothing was ordered yet</td></tr>{% endfor %}</table>
<h2>Needs a person</h2>
<table><tr><th>id</th><th>state</th><th>about</th><th>reason</th></tr>
{% for item in items %}<tr><td>{{ item.id }}</td><td>{{ item.state }}</td><td>{{ item.about }}</td>
<td>{{ item.reason }}</td></tr>{% else %}<tr><td colspan="4">nothing</td></tr>{% endfor %}</table>
<p>Act with <code>radedit route retry | discard | release CONFIG ID</code>; at most {{ shown }} of
each state are listed here, all by <code>radedit route list CONFIG</code>.</p>
</body></html>
""")

Endpoint = Callable[[Request], Awaitable[Response]]


class Web:
    """Serves the page, in a thread of its own.

    Parameters
    ----------
    route : Route
        With `http`.
    intake : Intake
        Keeps what comes by STOW-RS.
    audit : Audit

    Raises
    ------
    RouteError
        The token file cannot be used, or (from `start`) the port cannot be listened on.
    """

    def __init__(self, route: Route, intake: Intake, audit: Audit) -> None:
        assert route.http is not None
        config = uvicorn.Config(
            application(route, intake, audit),
            host=route.http.host,
            port=route.http.port,
            http=PunctualProtocol,
            log_config=None,
            access_log=False,
            limit_concurrency=64,
            timeout_keep_alive=5,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, name="web", daemon=True)

    def start(self) -> None:
        """Listen; see the class."""
        self._thread.start()
        deadline = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RouteError(
                    "The port of [http] cannot be listened on; end what uses it, or choose another."
                )
            time.sleep(0.02)

    @property
    def is_alive(self) -> bool:
        """Whether it listens."""
        return self._thread.is_alive()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._server.servers[0].sockets[0].getsockname()[1])

    def stop(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        self._thread.join(10)


def application(route: Route, intake: Intake, audit: Audit) -> Starlette:
    """Make the application: `/`, `/status`, `/metrics`, `/health`, `/dicom-web/studies`."""
    token = _Token(route.http.token_file if route.http else None)
    desk = Desk(intake.spool, intake.journal, audit)

    async def page(request: Request) -> Response:
        from radedit.lib.routing.roles import names

        status, items = await run_in_threadpool(lambda: (desk.status(), _troubles(desk)))
        processes = {name: intake.spool.is_held(name) for name in names(route)}
        at = datetime.now().isoformat(sep=" ", timespec="seconds")
        shown = {"status": status, "items": items, "processes": processes}
        return HTMLResponse(_PAGE.render(**shown, at=at, shown=_SHOWN))

    async def as_json(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(desk.status))

    async def metrics(request: Request) -> Response:
        text = await run_in_threadpool(lambda: exposition(desk))
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4")

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def stow(request: Request) -> Response:
        return await store(request, intake, route.receive.bounds)

    guarded = {"/": page, "/status": as_json, "/metrics": metrics}
    routes = [HttpRoute(path, _guarded(endpoint, token)) for path, endpoint in guarded.items()]
    routes.append(HttpRoute("/health", health))
    for path in ("/dicom-web/studies", "/dicom-web/studies/{study}"):
        routes.append(HttpRoute(path, _guarded(stow, token), methods=["POST"]))
    return Starlette(routes=routes)


def _troubles(desk: Desk) -> list[Item]:
    """List what needs a person, the dead letters first, so that what is held hides none of them."""
    return [item for state in TROUBLE for item in desk.items((state,), _SHOWN)]


class _Token:
    """What callers must show: as its file says now, or said before it could not be read."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._text = secret(path)

    def is_shown(self, header: str) -> bool:
        with suppress(RouteError):  # while it is being written
            self._text = secret(self._path)
        wanted = f"Bearer {self._text}" if self._path else header
        return hmac.compare_digest(header.encode(), wanted.encode())


def _guarded(endpoint: Endpoint, token: _Token) -> Endpoint:
    """Answer only who shows the token, where there is one; and with safe headers."""

    async def answer(request: Request) -> Response:
        if not token.is_shown(request.headers.get("authorization", "")):
            response: Response = JSONResponse(
                {"detail": "Show the route's token: Authorization: Bearer TOKEN."}, 401
            )
        else:
            response = await endpoint(request)
        response.headers.update(_HEADERS)
        return response

    return answer
