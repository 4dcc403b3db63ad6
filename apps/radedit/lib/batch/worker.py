"""The process that edits: one for each device, fed over a pipe by the one that keeps the journal.

It may be killed at any moment: what it stored is in the archive under UIDs that follow from the
edit, and its studies are given to another one.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

from radedit.lib.batch.cohort import Study
from radedit.lib.batch.plan import FETCHED, BatchPlan
from radedit.lib.batch.stages import Spent

Row = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """A study to do, and what an earlier run wrote about its films."""

    number: int
    study: Study
    known: dict[str, Row]


@dataclass(frozen=True)
class Ready:
    """The models are loaded."""

    model_sha256: str


@dataclass(frozen=True)
class Refused:
    """They cannot be; nothing was begun."""

    why: str


@dataclass(frozen=True)
class Ended:
    """A film has ended; without a row, the last one of its study has."""

    number: int
    row: Row | None


@dataclass(frozen=True)
class Vitals:
    """How the process is, since it began: seconds by stage, and its memory now, bytes."""

    spent: Mapping[str, Spent]
    resident: int
    most_in_memory: int


def work(plan: BatchPlan, device: str, threads: int | None, pipe: Connection) -> None:
    """Load the models, then do what comes through the pipe until None does; the process's main.

    Parameters
    ----------
    device : torch device
    threads : of torch's own; None = as it chooses
    pipe : gives `Work` or None; takes `Ready` or `Refused`, then `Ended` and `Vitals`
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who runs the batch stops it
    from radedit.lib.batch.line import Line, sentence

    try:
        shop = _shop(plan, device, threads)
    except Exception as error:  # the outermost edge of the process
        pipe.send(Refused(sentence(error)))
        return
    pipe.send(Ready(shop.editor.backbone(shop.request.model).sha256))
    sending = threading.Lock()

    def tell(number: int, row: Row | None) -> None:
        with sending:
            if row is None:
                pipe.send(_vitals(line))
            pipe.send(Ended(number, row))

    line = Line(shop, tell)
    threading.Thread(target=_receive, args=(pipe, line), daemon=True).start()
    try:
        line.run()
    finally:
        shutil.rmtree(shop.cache, ignore_errors=True)


def _receive(pipe: Connection, line: Any) -> None:
    while True:
        try:
            given = pipe.recv()
        except (EOFError, OSError):
            os._exit(1)  # nobody would write down what is done from now on
        if given is None:
            line.close()
            return
        line.put(given.number, given.study, given.known)


def _shop(plan: BatchPlan, device: str, threads: int | None) -> Any:
    import torch

    from radedit.lib.batch.line import Shop
    from radedit.lib.batch.results import Results
    from radedit.lib.cases import EditRequest
    from radedit.lib.deliver import Manner, Outbox
    from radedit.lib.errors import ParameterError
    from radedit.lib.pipeline import Editor
    from radedit.lib.settings import load_settings
    from radedit_dicom.access import Access
    from radedit_dicom.locate import open_archive, split_address

    if threads is not None:
        torch.set_num_threads(threads)
    # A film comes once, so its inversion is of no further use.
    settings = replace(load_settings(), device=device, inversion_cache_mb=0)
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError):  # the latter where torch knows no GPU at all
        raise ParameterError(f"the device '{device}' is not there; name another one.") from None
    editor, access, request = (
        Editor(settings),
        Access.from_environment(),
        EditRequest(**plan.request),
    )
    manner = Manner(plan.study, settings.pseudonym_key, plan.compression)
    output = open_archive(plan.output, access)
    editor.parameters(request)
    Outbox(output, manner).check_writable()
    editor.backbone(request.model).check_prompt(request.prompt)
    editor.scorer(request.model)
    return Shop(
        editor=editor,
        request=request,
        archive=open_archive(split_address(plan.source)[0], access),
        results=Results(output, manner),
        cache=plan.work / FETCHED / str(os.getpid()),
        pace=plan.pace,
        derived=plan.derived,
    )


def _vitals(line: Any) -> Vitals:
    import psutil

    return Vitals(line.clock.spent(), psutil.Process().memory_info().rss, line.most_in_memory)
