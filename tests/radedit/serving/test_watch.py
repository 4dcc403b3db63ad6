"""What stands around all routes: nothing of a request but its route gets into the log."""

from __future__ import annotations

import logging

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from radedit.lib.serving.metrics import Metrics
from radedit.lib.serving.watch import STRICT, Watch


@pytest.fixture
def client() -> TestClient:
    """Give a client of routes that fail as no route should."""
    app = FastAPI()

    @app.get("/films/{name}")
    def film(name: str) -> None:
        raise ValueError(f"{name} of Geheim^Name cannot be read")

    app.add_middleware(Watch, metrics=Metrics(lambda: {"queued": 3}))
    return TestClient(app)


def test_what_nobody_foresaw_is_told_by_its_place_only(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        answer = client.get("/films/4711?patient=Geheim")
    assert answer.status_code == 500
    assert answer.json()["detail"].startswith("The request failed for a reason nobody foresaw")
    assert "ValueError in" in caplog.text
    assert "test_watch.py" in caplog.text
    assert "GET /films/{name} 500" in caplog.text
    ours = [record.getMessage() for record in caplog.records if record.name == "radedit.access"]
    assert len(ours) == 2
    for secret in ("4711", "Geheim"):
        assert not [line for line in ours if secret in line]
        assert secret not in answer.text


def test_an_answer_that_failed_has_its_headers_too(client: TestClient) -> None:
    headers = client.get("/films/4711").headers
    assert headers["content-security-policy"] == STRICT
    assert headers["cache-control"] == "no-store"


def test_figures_tell_methods_and_routes_that_nobody_serves_apart_by_nothing() -> None:
    metrics = Metrics(lambda: {"queued": 3})
    for number in range(50):
        metrics.observe(f"METHOD{number}", "(none)", 404, 0.001)
    text = metrics.text().decode()
    assert text.count("radedit_requests_total{") == 1
    assert 'radedit_requests_total{method="other",route="(none)",status="404"} 50.0' in text
    assert 'radedit_jobs{state="queued"} 3.0' in text
