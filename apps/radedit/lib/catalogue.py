"""The models that are known here: what is there of each, and how one is added.

A model is added by an entry in the user's own settings file with the sha256 of every file, so
that from then on the very files that were added are used, or none.
"""

from __future__ import annotations

import json
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radedit.lib.edit.backbone.files import check_pins, component_files, file_digests
from radedit.lib.errors import CheckpointError, OutputError, ParameterError
from radedit.lib.settings import COMPONENTS, Access, ModelSpec, Settings, load_settings
from radedit.lib.settings_file import CONFIG, NAME, SCORER
from radedit.lib.whole_files import write_file


@dataclass(frozen=True)
class Entry:
    """One model of the registry, as far as it is here.

    Attributes
    ----------
    name, title, licence : str
    is_default : bool
        True: used when a request names no model.
    parts : mapping of str to str
        Component to the folder its files were found in; "registry" where the entry itself
        holds it; "" where a file is missing.
    needs : tuple of str
        For each part that is missing one sentence: what to get, where to put it, its licence.
    """

    name: str
    title: str
    licence: str
    is_default: bool
    parts: Mapping[str, str]
    needs: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        """Whether edits can be made; a scorer that is missing does not count."""
        return all(where for part, where in self.parts.items() if part != SCORER)


@dataclass(frozen=True)
class Addition:
    """A model to be added.

    Attributes
    ----------
    name : key in the registry, or that of an entry whose files were not there
    folder : holds unet/, vae/, text_encoder/, tokenizer/, and scheduler/ unless the entry does
    title, licence : for a person; "" = those of the entry, or the name for a title
    image_size : pixels a side; None = as the U-Net's configuration says
    mask_padding : see `ModelSpec`
    """

    name: str
    folder: Path
    title: str = ""
    licence: str = ""
    image_size: int | None = None
    mask_padding: bool = False


def entries(settings: Settings) -> list[Entry]:
    """Look at every model of the registry; nothing is downloaded and nothing is hashed."""
    return [_entry(settings, spec) for _, spec in sorted(settings.models.items())]


def add(addition: Addition, config: Path) -> ModelSpec:
    """Write a model into the user's settings file, every file pinned.

    Parameters
    ----------
    addition : Addition
    config : the settings file; made if missing

    Returns
    -------
    ModelSpec
        The entry as it is read from now on, where RADEDIT_CONFIG names that file.

    Raises
    ------
    CheckpointError
        A file is missing, pickled, or another than the one that the registry pins.
    ParameterError
        The name is taken, the licence is missing, or the settings file is wrong.
    OutputError
        The settings file cannot be written.
    """
    if not NAME.fullmatch(addition.name):
        raise ParameterError(
            f"'{addition.name}' is no name of a model; use a-z, 0-9, '-' and '_', such as roentgen."
        )
    try:
        before = config.read_text("utf-8") if config.exists() else ""
    except (OSError, UnicodeDecodeError):
        raise OutputError(
            f"the settings file {config} cannot be read; name another with --config."
        ) from None
    known = _read(before, config).models.get(addition.name)
    if addition.name in tomllib.loads(before).get("models", {}):
        raise ParameterError(
            f"{config} has a model '{addition.name}' already; choose another name, or take that "
            "table out of the file first."
        )
    if known is not None and known.folder is not None:
        raise ParameterError(
            f"the model '{addition.name}' comes with the program; choose another name."
        )
    if known is None and not addition.licence:
        raise ParameterError("--licence is missing; say under which terms you may use the model.")
    if known is None and not addition.title:
        addition = replace(addition, title=addition.name)
    text = f"{before.rstrip()}\n\n{_table(addition, _hashed(addition, known))}".lstrip()
    added = _read(text, config).model(addition.name)
    _write(config, text)
    return added


def _entry(settings: Settings, spec: ModelSpec) -> Entry:
    offline = replace(spec, access=replace(spec.access, allow_download=False))
    parts, needs = {}, []
    for part in (*COMPONENTS, *([SCORER] if SCORER in spec.components else [])):
        component = spec.components.get(part)
        if component is not None and component.config:
            parts[part] = "registry"
            continue
        try:
            found = component_files(offline, part)
            parts[part] = str(next(iter(found.values())).parent)
        except CheckpointError as error:
            parts[part] = ""
            needs.append(str(error))
    is_default = spec.name == settings.default_model
    return Entry(spec.name, spec.title, spec.licence, is_default, parts, tuple(needs))


def _hashed(addition: Addition, known: ModelSpec | None) -> dict[str, str]:
    """Hash what the loader would read of the folder; what the registry pins is held to it."""
    spec = known or ModelSpec(
        addition.name, addition.title, addition.licence, Access(addition.folder)
    )
    spec = replace(spec, folder=addition.folder.resolve())
    parts = [p for p in COMPONENTS if p not in spec.components or not spec.components[p].config]
    if SCORER in spec.components and (addition.folder / SCORER).is_dir():
        parts.append(SCORER)  # without it edits are made and not scored
    digests = file_digests({part: component_files(spec, part) for part in parts})
    check_pins(replace(spec, verify="on-first-use"), digests)
    return digests


def _table(addition: Addition, sha256: Mapping[str, str]) -> str:
    values: dict[str, Any] = {
        "title": addition.title,
        "licence": addition.licence,
        "folder": str(addition.folder.resolve()),
        "verify": "pinned",
        "image_size": addition.image_size,
        "mask_padding": addition.mask_padding or None,
    }
    lines = [f"[models.{addition.name}]"]
    lines += [f"{key} = {_toml(value)}" for key, value in values.items() if value]
    lines += ["", f"[models.{addition.name}.sha256]"]
    lines += [f"{_toml(key)} = {_toml(digest)}" for key, digest in sha256.items()]
    return "\n".join(lines) + "\n"


def _toml(value: str | int | bool) -> str:
    """Write a value; a JSON string without its surrogates is a basic string of TOML."""
    return json.dumps(value, ensure_ascii=False)


def _read(text: str, config: Path) -> Settings:
    """Read settings as they would be with this text in the user's file."""
    part = _beside(config, text)
    try:
        return load_settings({CONFIG: str(part)})
    finally:
        part.unlink()


def _write(config: Path, text: str) -> None:
    """Write the settings file anew: whole or not at all, with the mode and the owner it had.

    Others read it, such as a service; where it is a link, what it leads to is written.
    """
    try:
        write_file(config, text)
    except OSError as error:
        raise OutputError(
            f"The settings file {config} cannot be written ({error.strerror}), nothing was "
            "changed; name another with --config."
        ) from None


def _beside(config: Path, text: str) -> Path:
    """Write a text next to a file, so that paths in it mean the same."""
    try:
        config.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=config.parent, suffix=".toml", encoding="utf-8", delete=False
        ) as file:
            file.write(text)
    except OSError as error:
        raise OutputError(
            f"the settings file {config} cannot be written ({error.strerror}); name another with "
            "--config."
        ) from None
    return Path(file.name)
