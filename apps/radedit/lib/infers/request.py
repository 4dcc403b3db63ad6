"""Read what MONAI Label hands to a task: a request dict, never passed on from here.

A request mixes what the client sent as `params`, what MONAI Label and its clients add of
their own, and the paths of files that were uploaded.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from radedit.lib.errors import MaskError, NotFoundError, ParameterError
from radedit.lib.mask_files import read_mask, read_png
from radedit.lib.parameters import ParameterRange
from radedit.lib.sources import FilmSources, Mask
from radedit_dicom.film import Film

# What MONAI Label and its clients put into a request beside the task's own parameters.
FOREIGN_KEYS: Final = frozenset(
    {
        "_id",
        "_image_id",
        "bundle_path",
        "client_id",
        "description",
        "device",
        "gpus",
        "image",
        "images",
        "label",
        "label_info",
        "label_tag",
        "logging",
        "max_batch_size",
        "max_workers",
        "model",
        "multi_gpu",
        "output",
        "parameters",
        "restore_label_idx",
        "result_compress",
        "result_dtype",
        "result_extension",
        "save_label",
        "session",
        "session_id",
        "timeout",
        "user",
    }
)


@dataclass
class UploadSources(FilmSources):
    """Sources for a request over the network: no paths of the server's own files."""

    def mask(self, kind: str, name: str) -> Mask:
        """Give one mask; see `FilmSources.mask`."""
        if kind == "file":
            raise MaskError(
                "file: names a file of the server and is refused over REST; upload the mask and "
                "name it uploaded:NAME."
            )
        return super().mask(kind, name)


def first(value: Any) -> Any:
    """Take a combo box's choice: clients send the whole list back, the choice first."""
    return value[0] if isinstance(value, list) and value else value


def text(request: Mapping[str, Any], name: str) -> str | None:
    """Read an optional text; missing, null and "" all mean: not given.

    Raises
    ------
    ParameterError
        It is no text.
    """
    value = first(request.get(name))
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ParameterError(f"{name} is of type {type(value).__name__}; expected text.")
    return value


def given(request: Mapping[str, Any], ranges: Mapping[str, ParameterRange]) -> dict[str, Any]:
    """Pick the parameters of `ranges` that were given; their values are not checked here.

    Form fields arrive as text, so a number may be spelt "100".
    """
    picked = {name: first(request[name]) for name in ranges if name in request}
    return {
        name: _number(value, ranges[name].type)
        for name, value in picked.items()
        if value is not None and value != ""
    }


def _number(value: Any, kind: type) -> Any:
    if not isinstance(value, str) or kind is str:
        return value
    try:
        return kind(value)
    except ValueError:
        return value  # the check of the range says what is wrong with it


def refuse_unknown(request: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse a key that means nothing here, for it may be a misspelt one that does.

    Raises
    ------
    ParameterError
        Names the key and the known ones.
    """
    for name in request:
        if name not in known and name not in FOREIGN_KEYS:
            raise ParameterError(
                f"There is no parameter '{name}'; known parameters are {', '.join(known)}."
            )


def uploaded_masks(request: Mapping[str, Any], film: Film) -> dict[str, Mask]:
    """Read the masks that came with a request.

    Parameters
    ----------
    request : its `label` is the path of a file uploaded in the multipart field of that name;
        its `masks` maps names to PNG files in base64
    film : the film they lie on

    Returns
    -------
    each bool [rows, cols], True = not 0; the multipart file's name is "label"

    Raises
    ------
    MaskError
        Not readable as an image, or too large.
    """
    encoded = request.get("masks") or {}
    if not isinstance(encoded, dict):
        raise ParameterError('masks is no object; expected {"NAME": "PNG file in base64", ...}.')
    found = {str(name): _decoded(str(name), value, film) for name, value in encoded.items()}
    if request.get("label"):
        found["label"] = read_mask(str(request["label"]), film)
    return found


def _decoded(name: str, value: Any, film: Film) -> Mask:
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError) as error:
        raise MaskError(f"the mask '{name}' is no PNG file in base64; encode it anew.") from error
    return read_png(io.BytesIO(data), name, film.shape)


def film_path(request: Mapping[str, Any]) -> Path:
    """Find the file of the film.

    Raises
    ------
    NotFoundError
        The studies have no such image.
    """
    path = request.get("image")
    if not isinstance(path, str) or not path or not Path(path).is_file():
        raise NotFoundError("The image of this request does not exist; GET /datastore lists them.")
    return Path(path)
