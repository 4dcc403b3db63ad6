"""The routes of jobs, against a real queue in which nobody works."""

from __future__ import annotations

import base64
import io
import json
import threading
from pathlib import Path
from typing import Any

import pydicom
import pytest
from PIL import Image
from starlette.testclient import TestClient

from radedit.lib.errors import ParameterError
from radedit.lib.jobs.model import JobRequest
from radedit.lib.parameters import PARAMETERS
from radedit.lib.pipeline import Editor
from radedit.lib.serving.config import Limits
from radedit.lib.serving.jobs_api import SAY_S, prompt_list
from radedit.lib.serving.submission import job_request, parsed


def png(size: tuple[int, int] = (8, 8), value: int = 255) -> str:
    stream = io.BytesIO()
    Image.new("L", size, value).save(stream, "png")
    return base64.b64encode(stream.getvalue()).decode()


def cut_off_png() -> str:
    """A PNG of which nothing but the signature has come."""
    return base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@pytest.fixture(scope="session")
def film_size(rg1: Path) -> tuple[int, int]:
    """Give the served film's columns and rows, as pictures have them."""
    header = pydicom.dcmread(rg1, stop_before_pixels=True)
    return int(header.Columns), int(header.Rows)


def test_a_request_is_a_job_and_the_same_request_is_the_same_job(
    client: TestClient, film: str
) -> None:
    wanted = {"image": film, "prompt": "Left pacemaker", "edit_mask": "box:0,0,99,99", "steps": 9}
    first = client.post("/radedit/jobs", json=wanted)
    assert first.status_code == 202
    job = first.json()
    assert (job["state"], job["image"], job["prompt"]) == ("queued", film, "Left pacemaker")
    again = client.post("/radedit/jobs", json=dict(reversed(wanted.items())))
    assert (again.status_code, again.json()["id"]) == (200, job["id"])
    assert client.get(f"/radedit/jobs/{job['id']}").json() == job


def test_a_film_is_named_by_its_uid_too(client: TestClient, film: str, film_uid: str) -> None:
    answer = client.post("/radedit/jobs", json={"sop_instance_uid": film_uid, "prompt": "Mass"})
    assert answer.json()["image"] == film
    asked = client.get("/radedit/images", params={"sop_instance_uid": film_uid})
    assert asked.json() == {"image": film}
    assert client.get("/radedit/images?sop_instance_uid=1.2.3").status_code == 404


def test_masks_come_with_the_request_and_do_not_go_back_out(
    client: TestClient, film: str, film_size: tuple[int, int]
) -> None:
    masks = {"a": png(film_size)}
    body = {"image": film, "prompt": "Mass", "edit_mask": "uploaded:a", "masks": masks}
    job = client.post("/radedit/jobs", json=body).json()
    assert len(job["request"]["masks"]["a"]) == 64
    assert body["masks"]["a"] not in json.dumps(job)


def test_jobs_are_listed_by_state_and_film(client: TestClient, film: str) -> None:
    client.post("/radedit/jobs", json={"image": film, "prompt": "Nodule"})
    for query, found in (
        ("", True), (f"?image={film}", True), ("?state=queued", True), ("?state=done", False),
        ("?image=other.dcm", False), ("?state=done&state=queued", True),
    ):  # fmt: skip
        jobs = client.get(f"/radedit/jobs{query}").json()["jobs"]
        assert bool(jobs) == found, query
    assert len(client.get("/radedit/jobs?limit=1").json()["jobs"]) == 1


def test_a_job_is_cancelled_and_tried_again(client: TestClient, film: str) -> None:
    job = client.post("/radedit/jobs", json={"image": film, "prompt": "No finding"}).json()["id"]
    assert client.delete(f"/radedit/jobs/{job}").json()["state"] == "cancelled"
    assert client.get(f"/radedit/jobs/{job}/result").status_code == 409
    again = client.post(f"/radedit/jobs/{job}/retry")
    assert (again.status_code, again.json()["state"]) == (202, "queued")
    assert client.post(f"/radedit/jobs/{job}/retry").status_code == 409


