"""`radedit stress`: test a vendor's model on edited films, and write the report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radedit.lib.commands.console import AsJson, bar, print_json, refusals
from radedit.lib.commands.places import local, place
from radedit.lib.errors import ParameterError
from radedit_dicom.locate import is_server

if TYPE_CHECKING:
    from radedit.lib.stress.runner import Plan
    from radedit.lib.stress.subjects import Cohort
    from radedit.lib.stress.suite import Suite

LABELS = "labels.csv"
_FORMER = {True: "held", False: "not held", None: "nothing concluded"}


def stress(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SUITE...",
            help="Names of packaged suites, or files.",
            show_default="with --judge-again, those of the run",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; gone on with.",
            show_default="with --judge-again, judged-again in the run",
        ),
    ] = None,
    victim: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VICTIM", help="Model under test; may be repeated.", show_default="the suite's"
        ),
    ] = None,
    archive: Annotated[
        str | None,
        typer.Option(help="Folder or address of films.", show_default="the suite's phantoms"),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV of what the films show.", show_default=LABELS)
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="Phantoms of each group, for a trial.", min=1)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one per core or GPU", min=1)
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Also ask victims of known shortcuts (acquisition).")
    ] = False,
    augment: Annotated[
        Path | None, typer.Option(help="Folder for accepted edits as training data.")
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Folder for the films as DICOM, to be scored elsewhere; one suite."),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="VICTIM", help="Leave it out of the report; may be repeated."),
    ] = None,
    trust_labels: Annotated[
        bool, typer.Option("--trust-labels", help="Also test what reads real films wrongly.")
    ] = False,
    judge_again: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Give a run made before its verdict by today's rule, from its rows."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run stress suites and write report.html, report.pdf, report.json and report.dcm.

    A stopped run goes on where it was, also with more victims. Edited films are synthetic: this
    shows how a model can fail, not how often it does.
    """
    with refusals():
        from radedit.lib.commands.processes import processes
        from radedit.lib.pipeline import Editor
        from radedit.lib.stress.findings import sort_rows
        from radedit.lib.stress.preflight import assumptions, refuse_two_units, still_open
        from radedit.lib.stress.report import Finished, report_of
        from radedit.lib.stress.runner import Plan, facts_of, run
        from radedit.lib.stress.suite import load_suite
        from radedit.lib.stress.sweep import SWEPT

        if judge_again is not None:
            _judge_again(judge_again.expanduser(), suites or (), out, as_json)
            return
        if not suites or out is None:
            missing = "a suite" if not suites else "a folder with --out"
            raise ParameterError(f"A stress test needs {missing}; name one.")
        loaded = [load_suite(name) for name in suites]
        if len({suite.name for suite in loaded}) != len(loaded):
            raise ParameterError("the same suite is named twice; name each once.")
        out = out.expanduser()
        if export is not None and len(loaded) > 1:
            raise ParameterError("The films of one suite are exported at a time; name one suite.")
        finished, facts, editor = [], dict[str, Any](), Editor()
        for suite in loaded:
            victims = tuple(victim or (() if drop or export else suite.victims))
            if sweep and suite.shift == "acquisition":
                victims = tuple(dict.fromkeys((*victims, *SWEPT)))
            if not victims and not drop and not export:
                raise ParameterError(f"the suite {suite.name} names no victim; give --victim.")
            cohort, alone = _cohort(suite, archive, labels, count, out)
            plan = Plan(
                suite, cohort, victims, out / suite.name, processes(1 if alone else workers)
            )
            with bar(suite.name) as progress:
                ledger = run(plan, progress, editor, None if trust_labels else _look(plan))
            ledger.drop(drop or ())
            if export is not None:
                from radedit.lib.stress.offline import export_films

                with bar("films") as progress:
                    exported = export_films(plan, export.expanduser(), progress)
            facts = facts_of(plan, editor)
            rows = ledger.rows()
            refuse_two_units(rows)
            found = sort_rows(suite, rows)
            problems = (*cohort.problems, *assumptions(rows), *still_open(rows))
            finished.append(Finished(plan, found, problems, facts))
            if augment is not None and suite.question.label:
                from radedit.lib.stress.augment import export_pairs

                export_pairs(plan, found, augment.expanduser() / suite.name)
        if export is not None and not any(one.found.cards for one in finished):
            _tell_export(exported, export, as_json)
            return
        named = {key: facts[key] for key in ("version", "model", "model_sha256", "device", "dtype")}
        command = _command([suite.name for suite in loaded], victim or (), count, archive)
        report = report_of(finished, named, command)
        _tell(report, _written(report, out), as_json)


def _command(
    suites: Sequence[str], victims: Sequence[str], count: int | None, archive: str | None
) -> str:
    """Write the command that makes the same run; where films and results lie is nobody's matter."""
    parts = ["radedit", "stress", *suites]
    for victim in victims:
        parts += ["--victim", victim]
    parts += [] if count is None else ["--count", str(count)]
    parts += [] if archive is None else ["--archive", "ARCHIVE", "--labels", "LABELS"]
    return shlex.join([*parts, "--out", "RUN"])


