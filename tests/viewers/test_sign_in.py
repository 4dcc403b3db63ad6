"""In a browser: a link that signs in, signing out, and a server below a path of a proxy."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, BrowserContext, expect
from viewer_pages import Place

PREFIX = "/apps/radedit"
SLOW_MS = 120_000


class Proxy:
    """A reverse proxy that offers the server below a path, takes that off and says so."""

    def __init__(self, port: int) -> None:
        self.outside: list[str] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if not self.path.startswith(f"{PREFIX}/"):
                    proxy.outside.append(self.path)
                    self.send_error(404)
                    return
                sent = {k: v for k, v in self.headers.items() if k.lower() != "connection"}
                sent["x-forwarded-prefix"] = PREFIX
                with suppress(OSError):  # a browser that turns to another page hangs up
                    self.hand_on(body, sent)

            def hand_on(self, body: bytes, sent: dict[str, str]) -> None:
                link = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                with closing(link):
                    link.request(self.command, self.path[len(PREFIX) :], body or None, sent)
                    with closing(link.getresponse()) as answer:
                        content = answer.read()
                self.send_response_only(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}{PREFIX}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """Open a window that is not signed in."""
    context = chromium.new_context(viewport={"width": 1366, "height": 768})
    context.set_default_timeout(SLOW_MS)
    yield context
    context.close()


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    proxy = Proxy(place.server.port)
    yield proxy
    proxy.close()


def test_a_link_signs_in_and_its_token_reaches_no_server_log_and_no_address(
    context: BrowserContext, place: Place
) -> None:
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{place.server.url}/login?next=%2Freview%3Fa%3Db#token={place.server.token}")
    page.wait_for_url("**/review?a=b")
    assert [url for url in asked[1:] if place.server.token in url] == []
    assert place.server.token not in place.server.log.read_text()
    page.keyboard.press("Escape")
    page.goto(f"{place.server.url}/login")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    page.goto(f"{place.server.url}/review")
    expect(page.get_by_label("Token of this server")).to_be_visible()


def test_below_a_proxys_path_no_page_asks_for_anything_outside_of_it(
    context: BrowserContext, place: Place, proxy: Proxy
) -> None:
    page = context.new_page()
    page.goto(f"{proxy.url}/login?next=/#token={place.server.token}")
    page.wait_for_url(f"{proxy.url}/**")
    page.get_by_text("Study list").first.wait_for()
    uid = place.films["monochrome2"].study
    page.goto(f"{proxy.url}/radedit-edit?StudyInstanceUIDs={uid}")
    page.get_by_label("Edit prompt").wait_for()
    expect(page.locator("canvas").first).to_be_visible()
    page.goto(f"{proxy.url}/review")
    expect(page.get_by_role("heading", name="RadEdit review")).to_be_visible()
    assert proxy.outside == []
