"""`radedit stress`: test a vendor's model on edited films, and write the report."""

from __future__ import annotations

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


def stress(
    suites: Annotated[
        list[str], typer.Argument(metavar="SUITE...", help="Names of packaged suites, or files.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run; gone on with.")],
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
    drop: Annotated[
        list[str] | None,
        typer.Option(metavar="VICTIM", help="Leave it out of the report; may be repeated."),
    ] = None,
    trust_labels: Annotated[
        bool, typer.Option("--trust-labels", help="Also test what reads real films wrongly.")
    ] = False,
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
        from radedit.lib.stress.preflight import still_open
        from radedit.lib.stress.report import Finished, report_of, write_report
        from radedit.lib.stress.runner import Plan, facts_of, run
        from radedit.lib.stress.suite import load_suite
        from radedit.lib.stress.sweep import SWEPT

        loaded = [load_suite(name) for name in suites]
        if len({suite.name for suite in loaded}) != len(loaded):
            raise ParameterError("the same suite is named twice; name each once.")
        out = out.expanduser()
        finished, facts, editor = [], dict[str, Any](), Editor()
        for suite in loaded:
            victims = tuple(victim or (() if drop else suite.victims))
            if sweep and suite.shift == "acquisition":
                victims = tuple(dict.fromkeys((*victims, *SWEPT)))
            if not victims and not drop:
                raise ParameterError(f"the suite {suite.name} names no victim; give --victim.")
            cohort, alone = _cohort(suite, archive, labels, count, out)
            plan = Plan(
                suite, cohort, victims, out / suite.name, processes(1 if alone else workers)
            )
            with bar(suite.name) as progress:
                ledger = run(plan, progress, editor, None if trust_labels else _look(plan))
            ledger.drop(drop or ())
            facts = facts_of(plan, editor)
            found = sort_rows(suite, ledger.rows())
            problems = (*cohort.problems, *still_open(ledger.rows()))
            finished.append(Finished(plan, found, problems, facts))
            if augment is not None and suite.question.label:
                from radedit.lib.stress.augment import export_pairs

                export_pairs(plan, found, augment.expanduser() / suite.name)
        named = {key: facts[key] for key in ("version", "model", "model_sha256", "device", "dtype")}
        report = report_of(finished, named)
        written = write_report(report, out)
        if "pdf" in written:
            from radedit.lib.stress.document import write_document

            written["dcm"] = str(write_document(report, Path(written["pdf"]), out / "report.dcm"))
        _tell(report, written, as_json)


def _look(plan: Plan) -> Callable[[Sequence[Mapping[str, Any]]], None] | None:
    """What to ask of the rows of the real films; None where our own are tested on phantoms."""
    from radedit.lib.stress.asking import is_ours
    from radedit.lib.stress.phantom_cohort import PhantomCohort
    from radedit.lib.stress.preflight import refuse_reversed

    label = plan.suite.question.label
    known = isinstance(plan.cohort, PhantomCohort) and all(map(is_ours, plan.victims))
    return None if known or not label else lambda rows: refuse_reversed(rows, label)


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
        {"suite": suite["suite"]["name"], "victim": v["card"]["name"], **v["verdict"]}
        for suite in report["suites"]
        for v in suite["result"]["victims"]
    ]
    if as_json:
        print_json({"verdicts": verdicts, "written": written, "lost": report["lost"]})
        return
    for row in verdicts:
        print(f"{row['outcome']:10} {row['suite']}: {row['victim']}, {row['why']}")
    for line in report["lost"]:
        print(f"not supported: {line}")
    for kind, path in written.items():
        print(f"{kind:5} {path}")
