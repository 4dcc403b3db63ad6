"""Where a checkpoint's files lie, and whether they are the right ones.

Order of search per component: the model's `folder` if it has one; the user's
`<models_dir>/<model>/<component>`; the Hub cache at the pinned revision, filled only when
downloads are allowed. Only names on a list are ever read, and of weights only safetensors:
pickle files (.bin, .pt, .ckpt) can run code and are refused by name. The one exception is a
scorer that is published as a pickle only: its sha256 must be pinned, and it is read by a reader
that builds tensors and calls nothing (`radedit.lib.score.biovil`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radedit.lib.errors import CheckpointError
from radedit.lib.settings import COMPONENTS, ComponentSpec, ModelSpec
from radedit.lib.settings_file import SCORER
from radedit.lib.whole_files import write_file

DIFFUSION_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"
TEXT_WEIGHTS: Final = "model.safetensors"
REQUIRED: Final = {
    "unet": ("config.json", DIFFUSION_WEIGHTS),
    "vae": ("config.json", DIFFUSION_WEIGHTS),
    "text_encoder": ("config.json", TEXT_WEIGHTS),
    "tokenizer": (),
    "scheduler": ("scheduler_config.json",),
    SCORER: ("config.json", TEXT_WEIGHTS),
}
TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_VOCABULARIES: Final = ("tokenizer.json", "vocab.txt", "vocab.json")
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True)
class CheckpointFiles:
    """Every file of one model, found and checked.

    Attributes
    ----------
    paths : dict of str to dict of str to Path
        component -> file name -> where it lies.
    sha256 : dict of str to str
        "component/file" -> hex digest, of all of them.
    """

    paths: dict[str, dict[str, Path]]
    sha256: dict[str, str]


def locate(spec: ModelSpec, parts: Sequence[str] = COMPONENTS) -> CheckpointFiles:
    """Find every file of a model, or of some of its parts, and check its hash.

    Raises
    ------
    CheckpointError
        A file is missing, pickled, gated, not reachable, not pinned, or has another hash.
        One sentence: what to get, where to put it, and its licence.
    """
    paths: dict[str, dict[str, Path]] = {}
    for part in parts:
        component = spec.components.get(part, ComponentSpec())
        if not (part == "scheduler" and component.config):
            paths[part] = component_files(spec, part)
    digests = file_digests(paths)
    check_pins(spec, digests)
    if spec.verify == "on-first-use":
        _check_lock(spec, digests)
    return CheckpointFiles(paths, digests)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as 64 hex digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def file_digests(paths: Mapping[str, Mapping[str, Path]]) -> dict[str, str]:
    """Hash files: component -> name -> path becomes "component/name" -> sha256."""
    return {
        f"{part}/{name}": file_sha256(path)
        for part, files in paths.items()
        for name, path in files.items()
    }


def put_at(spec: ModelSpec, part: str) -> Path:
    """Return the folder where a user's own copy of a component belongs."""
    own = spec.components.get(part, ComponentSpec()).folder
    return own or (spec.folder or spec.access.models_dir / spec.name) / part


def refusal(spec: ModelSpec, part: str, what: str, name: str) -> CheckpointError:
    """Build the one sentence: what is wrong, what to get, where to put it, the licence."""
    component = spec.components.get(part, ComponentSpec())
    source = f"{part}/{name}"
    if component.repo:
        inside = f"{component.subfolder}/{name}" if component.subfolder else name
        source = f"{inside} of {component.repo} at revision {component.revision}"
        source += " from the Hugging Face Hub"
    return CheckpointError(
        f"Model '{spec.name}': {what}; get {source} and put it at {put_at(spec, part) / name} "
        f"(licence: {spec.licence})."
    )


def component_files(spec: ModelSpec, part: str) -> dict[str, Path]:
    """Find the files of one part, by name; their hashes are not looked at.

    Raises
    ------
    CheckpointError
        As `locate`, but for hashes.
    """
    component, own = spec.components.get(part, ComponentSpec()), put_at(spec, part)
    wanted = component.files or REQUIRED[part] or TOKENIZER_FILES
    exact = bool(component.files or REQUIRED[part])
    in_folder = component.folder or spec.folder
    if in_folder is not None or own.is_dir() or not component.repo:
        found = {name: own / name for name in wanted if (own / name).is_file()}
    else:
        from radedit.lib.edit.backbone.hub import fetch

        found = fetch(spec, part, wanted, exact)
    missing = [name for name in wanted if name not in found]
    if not exact:
        missing = [] if set(found) & set(_VOCABULARIES) else ["tokenizer.json"]
    if missing:
        folder = next(iter(found.values())).parent if found else own
        raise refusal(spec, part, _why_missing(folder, part, missing[0]), missing[0])
    return found


def _why_missing(folder: Path, part: str, name: str) -> str:
    pickles = []
    if name.endswith(".safetensors") and folder.is_dir():
        pickles = sorted(f.name for f in folder.iterdir() if f.suffix in _PICKLES)
    if pickles:
        return (
            f"its {part} comes only as {pickles[0]}, a pickle file, which can run code and is "
            f"never opened (expected {name})"
        )
    return f"{part}/{name} is missing"


def check_pins(spec: ModelSpec, digests: Mapping[str, str]) -> None:
    """Hold hashes to those that the registry pins.

    Raises
    ------
    CheckpointError
        One differs, or has no pin and needs one.
    """
    for key, digest in digests.items():
        part, name = key.split("/")
        pinned = spec.sha256.get(key)
        if pinned is None and (spec.verify == "pinned" or name.endswith(_PICKLES)):
            raise CheckpointError(
                f"Model '{spec.name}': {key} has no sha256 in the registry, so it cannot be "
                "trusted; add the one that `python -m radedit.lib.edit.backbone.pin` prints "
                f"(licence: {spec.licence})."
            )
        if pinned is not None and pinned != digest:
            what = f"{key} has the sha256 {digest}, expected {pinned}"
            raise refusal(spec, part, what, name)


def _check_lock(spec: ModelSpec, digests: dict[str, str]) -> None:
    """Record the hashes of a first load, compare those of a later one."""
    lock = spec.access.models_dir / f"{spec.name}.sha256.json"
    now = {
        f"{_origin(spec, key.split('/')[0])}:{key}": digest
        for key, digest in digests.items()
        if key not in spec.sha256
    }
    try:
        seen: dict[str, str] = json.loads(lock.read_text()) if lock.exists() else {}
        for key, digest in now.items():
            if seen.get(key, digest) != digest:
                raise CheckpointError(
                    f"Model '{spec.name}': {key.rpartition(':')[2]} has changed since it was first "
                    f"loaded (sha256 {digest}, recorded {seen[key]}); restore the file, or delete "
                    f"{lock} if you changed it on purpose (licence: {spec.licence})."
                )
        if now.keys() - seen.keys():
            _write_with_folder(lock, json.dumps({**seen, **now}, indent=1, sort_keys=True))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"Model '{spec.name}': the record of its hashes {lock} cannot be read or written "
            f"({error}); make {lock.parent} writable or pin the hashes in the registry."
        ) from error


def _origin(spec: ModelSpec, part: str) -> str:
    component = spec.components.get(part, ComponentSpec())
    folder = component.folder or spec.folder
    if folder is None and component.repo:
        return f"{component.repo}@{component.revision}"
    return str(folder or spec.access.models_dir)


def _write_with_folder(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text)
