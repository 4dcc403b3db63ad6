"""Below a path of a reverse proxy: nothing that the server says leads out of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urljoin

import pytest
from starlette.testclient import TestClient

from radedit.lib.errors import ParameterError
from radedit.lib.serving.places import viewer_folder
from radedit.lib.serving.prefix import checked_root_path
from radedit.lib.serving.viewers import below

PREFIX = "/apps/radedit-1"
LINK = re.compile(r'(?:src|href|action|PUBLIC_URL)="(/[^"]*)"')


@pytest.fixture(scope="module", params=["header", "stripped", "whole"])
def proxied(
    request: pytest.FixtureRequest, make_client: Callable[..., TestClient], token: str
) -> tuple[TestClient, str]:
    """A client as a proxy is that says its prefix, and ones of a server that was told it."""
    if request.param == "header":
        return make_client({"x-forwarded-prefix": PREFIX}, token=token), ""
    return make_client(token=token, root_path=PREFIX), PREFIX * (request.param == "whole")


def test_every_link_of_every_page_stays_below_the_prefix(
    proxied: tuple[TestClient, str], token: str
) -> None:
    client, before = proxied
    bearer = {"authorization": f"Bearer {token}", "accept": "text/html"}
    for page in ("/", "/review", "/login", "/viewer?StudyInstanceUIDs=1.2"):
        for headers in (bearer, {"accept": "text/html"}):
            answer = client.get(before + page, headers=headers)
            assert [link for link in LINK.findall(answer.text) if not link.startswith(PREFIX)] == []


def test_signing_in_and_out_stays_below_the_prefix(
    proxied: tuple[TestClient, str], token: str
) -> None:
    client, before = proxied
    for after in ("/review?a=b", f"{PREFIX}/review?a=b"):
        answer = client.post(f"{before}/login", data={"token": token, "next": after})
        assert answer.headers["location"] == f"{PREFIX}/review?a=b"
        assert f"Path={PREFIX};" in answer.headers["set-cookie"]
    client.cookies.clear()
    out = client.post(f"{before}/logout")
    assert f"Path={PREFIX};" in out.headers["set-cookie"]


def test_redirections_stay_below_it_too(proxied: tuple[TestClient, str], token: str) -> None:
    client, before = proxied
    answer = client.get(f"{before}/review/", headers={"authorization": f"Bearer {token}"})
    assert answer.status_code == 308
    assert urljoin(f"{PREFIX}/review/", answer.headers["location"]) == f"{PREFIX}/review"


def test_what_is_served_is_the_same_and_guarded_the_same(
    proxied: tuple[TestClient, str], token: str
) -> None:
    client, before = proxied
    assert client.get(f"{before}/info/").status_code == 401
    assert client.get(f"{before}/health").status_code == 200
    bearer = {"authorization": f"Bearer {token}"}
    assert client.get(f"{before}/info/", headers=bearer).json()["models"]
    assert client.get(f"{before}/radedit/options", headers=bearer).status_code == 200


def test_the_viewers_own_scripts_name_no_path_from_the_root() -> None:
    for folder in ("ohif", "review"):
        files = [*viewer_folder(folder).glob("*.mjs"), *viewer_folder(folder).glob("*.html")]
        named = [viewer_folder("ohif") / "app-config.js", *files]
        assert len(named) > 5
        for path in named:
            text = path.read_text(encoding="utf-8")
            served = r"""["'`]/(?:radedit|review|dicom-web|login|logout|viewer)\b"""
            assert not re.search(served, text), path.name


def test_ohifs_files_are_read_below_the_prefix() -> None:
    built = (
        '<link href="/app.css"><script>window.PUBLIC_URL="/"</script><a href="//other.example">'
        '__webpack_require__.p = "/"; url(/font.woff2) {"src": "/assets/icon.png"}'
    )
    assert below(built, "/x") == (
        '<link href="/x/app.css"><script>window.PUBLIC_URL="/x/"</script><a href="//other.example">'
        '__webpack_require__.p = "/x/"; url(/x/font.woff2) {"src": "/x/assets/icon.png"}'
    )


@pytest.mark.parametrize(
    "said", ["//evil.example", "/a b", '/a"b', "https://x", "/..", "/a//b", "x", "/a/../b"]
)
def test_a_prefix_that_is_no_plain_path_counts_for_nothing(
    make_client: Callable[..., TestClient], said: str
) -> None:
    answer = make_client().get("/login?next=/", headers={"x-forwarded-prefix": said})
    assert answer.headers["location"] == "/"
    with pytest.raises(ParameterError, match="--root-path"):
        checked_root_path(said)


def test_the_prefix_of_a_command_line_may_end_with_a_slash() -> None:
    assert checked_root_path("/apps/radedit/") == "/apps/radedit"
    assert checked_root_path("/") == checked_root_path("") == ""


def test_the_review_page_is_whole_with_and_without_a_slash_at_its_end(
    make_client: Callable[..., TestClient],
) -> None:
    client = make_client()
    for page in ("/review", "/review/"):
        answer = client.get(page, follow_redirects=True)
        links = re.findall(r'(?:src|href)="([^"#:]*)"', answer.text)
        assert links
        for link in links:
            assert client.get(str(answer.url.join(link))).status_code == 200, (page, link)
