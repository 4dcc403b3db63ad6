"""Verdicts of a run that was made before: from its rows alone, nothing edited, nobody asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from radedit.lib.errors import NotFoundError, ParameterError
from radedit.lib.stress.findings import sort_rows
from radedit.lib.stress.ledger import FILE, read_run
from radedit.lib.stress.report import Finished
from radedit.lib.stress.subjects import Problem
from radedit.lib.stress.suite import PACKAGED, Suite, load_suite, suite_of


def judged_again(run: Path, named: Sequence[str] = ()) -> list[Finished]:
    """Read the suites of a run.

    Parameters
    ----------
    run : folder that `radedit stress --out` wrote
    named : suites, by name or file; those of the run's own report.json unless told

    Raises
    ------
    NotFoundError
        There is no run, or a suite of it is nowhere.
    ParameterError
        A suite that was named is none of the run.
    """
    folders = sorted(path.parent for path in run.glob(f"*/{FILE}"))
    if not folders:
        raise NotFoundError(
            "The folder holds no run of a stress test (SUITE/rows.jsonl); name the one that "
            "--out named."
        )
    given = {suite.name: suite for suite in map(load_suite, named)}
    told = _report_of(run)
    finished = []
    for folder in folders:
        facts, rows = read_run(folder)
        name = str(facts.get("suite", folder.name))
        if given and name not in given:
            continue
        suite = given.pop(name, None) or _suite_of(name, str(facts.get("suite_sha256")), told)
        before = told.get(name, {}).get("result", {}).get("problems", [])
        problems = tuple(Problem(**problem) for problem in before)
        finished.append(Finished(None, sort_rows(suite, rows), problems, facts, again=True))
    if given:
        raise ParameterError(f"The run has no suite {', '.join(sorted(given))}.")
    return finished


def _report_of(run: Path) -> dict[str, dict[str, Any]]:
    try:
        report = json.loads((run / "report.json").read_text("utf-8"))
        return {one["suite"]["name"]: one for one in report["suites"]}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _suite_of(name: str, sha256: str, told: Mapping[str, Mapping[str, Any]]) -> Suite:
    """The suite as the run's report tells it, or a packaged one that did not change since."""
    if name in told:
        known = {f.name for f in fields(Suite)}
        return suite_of({k: v for k, v in told[name]["suite"].items() if k in known})
    path = PACKAGED / f"{name}.toml"
    if path.is_file() and load_suite(name).sha256 == sha256:
        return load_suite(name)
    raise NotFoundError(
        f"The suite '{name}' of this run is not here (sha256 {sha256[:16]}..., and the run has no "
        "report.json); name its file."
    )
