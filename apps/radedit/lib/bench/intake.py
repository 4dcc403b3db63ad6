"""How fast a routing node takes films in, beside dcmtk's storescp and, where it is, Orthanc.

Four storescu at once send the same films to each receiver in turn. The node flushes file, folder
and journal before each acknowledgement; storescp flushes nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from radedit.lib.bench.processes import RADEDIT
from radedit.lib.bench.turns import Quantities, Way
from radedit.lib.errors import NotFoundError, RadEditError

SENDERS: Final = 4
PDU: Final = "131072"
CALLER: Final = "CR1"
BASELINE: Final = "dcmtk storescp --fork"
START_S: Final = 240.0
ROUTE: Final = """spool = "spool"
[receive]
port = {port}
callers = ["{caller}"]
reserve_gb = 0
[study]
quiet_s = 3600
limit_s = 7200
"""


@dataclass(frozen=True)
class Receiver:
    """Who takes films in: a title at a port of this machine, and the process that does it."""

    title: str
    port: int
    pid: int


def ways(films: Path, scratch: Path) -> dict[str, Way]:
    """Give the receivers that can be run here.

    Parameters
    ----------
    films : a folder of films for each sender
    scratch : for what is received; emptied after each call

    Raises
    ------
    NotFoundError
        dcmtk is missing.
    """
    program("storescu")
    receivers: dict[str, Callable[[Path], AbstractContextManager[Receiver]]] = {
        BASELINE: storescp,
        "radedit route, flushed": node,
    }
    if shutil.which("Orthanc", path=search_path()):
        receivers["Orthanc"] = orthanc
    return {
        name: lambda receive=receive: _measured(receive, films, scratch)  # type: ignore[misc]
        for name, receive in receivers.items()
    }


def copies(film: Path, folder: Path, count: int) -> None:
    """Write a film under other UIDs, each of its own study, into a folder for each sender."""
    import pydicom

    dataset = pydicom.dcmread(film)
    for number in range(count):
        root = f"1.2.826.0.1.3680043.10.5.{number}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = root, f"{root}.1"
        dataset.SOPInstanceUID = f"{root}.1.1"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        path = folder / str(number % SENDERS) / f"{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)


def search_path() -> str:
    """Say where programs are looked for: pynetdicom puts a storescu of its own beside Python."""
    own = sysconfig.get_path("scripts")
    given = [
        folder
        for folder in os.environ.get("PATH", "").split(os.pathsep)
        if folder != own and not (Path(folder).parent / "pyvenv.cfg").exists()
    ]
    return os.pathsep.join((*given, "/usr/sbin", "/sbin"))


def program(name: str) -> str:
    """Give the path of a program of dcmtk's, or of Orthanc.

    Raises
    ------
    NotFoundError
        It is not installed.
    """
    found = shutil.which(name, path=search_path())
    if found is None:
        raise NotFoundError(f"{name} is not installed; on Debian: apt-get install dcmtk orthanc.")
    return found


def _measured(
    receive: Callable[[Path], AbstractContextManager[Receiver]], films: Path, scratch: Path
) -> Quantities:
    megabytes = sum(path.stat().st_size for path in films.rglob("*.dcm")) / 1e6
    folder = scratch / "receiver"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with receive(folder) as at:
            worked, begun = _cpu_s(at.pid), time.perf_counter()
            senders = [_sender(part, at) for part in sorted(films.iterdir())]
            codes = [sender.wait() for sender in senders]
            seconds = time.perf_counter() - begun
            resident = _resident_mib(at.pid)
            time.sleep(0.5)  # until children that have ended are counted
            worked = _cpu_s(at.pid) - worked
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.sync()
    if any(codes):
        raise RadEditError(f"a sender of the bench ended with {max(codes)} at {at.title}.")
    per_gb = worked / (megabytes / 1000)
    return {"MB/s": megabytes / seconds, "CPU s per GB": per_gb, "receiver MiB": resident}


def _sender(films: Path, at: Receiver) -> subprocess.Popen[bytes]:
    to = ["-aet", CALLER, "-aec", at.title, "+sd", "127.0.0.1", str(at.port), str(films)]
    return subprocess.Popen([program("storescu"), "-R", "-pdu", PDU, *to])


@contextmanager
def node(folder: Path) -> Iterator[Receiver]:
    """Run a routing node; its case stays open, so that it only receives and sorts."""
    port, file = _free_port(), folder / "route.toml"
    file.write_text(ROUTE.format(port=port, caller=CALLER))
    with _process([*RADEDIT, "route", str(file)], folder) as pid:
        _until_answered("RADEDIT", port)
        yield Receiver("RADEDIT", port, pid)


@contextmanager
def storescp(folder: Path) -> Iterator[Receiver]:
    """Run dcmtk's receiver."""
    port = _free_port()
    command = [program("storescp"), "--fork", "-pdu", PDU, "-od", str(folder), str(port)]
    with _process(command, folder) as pid:
        _until_answered("ANY", port)
        yield Receiver("ANY", port, pid)


@contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Run an Orthanc that keeps what it gets."""
    port, file = _free_port(), folder / "orthanc.json"
    configuration = {
        "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
        "DicomPort": port, "HttpServerEnabled": False, "DicomAet": "ORTHANC",
        "DicomAlwaysAllowStore": True, "RemoteAccessAllowed": False,
    }  # fmt: skip
    file.write_text(json.dumps(configuration))
    with _process([program("Orthanc"), str(file)], folder) as pid:
        _until_answered("ORTHANC", port)
        yield Receiver("ORTHANC", port, pid)


@contextmanager
def _process(command: list[str], folder: Path) -> Iterator[int]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_answered(title: str, port: int) -> None:
    """Wait for an answer to C-ECHO."""
    echo = [program("echoscu"), "-aet", CALLER, "-aec", title, "127.0.0.1", str(port)]
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if subprocess.run(echo, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise RadEditError(f"the receiver {title} of the bench does not answer.")


def _resident_mib(pid: int) -> float:
    """Memory of a process and those that it started."""
    return _summed(pid, lambda each: each.memory_info().rss) / 2**20


def _cpu_s(pid: int) -> float:
    """CPU time of a process and those that it started, ended ones included."""
    return _summed(pid, lambda each: sum(each.cpu_times()[:4]))


def _summed(pid: int, figure: Callable[[Any], float]) -> float:
    """Add a figure up over a process and those that it started and that are still there."""
    import psutil

    first = psutil.Process(pid)
    total = 0.0
    for each in [*first.children(recursive=True), first]:
        with suppress(psutil.NoSuchProcess):
            total += figure(each)
    return total


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
