"""Settings: TOML and environment, parsed once into frozen dataclasses.

Three layers, later ones win: the packaged `configs/models.toml`, the TOML file named by
RADEDIT_CONFIG, the other RADEDIT_* variables. A key that is not known is an error in all
three. Ranges of the edit's parameters are data (`PARAMETERS`), shared by the command line,
the REST `config()` and validation.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from radedit.lib.errors import NotFoundError, ParameterError
from radedit.lib.parameters import (
    AUTO,
    PARAMETERS,
    PRECISIONS,
    Defaults,
    ParameterRange,
    validate_parameters,
)
from radedit.lib.remote_access import RemoteAccess, remote_access
from radedit.lib.settings_file import COMPONENTS, read_tree
from radedit.lib.user_folders import cache_folder

__all__ = [
    "COMPONENTS",
    "PARAMETERS",
    "Access",
    "ComponentSpec",
    "Defaults",
    "ModelSpec",
    "ParameterRange",
    "RemoteAccess",
    "Settings",
    "load_settings",
    "validate_parameters",
]

PACKAGED: Final = Path(__file__).resolve().parent.parent / "configs" / "models.toml"
VERIFY: Final = ("pinned", "on-first-use")
MIN_KEY_BYTES: Final = 16
DTYPES: Final = (AUTO, *PRECISIONS)
_REVISION: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class ComponentSpec:
    """Where one part of a model comes from.

    Attributes
    ----------
    repo : str
        Hub repository "owner/name"; empty when the part only comes from a folder.
    revision : str
        Commit of that repository, 40 hex digits; required with `repo`.
    subfolder : str
        Folder inside the repository.
    folder : Path, optional
        Folder of this part alone; neither the model's folder nor the Hub is then asked.
    files : tuple of str
        Names that may be read; empty = the usual names of a diffusers layout.
    config : mapping
        Configuration given inline instead of a file (scheduler only).
    """

    repo: str = ""
    revision: str = ""
    subfolder: str = ""
    folder: Path | None = None
    files: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Access:
    """How checkpoint files may be reached.

    Attributes
    ----------
    models_dir : Path
        Folder of the user's own copies (`<model>/<component>/<file>`) and of the hash locks.
    allow_download : bool
        False: only folders and the existing Hub cache are read, nothing is fetched.
    hub_cache : Path, optional
        Hub cache folder; None = the one huggingface_hub uses.
    hub_endpoint : str, optional
        Address of a Hub mirror; None = the one huggingface_hub uses.
    """

    models_dir: Path
    allow_download: bool = False
    hub_cache: Path | None = None
    hub_endpoint: str | None = None


@dataclass(frozen=True)
class ModelSpec:
    """One entry of the model registry.

    Attributes
    ----------
    name : str
        Key in the registry.
    title, licence : str
        For a person; the licence is named in every error about missing files.
    access : Access
        How its files may be reached.
    folder : Path, optional
        Folder that holds all components as subfolders; the Hub is then never asked.
    components : mapping of str to ComponentSpec
        Keys out of `COMPONENTS`, and "scorer": what scores the model's edits, if anything.
    verify : str
        "pinned": every file that is read must have a sha256 here. "on-first-use": files
        without one are recorded in a lock file on first load and checked ever after.
    sha256 : mapping of str to str
        "component/file" to 64 hex digits.
    image_size : int, optional
        Pixels a side; None = from the U-Net's configuration.
    max_tokens : int, optional
        Prompt length incl. special tokens; None = from the tokenizer's configuration.
    mask_padding : bool
        True: what fills a prompt up to that length is hidden from the text encoder. The
        released models were trained and are called without that.
    knows : tuple of str
        Findings and devices it was trained for, named when a prompt asks for another.
    defaults : mapping
        Edit parameters that differ from `Settings.defaults` for this model.
    """

    name: str
    title: str
    licence: str
    access: Access
    folder: Path | None = None
    components: Mapping[str, ComponentSpec] = field(default_factory=dict)
    verify: str = "pinned"
    sha256: Mapping[str, str] = field(default_factory=dict)
    image_size: int | None = None
    max_tokens: int | None = None
    mask_padding: bool = False
    knows: tuple[str, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """Everything that is configured.

    Attributes
    ----------
    access : Access
        How checkpoint files may be reached.
    models : mapping of str to ModelSpec
        The registry.
    default_model : str
        Used when a request names none.
    device : str
        torch device, e.g. "cpu" or "cuda:0".
    dtype : str
        Precision of the U-Net: float32, bfloat16, float16, or auto, which takes what the device
        computes fast and right (`edit.precision`).
    inversion_cache_mb : int
        Upper bound of what is kept of films for their next edit; 0 = nothing is kept.
    remotes : RemoteAccess
        Which other servers may be asked for masks.
    defaults : Defaults
        Edit parameters used when neither request nor model says otherwise.
    pseudonym_key : bytes
        The site's secret, the content of `pseudonym_key_file`: films of one patient get
        studies that belong together without naming the patient. Empty = none.
    """

    access: Access
    models: Mapping[str, ModelSpec]
    default_model: str
    device: str = "cpu"
    dtype: str = AUTO
    inversion_cache_mb: int = 256
    remotes: RemoteAccess = field(default_factory=RemoteAccess)
    defaults: Defaults = field(default_factory=Defaults)
    pseudonym_key: bytes = field(default=b"", repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Give what travels to another process, where a read-only view cannot."""
        return {**vars(self), "models": dict(self.models)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Be the same settings again, read-only."""
        vars(self).update(state, models=MappingProxyType(state["models"]))

    def model(self, name: str | None = None) -> ModelSpec:
        """Look up a model; None = the default one.

        Raises
        ------
        NotFoundError
            No model of that name.
        """
        name = name or self.default_model
        if name not in self.models:
            known = ", ".join(sorted(self.models))
            raise NotFoundError(f"There is no model '{name}'; known models are {known}.")
        return self.models[name]

    def defaults_for(self, model: str | None = None) -> Defaults:
        """Return the edit parameters of a model: the general ones with its own over them."""
        return validate_parameters(self.model(model).defaults, self.defaults)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the packaged TOML, the user's TOML and the environment.

    Parameters
    ----------
    environ : mapping, optional
        Environment to read; default `os.environ`.

    Raises
    ------
    ParameterError
        A key is unknown, or a value has the wrong type or form; names both.
    """
    return _settings(read_tree(PACKAGED, os.environ if environ is None else environ))


def _settings(tree: dict[str, Any]) -> Settings:
    cache, endpoint = tree.get("hub_cache"), tree.get("hub_endpoint")
    access = Access(
        models_dir=Path(tree.get("models_dir") or cache_folder() / "models").expanduser(),
        allow_download=tree.get("allow_download", False),
        hub_cache=Path(cache).expanduser() if cache else None,
        hub_endpoint=endpoint or None,
    )
    defaults = validate_parameters(tree.get("defaults", {}), Defaults())
    models = {name: _model(name, entry, access) for name, entry in tree["models"].items()}
    for model in models.values():
        validate_parameters(model.defaults, defaults)
    rest = {f.name: tree[f.name] for f in fields(Settings) if f.name in tree}
    rest |= {"access": access, "models": MappingProxyType(models), "defaults": defaults}
    rest["remotes"] = remote_access(tree)
    settings = Settings(pseudonym_key=_pseudonym_key(tree.get("pseudonym_key_file")), **rest)
    if settings.dtype not in DTYPES:
        raise ParameterError(f"dtype is '{settings.dtype}'; expected one of {', '.join(DTYPES)}.")
    if settings.inversion_cache_mb < 0:
        raise ParameterError("inversion_cache_mb must be 0 or more.")
    return settings


def _pseudonym_key(named: str | None) -> bytes:
    if not named:
        return b""
    path = Path(named).expanduser()
    try:
        key = path.read_bytes().strip()
    except OSError as error:
        raise ParameterError(
            f"The pseudonym_key_file {path} cannot be read: {error.strerror}."
        ) from error
    if len(key) < MIN_KEY_BYTES:
        raise ParameterError(
            f"The pseudonym_key_file {path} holds {len(key)} bytes; expected a secret of at "
            f"least {MIN_KEY_BYTES}."
        )
    return key


def _model(name: str, entry: Mapping[str, Any], access: Access) -> ModelSpec:
    where = f"model '{name}'"
    components = {
        part: _component(f"{where}, component '{part}'", values)
        for part, values in entry.get("components", {}).items()
    }
    for key in ("title", "licence"):
        if not entry.get(key):
            raise ParameterError(f"{where} lacks '{key}'.")
    if "folder" not in entry:
        for part in COMPONENTS:
            if part not in components or not (components[part].repo or components[part].config):
                raise ParameterError(f"{where} has no folder and no source for its {part}.")
    for file, digest in entry.get("sha256", {}).items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise ParameterError(f"{where}: the sha256 of {file} is not 64 lower-case hex digits.")
    spec = ModelSpec(name, entry["title"], entry["licence"], access, components=components)
    simple = ("verify", "image_size", "max_tokens", "mask_padding", "sha256", "defaults")
    spec = replace(spec, **{key: entry[key] for key in simple if key in entry})
    spec = replace(spec, knows=tuple(str(word) for word in entry.get("knows", ())))
    if spec.verify not in VERIFY:
        raise ParameterError(f"{where}: verify is '{spec.verify}'; expected {' or '.join(VERIFY)}.")
    return replace(spec, folder=Path(entry["folder"])) if "folder" in entry else spec


def _component(where: str, values: Mapping[str, Any]) -> ComponentSpec:
    folder = Path(values["folder"]) if "folder" in values else None
    files = tuple(values.get("files", ()))
    spec = ComponentSpec(**{**values, "folder": folder, "files": files})
    if spec.repo and not _REVISION.fullmatch(spec.revision):
        raise ParameterError(
            f"{where}: revision is '{spec.revision}'; expected a commit of 40 hex digits, since a "
            "branch or tag can move."
        )
    for file in spec.files:
        if not isinstance(file, str) or Path(file).name != file:
            raise ParameterError(f"{where}: '{file}' is not a plain file name.")
    return spec
