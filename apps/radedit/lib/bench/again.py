"""A film edited once more, as its users wait for it: from the read film to the stored values."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import count
from typing import Final

from radedit.lib.bench.turns import Quantities, Way
from radedit.lib.cases import EditRequest
from radedit.lib.pipeline import Editor
from radedit.lib.settings import Settings
from radedit_dicom.film import Film

FIRST: Final = "the first edit of a film"
_PROMPTS = ("Left lung mass", "Left lung consolidation")


def ways(settings: Settings, film: Film, request: EditRequest) -> dict[str, Way]:
    """Give the first edit of a film, and edits that follow it in the same process.

    Parameters
    ----------
    request : its prompt is replaced by others, its seed by one after the other
    """
    editor = Editor(settings)
    editor.scorer(request.model)
    seeds, turns = count(1), count()
    editor.edit(film, request)

    def first() -> Quantities:
        return _timed(editor, _another(film, next(seeds)), request)

    def prompt() -> Quantities:
        return _timed(editor, film, replace(request, prompt=_PROMPTS[next(turns) % 2]))

    def mask() -> Quantities:
        shifted = f"dilate({request.edit_mask}, {1 + next(turns) % 5}px)"
        return _timed(editor, film, replace(request, edit_mask=shifted))

    def seed() -> Quantities:
        parameters = {**request.parameters, "seed": next(seeds)}
        return _timed(editor, film, replace(request, parameters=parameters))

    return {FIRST: first, "another prompt": prompt, "another mask": mask, "another seed": seed}


def _another(film: Film, number: int) -> Film:
    """Give a film that nothing is kept of: one stored value of it is another."""
    stored = film.stored.copy()
    stored.flat[number % stored.size] ^= 1
    return replace(film, stored=stored)


def _timed(editor: Editor, film: Film, request: EditRequest) -> Quantities:
    begun = time.perf_counter()
    edited = editor.edit(film, request)
    taken = time.perf_counter() - begun
    network = sum(edited.seconds[stage] for stage in ("encode", "edit", "decode"))
    return {"s": taken, "of it in the model, s": network}
