"""`radedit models`: which models there are, whether they are right, and how one is added."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from radedit.lib.commands.console import AsJson, bar, print_json, refusals
from radedit.lib.commands.places import local
from radedit.lib.errors import ParameterError, RadEditError
from radedit.lib.settings_file import CONFIG

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from radedit.lib.catalogue import Entry
    from radedit.lib.proof import Proof

FILM = "RG1_UNCR.dcm"  # a chest film that comes with the package pydicom-data

models = typer.Typer(help="List, add and verify models.", no_args_is_help=True)


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List every model, where its files are, and what is missing under which licence."""
    with refusals():
        from radedit.lib.catalogue import entries
        from radedit.lib.settings import load_settings

        found = entries(load_settings())
        if as_json:
            print_json({"models": [asdict(e) | {"ready": e.is_ready} for e in found]})
            return
        for entry in found:
            _print_entry(entry)


@models.command()
def verify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Default: the default model.")
    ] = None,
    film: Annotated[
        Path | None,
        typer.Option(help="A frontal chest film (DICOM) to test with; default: one that ships."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Prove models by the hashes and shapes of their files and by what they do to a film.

    The film goes through the VAE and back, and noise that was added to it must be recognised.
    Exit 1 if anything is wrong.
    """
    with refusals():
        from radedit.lib.proof import prove
        from radedit.lib.settings import load_settings

        settings = load_settings()
        specs = [settings.model(name) for name in names or [settings.default_model]]
        image = _display(local(str(film)) if film else _shipped_film())
        proofs = []
        with bar("verifying") as progress:
            for done, spec in enumerate(specs):
                progress(done, len(specs))
                proofs.append(prove(settings, spec, image))
        good = all(proof.passed for proof in proofs)
        if as_json:
            rows = [asdict(proof) | {"passed": proof.passed} for proof in proofs]
            print_json({"passed": good, "models": rows})
        else:
            for proof in proofs:
                _print_proof(proof)
        if not good:
            raise typer.Exit(1)


@models.command()
def add(
    name: Annotated[str, typer.Argument(help="What requests will call it, e.g. roentgen.")],
    folder: Annotated[
        Path, typer.Argument(help="Holds unet/, vae/, text_encoder/, tokenizer/, scheduler/.")
    ],
    licence: Annotated[str, typer.Option(help="The terms under which you may use it.")] = "",
    title: Annotated[str, typer.Option(help="What people call it.")] = "",
    config: Annotated[
        Path | None, typer.Option(help="Settings file to write to.", show_default=CONFIG)
    ] = None,
    image_size: Annotated[int | None, typer.Option(help="Pixels a side, if not its own.")] = None,
    mask_padding: Annotated[
        bool, typer.Option("--mask-padding", help="It was trained with an attention mask.")
    ] = False,
) -> None:
    """Add a model from a folder on this machine; every file of it is pinned by its hash.

    Takes diffusers' layout with safetensors weights. Of an entry of the registry whose files
    are not shipped (radedit), the name is enough; what it pins must be in the folder.
    """
    with refusals():
        from radedit.lib.catalogue import Addition
        from radedit.lib.catalogue import add as write

        path = config or Path(os.environ.get(CONFIG, ""))
        if not path.name:
            raise ParameterError(
                f"there is no settings file to write to; give --config FILE, and set {CONFIG} to "
                "it for the server and the commands."
            )
        place = local(str(folder))
        wanted = Addition(name, place, title, licence, image_size, mask_padding)
        spec = write(wanted, path.expanduser())
        print(f"added '{spec.name}' with {len(spec.sha256)} files pinned in {path}")
        if os.environ.get(CONFIG) != str(path):
            print(f"use it with {CONFIG}={path}; prove it with: radedit models verify {name}")


def _print_entry(entry: Entry) -> None:
    state = "ready" if entry.is_ready else "not here"
    print(f"{entry.name} ({'default, ' if entry.is_default else ''}{state}): {entry.title}")
    print(f"    licence: {entry.licence}")
    for part, where in entry.parts.items():
        print(f"    {part:13} {where or 'MISSING'}")
    for sentence in entry.needs:
        print(f"    {sentence}")


def _print_proof(proof: Proof) -> None:
    print(f"{'ok    ' if proof.passed else 'FAILED'} {proof.model}")
    for key, digest in proof.files.items():
        held = "first seen or recorded" if key in proof.unpinned else "pinned"
        print(f"       {digest[:12]} {key} ({held})")
    for name, value in proof.shape.items():
        print(f"       {name}: {value}")
    for name, figure in proof.figures.items():
        print(f"       {name}: {figure:.3g}")
    for sentence in filter(None, (proof.precision, *proof.faults, *proof.notes)):
        print(f"       {sentence}")


def _display(path: Path) -> NDArray[np.float32]:
    from radedit_dicom.film import read_film
    from radedit_dicom.pixels import to_display

    return to_display(read_film(path))


def _shipped_film() -> Path:
    from importlib.metadata import files

    for file in files("pydicom-data") or []:
        if file.name == FILM:
            return Path(str(file.locate()))
    raise RadEditError(f"the package pydicom-data holds no {FILM}; name a film with --film.")
