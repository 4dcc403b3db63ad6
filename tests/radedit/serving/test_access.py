"""Who is let in: a token in a header or a cookie, or one that an issuer signed."""

from __future__ import annotations

import html
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from fastapi import FastAPI
from starlette.testclient import TestClient

from radedit.lib.errors import ParameterError
from radedit.lib.serving import access, attempts
from radedit.lib.serving.config import Oidc, ServerConfig, config_from, read_tokens
from radedit.lib.serving.roles import Role, User

OPEN = {
    "/auth", "/auth/", "/auth/token", "/health", "/login", "/login/sign-in.js", "/login/style.css",
    "/logout",
}  # fmt: skip
AUDIENCE = "radedit"
OTHER = "anothers-token-0123456789"


def routes(client: TestClient) -> list[tuple[str, str]]:
    """Give method and path of every route there is, each parameter filled in."""
    app = client.app
    assert isinstance(app, FastAPI)
    found = [
        (method, path.replace("{", "").replace("}", "").replace(":path", ""))
        for path, operations in app.openapi()["paths"].items()
        for method in operations
    ]
    hidden = ["/", "/viewer", "/app-config.js", "/radedit/extension.mjs", "/review", "/metrics"]
    return [*found, *(("get", path) for path in [*hidden, "/openapi.json", "/no/such/page"])]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong-wrong-wrong-wrong"},
        {"authorization": "Bearer "},
        {"authorization": "Basic dDp0"},
        {"cookie": "radedit_token=wrong-wrong-wrong-wrong"},
        {"cookie": "radedit_token=; ="},
        {"authorization": "Bearer t\u00f6ken"},
    ],
    ids=str,
)
def test_no_route_answers_without_the_token(guarded: TestClient, headers: dict[str, str]) -> None:
    asked = routes(guarded)
    assert len(asked) > 60
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    let_in = {
        (method, path): status
        for method, path in asked
        if path not in OPEN
        and (status := guarded.request(method, path, headers=raw).status_code) != 401
    }
    assert let_in == {}


def test_the_token_lets_in_by_header_and_by_cookie(guarded: TestClient, token: str) -> None:
    for headers in ({"authorization": f"Bearer {token}"}, {"cookie": f"radedit_token={token}"}):
        assert guarded.get("/info/", headers=headers).status_code == 200


def test_health_answers_without_a_token_and_says_nothing_of_films(guarded: TestClient) -> None:
    answer = guarded.get("/health")
    assert answer.status_code == 200
    assert answer.json().keys() == {"status", "version", "warm_workers"}


def test_a_page_without_a_token_is_the_form_to_sign_in(guarded: TestClient) -> None:
    answer = guarded.get("/viewer", headers={"accept": "text/html"})
    assert answer.status_code == 401
    assert 'name="next" value="/viewer"' in answer.text