def test_who_follows_hears_every_two_seconds_and_of_the_end(client: TestClient, film: str) -> None:
    job = client.post("/radedit/jobs", json={"image": film, "prompt": "ECG leads"}).json()["id"]
    # The test client hands a stream over when it has ended: someone else cancels the job.
    other = threading.Timer(3.5, lambda: client.delete(f"/radedit/jobs/{job}"))
    other.start()
    text = client.get(f"/radedit/jobs/{job}/events").text
    other.join()
    heard = [block.split("\n") for block in text.strip().split("\n\n")]
    names = [name.removeprefix("event: ") for name, _ in heard]
    states = [json.loads(data.removeprefix("data: "))["state"] for _, data in heard]
    assert SAY_S <= 1  # a busy machine must not make two seconds of it
    assert names == ["progress"] * (len(names) - 1) + ["end"]
    assert states[0] == "queued"
    assert states[-2:] == ["cancelled", "cancelled"]
    assert states.count("queued") >= 3  # at once, and each time that nothing had changed


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "prompt"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": 7}, "prompt is of type int"),
        ({"prompt": "x", "stepps": 3}, "There is no parameter 'stepps'"),
        ({"prompt": "x", "steps": "100"}, "steps is of type str"),
        ({"prompt": "x", "steps": 0}, "steps is 0"),
        ({"prompt": "x", "guidance": float("nan")}, "guidance is nan"),
        ({"prompt": "x", "seed": 2**80}, "seed is"),
        ({"prompt": "x", "edit_mask": "box:1,2"}, "box"),
        ({"prompt": "x", "edit_mask": "file:/etc/passwd"}, "file: names a file of the server"),
        ({"prompt": "x", "edit_mask": "~(box:0,0,9,9 - dilate(file:a,3px))"}, "file: names"),
        ({"prompt": "x", "keep_mask": "file:a + box:0,0,9,9"}, "file: names"),
        ({"prompt": "x", "study_mode": "other"}, "study_mode"),
        ({"prompt": "x", "edit_model": "no-such"}, "There is no model"),
        ({"prompt": "x", "masks": [1]}, "masks is no object"),
        ({"prompt": "x", "masks": {"a": "%%%"}}, "no PNG file in base64"),
        ({"prompt": "x", "masks": {"a": base64.b64encode(b"GIF89a").decode()}}, "no PNG file"),
        ({"prompt": "x", "masks": {"../a": png()}}, "mask's name"),
        ({"prompt": "x", "masks": {f"m{n}": png() for n in range(9)}}, "9 masks"),
        ({"prompt": "a\u0000b"}, "control character"),
        ({"prompt": "\ud800"}, "control character"),
        ({"prompt": "x", "sop_instance_uid": "1.2.3"}, "one of them"),
        ({"prompt": "x", "image": "../film.dcm"}, "There is no such film"),
        ({"prompt": "x", "image": "/etc/passwd"}, "There is no such film"),
        ([], "no JSON object"),
        ("x", "no JSON object"),
    ],
    ids=lambda value: json.dumps(value)[:60] if not isinstance(value, str) else None,
)
def test_a_bad_request_is_refused_with_a_sentence(
    client: TestClient, film: str, body: Any, said: str
) -> None:
    if isinstance(body, dict):
        body = {"image": film, **body}
    answer = client.post("/radedit/jobs", content=json.dumps(body))
    assert 400 <= answer.status_code < 500
    assert said in answer.json()["detail"]


@pytest.mark.parametrize("content", [b"", b"{", b"[[[[", b"\xff\xfe", b'{"prompt": "x"'])
def test_what_is_no_json_is_refused(client: TestClient, content: bytes) -> None:
    answer = client.post("/radedit/jobs", content=content)
    assert (answer.status_code, "JSON" in answer.json()["detail"]) == (400, True)


def test_a_mask_larger_than_the_limit_is_refused_undecoded() -> None:
    limits = Limits(mask_bytes=1000)
    values = {"image": "f", "prompt": "x", "masks": {"a": "A" * 1400}}
    with pytest.raises(Exception, match="larger than"):
        job_request(values, limits, lambda image, uid: image, "")


