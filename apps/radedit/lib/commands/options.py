"""What `radedit edit` and `radedit batch` are both asked: the request, and where results go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radedit.lib.parameters import PARAMETERS

if TYPE_CHECKING:
    from radedit.lib.deliver import Manner


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


def manner_of(study: str, compress: str, pseudonym_key: bytes) -> Manner:
    """Read how results are written.

    Raises
    ------
    typer.BadParameter
        There is no such study mode or compression.
    """
    from radedit.lib.deliver import Manner
    from radedit_dicom.compression import SYNTAXES

    _one_of("--study", study, ("new", "same"))
    _one_of("--compress", compress, SYNTAXES)
    return Manner("same" if study == "same" else "new", pseudonym_key, compress)


def folder(path: Path) -> Path:
    """Give a folder's path in full, whoever reads it."""
    return path.expanduser().absolute()


def _one_of(option: str, value: str, known: Any) -> None:
    if value not in known:
        raise typer.BadParameter(f"expected {' or '.join(known)}", param_hint=option)
