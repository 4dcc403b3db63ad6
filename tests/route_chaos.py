"""A bad night for a routing node, and the accounts of it afterwards.

Studies come from dcmtk's storescu while the node's processes are killed, Orthanc is down, one
destination takes nothing for good and the disk is full for a while. Then three journals are
held against each other: what senders were told, what the node knows, what archives hold.
`scripts/route-chaos` runs it at length, `tests/system/test_route_chaos.py` briefly.
"""

from __future__ import annotations

import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from orthanc import Orthanc
from pydicom import dcmread
from pydicom.dataset import Dataset
from route_node import RouteNode

from radedit_dicom.parsing import parse
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.desk import Desk

#: What is killed, and how often of ten: a worker needs most time to start, and more to do.
ROLES = {"receive": 4, "send": 3, "work-0": 2, "plan": 1}
EDITED, LEFT = "M", "F"  # the sex of patients, by which the rules tell them apart
HEALTHY, REFUSING = ("pacs", "disk"), "refuser"
#: Says success to everything and keeps nothing.
FORGETFUL = "function ReceivedInstanceFilter(dicom, origin) return false end\n"


@dataclass(frozen=True)
class Plan:
    """How bad the night is.

    Attributes
    ----------
    studies, kills : int
    down_s : float
        How long Orthanc is down.
    full_s : float
        How long the disk is full; 0: it never is.
    edit_every : int
        Every so many studies are edited; all are sent on as they are.
    senders : int
        At once.
    seed : int
    limit_s : float
        After so long it is over, whatever is left.
    """

    studies: int
    kills: int
    down_s: float
    full_s: float = 0.0
    edit_every: int = 1
    senders: int = 4
    seed: int = 1
    limit_s: float = 7200.0


@dataclass
class Night:
    """What happened."""

    acknowledged: set[str] = field(default_factory=set)
    told_no: int = 0
    killed: Counter[str] = field(default_factory=Counter)
    down: tuple[float, float] = (0.0, 0.0)
    full: tuple[float, float] = (0.0, 0.0)
    lock: threading.Lock = field(default_factory=threading.Lock)


def route_body(orthanc: Orthanc, refuser: Orthanc) -> str:
    """Give the rules of the night: every film goes everywhere, and some are edited, too."""
    waits = "first_wait_s = 0.5\nlongest_wait_s = 5\n"
    return f"""
[jobs]
attempts = 40
{waits}
[destinations.pacs]
address = "{orthanc.dicom_web}"
{waits}
[destinations.disk]
address = "out"
{waits}
[destinations.{REFUSING}]
address = "{refuser.dicom_web}"
refusals = 2
first_wait_s = 0.2
longest_wait_s = 0.5
[[rules]]
name = "all"
go_on = true
[[rules.do]]
action = "forward"
to = ["pacs", "disk", "{REFUSING}"]
[[rules]]
name = "edited"
match = {{ PatientSex = "{EDITED}" }}
[[rules.do]]
action = "edit"
prompt = "Left lung mass"
edit_mask = "box:10,10,50,50"
steps = 1
skip = 0.0
to = ["pacs", "disk"]
"""


def make_films(
    folder: Path, make_dataset: Callable[..., Dataset], count: int, edit_every: int
) -> list[Path]:
    """Write small chest films, one for each study, every tenth study with a second one."""
    folder.mkdir()
    noise = np.random.default_rng(3)
    films = []
    for number in range(count):
        for part in range(1 + (number % 10 == 9)):
            dataset = make_dataset(
                noise.integers(0, 4096, (72, 64)),
                12,
                SOPInstanceUID=f"1.2.826.0.1.3680043.10.2.{number}.{part}",
                SeriesInstanceUID=f"1.2.826.0.1.3680043.10.3.{number}",
                StudyInstanceUID=f"1.2.826.0.1.3680043.10.4.{number}",
                PatientID=f"Geheim-{number}",
                PatientSex=LEFT if number % edit_every else EDITED,
            )
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            films.append(folder / f"{number:04}-{part}.dcm")
            dataset.save_as(films[-1], enforce_file_format=True)
    return films


