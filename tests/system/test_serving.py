"""`radedit serve` as a whole: films, a worker with its model, viewers, at one address."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from monailabel.client import MONAILabelClient
from orthanc import Certificates
from radedit_server import RadEditServer, radedit_server

from radedit.lib.bench.served import Served

EDIT = {
    "prompt": "No acute cardiopulmonary process",
    "edit_mask": "ellipse:1470,862,125,140",
    "steps": 12,
    "seed": 3,
}
TOKEN = "drawn-at-random-0123456789"
HOSTILE = 'Mass <img src=x onerror="document.title=1"><script>document.title=2</script>'


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, new_port: Callable[[], int], rg1: Path
) -> Iterator[RadEditServer]:
    """Serve one film, with one worker."""
    folder = tmp_path_factory.mktemp("serving")
    (folder / "studies").mkdir()
    (folder / "studies" / "film.dcm").write_bytes(rg1.read_bytes())
    with radedit_server(folder, new_port()) as server:
        yield server


@pytest.fixture(scope="module")
def followed(server: RadEditServer) -> tuple[dict[str, Any], list[tuple[float, str]]]:
    """Run one edit; gives the job when it has ended, and when which event was heard."""
    job = server.post("/radedit/jobs", json={"image": "film.dcm", **EDIT}).json()
    heard: list[tuple[float, str]] = []
    last = ""
    with server.get(f"/radedit/jobs/{job['id']}/events", stream=True, timeout=240) as events:
        for line in events.iter_lines(chunk_size=1, decode_unicode=True):
            if line.startswith("event: "):
                heard.append((time.monotonic(), line.removeprefix("event: ")))
            if line.startswith("data: "):
                last = line.removeprefix("data: ")
    return json.loads(last), heard


def test_an_edit_is_asked_for_followed_and_stored(
    server: RadEditServer, followed: tuple[dict[str, Any], list[tuple[float, str]]]
) -> None:
    job, heard = followed
    assert job["state"] == "done", job["error"]
    assert job["done"] == job["total"] > 0
    assert [name for _, name in heard][-1] == "end"
    result = server.get(f"/radedit/jobs/{job['id']}/result").json()
    assert result == job["result"]
    assert result["changed_outside_support"] == 0
    web = DICOMwebClient(f"{server.url}/dicom-web")
    series = web.search_for_series(result["uids"]["study"])
    assert sorted(row["00080060"]["Value"][0] for row in series) == ["CR", "SEG", "SR"]
    (edit,) = server.get(f"/radedit/edits?sop_instance_uid={result['source']}").json()["edits"]
    assert edit["edit_id"] == result["edit_id"]
    assert edit["parameters"]["prompt"] == EDIT["prompt"]


def test_a_follower_hears_of_a_job_at_least_every_two_seconds(
    followed: tuple[dict[str, Any], list[tuple[float, str]]],
) -> None:
    _, heard = followed
    times = [at for at, _ in heard]
    gaps = [later - before for before, later in itertools.pairwise(times)]
    assert len(heard) > 5
    assert max(gaps) < 2.0


def test_the_same_request_is_answered_from_what_is_there(
    server: RadEditServer, followed: tuple[dict[str, Any], list[tuple[float, str]]]
) -> None:
    again = server.post("/radedit/jobs", json={"image": "film.dcm", **EDIT})
    assert (again.status_code, again.json()["id"]) == (200, followed[0]["id"])


# MONAI Label's client leaves its connections to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_monai_labels_client_works_as_with_its_own_server(
    server: RadEditServer, tmp_path: Path, rg1: Path
) -> None:
    client = MONAILabelClient(server.url, tmpdir=str(tmp_path))
    assert set(client.info()["models"]) == {"radedit", "lung_segmentation"}
    assert "film.dcm" in client.datastore()["objects"]
    file, params = client.infer("lung_segmentation", "film.dcm", {})
    assert Path(file).stat().st_size > 0
    assert params["label_names"] == {"left": 1, "right": 2}
    client.save_label("film.dcm", file, "final", {"label_names": params["label_names"]})
    assert "final" in client.datastore()["objects"]["film.dcm"]["labels"]
    session = client.create_session(str(rg1))
    assert client.get_session(session["session_id"])["name"]
    client.remove_session(session["session_id"])


def test_info_and_health_answer_while_an_inference_runs(server: RadEditServer) -> None:
    """MONAI Label's own server answers nothing meanwhile."""
    answered: list[requests.Response] = []

    def infer() -> None:
        params = json.dumps({**EDIT, "seed": 4, "steps": 30})
        query = {"image": "film.dcm", "output": "json"}
        answered.append(
            server.post("/infer/radedit", params=query, data={"params": params}, timeout=300)
        )

    running = threading.Thread(target=infer)
    running.start()
    meanwhile = 0
    longest = 0.0
    while running.is_alive():
        for path in ("/info/", "/health"):
            started = time.monotonic()
            assert server.get(path).ok
            longest = max(longest, time.monotonic() - started)
        meanwhile += not answered
        time.sleep(0.05)
    running.join()
    assert answered[0].status_code == 200
    assert answered[0].json()["changed_outside_support"] == 0
    assert meanwhile > 10
    assert longest < answered[0].elapsed.total_seconds() / 2


