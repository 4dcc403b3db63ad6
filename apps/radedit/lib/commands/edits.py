"""`radedit find` and `radedit retract`: the edits that an archive holds, and taking one back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from radedit.lib.commands.console import AsJson, print_json, refusals
from radedit.lib.commands.places import place

if TYPE_CHECKING:
    from radedit_dicom.edits import HeldEdit

ARCHIVE = "A folder, or ADDRESS[#StudyUID]."


def find(
    archive: Annotated[str, typer.Argument(metavar="ARCHIVE", help=ARCHIVE)],
    as_json: AsJson = False,
) -> None:
    """List the edits that an archive holds, with their parameters."""
    with refusals():
        from radedit_dicom.edits import Ledger

        at = place(archive)
        edits = Ledger(at.archive).edits(at.scope, renamed=True)
        if as_json:
            print_json({"edits": [row(edit) for edit in edits]})
        else:
            for edit in edits:
                print(_paragraph(row(edit)))
            print(f"{len(edits)} edits, {sum(not e.is_complete for e in edits)} incomplete")


def retract(
    edit_id: Annotated[str, typer.Argument(metavar="EDIT_ID", help="As `radedit find` says.")],
    archive: Annotated[str, typer.Option(help=ARCHIVE)],
    as_json: AsJson = False,
) -> None:
    """Remove the objects of an edit from an archive, and nothing else."""
    with refusals():
        from radedit_dicom.edits import retract as run

        at = place(archive)
        removed = [
            held.sop_instance_uid
            for edit in run(at.archive, edit_id, at.scope)
            for held in edit.instances.values()
        ]
        if as_json:
            print_json({"edit_id": edit_id, "removed": removed})
        else:
            print(f"removed {len(removed)} objects: {', '.join(removed)}")


def row(edit: HeldEdit) -> dict[str, Any]:
    """Describe one edit in plain values; no patient data."""
    record = edit.record
    studies = sorted({instance.study_instance_uid for instance in edit.instances.values()})
    return {
        "edit_id": record.edit_id,
        "created": record.created,
        "complete": edit.is_complete,
        "renamed": edit.is_renamed,
        "source": record.source_sop_instance_uid,
        "study": studies[0] if len(studies) == 1 else studies,
        "uids": {kind: held.sop_instance_uid for kind, held in edit.instances.items()},
        "parameters": record.parameters,
        "pixel_sha256": record.result_pixel_sha256,
        "model_sha256": record.model_sha256,
    }


def _paragraph(edit: dict[str, Any]) -> str:
    """Lay one edit out for a person; UIDs and prompts are too long for columns."""
    given = {name: value for name, value in edit["parameters"].items() if value not in (None, "")}
    lines = {
        "study": edit["study"],
        "source": edit["source"],
        **edit["uids"],
        **{name: given.pop(name) for name in ("prompt", "edit_mask", "keep_mask") if name in given},
        "parameters": ", ".join(f"{name} {value}" for name, value in given.items()),
    }
    state = "" if edit["complete"] else "  INCOMPLETE: run the same edit again to complete it"
    if edit["renamed"]:
        state = "  under other UIDs than it was stored with, as after de-identification"
        state += "" if edit["complete"] else "; INCOMPLETE"
    head = f"{edit['edit_id']}  {edit['created']}{state}"
    return "\n".join([head, *(f"    {name:11} {value}" for name, value in lines.items())])
