"""No path parameter, of whatever route, leads to a file or a resource that is not meant."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

CLIMBING = (
    "../../../../../../etc/passwd",
    "..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5c..%5cetc%5cpasswd",
    "....//....//etc/passwd",
    "%2fetc%2fpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "..%00",
    "file.dcm%00.png",
    "%2e%2e",
    "~root",
)
FOUND = re.compile(r"root:.*:0:0:|\[package\]|BEGIN .*PRIVATE KEY")


def operations(client: TestClient) -> Iterator[tuple[str, str, str]]:
    """Give method, path and name of every path parameter of every route."""
    app = client.app
    assert isinstance(app, FastAPI)
    for path, methods in app.openapi()["paths"].items():
        for name in re.findall(r"\{(\w+)\}", path):
            for method in methods:
                yield method, path, name


@pytest.mark.parametrize("climbing", CLIMBING)
def test_no_path_parameter_climbs_out(client: TestClient, climbing: str) -> None:
    asked = list(operations(client))
    assert len(asked) > 40
    answered = {}
    for method, path, name in asked:
        # Every other parameter has a value of the form that it wants.
        filled = re.sub(r"\{(\w+)\}", lambda m: climbing if m[1] == name else "1.2.3", path)  # noqa: B023
        answer = client.request(method, filled)
        if not 300 <= answer.status_code < 500 or FOUND.search(answer.text):
            answered[method, path, name] = answer.status_code
    assert answered == {}


@pytest.mark.parametrize("climbing", CLIMBING)
@pytest.mark.parametrize(
    "path",
    [
        "/datastore/image?image=",
        "/datastore/image/info?image=",
        "/datastore/label?tag=final&label=",
        "/datastore/label?label=film.dcm&tag=",
        "/datastore/label/info?tag=final&label=",
        "/radedit/images?sop_instance_uid=",
        "/radedit/edits?sop_instance_uid=",
    ],
)
def test_no_id_in_a_query_climbs_out(client: TestClient, path: str, climbing: str) -> None:
    answer = client.get(path + climbing)
    # Of a film that there is not, MONAI Label says that nothing is noted.
    assert 400 <= answer.status_code < 500 or answer.json() == {}
    assert not FOUND.search(answer.text)


@pytest.mark.parametrize("uid", ["%2e%2e", "1..2", "1.2.", ".1", "1" * 65])
@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web/studies/1.2/series/1.3/instances/{uid}/metadata",
        "/dicom-web/studies/1.2/series/{uid}/instances/1.4",
        "/dicom-web/studies/{uid}/instances",
        "/radedit/images?sop_instance_uid={uid}",
        "/radedit/edits?sop_instance_uid={uid}",
    ],
)
def test_what_is_no_uid_is_refused_by_its_form(client: TestClient, path: str, uid: str) -> None:
    answer = client.get(path.format(uid=uid))
    assert answer.status_code == 422
    assert "match pattern" in answer.json()["detail"] or "most 64" in answer.json()["detail"]


@pytest.mark.parametrize("uid", ["..", "1..2", "1" * 65, "1/2"])
def test_no_job_is_submitted_for_what_is_no_uid(client: TestClient, uid: str) -> None:
    answer = client.post("/radedit/jobs", json={"sop_instance_uid": uid, "prompt": "x"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("sop_instance_uid is no UID")


@pytest.mark.parametrize("climbing", CLIMBING)
@pytest.mark.parametrize("root", ["/", "/radedit/", "/review/files/"])
def test_no_static_path_climbs_out(client: TestClient, root: str, climbing: str) -> None:
    answer = client.get(root + climbing)
    assert 400 <= answer.status_code < 500
    assert not FOUND.search(answer.text)