@pytest.mark.parametrize(
    "path",
    [
        "/radedit/jobs/..%2f..%2fetc%2fpasswd",
        "/radedit/jobs/%2e%2e/events",
        "/radedit/jobs/0",
        f"/radedit/jobs/{'0' * 32}x",
        f"/radedit/jobs/{'0' * 32}",
        f"/radedit/jobs/{'0' * 32}/events",
        f"/radedit/jobs/{'0' * 32}/result",
        "/radedit/edits?sop_instance_uid=../x",
        "/radedit/edits?sop_instance_uid=1.2.3",
        "/radedit/jobs?state=x",
        "/radedit/jobs?limit=-1",
    ],
)
def test_what_names_nothing_is_refused(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert isinstance(answer.json()["detail"], str)


def test_a_form_gets_all_that_it_offers(client: TestClient) -> None:
    options = client.get("/radedit/options").json()
    assert options.keys() == {"parameters", "models", "mask_tasks", "prompts", "findings"}
    assert set(PARAMETERS) < set(options["parameters"])
    tasks = {task["name"]: task["labels"] for task in options["mask_tasks"]}
    assert tasks["lung_segmentation"] == ["left", "right"]
    assert tasks["heart_segmentation"] == ["heart"]
    assert "pneumothorax" in options["findings"]


def test_the_embedded_model_knows_every_suggested_prompt() -> None:
    backbone = Editor().backbone()
    for prompt in prompt_list():
        backbone.check_prompt(prompt["text"])


def test_a_film_without_edits_has_an_empty_history(client: TestClient, film_uid: str) -> None:
    answer = client.get("/radedit/edits", params={"sop_instance_uid": film_uid})
    assert answer.json() == {"edits": []}


def test_a_request_read_from_json_is_the_request_that_is_queued() -> None:
    body = json.dumps({"image": "f", "prompt": "p", "skip": 0, "edit_model": "phantom"})
    wanted = job_request(parsed(body.encode()), Limits(), lambda image, uid: image + uid, "me")
    assert wanted == JobRequest("f", "p", model="phantom", parameters={"skip": 0.0}, user="me")
    with pytest.raises(ParameterError, match="one of them"):
        job_request({"prompt": "p"}, Limits(), lambda image, uid: image + uid, "")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"prompt": "Quidditch in the left lung"}, 400, "does not know: Quidditch"),
        ({"prompt": "Left pneumothorax", "invert_prompt": "Quidditch"}, 400, "inversion prompt"),
        ({"prompt": "No finding " * 200}, 400, "tokens long"),
        (
            {"prompt": "Left pneumothorax", "edit_mask": "uploaded:edit"},
            404,
            "no mask named 'edit'",
        ),
        (
            {"prompt": "Left pneumothorax", "edit_mask": "box:0,0,9,9 - dilate(uploaded:a, 3px)"},
            404,
            "no mask named 'a'",
        ),
        ({"prompt": "Left pneumothorax", "keep_mask": "task:lungs"}, 404, "no mask task 'lungs'"),
        ({"prompt": "Mass", "film_text": "No Quidditch"}, 400, "film text"),
        ({"prompt": "Mass", "edit_mask": "task:lung_segmentation:middle"}, 404, "no label 'mid"),
        ({"prompt": "Mass", "keep_mask": "~task:heart_segmentation:left"}, 404, "no label 'left"),
        ({"prompt": "Mass", "edit_mask": "remote:http://other:8000/lungs"}, 400, "remote_servers"),
        (
            {"prompt": "Mass", "edit_mask": "dilate(task:lung_segmentation, 4mm)"},
            400,
            "states no pixel spacing",
        ),
        ({"prompt": "Mass", "edit_mask": "box:90000,0,90099,99"}, 400, "edit mask is empty"),
        ({"prompt": "Mass", "edit_mask": "ellipse:-50,50,20,20"}, 400, "edit mask is empty"),
        ({"prompt": "Mass", "keep_mask": "box:-9,-9,0,0"}, 400, "keep mask is empty"),
        (
            {"prompt": "Mass", "edit_mask": "task:lung_segmentation - box:-1,-1,90000,90000"},
            400,
            "edit mask is empty",
        ),
        (
            {"prompt": "Mass", "edit_mask": "box:9,9,50,50", "keep_mask": "box:0,0,99,99"},
            400,
            "wholly inside the keep mask",
        ),
        (
            {"prompt": "Mass", "edit_mask": "uploaded:a", "masks": {"a": png((8, 8))}},
            400,
            "the mask 'a' has 8 x 8 pixels and the film",
        ),
        (
            {"prompt": "Mass", "edit_mask": "uploaded:a", "masks": {"a": cut_off_png()}},
            400,
            "the mask 'a' cannot be read as a PNG",
        ),
    ],
)
def test_what_would_fail_for_certain_is_refused_before_it_is_queued(
    client: TestClient, film: str, body: dict[str, Any], status: int, said: str
) -> None:
    before = client.get("/radedit/jobs?limit=1000").json()["jobs"]
    answer = client.post("/radedit/jobs", json={"image": film, **body})
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]
    assert client.get("/radedit/jobs?limit=1000").json()["jobs"] == before


@pytest.mark.parametrize("which", ["edit_mask", "keep_mask"])
def test_an_empty_mask_is_refused_before_it_is_queued(
    client: TestClient, film: str, film_size: tuple[int, int], which: str
) -> None:
    before = client.get("/radedit/jobs?limit=1000").json()["jobs"]
    body = {"image": film, "prompt": "Mass", which: "uploaded:a", "masks": {"a": png(film_size, 0)}}
    answer = client.post("/radedit/jobs", json=body)
    assert (answer.status_code, "mask is empty" in answer.json()["detail"]) == (400, True)
    assert client.get("/radedit/jobs?limit=1000").json()["jobs"] == before


@pytest.mark.parametrize(
    "masks",
    [
        {"edit_mask": "task:lung_segmentation:Left - box:0,0,9,9"},
        {"edit_mask": "box:0,0,9,9 + box:90000,0,90099,99"},  # one of them lies on the film
        {"edit_mask": "~seg:Mass", "keep_mask": "task:heart_segmentation"},
        {"edit_mask": "dilate(task:heart_segmentation:heart, 4px)", "film_text": "No finding"},
    ],
)
def test_what_only_the_worker_can_know_is_queued(
    client: TestClient, film: str, masks: dict[str, str]
) -> None:
    answer = client.post("/radedit/jobs", json={"image": film, "prompt": "Mass", **masks})
    assert answer.status_code in (200, 202), answer.text