def test_a_hostile_prompt_is_told_as_data_only(server: RadEditServer) -> None:
    refused = server.post("/radedit/jobs", json={"image": "film.dcm", "prompt": HOSTILE})
    assert (refused.status_code, "does not know" in refused.json()["detail"]) == (400, True)
    for told in (refused, server.get("/login?next=" + HOSTILE, allow_redirects=False)):
        assert told.headers.get("content-type") == "application/json" or not told.content
        assert told.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["/health", "/info/", "/", "/review", "/no/such/thing", "/dicom-web/studies"]
)
def test_every_answer_says_what_a_browser_may_do_with_it(server: RadEditServer, path: str) -> None:
    headers = server.get(path).headers
    policy = headers["content-security-policy"]
    assert {"default-src 'self'", "frame-ancestors 'none'"} <= set(policy.split("; "))
    assert not {"http:", "https:", "*"} & set(policy.replace(";", "").split())
    assert headers["x-content-type-options"] == "nosniff"
    names = {name.lower() for name in headers}
    assert not [name for name in names if name.startswith("access-control")]
    assert "server" not in names
    if path != "/":  # OHIF's own page; viewers.py says what it cannot do without, and why
        assert "unsafe" not in policy


def test_the_figures_count_requests_by_route_and_jobs_by_state(
    server: RadEditServer, followed: tuple[dict[str, Any], list[tuple[float, str]]]
) -> None:
    text = server.get("/metrics").text
    assert re.search(r'radedit_jobs\{state="done"\} [1-9]', text)
    assert re.search(
        r'radedit_requests_total\{method="GET",route="/radedit/jobs/\{job\}/events",status="200"\}',
        text,
    )
    assert followed[0]["id"] not in text


def test_the_log_holds_no_patient_no_prompt_and_no_id(server: RadEditServer, rg1: Path) -> None:
    film = pydicom.dcmread(rg1, stop_before_pixels=True)
    server.get(f"/dicom-web/studies/{film.StudyInstanceUID}/metadata")
    server.get(f"/dicom-web/studies?PatientID={film.PatientID}&PatientName={film.PatientName}")
    server.get("/radedit/no-such-route/Geheim")
    assert server.post("/infer/lung_segmentation?image=film.dcm").ok
    again = DICOMwebClient(f"{server.url}/dicom-web")
    with pytest.raises(requests.HTTPError):
        again.store_instances([pydicom.dcmread(rg1)])  # it is there, with other bytes
    log = server.log.read_text()
    assert "GET /dicom-web/studies 200" in log
    patient = [
        str(film.PatientName),
        str(film.PatientID),
        film.StudyInstanceUID,
        film.SOPInstanceUID,
    ]
    for secret in (*patient, "film.dcm", EDIT["prompt"], "Geheim", "onerror"):
        assert str(secret) not in log


