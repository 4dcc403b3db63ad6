"""Run a suite: subjects shared among processes, written down one by one, gone on with.

One subject is one piece of work: its edits are made or read back, every victim that has not
answered yet is asked, and its rows are given to the process that keeps the ledger. Pieces do not
know each other and may be done twice, so any queue can hand them out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from radedit.lib.errors import SourceError
from radedit.lib.json_lines import claimed, written_to
from radedit.lib.phantom.instances import tool_version
from radedit.lib.pipeline import Editor
from radedit.lib.settings import load_settings
from radedit.lib.spread import spread
from radedit.lib.stress.asking import ask, open_named
from radedit.lib.stress.judge import load_judge
from radedit.lib.stress.ledger import EDITS, FORMAT, Ledger, Row
from radedit.lib.stress.probing import keys_of
from radedit.lib.stress.rows import about_row, answer_row, arm_of
from radedit.lib.stress.subjects import Cohort
from radedit.lib.stress.suite import Suite
from radedit.lib.stress.variants import Arm, Maker, Shown, region_of
from radedit.lib.victims.protocol import Victim

Progress = Callable[[int, int], None]
Look = Callable[[Sequence[Row]], None]
Piece = tuple[int, Mapping[str, frozenset[Arm]]]
"""Number of a subject, and the victims to ask, each with what it has answered about already."""


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


def run(
    plan: Plan, progress: Progress, editor: Editor | None = None, look: Look | None = None
) -> Ledger:
    """Measure every subject that the folder does not hold yet.

    Parameters
    ----------
    look : called with the rows of all real films before the first edit; raises to end the run

    Raises
    ------
    VictimGoneError
        A victim went away; what was found is kept, and the same call goes on. A victim that is
        another model by then is asked about every film again.
    VictimError
        A victim gave no usable answer about any of the first films.
    RadEditError
        An edit fails, a process ended, another process runs in the folder, or it cannot be
        written.
    """
    with written_to("--out"):
        plan.out.mkdir(parents=True, exist_ok=True)
        lock = claimed(plan.out, "--out")
    with lock:
        bench, ledger = open_bench(plan, editor)
        keys = keys_of(bench, ledger)
        total = len(plan.cohort)
        if look is not None:
            for number, asked in _left(bench, ledger, keys):
                if all(Arm("real") in answered for answered in asked.values()):
                    continue
                ledger.add(_keyed(measure(bench, number, asked, only_real=True), keys))
            look(ledger.rows())
        work = _left(bench, ledger, keys)
        progress(total - len(work), total)
        for count, rows in enumerate(_measured(bench, work), total - len(work) + 1):
            ledger.add(_keyed(rows, keys))
            progress(count, total)
    return ledger


def _keyed(rows: Sequence[Row], keys: Mapping[str, str]) -> list[Row]:
    """Write the key of the model that answered into its answers."""
    keyed = []
    for row in rows:
        if row["type"] == "answer":
            row = {**row, "key": keys[row["victim"]]}
        elif row["type"] == "done":
            row = {**row, "victims": {name: keys[name] for name in row["victims"]}}
        keyed.append(row)
    return keyed


def _left(bench: Bench, ledger: Ledger, keys: Mapping[str, str]) -> list[Piece]:
    """Subjects that are not done yet, each with its victims and what they answered already."""
    done = ledger.done()
    answered: dict[tuple[str, str], set[Arm]] = {}
    again: set[str] = set()  # subjects with an edit that may be made another time
    numbers: dict[int, str] = {}
    open_answers: set[tuple[str, str]] = set()
    for row in ledger.rows():
        if row["type"] == "subject":
            numbers[row["number"]] = row["subject"]
        elif row["type"] == "film" and row.get("again"):
            again.add(row["subject"])
        elif row["type"] == "answer":
            place = row["subject"], row["victim"]
            if row.get("again"):
                open_answers.add(place)
            else:
                answered.setdefault(place, set()).add(arm_of(row))
    work: list[Piece] = []
    for number in range(len(bench.plan.cohort)):
        subject = numbers.get(number, "")
        left = {
            name: frozenset(answered.get((subject, name), ()))
            for name, key in keys.items()
            if done.get(subject, {}).get(name) != key
            or (subject, name) in open_answers
            or subject in again
        }
        if left or (not keys and subject not in done):  # with nobody to ask, edits alone
            work.append((number, left))
    return work


def measure(
    bench: Bench, number: int, asked: Mapping[str, Collection[Arm]], only_real: bool = False
) -> list[Row]:
    """Do one subject: its rows, the last of them saying that it is done.

    Parameters
    ----------
    asked : victims to ask, each with the films that it has answered about
    only_real : ask about the real film alone; the subject is not done by that
    """
    subject = bench.plan.cohort.subject(number)
    question = bench.plan.suite.question
    region = region_of(subject, question.region) if question.structure else None
    rows: list[Row] = [about_row(subject, number, question, bench.maker.judge)]
    for made in bench.maker.films(subject):
        if not isinstance(made, Shown):
            arm, why = made
            row = {"type": "film", "subject": subject.key, **asdict(arm), "refused": str(why)}
            rows.append({**row, "again": True} if isinstance(why, SourceError) else row)
            continue
        if made.about is not None:
            rows.append({"type": "film", "subject": subject.key, **asdict(made.arm), **made.about})
        for name, answered in asked.items():
            if made.arm not in answered:
                said = ask(bench.victims[name], made, question, region)
                rows.append(answer_row(subject.key, name, made.arm, said))
        if only_real:
            return rows
    rows.append({"type": "done", "subject": subject.key, "victims": list(asked)})
    return rows


def _measured(bench: Bench, work: list[Piece]) -> Iterator[list[Row]]:
    yield from spread(_one, work, bench, partial(_load, bench.plan), bench.plan.devices)


def _load(plan: Plan, device: str) -> Bench:
    return open_bench(plan, Editor(replace(load_settings(), device=device)))[0]


def _one(bench: Bench, piece: Piece) -> list[Row]:
    return measure(bench, *piece)
