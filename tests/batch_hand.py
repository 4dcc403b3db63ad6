"""A process for `Crew` that edits nothing: what becomes of a film is written in its UID.

It takes the place of `radedit.lib.batch.worker.work` where the crew itself is tested: who is given
what, and what happens when a process ends. `.13.` in a film's UID ends the process as a kill does.
"""

from __future__ import annotations

import os
from multiprocessing.connection import Connection
from typing import Any

from radedit.lib.batch.stages import STAGES, Spent
from radedit.lib.batch.worker import Ended, Ready, Refused, Vitals


def work(plan: Any, device: str, threads: int | None, pipe: Connection) -> None:
    if device == "none":
        pipe.send(Refused("the device 'none' is not there; name another one."))
        return
    pipe.send(Ready("ab" * 32))
    spent = {name: Spent() for name in STAGES}
    while (given := pipe.recv()) is not None:
        for ref in given.study.refs:
            if ".13." in ref.uid:
                os._exit(9)
            row = {"input": ref.name, "film": ref.uid, "state": "edited", "device": device}
            known = given.known.get(ref.uid)
            pipe.send(Ended(given.number, {**known, "again": True} if known else row))
            for took in spent.values():
                took.add(Spent(0.5, 0.25, 1))
        pipe.send(Vitals(spent, 100 * 2**20, 1))
        pipe.send(Ended(given.number, None))
