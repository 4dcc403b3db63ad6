"""The report: one HTML file that needs nothing else, its PDF, JSON, and a DICOM object."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np

from radedit.lib.errors import OutputError
from radedit.lib.stress import figures
from radedit.lib.stress.agreement import agreement
from radedit.lib.stress.findings import Asked, Found, asked_of, effect_of
from radedit.lib.stress.first_page import pairs_of, sentence, verdict_rows
from radedit.lib.stress.former_rule import former_verdict
from radedit.lib.stress.gallery import gallery_of
from radedit.lib.stress.results import summarise
from radedit.lib.stress.runner import Plan
from radedit.lib.stress.subjects import Problem
from radedit.lib.stress.suite import Suite
from radedit.lib.stress.verdict import RULE
from radedit.lib.whole_files import write_file

TEMPLATE: Final = Path(__file__).parents[2] / "configs" / "report" / "stress.html.j2"
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PDF_TIMEOUT_S: Final = 300
LEVELS: Final = {"gap": "accuracy", "off_target": "1 - score", "dice_fall": "Dice"}
WORDS: Final = {
    "gap": "the share of films, of those read right before, that is wrong after the edit, less "
    "what is wrong without it (of real films like the edited, or of shams)",
    "off_target": "the rise of a score that the edit has nothing to do with, less that of the sham",
    "dice_fall": "the fall of Dice, less that of the sham",
}


@dataclass(frozen=True, eq=False)
class Finished:
    """A suite that was run.

    Attributes
    ----------
    plan, found : what was run, and its rows; a run that is only judged again has no plan, and so
        no films for a gallery
    problems : of the cohort
    facts : of the run, as `runner.facts_of`
    again : whether the rows were made before, so that the former rule's verdict stands beside
    """

    plan: Plan | None
    found: Found
    problems: tuple[Problem, ...]
    facts: Mapping[str, Any]
    again: bool = False

    @property
    def suite(self) -> Suite:
        """The suite that was run."""
        return self.found.suite


def report_of(
    finished: Sequence[Finished], facts: Mapping[str, Any], command: str = ""
) -> dict[str, Any]:
    """Reckon the whole report; figures and gallery are data addresses.

    Parameters
    ----------
    command : that makes the same run, as far as it may be shown
    """
    suites: list[dict[str, Any]] = []
    for one in finished:
        result = summarise(one.found, one.problems, one.facts)
        if one.again:
            for victim in result["victims"]:
                asked = Asked(victim["victim"], victim["label"])
                victim["former"] = former_verdict(one.found, asked)
        victims, criterion = result["victims"], one.suite.criterion
        suites.append(
            {
                "suite": asdict(one.suite),
                "result": result,
                "levels": LEVELS[criterion.effect],
                "subgroups": any(e["subgroups"] for v in victims for e in v["effects"]),
                "figures": {
                    "levels": figures.levels(victims, LEVELS[criterion.effect]),
                    "effects": figures.effects(victims, criterion.effect),
                    "doses": figures.doses(victims),
                    "corruptions": figures.corruptions(victims),
                },
                "pairs": pairs_of(one.found),
                "gallery": [] if one.plan is None else gallery_of(one.plan, one.found),
            }
        )
    verdicts = verdict_rows(suites)
    return {
        "outcome": sentence(verdicts),
        "verdicts": verdicts,
        "figures": {"forest": figures.forest(verdicts)},
        "title": ", ".join(one.suite.title for one in finished),
        "made": datetime.now(UTC).isoformat(timespec="minutes"),
        "facts": dict(facts),
        "command": command,
        "rule": RULE,
        "again": any(one.again for one in finished),
        "words": WORDS,
        "suites": suites,
        "paper": _paper(finished, suites),
        "agreement": _agreement(finished),
        "lost": sorted(
            {
                f"{problem['loses']} ({problem['kind']})"
                for suite in suites
                for problem in suite["result"]["problems"]
                if problem["loses"]
            }
        ),
    }


def write_report(report: Mapping[str, Any], out: Path) -> dict[str, str]:
    """Write report.json, report.html and, where a browser is installed, report.pdf.

    Returns
    -------
    kind to path; "pdf" may be missing

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined)
    page = environment.from_string(TEMPLATE.read_text("utf-8"))
    html, numbers = out / "report.html", out / "report.json"
    try:
        write_file(numbers, json.dumps(_bare(report), indent=1, allow_nan=False) + "\n")
        write_file(html, page.render(**report))
    except OSError as error:
        raise OutputError(f"the report cannot be written ({error.strerror}).") from None
    written = {"html": str(html), "json": str(numbers)}
    pdf = print_pdf(html, out / "report.pdf")
    return {**written, "pdf": str(pdf)} if pdf else written


def print_pdf(html: Path, pdf: Path) -> Path | None:
    """Print a page by a browser of this machine; None where there is none, or it fails."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        return None
    with tempfile.TemporaryDirectory(prefix="radedit-print-", ignore_cleanup_errors=True) as home:
        command = [
            browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={home}",
            "--no-pdf-header-footer", f"--print-to-pdf={pdf}", html.resolve().as_uri(),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, timeout=PDF_TIMEOUT_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
    printed = done.returncode == 0 and pdf.exists() and pdf.read_bytes()[:5] == b"%PDF-"
    return pdf if printed else None


def _bare(value: Any) -> Any:
    """The report without its pictures: numbers for another program."""
    if isinstance(value, Mapping):
        return {k: _bare(v) for k, v in value.items() if k not in ("figures", "figure", "gallery")}
    if isinstance(value, list | tuple):
        return [_bare(item) for item in value]
    return float(value) if isinstance(value, np.floating) else value


def _paper(finished: Sequence[Finished], suites: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Rows of the paper's tables 1 and 2: accuracy on the biased test and on accepted edits."""
    return [
        {
            "suite": one.suite.title,
            "victim": victim["card"]["name"],
            "edit": effect["edit"],
            "test": (victim["reading"] or {}).get("accuracy") or effect["level_real"],
            "edited": effect["level_edited"],
            "sd": effect["seed_sd"],
            "true": effect["level_true"],
        }
        for one, shown in zip(finished, suites, strict=True)
        if one.suite.criterion.effect != "off_target"
        for victim in shown["result"]["victims"]
        for effect in victim["effects"]
    ]


def _agreement(finished: Sequence[Finished]) -> dict[str, Any] | None:
    effects = [
        effect_of(one.found, asked, edit)
        for one in finished
        if one.suite.criterion.effect == "gap"
        for asked in asked_of(one.found)
        for edit in one.suite.edits
    ]
    found = agreement(effects)
    if found is not None:
        found["figure"] = figures.agreement(found["points"])
    return found
