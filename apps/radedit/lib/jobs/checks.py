"""A request checked as far as can be without a film and without a model loaded."""

from __future__ import annotations

import json
import re
from typing import Final

from radedit.lib.errors import MaskError, NotFoundError, ParameterError, PromptError
from radedit.lib.jobs.model import JobRequest
from radedit.lib.mask_grammar import parse, sources_of
from radedit.lib.parameters import inversion_of, validate_parameters
from radedit.lib.settings import Settings

MODES: Final = ("new", "same")
MOST_MASKS: Final = 16
MOST_MASK_BYTES: Final = 32 * 2**20
_MASK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def plan_of(request: JobRequest, settings: Settings) -> str:
    """Check a request; give what edits have in common that may share a batch, as text.

    Raises
    ------
    ParameterError, PromptError, MaskError
        A parameter is out of its range, there is no image or prompt, a mask's expression is
        malformed, its name is no plain word, or the masks are too many or too large.
    NotFoundError
        There is no such model.
    """
    model = settings.model(request.model)
    p = validate_parameters(request.parameters, settings.defaults_for(request.model))
    if not request.image:
        raise NotFoundError("there is no image; GET /datastore lists the films.")
    if not request.prompt.strip():
        raise PromptError("there is no prompt; say what the edited region shall show.")
    if request.study_mode not in MODES:
        raise ParameterError(f"study_mode is neither {' nor '.join(MODES)}; give one of them.")
    for expression in (request.edit_mask, request.keep_mask):
        if expression is not None:
            parse(expression)
    _check_masks(request)
    inversion = inversion_of(request.prompt, request.invert_prompt)
    return json.dumps([model.name, *p.shared, inversion])


def comes_from_outside(request: JobRequest) -> bool:
    """Tell whether a mask may be another one by now: it is neither drawn nor sent with it."""
    expressions = [e for e in (request.edit_mask, request.keep_mask) if e is not None]
    return any(s.kind != "uploaded" for e in expressions for s in sources_of(parse(e)))


def _check_masks(request: JobRequest) -> None:
    if len(request.masks) > MOST_MASKS:
        raise MaskError(f"there are {len(request.masks)} masks; send at most {MOST_MASKS}.")
    if sum(map(len, request.masks.values())) > MOST_MASK_BYTES:
        raise MaskError(f"the masks have more than {MOST_MASK_BYTES // 2**20} MB; send fewer.")
    for name in request.masks:
        if not _MASK_NAME.fullmatch(name):
            raise MaskError("a mask's name is no plain word; use letters, digits, '_', '.', '-'.")
