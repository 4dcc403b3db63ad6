"""No request that the OpenAPI document allows, or almost allows, makes the server fail."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from radedit_server import RadEditServer, radedit_server

TOKEN = "drawn-at-random-0123456789"


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, new_port: Callable[[], int], rg1: Path
) -> Iterator[RadEditServer]:
    """Serve one film; nobody works on jobs, which are not what is asked about here."""
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "studies").mkdir()
    (folder / "studies" / "film.dcm").write_bytes(rg1.read_bytes())
    with radedit_server(folder, new_port(), "--workers", "0", token=TOKEN) as server:
        yield server


def test_the_document_names_our_routes_and_monai_labels(server: RadEditServer) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    assert {"/radedit/jobs", "/infer/{model}", "/datastore/", "/info/", "/health"} <= paths.keys()
    assert "/dicom-web/studies/{study}/series" in paths
    body = paths["/radedit/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["properties"]["skip"]["exclusiveMaximum"] == 1.0


def test_no_request_makes_the_server_fail(server: RadEditServer, tmp_path: Path) -> None:
    """Ask as Schemathesis does; docs/benchmarks.md has the figures of a longer run."""
    command = [
        str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json",
        "--header", f"Authorization: Bearer {TOKEN}", "--checks", "not_a_server_error",
        "--phases", "examples,fuzzing", "--max-examples", "4", "--seed", "20", "--no-color",
        "--request-timeout", "120",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Selected: " in done.stdout
    failed = [line for line in server.log.read_text().splitlines() if "request failed" in line]
    assert failed == []
    assert json.loads(server.get("/health").text)["status"] == "ok"
