"""A whole node, its own processes, dcmtk's storescu and a real Orthanc as the peers."""

from __future__ import annotations

import io
import json
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from orthanc import Orthanc
from pydicom.dataset import Dataset
from route_node import RouteNode

from radedit_dicom.archive import Query
from radedit_dicom.errors import ArchiveError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.readback import difference, part10

MakeDataset = Callable[..., Dataset]
MakeNode = Callable[..., RouteNode]
SECRET = "Geheim"
FORWARD = """
[jobs]
workers = 0
[destinations.disk]
address = "out"
[[rules]]
name = "all"
[[rules.do]]
action = "forward"
to = ["disk"]
"""


@pytest.fixture
def node(tmp_path: Path, free_port: int) -> Iterator[MakeNode]:
    """Make a node; it is ended with the test."""
    made: list[RouteNode] = []

    def make(body: str, **settings: str) -> RouteNode:
        made.append(RouteNode(tmp_path / "node", free_port, body, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def arrived(node: RouteNode) -> set[str]:
    """Name the objects in the node's folder destination."""
    found = FolderArchive(node.folder / "out").find(Query())
    return {instance.sop_instance_uid for instance in found}


@pytest.fixture
def film(make_dataset: MakeDataset) -> Callable[..., Dataset]:
    """Make a film with a number in its UIDs."""

    def make(number: int, **attributes: Any) -> Dataset:
        given = {
            "SOPInstanceUID": f"1.2.3.{number}",
            "StudyInstanceUID": f"1.2.{number}",
            "SeriesInstanceUID": f"1.2.3.{number}.1",
            "PatientName": f"{SECRET}^{number}",
            "PatientID": f"{SECRET}-{number}",
        }
        return make_dataset(**(given | attributes))

    return make


def test_a_night_from_storescu_to_orthanc_edits_forwards_and_lists_everything(
    node: MakeNode,
    start_orthanc: Callable[..., Orthanc],
    rg1: Path,
    rg3: Path,
    peer: Callable[[str], str],
    free_port: int,
    new_port: Callable[[], int],
    make_dataset: MakeDataset,
    tmp_path: Path,
) -> None:
    orthanc = start_orthanc()
    page = new_port()
    route = node(
        f"""
[http]
port = {page}
[destinations.pacs]
address = "dimse://{orthanc.aet}@127.0.0.1:{orthanc.dicom_port}"
[destinations.web]
address = "{orthanc.dicom_web}"
[[rules]]
name = "chest films"
from = ["CR*"]
[rules.match]
Modality = ["CR", "DX"]
BodyPartExamined = "*CHEST*"
Rows = {{ min = 16, max = 5000 }}
[[rules.do]]
action = "edit"
prompt = "Left lung mass"
edit_mask = "box:500,500,900,900"
steps = 2
to = ["pacs"]
[[rules.do]]
action = "forward"
to = ["web"]
[[rules]]
name = "no CT here"
match = {{ Modality = "CT" }}
[[rules.do]]
action = "discard"
reason = "CT is routed elsewhere"
"""
    )
    route.start()
    ct = make_dataset(Modality="CT", SOPInstanceUID="1.2.9", StudyInstanceUID="1.9")
    ct.file_meta.MediaStorageSOPClassUID = ct.SOPClassUID
    ct.save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    done = subprocess.run(
        [
            *(peer("storescu"), "-R", "-aet", "CR1", "-aec", "RADEDIT", "127.0.0.1"),
            *(str(free_port), str(rg1), str(rg3), str(tmp_path / "ct.dcm")),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    route.until(lambda: route.states("deliveries") == {"sent": 4}, "not everything was sent")
    source = pydicom.dcmread(rg1)
    held = orthanc.held()
    assert len(held) == len(set(held)) == 4
    assert difference(source, orthanc.file(str(source.SOPInstanceUID))) is None
    written = [pydicom.dcmread(io.BytesIO(orthanc.file(u))) for u in held]
    edited = [d for d in written if d.SOPInstanceUID != source.SOPInstanceUID]
    assert sorted(d.Modality for d in edited) == ["CR", "SEG", "SR"]
    assert all(d.SyntheticData == "YES" for d in edited)
    assert route.states() == {"planned": 1, "unmatched": 1, "discarded": 1}
    listed = route.json("list")["items"]
    assert [(item["state"], item["reason"]) for item in listed] == [
        ("unmatched", "No rule fires for it.")
    ]
    status = route.json("status")
    assert status["destinations"]["pacs"]["sent"] == 3
    shown = requests.get(f"http://127.0.0.1:{page}/", timeout=60)
    assert "No rule fires for it." in shown.text
    metrics = requests.get(f"http://127.0.0.1:{page}/metrics", timeout=60).text
    assert 'radedit_route_deliveries{destination="pacs",state="sent"} 3.0' in metrics
    name = str(source.PatientName)
    told = route.spool.audit.read_text() + route.log + shown.text + metrics + json.dumps(listed)
    assert name
    assert name not in told
    assert str(source.PatientID) not in re.findall(r"[\w.]+", told)


def test_an_edit_that_comes_back_is_never_edited_again(
    node: MakeNode, film: Callable[..., Dataset]
) -> None:
    route = node(
        FORWARD
        + """
[[rules.do]]
action = "edit"
prompt = "Left lung mass"
to = ["disk"]
"""
    )
    route.start()
    route.archive.send([film(1, SyntheticData="YES")])
    route.until(lambda: route.states("deliveries") == {"sent": 1}, "it was not forwarded")
    assert route.states("jobs") == {}
    (row,) = route.rows("SELECT state, reason FROM instances")
    assert row["state"] == "planned"
    assert "never edited again" in row["reason"]


def test_late_images_of_a_complete_study_are_a_case_of_their_own(
    node: MakeNode, film: Callable[..., Dataset]
) -> None:
    route = node(FORWARD)
    route.start()
    route.archive.send([film(1), film(2, StudyInstanceUID="1.2.1")])
    route.until(lambda: route.states("deliveries") == {"sent": 2}, "the study was not sent")
    route.archive.send([film(3, StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.99")])
    route.until(lambda: route.states("deliveries") == {"sent": 3}, "the late film was not sent")
    cases = route.rows("SELECT study, number FROM cases ORDER BY number")
    assert cases == [{"study": "1.2.1", "number": 1}, {"study": "1.2.1", "number": 2}]
    assert arrived(route) == {"1.2.3.1", "1.2.3.2", "1.2.3.3"}


def test_a_study_that_never_falls_quiet_is_closed_at_its_limit(
    node: MakeNode, film: Callable[..., Dataset]
) -> None:
    route = node(FORWARD, study="quiet_s = 3\nlimit_s = 5")
    route.start()
    end = time.monotonic() + 240
    number = 0
    while not route.rows("SELECT 1 FROM cases WHERE closed IS NOT NULL"):
        number += 1
        route.archive.send([film(number, StudyInstanceUID="1.2.1")])
        assert time.monotonic() < end, "no case was closed"
        time.sleep(0.3)
    (first,) = route.rows("SELECT opened, last, closed FROM cases WHERE number = 1")
    assert first["closed"] - first["opened"] >= 5
    assert first["closed"] - first["last"] < 3


def test_the_same_film_again_is_routed_once_and_another_under_its_uid_is_listed(
    node: MakeNode, film: Callable[..., Dataset]
) -> None:
    route = node(FORWARD)
    route.start()
    for _ in range(2):
        route.archive.send([film(1)])
        route.until(lambda: route.states("deliveries") == {"sent": 1}, "it was not sent")
    with pytest.raises(ArchiveError, match="already holds another object under this UID"):
        route.archive.send([film(1, PatientSex="M")])
    assert len(route.rows("SELECT * FROM cases")) == 1
    (item,) = route.json("list")["items"]
    assert item["id"].startswith("apart-")
    route.command("discard", item["id"])
    assert route.json("list")["items"] == []
    assert SECRET not in route.spool.audit.read_text()


def test_what_is_held_for_review_goes_when_a_person_releases_it(
    node: MakeNode, film: Callable[..., Dataset]
) -> None:
    route = node(FORWARD.replace('"forward"', '"hold"'))
    route.start()
    route.archive.send([film(1), film(2)])
    route.until(lambda: route.states("deliveries") == {"held": 2}, "nothing is held")
    time.sleep(2)
    assert arrived(route) == set()
    items = {item["about"].split()[0]: item["id"] for item in route.json("list", "held")["items"]}
    route.command("release", items["1.2.3.1"])
    route.command("discard", items["1.2.3.2"])
    route.until(
        lambda: route.states("deliveries") == {"sent": 1, "discarded": 1}, "it was not sent"
    )
    assert arrived(route) == {"1.2.3.1"}
    assert "cannot be released" in route.command("release", items["1.2.3.1"], code=1)


def test_a_changed_file_is_in_force_without_a_restart_and_a_bad_one_is_not(
    node: MakeNode, film: Callable[..., Dataset]
) -> None:
    route = node(FORWARD)
    route.start()
    planner = route.spool.holder("plan")
    route.write(FORWARD + "[[rules]]\nname = 'broken'\n")
    refusal = route.until(lambda: route.json("status")["rules refused"], "it was not refused")
    assert "broken" in refusal
    route.archive.send([film(1)])
    route.until(lambda: route.states("deliveries") == {"sent": 1}, "the old rules do not hold")
    route.write(FORWARD.replace('name = "all"', 'name = "all"\nmatch = { PatientSex = "M" }'))
    route.until(lambda: not route.json("status")["rules refused"], "the good file was refused")
    route.archive.send([film(2, PatientSex="F"), film(3, PatientSex="M")])
    route.until(lambda: len(route.rows("SELECT * FROM cases WHERE closed")) == 3, "not planned")
    assert route.states() == {"planned": 2, "unmatched": 1}
    assert route.spool.holder("plan") == planner


def test_a_new_destination_is_used_without_a_restart_of_the_node(
    node: MakeNode, film: Callable[..., Dataset]
) -> None:
    route = node(FORWARD)
    route.start()
    route.write(FORWARD.replace('"out"', '"other"'))
    route.until(lambda: "rules loaded" in route.spool.audit.read_text(), "it was not read")
    route.archive.send([film(1)])
    other = FolderArchive(route.folder / "other")
    route.until(lambda: other.find(Query()), "it did not go to the new folder")
    assert arrived(route) == set()


def test_dry_run_says_which_rule_would_fire_and_why_and_does_nothing(
    node: MakeNode, film: Callable[..., Dataset], tmp_path: Path
) -> None:
    body = """
[destinations.disk]
address = "out"
[[rules]]
name = "women at night"
from = ["CR*"]
time = { begin = "00:00", end = "23:59" }
[rules.match]
PatientSex = "F"
AccessionNumber = { present = true }
Columns = { min = 10, max = 30 }
[[rules.do]]
action = "forward"
to = ["disk"]
[[rules]]
name = "the rest"
[[rules.do]]
action = "discard"
reason = "not wanted"
"""
    route = node(body)
    for number, sex in ((1, "F"), (2, "M")):
        (tmp_path / "films").mkdir(exist_ok=True)
        content = part10(prepared(film(number, PatientSex=sex)))
        (tmp_path / "films" / f"{number}.dcm").write_bytes(content)
    told = route.command("run", str(tmp_path / "films"), "--dry-run", "--from", "CR7")
    assert SECRET not in told
    assert "rule 'women at night' fires" in told
    assert "no   PatientSex is F" in told
    assert "discard (rule 'the rest')" in told
    assert route.states() == {}
    route.start()
    route.archive.send([film(1, PatientSex="F")])
    route.until(lambda: route.states("deliveries") == {"sent": 1}, "it was not sent")
    (stored,) = route.json("run", "--dry-run")["objects"]
    assert stored["uid"] == "1.2.3.1"
    assert stored["outcome"].startswith("forward to disk")


def prepared(dataset: Dataset) -> Dataset:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def test_a_dead_destination_delays_no_other_and_its_letters_are_told_and_retried(
    node: MakeNode, film: Callable[..., Dataset], new_port: Callable[[], int]
) -> None:
    dead = new_port()
    told: list[Any] = []
    hook = listening(told)
    body = f"""
[destinations.away]
address = "dimse://NOBODY@127.0.0.1:{dead}"
give_up_h = 0.001
first_wait_s = 0.5
longest_wait_s = 1
[destinations.disk]
address = "out"
[[rules]]
name = "all"
[[rules.do]]
action = "forward"
to = ["away", "disk"]
"""
    try:
        route = node(body, top=f'webhook = "http://127.0.0.1:{hook.server_address[1]}/dead"')
        route.start()
        route.archive.send([film(number) for number in range(1, 6)])
        route.until(lambda: len(arrived(route)) == 5, "the healthy destination was delayed")
        route.until(
            lambda: route.states("deliveries") == {"sent": 5, "dead": 5}, "no letter is dead"
        )
        route.until(lambda: sum(len(each["dead"]) for each in told) >= 5, "nobody was told")
        assert "refuses connections" in told[0]["dead"][0]["error"]
        items = route.json("list", "dead")["items"]
        route.command("retry", items[0]["id"])
        route.command("discard", *(item["id"] for item in items[1:]))
        route.until(
            lambda: route.states("deliveries") == {"sent": 5, "discarded": 4, "dead": 1},
            "what was retried is not dead again",
        )
    finally:
        hook.shutdown()
        hook.server_close()


def listening(told: list[Any]) -> ThreadingHTTPServer:
    """Listen for a webhook, and note the bodies."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            del arguments

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_orthanc_that_comes_back_gets_everything_once(
    node: MakeNode, film: Callable[..., Dataset], start_orthanc: Callable[..., Orthanc]
) -> None:
    orthanc = start_orthanc()
    route = node(
        f"""
[destinations.pacs]
address = "{orthanc.dicom_web}"
first_wait_s = 0.5
longest_wait_s = 2
concurrency = 2
[[rules]]
name = "all"
[[rules.do]]
action = "forward"
to = ["pacs"]
"""
    )
    route.start()
    orthanc.kill()
    route.archive.send([film(number) for number in range(1, 7)])
    route.until(lambda: route.states("deliveries").get("waiting"), "nothing waits")
    for role in ("send", "plan", "receive", "work-0", "send"):
        route.until(lambda role=role: route.kill(role), f"{role} is not there to be killed")
    orthanc.start()
    route.until(lambda: route.states("deliveries") == {"sent": 6}, "not everything was sent")
    assert orthanc.held() == [f"1.2.3.{number}" for number in range(1, 7)]


def test_stow_rs_is_taken_into_the_same_journal_and_wants_the_token(
    node: MakeNode,
    film: Callable[..., Dataset],
    new_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    page = new_port()
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "token").write_text("sesame\n")
    route = node(f'[http]\nport = {page}\ntoken_file = "token"\n{FORWARD}')
    route.start()
    url = f"http://127.0.0.1:{page}/dicom-web/studies"
    first, other = part10(prepared(film(1))), part10(prepared(film(1, PatientSex="M")))
    kind = 'multipart/related; type="application/dicom"; boundary=--b1'
    headers = {"Content-Type": kind, "Authorization": "Bearer sesame"}

    def post(*contents: bytes, **more: str) -> requests.Response:
        body = b"".join(
            b"----b1\r\nContent-Type: application/dicom\r\n\r\n" + each + b"\r\n"
            for each in contents
        )
        return requests.post(url, body + b"----b1--\r\n", headers=headers | more, timeout=120)

    assert post(first, Authorization="Bearer wrong").status_code == 401
    assert route.states() == {}
    assert post(first).status_code == 200
    mixed = post(first, other, b"no DICOM")
    assert mixed.status_code == 202
    assert [i["00081197"]["Value"][0] for i in mixed.json()["00081198"]["Value"]] == [
        0xC111,
        0xC000,
    ]
    assert post(other).status_code == 409
    assert post(first, **{"Content-Type": "text/plain"}).status_code == 415
    (tmp_path / "node" / "token").write_text("renewed\n")
    assert post(first).status_code == 401
    assert post(first, Authorization="Bearer renewed").status_code == 200
    route.until(lambda: arrived(route) == {"1.2.3.1"}, "it was not forwarded")
