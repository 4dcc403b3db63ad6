"""The settings as they are written: TOML files and environment, laid over each other.

What comes out is one tree of plain values whose keys and types are known to be right;
`radedit.lib.settings` makes the frozen dataclasses of it and checks what the values mean.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from radedit.lib.errors import ParameterError

COMPONENTS: Final = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
SCORER: Final = "scorer"  # a component that a model may do without
CONFIG: Final = "RADEDIT_CONFIG"  # names the user's file
# Variables that others read and check: access to archives, the server, sign-on, the job queue.
_OTHERS: Final = ("RADEDIT_ARCHIVE_", "RADEDIT_SERVER_", "RADEDIT_OIDC_", "RADEDIT_JOBS_")
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*")  # of a model
_VARIABLES: Final[Mapping[str, tuple[str, type]]] = MappingProxyType(
    {
        "RADEDIT_MODELS_DIR": ("models_dir", str),
        "RADEDIT_ALLOW_DOWNLOAD": ("allow_download", bool),
        "RADEDIT_HUB_CACHE": ("hub_cache", str),
        "RADEDIT_HUB_ENDPOINT": ("hub_endpoint", str),
        "RADEDIT_MODEL": ("default_model", str),
        "RADEDIT_DEVICE": ("device", str),
        "RADEDIT_DTYPE": ("dtype", str),
        "RADEDIT_INVERSION_CACHE_MB": ("inversion_cache_mb", int),
        "RADEDIT_PSEUDONYM_KEY_FILE": ("pseudonym_key_file", str),
        "RADEDIT_REMOTE_SERVERS": ("remote_servers", list),  # with commas between
        "RADEDIT_REMOTE_TIMEOUT_S": ("remote_timeout_s", int),
        "RADEDIT_REMOTE_MAX_MB": ("remote_max_mb", int),
    }
)
_TOP: Final = {key: kind for key, kind in _VARIABLES.values()} | {
    "defaults": dict,
    "models": dict,
    "words": dict,  # read by radedit_dicom, which judges films
}
_WORDS: Final = {"chest": list, "frontal": list, "other_views": list}
_MODEL: Final = {
    "title": str,
    "licence": str,
    "folder": str,
    "verify": str,
    "image_size": int,
    "max_tokens": int,
    "mask_padding": bool,
    "knows": list,
    "sha256": dict,
    "defaults": dict,
    "components": dict,
}
_COMPONENT: Final = {
    "repo": str,
    "revision": str,
    "subfolder": str,
    "folder": str,
    "files": list,
    "config": dict,
}


def read_tree(packaged: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    """Read the packaged TOML, the user's TOML and the variables; later ones win.

    Parameters
    ----------
    packaged : Path
        The package's own TOML file.
    environ : mapping
        Environment; its RADEDIT_* variables are read, any other is left alone.

    Returns
    -------
    dict
        The keys of the TOML form. Paths of model folders and of the key file are absolute
        where a file named them.

    Raises
    ------
    ParameterError
        A file cannot be read, a key is unknown, or a value has the wrong type; names it.
    """
    tree = _read(packaged)
    if environ.get(CONFIG):
        tree = _merge(tree, _read(Path(environ[CONFIG]).expanduser()))
    given = {n for n in environ if n.startswith("RADEDIT_") and not n.startswith(_OTHERS)}
    _refuse_unknown(given, {*_VARIABLES, CONFIG}, "the environment")
    for name in sorted(given - {CONFIG}):
        key, kind = _VARIABLES[name]
        tree[key] = _from_text(name, environ[name], kind)
    return tree


def _read(path: Path) -> dict[str, Any]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ParameterError(
            f"The settings file {path} cannot be read: {error.strerror}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ParameterError(f"The settings file {path} is not valid TOML: {error}.") from error
    _typed(tree, _TOP, str(path))
    _check_words(tree.get("words", {}), f"{path}, words")
    if tree.get("pseudonym_key_file"):
        tree["pseudonym_key_file"] = _beside(path, tree["pseudonym_key_file"])
    for name, model in tree.get("models", {}).items():
        where = f"{path}, model '{name}'"
        if not isinstance(model, dict) or not NAME.fullmatch(name):
            raise ParameterError(f"{where}: expected a table with a name of a-z, 0-9, '-' and '_'.")
        _typed(model, _MODEL, where)
        if "folder" in model:
            model["folder"] = _beside(path, model["folder"])
        parts = (*COMPONENTS, SCORER)
        _refuse_unknown(model.get("components", {}), parts, f"{where}, components")
        for part, component in model.get("components", {}).items():
            _typed(component, _COMPONENT, f"{where}, component '{part}'")
            if "folder" in component:
                component["folder"] = _beside(path, component["folder"])
    return tree


def _check_words(table: Any, where: str) -> None:
    _typed(table, _WORDS, where)
    for key, value in table.items():
        if not all(isinstance(word, str) and word.strip(" *") for word in value):
            raise ParameterError(f"{where}: '{key}' holds something else than words; correct it.")


def _beside(path: Path, named: str) -> str:
    """Resolve a path that a settings file names, relative to that file."""
    return str((path.parent / Path(named).expanduser()).resolve())


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one tree of tables over another, key by key."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _merge(base[key], value) if both else value
    return merged


def _typed(values: Any, known: Mapping[str, type], where: str) -> None:
    if not isinstance(values, dict):
        raise ParameterError(f"{where}: expected a table, found {type(values).__name__}.")
    _refuse_unknown(values, known, where)
    for key, value in values.items():
        if type(value) is not known[key]:
            raise ParameterError(
                f"{where}: '{key}' is of type {type(value).__name__}; expected "
                f"{known[key].__name__}."
            )


def _refuse_unknown(given: Any, known: Any, where: str) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ParameterError(
            f"'{unknown[0]}' in {where} is not known; known keys are {', '.join(sorted(known))}."
        )


def _from_text(name: str, text: str, kind: type) -> Any:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if kind is list:
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return words[text.strip().lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise ParameterError(f"{name} is '{text}'; expected {kind.__name__}.") from error
