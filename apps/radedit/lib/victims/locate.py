"""From what a person writes after --victim to a victim.

=======================  =====================================================================
``embedded:NAME``        one of ours, with a known weakness
``python:MODULE:NAME``   a function of the display and its valid pixels
``torchscript:PATH``     TorchScript, or torch.export with the ending .pt2
``onnx:PATH``            ONNX
``bundle:FOLDER``        a MONAI bundle
``monailabel:URL/NAME``  a task of a MONAI Label server
``http:URL``             a server that takes films as JSON or as a form; http(s)://... as well
``dicom:AE@HOST:PORT``   a DICOM node that calls back
``csv:PATH``             scores that were computed elsewhere, by SOP Instance UID
``PATH.toml``            a file that names one of these under ``victim`` and says more of it
=======================  =====================================================================

Beside a file or folder, ``PATH.toml`` is read if it is there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from radedit.lib.errors import ParameterError
from radedit.lib.victims.about import About, read_about
from radedit.lib.victims.answers import sha256_of
from radedit.lib.victims.protocol import Victim

FILES: Final = ("torchscript", "onnx", "bundle", "csv")
KINDS: Final = ("embedded", "python", *FILES, "monailabel", "http", "dicom")


def open_victim(text: str) -> Victim:
    """Give the victim that a text names; those elsewhere are not asked anything yet.

    Parameters
    ----------
    text : in the grammar above; paths in a TOML file are seen from its folder

    Raises
    ------
    ParameterError
        The text has another form, or the file, or what is said of it, cannot be used.
    NotFoundError
        There is no embedded victim, module or function of that name.
    CheckpointError
        The files of an embedded victim are missing or damaged.
    """
    if text.endswith(".toml") and text.partition(":")[0] not in KINDS:
        return _described(Path(text).expanduser())
    kind, place = _split(text)
    path = Path(place).expanduser()
    beside = path.with_name(path.name + ".toml") if kind in FILES else None
    if beside is None or not beside.is_file():
        return _opened(kind, place, About(), Path())
    victim, about = read_about(beside)
    if victim:
        raise ParameterError(
            f"'{beside.name}' lies beside its victim and must not name another one."
        )
    return _remembering(_opened(kind, place, about, Path()), about, path.parent)


def _described(path: Path) -> Victim:
    victim, about = read_about(path)
    if not victim:
        raise ParameterError(f"'{path.name}' names no victim; write victim = \"KIND:WHERE\".")
    return _remembering(_opened(*_split(victim), about, path.parent), about, path.parent)


def _remembering(victim: Victim, about: About, folder: Path) -> Victim:
    if not about.remember:
        return victim
    from radedit.lib.victims.remembered import RememberingVictim

    return RememberingVictim(victim, folder / Path(about.remember).expanduser())


def _split(text: str) -> tuple[str, str]:
    if text.startswith(("http://", "https://")):
        return "http", text
    kind, colon, place = text.partition(":")
    if kind not in KINDS or not colon or not place:
        raise ParameterError(
            f"a victim is written KIND:WHERE, or as a TOML file; kinds are {', '.join(KINDS)}."
        )
    return kind, place


def _opened(kind: str, place: str, about: About, folder: Path) -> Victim:
    """Open it, and write into its card what its answers follow from."""
    if kind in FILES:
        path = folder / Path(place).expanduser()
        victim = _from_file(kind)(path, about)
        more = [sha256_of(part) for part in _parts(kind, path)]
    else:
        victim, more = _asked_by_address(kind, place, about), [place]
        if kind == "python":
            more += [sha256_of(path) for path in _source(place.partition(":")[0])]
    described = about.digest(kind, *more)
    return replace(victim, card=replace(victim.card, described=described))  # type: ignore[type-var]


def _parts(kind: str, path: Path) -> list[Path]:
    """Files beside a model's own that its answers follow from too."""
    if kind == "bundle":
        return sorted(p for p in (path / "configs").glob("*") if p.is_file())
    if kind == "onnx":  # weights that are too large for one file lie beside it
        return sorted(p for p in path.parent.glob(f"{path.name}*data") if p.is_file())
    return []


def _source(module: str) -> list[Path]:
    """The file of a module that was imported, where it has one."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return [Path(file)] if file and Path(file).is_file() else []


def _asked_by_address(kind: str, place: str, about: About) -> Victim:
    """Open what is no file; each kind imports what it needs, and nothing of the others."""
    if kind == "embedded":
        from radedit.lib.victims.embedded import load_victim

        return load_victim(place)
    if kind == "python":
        from radedit.lib.victims.local import load_callable

        return load_callable(place, about)
    if kind == "monailabel":
        from radedit.lib.victims.labelling import open_task

        return open_task(place, about)
    if kind == "http":
        from radedit.lib.victims.web import open_http

        return open_http(place, about)
    from radedit.lib.victims.node import open_node

    return open_node(place, about)


def _from_file(kind: str) -> Callable[[Path, About], Victim]:
    if kind == "onnx":
        from radedit.lib.victims.local import load_onnx

        return load_onnx
    if kind == "torchscript":
        from radedit.lib.victims.local import load_torchscript

        return load_torchscript
    if kind == "bundle":
        from radedit.lib.victims.bundle import load_bundle

        return load_bundle
    from radedit.lib.victims.scores_file import load_csv

    return load_csv
