"""Run a suite: subjects shared among processes, written down one by one, gone on with.

One subject is one piece of work: its edits are made or read back, every victim that has not
answered yet is asked, and its rows are given to the process that keeps the ledger. Pieces do not
know each other and may be done twice, so any queue can hand them out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from radedit.lib.json_lines import claimed, written_to
from radedit.lib.phantom.instances import tool_version
from radedit.lib.pipeline import Editor
from radedit.lib.settings import load_settings
from radedit.lib.spread import spread
from radedit.lib.stress.asking import ask, open_named
from radedit.lib.stress.filters import reader_sees
from radedit.lib.stress.judge import load_judge
from radedit.lib.stress.ledger import EDITS, FORMAT, Ledger, Row
from radedit.lib.stress.subjects import Cohort, Subject
from radedit.lib.stress.suite import Suite
from radedit.lib.stress.variants import Arm, Maker, Shown, region_of
from radedit.lib.victims.protocol import Victim
from radedit_dicom.pixels import to_display

Progress = Callable[[int, int], None]
Piece = tuple[int, tuple[str, ...]]
"""Number of a subject, and the victims that have not answered about it."""


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes
    ----------
    suite, cohort : see their modules
    victims : specifications, as `asking.open_named` takes them
    out : folder of the run
    devices : one process for each; of one alone, this process
    """

    suite: Suite
    cohort: Cohort
    victims: tuple[str, ...]
    out: Path
    devices: tuple[str, ...] = ("cpu",)


@dataclass(frozen=True, eq=False)
class Bench:
    """A plan with everything loaded."""

    plan: Plan
    maker: Maker
    victims: Mapping[str, Victim]


def facts_of(plan: Plan, editor: Editor) -> dict[str, Any]:
    """All that the rows follow from, but the victims: those are added to a run."""
    backbone = editor.backbone(plan.suite.model or None)
    return {
        "format": FORMAT,
        "version": tool_version(),
        "suite": plan.suite.name,
        "suite_sha256": plan.suite.sha256,
        "cohort": plan.cohort.digest,
        "model": backbone.name,
        "model_sha256": backbone.sha256,
        "scorer": editor.scorer(plan.suite.model or None).name,
        "judge_sha256": load_judge().sha256 if plan.suite.filter.consistent else "",
        "device": editor.settings.device.partition(":")[0],  # which GPU of several is the same
        "dtype": editor.dtype,
    }


def open_bench(plan: Plan, editor: Editor | None = None) -> tuple[Bench, Ledger]:
    """Load the editor, the victims and what the folder holds already.

    Raises
    ------
    RadEditError
        A model or a victim cannot be loaded, or the folder holds another run.
    """
    editor = editor or Editor()
    facts = facts_of(plan, editor)
    ledger = Ledger(plan.out, facts)
    judge = load_judge() if plan.suite.filter.consistent else None
    key = repr(sorted(facts.items()))
    maker = Maker(plan.suite, editor, judge, plan.out / EDITS, key)
    return Bench(plan, maker, {spec: open_named(spec) for spec in plan.victims}), ledger


def run(plan: Plan, progress: Progress, editor: Editor | None = None) -> Ledger:
    """Measure every subject that the folder does not hold yet.

    Raises
    ------
    VictimGoneError
        A victim went away; what was found is kept, and the same call goes on. A victim that is
        another model by then is asked about every film again.
    RadEditError
        An edit fails, a process ended, another process runs in the folder, or it cannot be
        written.
    """
    with written_to("--out"):
        plan.out.mkdir(parents=True, exist_ok=True)
        lock = claimed(plan.out, "--out")
    with lock:
        bench, ledger = open_bench(plan, editor)
        ledger.add(list(_cards(bench)))
        total, work = len(plan.cohort), _left(bench, ledger)
        progress(total - len(work), total)
        for count, rows in enumerate(_measured(bench, work), total - len(work) + 1):
            ledger.add(rows)
            progress(count, total)
    return ledger


def _left(bench: Bench, ledger: Ledger) -> list[Piece]:
    """Subjects that are not done yet, each with the victims that have not answered about it."""
    done, known, work = ledger.done(), ledger_numbers(ledger), []
    models = {name: model_of(victim) for name, victim in bench.victims.items()}
    for number in range(len(bench.plan.cohort)):
        answered = done.get(known.get(number, ""), {})
        left = [name for name, model in models.items() if answered.get(name) != model]
        if left:
            work.append((number, tuple(left)))
    return work


def model_of(victim: Victim) -> str:
    """Tell a victim's model from the one that has its name in another version."""
    card = victim.card
    said = "\0".join((card.version, card.sha256 or "", card.preprocessing))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def ledger_numbers(ledger: Ledger) -> dict[int, str]:
    """Subjects that the ledger knows, by their number in the cohort."""
    return {row["number"]: row["subject"] for row in ledger.rows() if row["type"] == "subject"}


def measure(bench: Bench, number: int, victims: Sequence[str]) -> list[Row]:
    """Do one subject: its rows, the last of them saying that it is done."""
    subject = bench.plan.cohort.subject(number)
    question = bench.plan.suite.question
    region = region_of(subject, question.region) if question.structure else None
    rows: list[Row] = [_about(subject, number, bench)]
    for made in bench.maker.films(subject):
        if not isinstance(made, Shown):
            arm, why = made
            rows.append({"type": "film", "subject": subject.key, **_arm(arm), "refused": why})
            continue
        if made.about is not None:
            rows.append({"type": "film", "subject": subject.key, **_arm(made.arm), **made.about})
        for name in victims:
            asked = ask(bench.victims[name], made, question, region)
            rows.append(
                {
                    "type": "answer",
                    "subject": subject.key,
                    "victim": name,
                    **_arm(made.arm),
                    **asked.as_row(),
                }
            )
    models = {name: model_of(bench.victims[name]) for name in victims}
    rows.append({"type": "done", "subject": subject.key, "victims": models})
    return rows


def _about(subject: Subject, number: int, bench: Bench) -> Row:
    label, judge = bench.plan.suite.question.label, bench.maker.judge
    seen = None
    if label and judge is not None:
        display = to_display(subject.film)
        facing = display[:, ::-1] if subject.film.is_mirrored else display
        seen = reader_sees(judge, np.ascontiguousarray(facing), label)
    return {
        "type": "subject",
        "number": number,
        "subject": subject.key,
        "patient": subject.patient,
        "group": subject.group,
        "present": dict(subject.present),
        "reader": seen,
        "traits": dict(subject.traits),
        "spacing_mm": list(subject.film.spacing_mm or ()),
    }


def _cards(bench: Bench) -> Iterator[Row]:
    for name, victim in bench.victims.items():
        card = victim.card
        labels = (bench.plan.suite.question.label, *bench.plan.suite.question.watch)
        yield {
            "type": "card",
            "victim": name,
            "name": card.name,
            "version": card.version,
            "threshold": card.threshold,
            "thresholds": {x: card.threshold_of(x) for x in labels if x},
            "preprocessing": card.preprocessing,
            "sha256": card.sha256,
            "world": getattr(card, "world", ""),
        }


def _arm(arm: Arm) -> Row:
    return asdict(arm)


def _measured(bench: Bench, work: list[Piece]) -> Iterator[list[Row]]:
    yield from spread(_one, work, bench, partial(_load, bench.plan), bench.plan.devices)


def _load(plan: Plan, device: str) -> Bench:
    return open_bench(plan, Editor(replace(load_settings(), device=device)))[0]


def _one(bench: Bench, piece: Piece) -> list[Row]:
    return measure(bench, *piece)
