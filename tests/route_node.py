"""A whole routing node as its users run it: `radedit route CONFIG.toml`, in its own processes.

`tests/system/test_route.py` uses it, `scripts/route-chaos` too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from radedit_dicom.dimse import DimseArchive
from radedit_dicom.dimse_address import DimseAddress, DimseTimeouts
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.spool import Spool

CALLER = "CR1"
_PATIENCE_S = 240.0


class RouteNode:
    """One node: its file, its spool, its processes.

    Parameters
    ----------
    folder : for the file, the spool and the log
    port : that it listens on
    body : of the TOML file, behind `spool`, `[receive]` and `[study]`
    receive, study : further lines of those tables
    reserve_gb : room on the disk that it leaves free
    top : lines ahead of all tables
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        body: str,
        receive: str = "",
        study: str = "quiet_s = 1",
        reserve_gb: float = 0,
        top: str = "",
    ) -> None:
        self.folder, self.port = folder, port
        self._receive, self._study, self._reserve_gb = receive, study, reserve_gb
        self._top = top
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.write(body)
        self.spool = Spool(folder / "spool")
        self.journal = Journal(self.spool.journal)

    @property
    def file(self) -> Path:
        return self.folder / "route.toml"

    @property
    def log(self) -> str:
        return (self.folder / "node.log").read_text(errors="replace")

    @property
    def archive(self) -> DimseArchive:
        """The node as a sender sees it."""
        timeouts = DimseTimeouts(connect_s=60, associate_s=120, response_s=240, commit_s=120)
        return DimseArchive(
            DimseAddress("127.0.0.1", self.port, "RADEDIT", CALLER, timeouts=timeouts, retries=0)
        )

    def write(self, body: str) -> None:
        """Write the route's file, over the one before."""
        text = (
            f'spool = "spool"\n{self._top}\n[receive]\nport = {self.port}\ncallers = ["{CALLER}"]\n'
            f"reserve_gb = {self._reserve_gb}\n{self._receive}\n[study]\n{self._study}\n{body}\n"
        )
        staged = self.file.with_suffix(".new")
        staged.write_text(text)
        staged.replace(self.file)

    def start(self) -> None:
        """Start it, and wait until it answers an echo and its light processes run."""
        command = [sys.executable, "-m", "radedit.lib.cli", "route", str(self.file)]
        with (self.folder / "node.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
        self.until(self._is_up, "the node does not answer")

    def stop(self) -> None:
        """End it as a service is ended."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def close(self) -> None:
        """End it, whatever state it is in."""
        self.stop()
        self.journal.close()

    def kill(self, role: str) -> bool:
        """Kill one of its processes as a power cut does; False: it was not running just now."""
        pid = self.spool.holder(role)
        if pid is None:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def command(self, *arguments: str, code: int = 0) -> str:
        """Run `radedit route` with its file behind the first argument; give what it said."""
        done = subprocess.run(
            [
                *(sys.executable, "-m", "radedit.lib.cli", "route"),
                *(arguments[0], str(self.file), *arguments[1:]),
            ],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def json(self, *arguments: str) -> Any:
        """Run a command and parse what it says."""
        return json.loads(self.command(*arguments, "--json"))

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Ask its journal."""
        return [dict(row) for row in self.journal.rows(query, values)]

    def states(self, table: str = "instances") -> dict[str, int]:
        """Count the rows of a table by state."""
        found = self.rows(f"SELECT state, count(*) AS count FROM {table} GROUP BY state")
        return {row["state"]: row["count"] for row in found}

    def until(self, so: Callable[[], Any], otherwise: str, patience_s: float = _PATIENCE_S) -> Any:
        """Wait until something is so."""
        deadline = time.monotonic() + patience_s
        while True:
            found = so()
            if found:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"{otherwise}\n{self._picture()}\n{self.log[-4000:]}")
            time.sleep(0.1)

    def _is_up(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the node ended at once:\n{self.log[-4000:]}")
        return echoes(self.archive) and all(map(self.spool.is_held, ("plan", "send")))

    def _picture(self) -> str:
        return ", ".join(f"{t}: {self.states(t)}" for t in ("instances", "jobs", "deliveries"))


def echoes(archive: DimseArchive) -> bool:
    """Tell whether a node answers."""
    from radedit_dicom.errors import ArchiveError

    try:
        archive.echo()
    except ArchiveError:
        return False
    return True
