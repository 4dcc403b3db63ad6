"""`radedit edit`: one film, the films of a folder, or those of an archive."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radedit.lib.commands import options as asked
from radedit.lib.commands.console import AsJson, bar, fail, print_json, refusals
from radedit.lib.commands.places import destination, local, place
from radedit.lib.errors import NoChangeError, RadEditError
from radedit_dicom.locate import is_server

if TYPE_CHECKING:
    from radedit.lib.bulk import Bulk
    from radedit.lib.deliver import Delivered
    from radedit.lib.masks import Sources
    from radedit.lib.pipeline import Editor
    from radedit.lib.selection import Selection
    from radedit_dicom.archive import Archive
    from radedit_dicom.film import Film
    from radedit_dicom.frontal import Wanted


def edit(
    source: Annotated[
        str,
        typer.Argument(metavar="INPUT", help="Film, folder, or ADDRESS#StudyUID/SeriesUID."),
    ],
    prompt: asked.Prompt,
    output: asked.Output,
    edit_mask: asked.EditMask = None,
    keep_mask: asked.KeepMask = None,
    invert_prompt: asked.InvertPrompt = "",
    film_text: asked.FilmText = "",
    model: asked.Model = None,
    method: asked.Method = None,
    solver: asked.Solver = None,
    steps: asked.Steps = None,
    skip: asked.Skip = None,
    guidance: asked.Guidance = None,
    seed: asked.Seed = None,
    support: asked.Support = None,
    keep: asked.Keep = None,
    study: asked.InStudy = "new",
    compress: asked.Compress = "none",
    priors: Annotated[bool, typer.Option("--priors", help="Also films with a newer one.")] = False,
    derived: asked.Derived = False,
    picture: Annotated[bool, typer.Option(help="Also draw before, after, difference.")] = False,
    as_json: AsJson = False,
) -> None:
    """Edit a film, or the frontal films of a folder or an archive, and store SC, SEG and SR.

    ADDRESS: http(s)://HOST:PORT/dicom-web or dimse://AET@HOST:PORT; passwords and the like
    come from RADEDIT_ARCHIVE_*. Masks: box:x0,y0,x1,y1  ellipse:cx,cy,rx,ry
    task:NAME[:LABEL]  seg:LABEL  remote:URL/NAME[:LABEL]  file:PATH, joined by + and -,
    inverted by ~, grown by dilate(MASK,5px). Pixels are the film's own.
    """
    with refusals():
        from radedit.lib.bulk import Bulk
        from radedit.lib.cases import EditRequest
        from radedit.lib.deliver import Manner, Outbox
        from radedit.lib.pipeline import Editor
        from radedit_dicom.frontal import Wanted

        mode = asked.study_mode(study)
        asked.check_compression(compress)
        request = EditRequest(
            prompt=prompt,
            edit_mask=edit_mask,
            keep_mask=keep_mask,
            invert_prompt=invert_prompt,
            film_text=film_text,
            model=model,
            parameters=asked.parameters(
                method=method, solver=solver, steps=steps, skip=skip, guidance=guidance,
                seed=seed, support=support, keep=keep,
            ),
        )  # fmt: skip
        editor = Editor()
        editor.parameters(request)
        manner = Manner(mode, editor.settings.pseudonym_key, compress)
        outbox = Outbox(destination(output), manner)
        outbox.check_writable()
        bulk = Bulk(request, editor, outbox, _pictures(output) if picture else None)
        if not is_server(source) and local(source).is_file():
            _edit_file(local(source), bulk, as_json)
        else:
            _edit_many(source, bulk, Wanted(priors, derived), as_json)


def _pictures(output: str) -> Path:
    if is_server(output):
        raise RadEditError("--picture needs a folder as --output; an archive takes no PNG files.")
    return Path(output).expanduser()


def _sources(archive: Archive, editor: Editor) -> Callable[[Film], Sources]:
    from radedit.lib.sources import FilmSources

    return lambda film: FilmSources(film, archive=archive, remotes=editor.settings.remotes)


def _edit_file(path: Path, bulk: Bulk, as_json: bool) -> None:
    """Edit one film; masks of `seg:` are looked for in its folder."""
    from radedit_dicom.film import read_film
    from radedit_dicom.folder import FolderArchive

    film = read_film(path)
    bulk.outbox.check_film(film)
    sources = _sources(FolderArchive(path.parent), bulk.editor)(film)
    with bar("editing") as progress:
        edited = bulk.editor.edit(film, bulk.request, sources, progress)
    try:
        delivered = bulk.outbox.deliver(edited)
    except NoChangeError as error:
        if as_json:
            record = edited.provenance
            about = {"edit_id": record.edit_id, "source": record.source_sop_instance_uid}
            print_json({**about, "failed": str(error), "score": edited.scores})
        raise
    drawn = None
    if bulk.pictures is not None:
        from radedit.lib.picture import draw

        drawn = bulk.pictures / f"{delivered.edited.provenance.edit_id}.png"
        draw(delivered.edited, drawn)
    _tell(delivered, drawn, as_json)


def _edit_many(source: str, bulk: Bulk, wanted: Wanted, as_json: bool) -> None:
    """Edit every film that can be; say of every other object why it was passed over."""
    from dataclasses import replace

    from radedit.lib.selection import of_archive, of_folder
    from radedit_dicom.cache import Cache
    from radedit_dicom.frontal import Wanted

    at = place(source)
    bulk = replace(bulk, sources=_sources(at.archive, bulk.editor))
    bulk.editor.backbone(bulk.request.model).check_prompt(bulk.request.prompt)
    with tempfile.TemporaryDirectory(prefix="radedit-films-") as name:
        if not is_server(source):
            selection = of_folder(local(source), wanted)
        else:
            if at.scope.sop_instance_uid is not None:  # named outright
                wanted = Wanted(priors=True, derived=True)
            with bar("fetching") as progress:
                selection = of_archive(Cache(at.archive, Path(name)), at.scope, wanted, progress)
        _run(bulk, selection, as_json)


def _run(bulk: Bulk, selection: Selection, as_json: bool) -> None:
    rows: list[dict[str, Any]] = []
    total = len(selection.films)
    stopped = False
    with bar("films") as progress:
        progress(0, total)
        try:
            for row in bulk.rows(selection):
                rows.append(row)
                progress(min(len(rows), total), total)
        except KeyboardInterrupt:
            stopped = True
    done, failed = (sum(key in row for row in rows) for key in ("edit_id", "failed"))
    if as_json:
        print_json({"edited": done, "failed": failed, "stopped": stopped, "files": rows})
    else:
        for row in rows:
            keys = ("failed", "passed_over", "already_there")
            said = next((key for key in keys if key in row), "edited")
            why = row.get("failed") or row.get("passed_over") or row.get("sc")
            print(f"{said.replace('_', ' '):14} {row['input']}{f': {why}' if why else ''}")
        print(f"{done} edited, {failed} failed, {len(rows) - done - failed} passed over")
    if stopped:
        fail(f"stopped after {len(rows)} of {total} films; run it again to go on.")
    if failed or not done:
        fail(f"{failed} of {len(rows)} films failed." if failed else "no film was edited.")


def _tell(delivered: Delivered, drawn: Path | None, as_json: bool) -> None:
    summary = delivered.summary()
    if drawn is not None:
        summary["picture"] = str(drawn)
    if as_json:
        print_json(summary)
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
