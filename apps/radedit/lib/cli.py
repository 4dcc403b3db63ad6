"""The command line: `radedit edit`, `radedit check`, `radedit replay`.

Exit 0: done. Exit 1: refused or failed, with one sentence on standard error. Exit 2: usage.
Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from radedit.lib.errors import RadEditError
from radedit.lib.parameters import PARAMETERS
from radedit_dicom.errors import DicomError

if TYPE_CHECKING:
    from radedit.lib.bulk import Bulk
    from radedit.lib.cases import EditRequest
    from radedit.lib.deliver import Delivered, Outbox
    from radedit.lib.pipeline import Editor
    from radedit_dicom.objects import StudyMode

app = typer.Typer(
    help="Edit chest X-rays by text and two masks. Research and QA, never diagnosis.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_error = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _number(name: str, kind: str) -> Any:
    known = PARAMETERS[name]
    return typer.Option(
        f"--{kind}", help=f"{known.help} ({known.allowed}).", show_default="model's"
    )


@app.command()
def edit(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="A DICOM film, or a folder.")],
    prompt: Annotated[str, typer.Option(help="What the edited region shall show.")],
    output: Annotated[Path, typer.Option(help="Folder for the objects; made if missing.")],
    edit_mask: Annotated[str | None, typer.Option(help="May change; all if not given.")] = None,
    keep_mask: Annotated[str | None, typer.Option(help="Must stay; wins over --edit-mask.")] = None,
    invert_prompt: Annotated[str, typer.Option(help="Text of the inversion.")] = "",
    model: Annotated[str | None, typer.Option(help="An entry of the model registry.")] = None,
    method: Annotated[str | None, _number("method", "method")] = None,
    steps: Annotated[int | None, _number("steps", "steps")] = None,
    skip: Annotated[float | None, _number("skip", "skip")] = None,
    guidance: Annotated[float | None, _number("guidance", "guidance")] = None,
    seed: Annotated[int | None, _number("seed", "seed")] = None,
    support: Annotated[str | None, _number("support", "support")] = None,
    study: Annotated[str, typer.Option(help="new: a QA study; same: the film's study.")] = "new",
    picture: Annotated[bool, typer.Option(help="Also draw before, after, difference.")] = False,
    as_json: AsJson = False,
) -> None:
    """Edit a film, or every frontal film of a folder, and write SC, SEG and SR.

    Masks: box:x0,y0,x1,y1  ellipse:cx,cy,rx,ry  task:NAME[:LABEL]  file:PATH, joined by
    + and -, inverted by ~, grown by dilate(MASK,5px). Pixels are the film's own.
    """
    with _refusals():
        from radedit.lib.bulk import Bulk
        from radedit.lib.cases import EditRequest
        from radedit.lib.deliver import Outbox
        from radedit.lib.pipeline import Editor

        if study not in ("new", "same"):
            raise typer.BadParameter("expected new or same", param_hint="--study")
        given = {
            "method": method, "steps": steps, "skip": skip, "guidance": guidance, "seed": seed,
            "support": support,
        }  # fmt: skip
        request = EditRequest(
            prompt=prompt,
            edit_mask=edit_mask,
            keep_mask=keep_mask,
            invert_prompt=invert_prompt,
            model=model,
            parameters={name: value for name, value in given.items() if value is not None},
        )
        editor = Editor()
        editor.parameters(request)
        mode: StudyMode = "same" if study == "same" else "new"
        outbox = Outbox(output, mode, editor.settings.pseudonym_key)
        outbox.check_writable()
        path = _local(source)
        if path.is_dir():
            _edit_folder(path, Bulk(request, editor, outbox, picture), as_json)
        else:
            delivered = _edit_file(path, request, editor, outbox)
            drawn = _draw(delivered, output) if picture else None
            _tell(delivered, drawn, as_json)


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="DICOM files.")],
    show_warnings: Annotated[bool, typer.Option("--warnings", help="List warnings too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check objects with dciodvfy and our own rules; any error makes the exit code 1."""
    with _refusals():
        from radedit_dicom.conformance import Severity, check_file, passes

        found = {str(path): check_file(path) for path in _expanded(files)}
        good = all(passes(findings) for findings in found.values())
        if as_json:
            rows = {name: [asdict(f) for f in findings] for name, findings in found.items()}
            _print_json({"passed": good, "files": rows})
        else:
            for name, findings in found.items():
                print(f"{'ok    ' if passes(findings) else 'FAILED'} {name}")
                for finding in findings:
                    if finding.severity is Severity.WARNING and not show_warnings:
                        continue
                    print(f"       {finding.severity.value}: {finding.rule}: {finding.sentence}")
        if not good:
            raise typer.Exit(1)