def test_signing_in_sets_a_cookie_that_no_script_and_no_other_site_gets(
    make_client: Callable[..., TestClient], token: str
) -> None:
    client = make_client(token=token)
    wrong = client.post("/login", data={"token": "wrong", "next": "/"})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    answer = client.post("/login", data={"token": token, "next": "/viewer?a=b"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/viewer?a=b")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert client.get("/info/").status_code == 200


def test_a_token_in_an_address_signs_nobody_in(
    make_client: Callable[..., TestClient], token: str
) -> None:
    client = make_client(token=token)
    answer = client.get("/login", params={"token": token})
    assert "set-cookie" not in answer.headers
    assert token not in answer.text
    assert "#token=" in answer.text
    assert client.get("/info/").status_code == 401


@pytest.mark.parametrize(
    "link",
    [
        "/viewer?StudyInstanceUIDs=1.2.3&hangingprotocolId=a%20b",
        "/review?edit=1.2.3%2F4&x=%C3%A4",
        "/radedit-edit?StudyInstanceUIDs=1.2&StudyInstanceUIDs=3.4",
    ],
)
def test_a_shared_link_keeps_its_query_through_signing_in(
    make_client: Callable[..., TestClient], token: str, link: str
) -> None:
    client = make_client(token=token)
    page = client.get(link, headers={"accept": "text/html"})
    assert page.status_code == 401
    after = html.unescape(re.search(r'name="next" value="([^"]*)"', page.text)[1])  # type: ignore[index]
    assert client.post("/login", data={"token": token, "next": after}).headers["location"] == link


def test_signing_out_takes_the_cookie_back(
    make_client: Callable[..., TestClient], token: str
) -> None:
    client = make_client(token=token)
    client.post("/login", data={"token": token})
    assert "Sign out" in client.get("/login").text
    assert client.post("/logout", headers={"origin": "https://evil.example"}).status_code == 403
    assert client.get("/info/").status_code == 200
    out = client.post("/logout")
    assert "signed out" in out.text
    assert client.get("/info/").status_code == 401
    assert client.post("/logout").status_code == 200, "without a cookie too"


def test_who_sends_wrong_tokens_has_to_wait_and_holds_up_nobody_else(
    make_client: Callable[..., TestClient], token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(token=token, tokens=((OTHER, User("nina", Role.READER)),))

    def asked(said: str) -> int:
        return client.get("/info/", headers={"authorization": f"Bearer {said}"}).status_code

    assert asked(token) == 200
    tried = [asked(f"guessed-{number:020}") for number in range(attempts.WRONG + 5)]
    assert tried == [401] * attempts.WRONG + [429] * 5
    assert asked("guessed-00000000000000000000") == 401, "one sent again is no guess"
    assert asked(OTHER) == 429, "a token that was not seen before may be a guess"
    form = client.post("/login", data={"token": OTHER})
    assert form.status_code == 429
    assert "Too many wrong tokens" in form.text
    assert asked(token) == 200, "who was let in before is not locked out"
    monkeypatch.setattr(attempts, "WITHIN_S", 0.0)
    assert asked(OTHER) == 200


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", "/a\nb"]
)
def test_signing_in_leads_to_no_other_site(guarded: TestClient, token: str, path: str) -> None:
    answer = guarded.post("/login", data={"token": token, "next": path})
    assert answer.headers["location"] == "/"
    guarded.cookies.clear()


def test_what_a_link_brings_along_stands_harmless_in_the_form(guarded: TestClient) -> None:
    page = guarded.get("/login", params={"next": '/"><script>alert(1)</script>'}).text
    assert page.count("<script") == 1
    assert "alert(1)</script>" not in page


def test_a_page_of_another_site_cannot_write(client: TestClient, film: str) -> None:
    body = {"image": film, "prompt": "x"}
    before = client.get("/radedit/jobs").json()
    for headers in (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
    ):
        assert client.post("/radedit/jobs", json=body, headers=headers).status_code == 403
    assert client.get("/radedit/jobs").json() == before


def test_without_a_token_another_name_for_this_machine_is_refused(client: TestClient) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "10.0.0.1:80", "[", "[abc]"):
        assert client.get("/info/", headers={"host": host}).status_code == 403
    for host in ("localhost:8000", "127.0.0.1", "[::1]:8000"):
        assert client.get("/info/", headers={"host": host}).status_code == 200


def test_nothing_is_let_in_across_origins(client: TestClient) -> None:
    answer = client.get("/info/", headers={"origin": "https://evil.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("token", ["short", "x" * 15, "with a blank in between", "semicolon;" * 3])
def test_a_weak_or_unsendable_token_is_refused(token: str) -> None:
    with pytest.raises(ParameterError, match="token"):
        ServerConfig("studies", token=token)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "server.example"])
def test_other_machines_are_served_only_with_a_token(host: str, token: str) -> None:
    with pytest.raises(ParameterError, match="no token is set"):
        ServerConfig("studies", host=host)
    assert ServerConfig("studies", host=host, token=token).is_guarded


def test_a_misspelt_variable_of_the_server_is_refused() -> None:
    with pytest.raises(ParameterError, match="RADEDIT_SERVER_TOKN"):
        config_from({"RADEDIT_SERVER_TOKN": "x"})
    with pytest.raises(ParameterError, match="belong together"):
        config_from({"RADEDIT_OIDC_ISSUER": "https://id.example"})


class Issuer:
    """A small OpenID Connect issuer: its configuration, its public keys, and what it signs."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.asked: list[str] = []
        self.answers = threading.Event()  # cleared: it hangs
        self.answers.set()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                issuer.answers.wait(60)
                said = issuer.pages().get(self.path)
                self.send_response(200 if said else 404)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(said).encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/realm"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def pages(self) -> dict[str, Any]:
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        keys = {"keys": [{**public, "kid": "k1", "use": "sig", "alg": "RS256"}]}
        return {
            "/realm/.well-known/openid-configuration": {"jwks_uri": f"{self.address}/keys"},
            "/realm/keys": keys,
        }

    def sign(self, key: Any = None, algorithm: str = "RS256", **claims: Any) -> str:
        now = int(time.time())
        said = {
            "iss": self.address, "aud": AUDIENCE, "sub": "reader-7", "exp": now + 60, "iat": now,
        } | claims  # fmt: skip
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(kept, key or self.key, algorithm, headers={"kid": "k1"})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture(scope="module")
def signed_on(make_client: Callable[..., TestClient], issuer: Issuer) -> TestClient:
    return make_client(oidc=Oidc(issuer.address, AUDIENCE))


def status(client: TestClient, token: str) -> int:
    return client.get("/info/", headers={"authorization": f"Bearer {token}"}).status_code


def test_a_token_that_the_issuer_signed_lets_in(signed_on: TestClient, issuer: Issuer) -> None:
    assert status(signed_on, issuer.sign()) == 200


def test_a_job_is_put_down_to_whom_the_issuer_names(
    signed_on: TestClient, issuer: Issuer, film: str
) -> None:
    answer = signed_on.post(
        "/radedit/jobs",
        json={"image": film, "prompt": "Cardiomegaly"},
        headers={"authorization": f"Bearer {issuer.sign(sub='reader-9')}"},
    )
    assert answer.json()["request"]["user"] == "reader-9"


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://other.example"},
        {"aud": "another-server"},
        {"exp": 1},
        {"exp": None},
        {"aud": None},
        {"sub": None},
        {"sub": ""},
        {"nbf": 4_000_000_000},
    ],
    ids=str,
)
def test_a_token_for_others_or_of_another_time_is_refused(
    signed_on: TestClient, issuer: Issuer, claims: dict[str, Any]
) -> None:
    assert status(signed_on, issuer.sign(**claims)) == 401


def test_a_token_with_another_key_or_none_is_refused(signed_on: TestClient, issuer: Issuer) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    head, body, _ = issuer.sign().split(".")
    none = jwt.encode({"sub": "x"}, None, "none")
    shared = issuer.sign("a-shared-secret-of-some-length-0123", "HS256")
    for token in (
        issuer.sign(other),
        f"{head}.{body}.",
        f"{head}.{body}",
        none,
        shared,
        "..",
        "a.b.c",
    ):
        assert status(signed_on, token) == 401


def test_unknown_keys_do_not_make_the_server_ask_the_issuer_each_time(
    signed_on: TestClient, issuer: Issuer
) -> None:
    status(signed_on, issuer.sign())
    before = len(issuer.asked)
    token = jwt.encode({"sub": "x"}, issuer.key, "RS256", headers={"kid": "no-such-key"})
    for _ in range(20):
        assert status(signed_on, token) == 401
    assert len(issuer.asked) - before <= 2


def test_while_an_issuer_hangs_known_keys_let_in_and_nobody_else_waits(
    listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MISSED_S", 0.05)
    monkeypatch.setattr(access, "KEYS_S", 0.1)
    issuer = Issuer()
    unknown = jwt.encode({"sub": "x"}, issuer.key, "RS256", headers={"kid": "no-such-key"})

    def ask(server: Any, path: str, token: str) -> tuple[int, float]:
        began = time.monotonic()
        headers = {"authorization": f"Bearer {token}"}
        answer = requests.get(f"{server.url}{path}", headers=headers, timeout=60)
        return answer.status_code, time.monotonic() - began

    try:
        with listen(oidc=Oidc(issuer.address, AUDIENCE)) as server:
            assert ask(server, "/info/", issuer.sign())[0] == 200
            issuer.answers.clear()
            time.sleep(0.2)  # the keys have grown old
            with ThreadPoolExecutor(60) as senders:  # more than the server's threads are
                waiting = [senders.submit(ask, server, "/info/", unknown) for _ in range(60)]
                time.sleep(1.0)
                for path in ("/info/", "/radedit/jobs", "/health"):
                    status_code, seconds = ask(server, path, issuer.sign())
                    assert status_code == 200
                    assert seconds < 5, path
                assert not any(each.done() for each in waiting)
                issuer.answers.set()
                assert {each.result()[0] for each in waiting} == {401}
    finally:
        issuer.answers.set()
        issuer.close()


def test_an_issuer_that_is_down_lets_nobody_in(
    make_client: Callable[..., TestClient], issuer: Issuer, free_port: int
) -> None:
    gone = f"http://127.0.0.1:{free_port}/realm"
    client = make_client(oidc=Oidc(gone, AUDIENCE))
    assert status(client, issuer.sign(iss=gone)) == 401


# ---------------------------------------------------------------- roles

HOLDERS = {
    "rita": (Role.READER, "token-of-rita-0123456789"),
    "edda": (Role.EDITOR, "token-of-edda-0123456789"),
    "egon": (Role.EDITOR, "token-of-egon-0123456789"),
    "anna": (Role.ADMIN, "token-of-anna-0123456789"),
}


def as_(name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {HOLDERS[name][1]}"}


@pytest.fixture(scope="module")
def roles(make_client: Callable[..., TestClient]) -> TestClient:
    held = tuple((token, User(name, role)) for name, (role, token) in HOLDERS.items())
    return make_client(tokens=held)


def test_a_reader_looks_at_everything_and_changes_nothing(roles: TestClient) -> None:
    writing = [
        (method, path)
        for method, path in routes(roles)
        if method not in ("get", "head", "options")
        and path not in OPEN
        and not path.startswith("/activelearning/")  # which only chooses a film to look at
    ]
    assert len(writing) > 20
    for method, path in writing:
        status = roles.request(method, path, headers=as_("rita")).status_code
        assert status == 403 or path.endswith("/events"), (method, path)
    assert roles.get("/logs/", headers=as_("edda")).status_code == 403
    for path in ("/info/", "/radedit/jobs", "/review", "/dicom-web/studies", "/review/api/edits"):
        assert roles.get(path, headers=as_("rita")).status_code == 200


def test_a_job_is_cancelled_by_whoever_asked_for_it_or_by_an_admin(
    roles: TestClient, film: str
) -> None:
    def asked(prompt: str) -> str:
        body = {"image": film, "prompt": prompt}
        answer = roles.post("/radedit/jobs", json=body, headers=as_("edda"))
        assert answer.status_code == 202
        return f"/radedit/jobs/{answer.json()['id']}"

    job = asked("Cardiomegaly")
    for name in ("rita", "egon"):
        assert roles.delete(job, headers=as_(name)).status_code == 403
        assert roles.post(f"{job}/retry", headers=as_(name)).status_code == 403
    assert roles.get(job, headers=as_("rita")).json()["state"] == "queued"
    assert roles.delete(job, headers=as_("edda")).json()["state"] == "cancelled"
    assert roles.delete(asked("Pneumothorax"), headers=as_("anna")).json()["state"] == "cancelled"


def test_labels_are_removed_by_admins_only(roles: TestClient, film: str) -> None:
    path = f"/datastore/label?id={film}&tag=final"
    assert roles.delete(path, headers=as_("edda")).status_code == 403
    assert roles.delete(path, headers=as_("anna")).status_code == 404, "there is none"


def test_an_issuer_says_the_roles_and_who_has_none_is_not_let_in(
    make_client: Callable[..., TestClient], issuer: Issuer
) -> None:
    client = make_client(oidc=Oidc(issuer.address, AUDIENCE, role_claim="roles"))

    def deleting(**claims: Any) -> int:
        headers = {"authorization": f"Bearer {issuer.sign(**claims)}"}
        return client.delete("/datastore/label?id=none&tag=final", headers=headers).status_code

    assert deleting(roles=["radedit-reader", "radedit-admin"]) == 404
    assert deleting(roles="radedit-admin") == 404
    for fewer in (["radedit-editor"], "radedit-reader"):
        assert deleting(roles=fewer) == 403
    for none in ([], ["admin"], "", None, {"radedit-admin": True}, 3):
        assert deleting(roles=none) == 401


def test_a_file_names_each_users_role_and_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(
        "# who\nreader rita token-of-rita-0123456789\n\nadmin anna token-of-anna-01234\n"
    )
    assert read_tokens(path) == (
        ("token-of-rita-0123456789", User("rita", Role.READER)),
        ("token-of-anna-01234", User("anna", Role.ADMIN)),
    )
    for wrong in ("", "boss rita t", "reader rita", "reader a tttt\nreader a uuuu", "reader a t t"):
        path.write_text(wrong)
        with pytest.raises(ParameterError, match="file of tokens"):
            read_tokens(path)
    with pytest.raises(ParameterError, match="16 or more"):
        ServerConfig("studies", tokens=(("short", User("rita", Role.READER)),))
