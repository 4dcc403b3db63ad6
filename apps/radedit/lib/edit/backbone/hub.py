"""Files of a pinned Hub revision: from the cache, or fetched when that is allowed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from radedit.lib.edit.backbone.files import put_at, refusal
from radedit.lib.errors import CheckpointError
from radedit.lib.settings import ModelSpec


def fetch(spec: ModelSpec, part: str, names: Sequence[str], exact: bool) -> dict[str, Path]:
    """Return the listed files of a component that its pinned revision has.

    Parameters
    ----------
    spec : ModelSpec
        The model; `spec.access` says whether anything may be downloaded.
    part : str
        Component with a `repo`.
    names : sequence of str
        The only file names that are asked for.
    exact : bool
        True: all are needed, so the first that is absent is an error.

    Raises
    ------
    CheckpointError
        Not in the cache and downloads are off or the Hub is out of reach, gated, or the
        file does not exist there.
    """
    found: dict[str, Path] = {}
    for name in names:
        path = _fetch_one(spec, part, name, exact)
        if path is not None:
            found[name] = path
    return found


def _fetch_one(spec: ModelSpec, part: str, name: str, exact: bool) -> Path | None:
    import httpx2
    from huggingface_hub import constants, errors, hf_hub_download

    component, access = spec.components[part], spec.access
    online = access.allow_download and not constants.HF_HUB_OFFLINE
    try:
        return Path(
            hf_hub_download(
                component.repo,
                name,
                subfolder=component.subfolder or None,
                revision=component.revision,
                cache_dir=access.hub_cache,
                endpoint=access.hub_endpoint,
                local_files_only=not online,
            )
        )
    except errors.GatedRepoError as error:
        raise _gated(spec, part, name) from error
    except errors.LocalEntryNotFoundError as error:
        if not online and not exact:
            return None
        raise refusal(spec, part, _unreachable(spec, part, name, online), name) from error
    except errors.EntryNotFoundError as error:
        if not exact:
            return None
        what = f"{component.repo} has no {name} at its pinned revision"
        raise refusal(spec, part, what + _pickle_note(name), name) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        if error.response.status_code in (401, 403):
            raise _gated(spec, part, name) from error
        what = f"the Hub has no {component.repo} at its pinned revision"
        raise refusal(spec, part, what, name) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise _gated(spec, part, name) from error
        what = f"the Hub answered {status} for {component.repo}"
        raise refusal(spec, part, what, name) from error
    except (OSError, httpx2.HTTPError) as error:
        what = f"{component.repo} cannot be fetched ({type(error).__name__})"
        raise refusal(spec, part, what, name) from error


def _gated(spec: ModelSpec, part: str, name: str) -> CheckpointError:
    repo = spec.components[part].repo
    what = (
        f"{repo} is gated; accept its terms on its Hub page while signed in and run "
        "`hf auth login`, or else"
    )
    sentence = str(refusal(spec, part, what, name)).replace("or else; get", "or else get", 1)
    return CheckpointError(sentence)


def _unreachable(spec: ModelSpec, part: str, name: str, online: bool) -> str:
    if online:
        return f"{part}/{name} is not in the Hub cache and the Hub cannot be reached"
    pickles = _cached_pickles(spec, part)
    if name.endswith(".safetensors") and pickles:
        return (
            f"its {part} is in the Hub cache only as {pickles[0]}, a pickle file, which can run "
            f"code and is never opened (expected {name})"
        )
    why = "downloads are off (RADEDIT_ALLOW_DOWNLOAD=1 allows them)"
    if spec.access.allow_download:
        why = "HF_HUB_OFFLINE is set"
    return f"{part}/{name} is neither in {put_at(spec, part)} nor in the Hub cache, and {why}"


def _cached_pickles(spec: ModelSpec, part: str) -> list[str]:
    from huggingface_hub import constants

    component = spec.components[part]
    cache = spec.access.hub_cache or Path(constants.HF_HUB_CACHE)
    repo = "models--" + component.repo.replace("/", "--")
    folder = cache / repo / "snapshots" / component.revision / component.subfolder
    if not folder.is_dir():
        return []
    return sorted(f.name for f in folder.iterdir() if f.suffix in (".bin", ".pt", ".ckpt"))


def _pickle_note(name: str) -> str:
    if not name.endswith(".safetensors"):
        return ""
    return " (a pickle file beside it would not be opened: it can run code)"
