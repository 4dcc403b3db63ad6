"""`radedit check` and `radedit replay`: whether objects are what they should be."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from radedit.lib.commands.console import AsJson, bar, fail, print_json, refusals
from radedit.lib.commands.places import local
from radedit.lib.errors import RadEditError


def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="DICOM files.")],
    show_warnings: Annotated[bool, typer.Option("--warnings", help="List warnings too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check objects with dciodvfy and our own rules; any error makes the exit code 1."""
    with refusals():
        from radedit_dicom.conformance import Severity, check_file, passes
        from radedit_dicom.dciodvfy import dciodvfy_version

        found = {str(path): check_file(path) for path in _expanded(files)}
        good = all(passes(findings) for findings in found.values())
        version = dciodvfy_version() or "of a version that it does not tell"
        every = [finding for findings in found.values() for finding in findings]
        allowed = sum(f.severity is Severity.ALLOWED for f in every)
        if as_json:
            rows = {name: [asdict(f) for f in findings] for name, findings in found.items()}
            validator = {"name": "dciodvfy", "version": version, "allowed": allowed}
            print_json({"passed": good, "validator": validator, "files": rows})
        else:
            for name, findings in found.items():
                print(f"{'ok    ' if passes(findings) else 'FAILED'} {name}")
                for finding in findings:
                    if finding.severity is Severity.WARNING and not show_warnings:
                        continue
                    print(f"       {finding.severity.value}: {finding.rule}: {finding.sentence}")
            print(f"asked dciodvfy, dicom3tools {version}; {allowed} of its errors are untrue")
        if not good:
            raise typer.Exit(1)


def replay(
    edited: Annotated[
        Path, typer.Argument(metavar="EDITED", help="The Secondary Capture, or its report.")
    ],
    source: Annotated[Path, typer.Option(help="The film it was made from.")],
    as_json: AsJson = False,
) -> None:
    """Rebuild an edit's pixels from its record and compare; exit 1 if they differ."""
    with refusals():
        from radedit.lib.pipeline import Editor
        from radedit.lib.replay import replay as run

        with bar("replaying") as progress:
            result = run(local(str(edited)), local(str(source)), Editor(), progress)
        if as_json:
            print_json(asdict(result))
        elif result.identical:
            print(result.sentence())
        if not result.identical:
            fail(result.sentence())


def _expanded(paths: list[Path]) -> list[Path]:
    """Files as given, folders by the DICOM files in them."""
    files: list[Path] = []
    for path in paths:
        found = local(str(path))
        files += sorted(found.rglob("*.dcm")) if found.is_dir() else [found]
    if not files:
        raise RadEditError("there is no .dcm file to check in what was given.")
    return files
