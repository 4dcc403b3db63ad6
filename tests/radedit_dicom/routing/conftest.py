"""A node of the router in this process, with real sockets, and senders for it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from radedit_dicom.dimse import DimseArchive
from radedit_dicom.dimse_address import DimseAddress, DimseTimeouts
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.intake import Intake
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.receiver import Receive, Receiver
from radedit_dicom.router.spool import Spool

CALLER = "CR1"


@dataclass
class Node:
    """A node, and ways to look into it."""

    spool: Spool
    journal: Journal
    audit: Audit
    intake: Intake
    receiver: Receiver

    @property
    def address(self) -> DimseAddress:
        timeouts = DimseTimeouts(connect_s=60, associate_s=60, response_s=120, commit_s=60)
        return DimseAddress(
            "127.0.0.1", self.receiver.port, "RADEDIT", CALLER, timeouts=timeouts, retries=0
        )

    @property
    def archive(self) -> DimseArchive:
        return DimseArchive(self.address)

    def states(self) -> dict[str, str]:
        rows = self.journal.rows("SELECT uid, state FROM instances")
        return {row["uid"]: row["state"] for row in rows}

    def files(self) -> list[Path]:
        return [p for p in (self.spool.folder / "incoming").rglob("*") if p.is_file()]

    def refusals(self) -> dict[str, int]:
        return {r["reason"]: r["count"] for r in self.journal.rows("SELECT * FROM refusals")}

    def storescu(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Send with dcmtk's own sender."""
        command = [program, "-R", "-aet", CALLER, "-aec", "RADEDIT", *arguments[:-1]]
        return subprocess.run(
            [*command, "127.0.0.1", str(self.receiver.port), arguments[-1]],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )


@pytest.fixture
def make_spool(tmp_path: Path) -> Callable[[], tuple[Spool, Journal, Audit]]:
    def make() -> tuple[Spool, Journal, Audit]:
        spool = Spool(tmp_path / "spool")
        return spool, Journal(spool.journal), Audit(spool.audit)

    return make


@pytest.fixture
def make_node(
    make_spool: Callable[[], tuple[Spool, Journal, Audit]],
) -> Iterator[Callable[..., Node]]:
    """Start a node; `free` gives its free bytes, the rest are settings of `Receive`."""
    running: list[Node] = []

    def make(free: Callable[[], int] | None = None, **settings: Any) -> Node:
        spool, journal, audit = make_spool()
        given = {"port": 0, "callers": (CALLER,), "reserve_bytes": 0} | settings
        receive = Receive(**given)
        intake = Intake(spool, journal, audit, receive.reserve_bytes, free)
        node = Node(spool, journal, audit, intake, Receiver(receive, intake))
        node.receiver.start()
        running.append(node)
        return node

    yield make
    for node in running:
        node.receiver.stop()
        node.journal.close()


@pytest.fixture
def part10_file(tmp_path: Path, make_dataset: Callable[..., Dataset]) -> Callable[..., Path]:
    """Write a film to a file, with any attribute replaced."""

    def write(name: str = "film.dcm", **attributes: Any) -> Path:
        dataset = make_dataset(**attributes)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        path = tmp_path / "sent" / name
        path.parent.mkdir(exist_ok=True)
        dataset.save_as(path, enforce_file_format=True)
        return path

    return write