@app.command()
def replay(
    edited: Annotated[Path, typer.Argument(metavar="EDITED", help="The Secondary Capture.")],
    source: Annotated[Path, typer.Option(help="The film it was made from.")],
    as_json: AsJson = False,
) -> None:
    """Rebuild an edit's pixels from its record and compare; exit 1 if they differ."""
    with _refusals():
        from radedit.lib.pipeline import Editor
        from radedit.lib.replay import replay as run

        with _bar("replaying") as progress:
            result = run(_local(str(edited)), _local(str(source)), Editor(), progress)
        if as_json:
            _print_json(asdict(result))
        elif result.identical:
            print(result.sentence())
        if not result.identical:
            _fail(result.sentence())


def main() -> None:
    """Run the command line."""
    warnings.simplefilter("ignore")
    for name in ("pydicom", "highdicom", "dicomweb_client"):
        logging.getLogger(name).setLevel(logging.ERROR)  # their warnings quote header values
    app()


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what our code refuses into one sentence and exit code 1."""
    try:
        yield
    except (RadEditError, DicomError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        _fail("stopped; what was finished is written, nothing is half-written.")
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:  # the outermost edge: no traceback, no values
        from radedit.lib.bulk import unexpected

        _fail(unexpected(error))


def _fail(sentence: str) -> NoReturn:
    _error.print(f"radedit: {sentence}", markup=False)
    raise typer.Exit(1)


def _local(text: str) -> Path:
    if text.startswith(("http://", "https://")):
        raise RadEditError(
            "this version edits files and folders, and INPUT is a web address; "
            "fetch the film into a folder first."
        )
    path = Path(text).expanduser()
    if not path.exists():
        raise RadEditError(f"there is no file or folder '{path}'; check the path.")
    return path


def _edit_file(path: Path, request: EditRequest, editor: Editor, outbox: Outbox) -> Delivered:
    from radedit_dicom.film import read_film

    film = read_film(path)
    outbox.check_film(film)
    with _bar("editing") as progress:
        edited = editor.edit(film, request, progress=progress)
    return outbox.deliver(edited)


def _edit_folder(folder: Path, bulk: Bulk, as_json: bool) -> None:
    """Edit every film that can be; say of every other file why it was passed over."""
    bulk.editor.backbone(bulk.request.model).check_prompt(bulk.request.prompt)
    rows: list[dict[str, Any]] = []
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    stopped = False
    with _bar("films") as progress:
        try:
            for row in bulk.rows(paths):
                rows.append(row)
                progress(len(rows), len(paths))
        except KeyboardInterrupt:
            stopped = True
    done, failed = (sum(key in row for row in rows) for key in ("edit_id", "failed"))
    if as_json:
        _print_json({"edited": done, "failed": failed, "stopped": stopped, "files": rows})
    else:
        for row in rows:
            keys = ("failed", "passed_over", "already_there")
            said = next((key for key in keys if key in row), "edited")
            why = row.get("failed") or row.get("passed_over") or row.get("sc")
            print(f"{said.replace('_', ' '):14} {row['input']}{f': {why}' if why else ''}")
        print(f"{done} edited, {failed} failed, {len(rows) - done - failed} passed over")
    if stopped:
        _fail(f"stopped after {len(rows)} of {len(paths)} files; run it again to go on.")
    if failed or not done:
        _fail(f"{failed} of {len(rows)} files failed." if failed else "no film was edited.")


def _expanded(paths: list[Path]) -> list[Path]:
    """Files as given, folders by the DICOM files in them."""
    files: list[Path] = []
    for path in paths:
        found = _local(str(path))
        files += sorted(found.rglob("*.dcm")) if found.is_dir() else [found]
    if not files:
        raise RadEditError("there is no .dcm file to check in what was given.")
    return files


def _draw(delivered: Delivered, folder: Path) -> Path:
    from radedit.lib.picture import draw

    path = folder / f"{delivered.edited.provenance.edit_id}.png"
    draw(delivered.edited, path)
    return path


def _tell(delivered: Delivered, drawn: Path | None, as_json: bool) -> None:
    summary = delivered.summary()
    if drawn is not None:
        summary["picture"] = str(drawn)
    if as_json:
        _print_json(summary)
        return
    print(f"edited image  {summary['sc']}\nmasks         {summary['seg']}")
    print(f"report        {summary['sr']}")
    if drawn is not None:
        print(f"picture       {drawn}")
    score = delivered.edited.fidelity
    print(
        f"changed       {score.changed_pixels} stored values; "
        f"{score.changed_outside_support} outside the support, {score.changed_in_keep} in keep; "
        f"mean shift in the edit mask {score.mean_shift_in_edit:+.4f} of the display range"
    )
    print(f"seconds       {sum(delivered.edited.seconds.values()):.1f}")


def _print_json(value: dict[str, Any]) -> None:
    json.dump(value, sys.stdout, indent=2, allow_nan=False, default=str)
    sys.stdout.write("\n")


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error where a person watches."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=_error, disable=not sys.stderr.isatty()
    ) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


if __name__ == "__main__":
    main()
