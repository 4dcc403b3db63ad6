"""From the JSON of a request for an edit to the request that is queued."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from radedit.lib.errors import MaskError, ParameterError
from radedit.lib.jobs.checks import MODES
from radedit.lib.jobs.model import JobRequest
from radedit.lib.mask_grammar import parse, sources_of
from radedit.lib.parameters import PARAMETERS
from radedit.lib.serving.config import MB, Limits
from radedit_dicom.uids import is_uid

TEXTS: Final[Mapping[str, str]] = {
    "prompt": "what the edited region shall show",
    "edit_mask": "what may change, in the mask grammar; all if not given",
    "keep_mask": "what must stay, in the mask grammar; wins over edit_mask",
    "invert_prompt": "text the inversion is conditioned on; empty as in the paper",
    "film_text": "what the film shows before the edit, for the score",
    "edit_model": "entry of the model registry",
}
KNOWN: Final = ("image", "sop_instance_uid", *TEXTS, "study_mode", "masks", *PARAMETERS)
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_TYPES: Final = {int: "integer", float: "number", str: "string"}


def schema() -> dict[str, Any]:
    """Describe the body of `POST /radedit/jobs` for the OpenAPI document."""
    properties: dict[str, Any] = {
        "image": {"type": "string", "description": "an id that GET /datastore lists"},
        "sop_instance_uid": {"type": "string", "description": "the film's UID, instead of image"},
        "study_mode": {"enum": list(MODES), "default": "new"},
        "masks": {
            "type": "object",
            "description": "more masks, PNG in base64, named uploaded:NAME in the grammar",
            "additionalProperties": {"type": "string", "format": "byte"},
        },
    }
    properties |= {name: {"type": "string", "description": said} for name, said in TEXTS.items()}
    for name, allowed in PARAMETERS.items():
        described: dict[str, Any] = {"type": _TYPES[allowed.type], "description": allowed.help}
        if allowed.choices:
            described["enum"] = list(allowed.choices)
        if allowed.minimum is not None:
            described["minimum"] = allowed.minimum
        if allowed.maximum is not None:
            described["exclusiveMaximum" if allowed.below_maximum else "maximum"] = allowed.maximum
        properties[name] = described
    return {
        "type": "object",
        "properties": properties,
        "required": ["prompt"],
        "additionalProperties": False,
        "example": {
            "image": "film.dcm",
            "prompt": "Right pneumothorax",
            "edit_mask": "box:0,0,9,9",
        },
    }


def parsed(body: bytes) -> dict[str, Any]:
    """Read a body.

    Raises
    ------
    ParameterError
        It is no JSON object, or has a key that means nothing here.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ParameterError("The body is no JSON; send one object.") from error
    if not isinstance(found, dict):
        raise ParameterError("The body is no JSON object; send {...}.")
    for name in found:
        if name not in KNOWN:
            raise ParameterError(
                f"There is no parameter {name[:40]!r}; known parameters are {', '.join(KNOWN)}."
            )
    return found


def job_request(
    values: Mapping[str, Any], limits: Limits, film: Callable[[str, str], str], user: str
) -> JobRequest:
    """Check the types of a body's values and name the film; the queue checks the rest.

    Parameters
    ----------
    values : of `parsed`
    film : from an image id and a SOP Instance UID, one of them "", to the image id
    user : who asks

    Raises
    ------
    RequestError
        A value has another type, a mask is none or too large, or both or none of `image` and
        `sop_instance_uid` are given.
    NotFoundError
        There is no such film.
    """
    texts = {name: _text(values, name) for name in TEXTS}
    for name in ("edit_mask", "keep_mask"):
        if texts[name]:
            _refuse_files(texts[name])
    image, uid = _text(values, "image"), _text(values, "sop_instance_uid")
    if bool(image) == bool(uid):
        raise ParameterError("Name the film by image or by sop_instance_uid, one of them.")
    if uid and not is_uid(uid):
        raise ParameterError("sop_instance_uid is no UID; give numbers with dots between.")
    return JobRequest(
        image=film(image, uid),
        prompt=texts["prompt"],
        edit_mask=texts["edit_mask"] or None,
        keep_mask=texts["keep_mask"] or None,
        invert_prompt=texts["invert_prompt"],
        film_text=texts["film_text"],
        model=texts["edit_model"] or None,
        parameters={
            name: allowed.check(name, values[name])  # 0 and 0.0 are one request
            for name, allowed in PARAMETERS.items()
            if values.get(name) is not None
        },
        study_mode=values.get("study_mode", "new"),
        masks=_masks(values.get("masks") or {}, limits),
        user=user,
    )


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ParameterError(f"{name} is of type {type(value).__name__}; expected text.")
    if any(character < " " and character not in "\t\r\n" for character in value) or any(
        "\ud800" <= character <= "\udfff" for character in value
    ):
        raise ParameterError(f"{name} holds a control character; give plain text.")
    return value


def _refuse_files(expression: str) -> None:
    if any(source.kind == "file" for source in sources_of(parse(expression))):
        raise MaskError(
            "file: names a file of the server and is refused over the network; send the mask "
            "in masks and name it uploaded:NAME."
        )


def _masks(encoded: Any, limits: Limits) -> dict[str, bytes]:
    if not isinstance(encoded, dict):
        raise ParameterError('masks is no object; expected {"NAME": "PNG file in base64", ...}.')
    if len(encoded) > limits.masks:
        raise MaskError(f"{len(encoded)} masks came with the request; send {limits.masks} at most.")
    return {name: _png(name, value, limits.mask_bytes) for name, value in encoded.items()}


def _png(name: str, value: Any, limit: int) -> bytes:
    said = f"the mask {name[:40]!r}"
    if isinstance(value, str) and len(value) > 4 * (limit // 3 + 1):
        raise MaskError(f"{said} is larger than {limit // MB} MB; send a smaller PNG file.")
    try:
        data = base64.b64decode(value, validate=True)
    except (TypeError, ValueError) as error:
        raise MaskError(f"{said} is no PNG file in base64; encode it anew.") from error
    if not data.startswith(_PNG):
        raise MaskError(f"{said} is no PNG file; encode it anew.")
    return data