def _judge_again(run: Path, named: Sequence[str], out: Path | None, as_json: bool) -> None:
    from radedit.lib.json_lines import written_to
    from radedit.lib.phantom.instances import tool_version
    from radedit.lib.stress.judge_again import judged_again
    from radedit.lib.stress.report import report_of

    finished = judged_again(run, named)
    facts = finished[0].facts
    keys = ("model", "model_sha256", "device", "dtype")
    target = (out or run / "judged-again").expanduser()
    with written_to("--out"):
        target.mkdir(parents=True, exist_ok=True)
    named_facts = {
        "version": tool_version(),
        "rows_made_by_version": str(facts.get("version", "not known")),
        **{key: facts[key] for key in keys if key in facts},
    }
    report = report_of(finished, named_facts)
    _tell(report, _written(report, target), as_json)


def _written(report: dict[str, Any], out: Path) -> dict[str, str]:
    from radedit.lib.stress.document import write_document
    from radedit.lib.stress.report import write_report

    written = write_report(report, out)
    if "pdf" in written:
        written["dcm"] = str(write_document(report, Path(written["pdf"]), out / "report.dcm"))
    return written


def _tell_export(exported: Mapping[str, int], folder: Path, as_json: bool) -> None:
    if as_json:
        print_json({"exported": exported, "written": {"export": str(folder)}})
        return
    print(f"{exported['films']} films in {folder}; their UIDs are in its manifest.csv")
    if exported["withheld"]:
        print(f"{exported['withheld']} films were not written, since text is burned into them")
    print("when the scores are back: the same command with --victim csv:SCORES.csv")


def _look(plan: Plan) -> Callable[[Sequence[Mapping[str, Any]]], None] | None:
    """What to ask of the rows of the real films; None where our own are tested on phantoms."""
    from radedit.lib.stress.asking import is_ours
    from radedit.lib.stress.phantom_cohort import PhantomCohort
    from radedit.lib.stress.preflight import refuse_reversed, refuse_two_units

    def look(rows: Sequence[Mapping[str, Any]]) -> None:
        refuse_two_units(rows)
        refuse_reversed(rows, plan.suite.question.label)

    known = isinstance(plan.cohort, PhantomCohort) and all(map(is_ours, plan.victims))
    return None if known else look


def _cohort(
    suite: Suite, archive: str | None, labels: Path | None, count: int | None, out: Path
) -> tuple[Cohort, bool]:
    """Open the films; True beside them if they cannot be shared among processes."""
    from dataclasses import replace

    from radedit.lib.stress.phantom_cohort import PhantomCohort

    if archive is None:
        if not suite.cohort.phantoms:
            raise ParameterError(f"the suite {suite.name} has no phantoms; give --archive.")
        groups = suite.cohort.phantoms
        if count is not None:
            groups = tuple(replace(group, count=min(count, group.count)) for group in groups)
        return PhantomCohort(groups), False
    from radedit.lib.selection import of_archive, of_folder
    from radedit.lib.settings import load_settings
    from radedit.lib.stress.archive_cohort import open_cohort
    from radedit.lib.stress.label_table import needed_labels
    from radedit_dicom.cache import Cache
    from radedit_dicom.frontal import Wanted

    at, wanted = place(archive), Wanted(priors=True)
    if is_server(archive):
        selection = of_archive(Cache(at.archive, out / "films"), at.scope, wanted)
        table = labels
    else:
        selection = of_folder(local(archive), wanted)
        beside = local(archive) / (suite.cohort.labels or LABELS)
        table = labels or (beside if beside.is_file() else None)
    needed = needed_labels(suite)
    if table is None and needed:
        raise ParameterError(
            f"The suite {suite.name} needs to know of each film whether it shows "
            f"{' and '.join(sorted(needed))}, and there is no table of labels; write {LABELS} into "
            "the folder, or name one with --labels."
        )
    cohort = open_cohort(selection, at.archive, table, load_settings(), needed)
    if not any(cohort.is_for(edit) for edit in suite.edits):
        labels_of = "; ".join(
            " and ".join(f"{name} {int(value)}" for name, value in edit.where.items())
            for edit in suite.edits
        )
        raise ParameterError(
            f"No film is for an edit of the suite {suite.name}"
            + (f": none has the labels {labels_of}." if len(cohort) else ": no film was found.")
        )
    return cohort, is_server(archive)


def _tell(report: dict[str, Any], written: dict[str, str], as_json: bool) -> None:
    verdicts = [
        {
            "suite": suite["suite"]["name"],
            "victim": v["card"]["name"],
            **v["verdict"],
            **({"former": v["former"]} if "former" in v else {}),
        }
        for suite in report["suites"]
        for v in suite["result"]["victims"]
    ]
    if as_json:
        print_json({"verdicts": verdicts, "written": written, "lost": report["lost"]})
        return
    for row in verdicts:
        print(f"{row['outcome']:10} {row['suite']}: {row['victim']}, {row['why']}")
        if "former" in row:
            before = _FORMER[row["former"]["held"]]
            print(f"{'':10} by the rule before: {before}, {row['former']['why']}")
    for line in report["lost"]:
        print(f"not supported: {line}")
    for kind, path in written.items():
        print(f"{kind:5} {path}")
