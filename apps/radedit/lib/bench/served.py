"""How fast the server answers while it edits, beside how fast it answers at rest.

`/info/` and `/health` are asked in turn, each time over a connection of its own as a load balancer
does; meanwhile edits run, as jobs followed by server-sent events, or by MONAI Label's own `/infer`,
which runs in the server's process.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests

from radedit.lib.bench.processes import RADEDIT, real_film
from radedit.lib.bench.turns import Quantities, Way, quantiles_ms
from radedit.lib.errors import RadEditError

AT_REST: Final = "at rest"
START_S: Final = 300.0
PATHS: Final = ("/info/", "/health")
PAUSE_S: Final = 0.02
FILM: Final = "film.dcm"


@dataclass(frozen=True)
class Served:
    """A server, and what it is asked meanwhile.

    Attributes
    ----------
    url : where it answers
    edits, steps : at once, and of each
    asked : times that each path is asked of a server at rest
    """

    url: str
    edits: int = 8
    steps: int = 60
    asked: int = 200
    _seeds: Iterator[int] = field(default_factory=lambda: itertools.count(10_000), repr=False)

    def ways(self) -> dict[str, Way]:
        """At rest, and while edits run in either way."""
        return {
            AT_REST: self.at_rest,
            "edits as jobs": lambda: self.editing(self.follow),
            "edits by /infer": lambda: self.editing(self.infer),
        }

    def at_rest(self) -> Quantities:
        """Ask a server that does nothing else."""
        return quantiles_ms([self._ask(path) for _ in range(self.asked) for path in PATHS])

    def editing(self, run: Callable[[int], float | None]) -> Quantities:
        """Ask while edits run; also the longest time without an event of a job, in s."""
        silences: list[float | None] = []
        threads = [
            threading.Thread(target=lambda seed=seed: silences.append(run(seed)))
            for seed in itertools.islice(self._seeds, self.edits)
        ]
        for thread in threads:
            thread.start()
        times = [self._ask(path) for path in PATHS]
        while any(thread.is_alive() for thread in threads):
            times += [self._ask(path) for path in PATHS]
        for thread in threads:
            thread.join()
        if len(silences) != self.edits:
            raise RadEditError("an edit of the bench did not end well; look into the server's log.")
        heard = [silence for silence in silences if silence is not None]
        return quantiles_ms(times) | ({"longest silence s": max(heard)} if heard else {})

    def follow(self, seed: int) -> float:
        """Run one job to its end; the longest time between two of its events, in s."""
        body = {"image": FILM, **self._request(seed)}
        answer = requests.post(f"{self.url}/radedit/jobs", json=body, timeout=60)
        answer.raise_for_status()
        address = f"{self.url}/radedit/jobs/{answer.json()['id']}/events"
        longest, before, last = 0.0, time.monotonic(), ""
        with requests.get(address, stream=True, timeout=900) as events:
            for line in events.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("event: "):
                    longest, before = max(longest, time.monotonic() - before), time.monotonic()
                last = line or last
        if json.loads(last.removeprefix("data: "))["state"] != "done":
            raise RadEditError("a job of the bench was not done.")
        return longest

    def infer(self, seed: int) -> None:
        """Run one edit by MONAI Label's own route, which tells nothing meanwhile."""
        query = {"image": FILM, "output": "json"}
        data = {"params": json.dumps(self._request(seed))}
        address = f"{self.url}/infer/radedit"
        requests.post(address, params=query, data=data, timeout=900).raise_for_status()

    def _request(self, seed: int) -> dict[str, Any]:
        mask = "ellipse:1470,862,125,140"
        return {"prompt": "Left lung mass", "edit_mask": mask, "steps": self.steps, "seed": seed}

    def _ask(self, path: str) -> float:
        before = time.perf_counter()
        requests.get(f"{self.url}{path}", timeout=120).raise_for_status()
        taken = time.perf_counter() - before
        time.sleep(PAUSE_S)
        return taken


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run `radedit serve` with one worker on a folder with one real film; gives its address.

    Raises
    ------
    RadEditError
        It does not start.
    """
    studies, log = folder / "studies", folder / "server.log"
    studies.mkdir(parents=True)
    shutil.copyfile(real_film(), studies / FILM)
    command = [*RADEDIT, "serve", "--port", "0", "--studies", str(studies)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--state", str(folder / "state")], stdout=stream, stderr=stream
        )
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the server answers and its worker is warm."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        found = re.search(r"serving at (\S+);", log.read_text(errors="replace"))
        if found is not None:
            try:
                if requests.get(f"{found[1]}/health", timeout=10).json()["warm_workers"]:
                    return found[1]
            except requests.RequestException:
                pass
        time.sleep(0.2)
    raise RadEditError("the server of the bench did not start; try `radedit serve` by hand.")