def test_warm_workers_are_told_of(
    server: RadEditServer, followed: tuple[dict[str, Any], list[tuple[float, str]]]
) -> None:
    assert followed[0]["state"] == "done"
    assert server.get("/health").json()["warm_workers"] == 1


def test_the_server_answers_before_a_model_is_warm(server: RadEditServer) -> None:
    assert (server.first_health["status"], server.first_health["warm_workers"]) == ("ok", 0)


def test_the_bench_asks_while_edits_run_and_follows_them(server: RadEditServer) -> None:
    found = {name: way() for name, way in Served(server.url, 1, 3, 5).ways().items()}
    assert all(0 < told["p50 ms"] <= told["p99 ms"] <= told["max ms"] for told in found.values())
    assert "longest silence s" in found["edits as jobs"]


def test_with_a_certificate_it_speaks_https_and_keeps_the_cookie_to_it(
    tmp_path: Path, new_port: Callable[[], int], certificates: Certificates
) -> None:
    named = ("--certificate", str(certificates.server), "--key", str(certificates.server_key))
    options = ("--workers", "0", *named)
    server = RadEditServer(tmp_path, new_port(), options, token=TOKEN, ca=certificates.ca)
    server.start()
    try:
        assert server.url.startswith("https://")
        assert server.get("/info/").ok
        form = {"token": TOKEN, "next": "/"}
        answer = server.post("/login", data=form, headers={}, allow_redirects=False)
        assert "Secure" in answer.headers["set-cookie"]
    finally:
        assert server.stop() == 0


def test_the_server_ends_in_good_order_with_all_it_started(
    tmp_path: Path, new_port: Callable[[], int], rg1: Path
) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "film.dcm").write_bytes(rg1.read_bytes())
    with radedit_server(tmp_path, new_port()) as server:
        assert server.process is not None
        end = time.monotonic() + 120
        while not (children := _children(server.process.pid)) and time.monotonic() < end:
            time.sleep(0.1)
        assert children
        job = server.post("/radedit/jobs", json={"image": "film.dcm", **EDIT}).json()["id"]
        # Who follows a job does not keep the server from ending.
        with server.get(f"/radedit/jobs/{job}/events", stream=True):
            os.kill(server.process.pid, signal.SIGTERM)
            assert server.process.wait(60) == 0
    assert not [pid for pid in children if _is_running(pid)]


def test_a_server_that_anybody_could_reach_is_not_started(tmp_path: Path) -> None:
    for options, said in (
        (["--host", "0.0.0.0"], "no token is set"),
        (["--conf", "no-such=key"], "no-such"),
        (["--conf", "nonsense"], "KEY=VALUE"),
        (["--token-file", str(tmp_path / "none")], "token file cannot be read"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "radedit.lib.cli", "serve", "--studies", str(tmp_path / "s"),
             "--state", str(tmp_path / "state"), "--port", "0", *options],
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_a_taken_port_is_said_in_a_sentence(server: RadEditServer, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "radedit.lib.cli", "serve", "--studies", str(tmp_path / "s"),
         "--state", str(tmp_path / "state"), "--port", str(server.port)],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert (done.returncode, "choose another --port" in done.stderr) == (1, True)


@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_database_that_is_away_is_said_in_a_sentence(
    tmp_path: Path, way: str, new_port: Callable[[], int]
) -> None:
    database = f"postgresql://radedit:geheim@127.0.0.1:{new_port()}/away"
    options = ["--database", database] if way == "option" else []
    environ = {"RADEDIT_JOBS_DATABASE": database} if way == "variable" else {}
    done = subprocess.run(
        [sys.executable, "-m", "radedit.lib.cli", "serve", "--studies", str(tmp_path / "s"),
         "--state", str(tmp_path / "state"), "--port", "0", "--workers", "0", *options],
        capture_output=True, text=True, timeout=240, env={**os.environ, **environ},
    )  # fmt: skip
    assert done.returncode == 1
    assert "the jobs' database cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr
    assert "geheim" not in done.stderr


def _children(pid: int) -> list[int]:
    named = Path(f"/proc/{pid}/task/{pid}/children")
    found = [int(child) for child in named.read_text().split()]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return sorted(set(found))


def _is_running(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
