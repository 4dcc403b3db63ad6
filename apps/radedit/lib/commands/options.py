"""What `radedit edit` and `radedit batch` are both asked: the request, and where results go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from radedit.lib.parameters import PARAMETERS


def number(name: str) -> Any:
    """Make the option of one of the edit's parameters."""
    known = PARAMETERS[name]
    return typer.Option(
        f"--{name}", help=f"{known.help} ({known.allowed}).", show_default="model's"
    )


Prompt = Annotated[str, typer.Option(help="What the edited region shall show.")]
Output = Annotated[str, typer.Option(help="Folder (made if missing) or ADDRESS.")]
EditMask = Annotated[str | None, typer.Option(help="May change; all if not given.")]
KeepMask = Annotated[str | None, typer.Option(help="Must stay; wins over --edit-mask.")]
InvertPrompt = Annotated[str, typer.Option(help="Text of the inversion.")]
FilmText = Annotated[str, typer.Option(help="What the film shows now, for the score.")]
Model = Annotated[str | None, typer.Option(help="An entry of the model registry.")]
Method = Annotated[str | None, number("method")]
Solver = Annotated[str | None, number("solver")]
Steps = Annotated[int | None, number("steps")]
Skip = Annotated[float | None, number("skip")]
Guidance = Annotated[float | None, number("guidance")]
Seed = Annotated[int | None, number("seed")]
Support = Annotated[str | None, number("support")]
Keep = Annotated[str | None, number("keep")]
InStudy = Annotated[str, typer.Option(help="new: a QA study; same: the film's study.")]
Compress = Annotated[str, typer.Option(help="none, jpegls or rle; without loss.")]
Derived = Annotated[bool, typer.Option("--derived", help="Also derived images.")]


def parameters(**given: int | float | str | None) -> dict[str, int | float | str]:
    """Leave out what was not given."""
    return {name: value for name, value in given.items() if value is not None}


def study_mode(text: str) -> Literal["new", "same"]:
    """Read --study.

    Raises
    ------
    typer.BadParameter
        There is no such mode.
    """
    if text not in ("new", "same"):
        raise typer.BadParameter("expected new or same", param_hint="--study")
    return "same" if text == "same" else "new"


def check_compression(name: str) -> None:
    """Check --compress.

    Raises
    ------
    typer.BadParameter
        There is no such compression.
    """
    from radedit_dicom.compression import SYNTAXES

    if name not in SYNTAXES:
        raise typer.BadParameter(f"expected {' or '.join(SYNTAXES)}", param_hint="--compress")


def folder(path: Path) -> Path:
    """Give a folder's path in full, whoever reads it."""
    return path.expanduser().absolute()