def send_all(node: RouteNode, storescu: str, films: list[Path], plan: Plan, night: Night) -> None:
    """Send every film until it is acknowledged, as a modality does, `plan.senders` at once."""
    left = list(reversed(films))

    def work() -> None:
        while True:
            with night.lock:
                if not left:
                    return
                film = left.pop()
            uid = str(dcmread(film, stop_before_pixels=True).SOPInstanceUID)
            while not _acknowledged(node, storescu, film):
                with night.lock:
                    night.told_no += 1
                time.sleep(0.5)
            with night.lock:
                night.acknowledged.add(uid)

    threads = [threading.Thread(target=work) for _ in range(plan.senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _acknowledged(node: RouteNode, storescu: str, film: Path) -> bool:
    done = subprocess.run(
        [
            *(storescu, "-v", "-R", "-aet", "CR1", "-aec", "RADEDIT", "-to", "60", "-td", "120"),
            *("127.0.0.1", str(node.port), str(film)),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return "Received Store Response (Success)" in done.stdout + done.stderr


def kill_at_random(
    node: RouteNode, plan: Plan, night: Night, progress: Callable[[], float]
) -> None:
    """Kill the node's processes, spread over the whole night by how far its work has come."""
    chance = random.Random(plan.seed)
    moments = sorted(chance.uniform(0.01, 0.97) for _ in range(plan.kills))
    for moment in moments:
        while progress() < moment:
            time.sleep(0.05)
        time.sleep(chance.uniform(0.0, 0.5))
        role = chance.choices(list(ROLES), list(ROLES.values()))[0]
        while not node.kill(role):
            time.sleep(0.05)
        night.killed[role] += 1


@contextmanager
def beside(*works: Callable[[], None]) -> Iterator[list[BaseException]]:
    """Run things in threads beside the block, and wait for them at its end."""
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # told to the test by the list
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    yield errors
    for thread in threads:
        thread.join(600)


def live_through(
    node: RouteNode,
    orthanc: Orthanc,
    films: list[Path],
    plan: Plan,
    storescu: str,
) -> Night:
    """Let the night pass, until nothing waits any more."""
    night = Night()
    edits = sum(str(dcmread(film).PatientSex) == EDITED for film in films)
    deadline = time.monotonic() + plan.limit_s

    def progress() -> float:
        if time.monotonic() > deadline:
            raise AssertionError(f"the night does not end: {counts(node)}")
        done = node.rows("SELECT count(*) AS n FROM jobs WHERE state IN ('done', 'dead')")
        sent = len(night.acknowledged) / len(films)
        return 0.3 * sent + 0.7 * min(int(done[0]["n"]) / edits, 1.0)

    def outage() -> None:
        while len(night.acknowledged) < 0.1 * len(films):
            time.sleep(0.1)
        began = time.time()
        orthanc.kill()
        time.sleep(plan.down_s)
        orthanc.start()
        night.down = (began, time.time())

    def full_disk() -> None:
        if not plan.full_s:
            return
        while len(night.acknowledged) < 0.6 * len(films):
            time.sleep(0.1)
        began = time.time()
        ballast = node.spool.folder / "ballast"
        fill(ballast)
        time.sleep(plan.full_s)
        ballast.unlink()
        night.full = (began, time.time())

    works = (
        lambda: send_all(node, storescu, films, plan, night),
        lambda: kill_at_random(node, plan, night, progress),
        outage,
        full_disk,
    )
    with beside(*works) as errors:
        while not _is_over(node, len(films), night, plan):
            if errors:
                raise errors[0]
            progress()
            time.sleep(1.0)
    if errors:
        raise errors[0]
    return night


def fill(ballast: Path) -> None:
    """Take all the room that there is."""
    with ballast.open("wb", buffering=0) as stream:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    stream.write(b"\0" * size)
            except OSError:
                continue


def _is_over(node: RouteNode, films: int, night: Night, plan: Plan) -> bool:
    if len(night.acknowledged) < films or sum(night.killed.values()) < plan.kills:
        return False
    if night.down[1] == 0.0 or (plan.full_s and night.full[1] == 0.0):
        return False
    open_rows = node.rows(
        "SELECT (SELECT count(*) FROM instances WHERE state IN ('received', 'waiting')) "
        "+ (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')) "
        "+ (SELECT count(*) FROM deliveries WHERE state IN ('waiting', 'sending')) AS n"
    )
    return int(open_rows[0]["n"]) == 0


def counts(node: RouteNode) -> dict[str, dict[str, int]]:
    """Count the node's rows by state."""
    return {table: node.states(table) for table in ("instances", "jobs", "deliveries")}


@dataclass(frozen=True)
class Account:
    """The three journals, held against each other."""

    lines: dict[str, Any]
    faults: list[str]

    def text(self) -> str:
        told = [f"{name:46} {value}" for name, value in self.lines.items()]
        return "\n".join([*told, *(f"FAULT {fault}" for fault in self.faults)])


def account(node: RouteNode, orthanc: Orthanc, night: Night) -> Account:
    """Hold what senders, node and archives know against each other."""
    faults: list[str] = []

    def must(so: bool, otherwise: str) -> None:
        if not so:
            faults.append(otherwise)

    rows = {row["uid"]: row for row in node.rows("SELECT * FROM instances")}
    must(set(rows) == night.acknowledged, "the node's objects are not those acknowledged")
    must(all(r["state"] == "planned" for r in rows.values()), "an object was not planned")
    jobs = node.rows("SELECT * FROM jobs")
    wanted = {u for u, row in rows.items() if "edited" in row["reason"]}
    must({j["subject"] for j in jobs} == wanted, "an object has no edit that should have one")
    must(len(jobs) == len(wanted), "an object was edited twice")
    desk = Desk(node.spool, node.journal, Audit(None))
    listed = {item.id for item in desk.items(("dead",), 10**6)}
    must(
        all(j["state"] == "done" or f"job-{j['id']}" in listed for j in jobs),
        "a job is neither done nor listed",
    )
    done = sum(j["state"] == "done" for j in jobs)
    deliveries = node.rows("SELECT * FROM deliveries")
    sent = {
        name: {d["uid"] for d in deliveries if d["destination"] == name and d["state"] == "sent"}
        for name in (*HEALTHY, REFUSING)
    }
    expected = len(rows) + 3 * done
    for name in HEALTHY:
        must(len(sent[name]) == expected, f"{name} was sent {len(sent[name])} of {expected}")
    must(not sent[REFUSING], "what was refused counts as sent")
    dead = [d for d in deliveries if d["destination"] == REFUSING and d["state"] == "dead"]
    must(len(dead) == len(rows), "a refused object is no dead letter")
    held = Counter(orthanc.held())
    found = Counter(
        str(parse(path, pixels=True).SOPInstanceUID)
        for path in (node.folder / "out").rglob("*.dcm")
    )
    must(set(held) == sent["pacs"], "Orthanc holds other objects than were sent")
    must(set(found) == sent["disk"], "the folder holds other objects than were sent")
    doubled = sum(n - 1 for n in held.values()) + sum(n - 1 for n in found.values())
    must(doubled == 0, "an object is there twice")
    parts = [p for p in node.spool.folder.rglob(".part-*") if p.is_file()]
    files = [p for p in (node.spool.folder / "incoming").rglob("*.dcm")]
    must(not parts, "a part of a file is left")
    must(len(files) == len(rows), "a file has no row, or a row no file")
    lost = (
        len(night.acknowledged - set(rows))
        + expected * 2
        - len(sent["pacs"] | set())
        - len(sent["disk"])
    )
    lines = {
        "sender: films acknowledged": len(night.acknowledged),
        "sender: attempts without an acknowledgement": night.told_no,
        "killed with SIGKILL": dict(sorted(night.killed.items())),
        "Orthanc down for s": round(night.down[1] - night.down[0]),
        "disk full for s": round(night.full[1] - night.full[0]),
        "node: objects, by state": node.states(),
        "node: edits, by state": node.states("jobs"),
        "node: deliveries, by state": node.states("deliveries"),
        "node: refused without room": _refusals(node),
        "archive: objects in Orthanc, and in the folder": (sum(held.values()), sum(found.values())),
        "lost": lost,
        "doubled": doubled,
        "partial files": len(parts),
        "from order to sent, folder, s (median, 95 %, max)": _delays(deliveries, "disk", None),
        "the same while Orthanc was down": _delays(deliveries, "disk", night.down),
    }
    return Account(lines, faults)


def _refusals(node: RouteNode) -> int:
    rows = node.rows("SELECT reason, count FROM refusals")
    return sum(r["count"] for r in rows if "full" in r["reason"])


def _delays(
    deliveries: list[dict[str, Any]], destination: str, within: tuple[float, float] | None
) -> str:
    spans = sorted(
        d["ended"] - d["created"]
        for d in deliveries
        if d["destination"] == destination
        and d["state"] == "sent"
        and (within is None or within[0] <= d["created"] <= within[1])
    )
    if not spans:
        return "none"
    places = (0.5, 0.95, 1.0)
    return ", ".join(f"{spans[min(int(p * len(spans)), len(spans) - 1)]:.1f}" for p in places)
