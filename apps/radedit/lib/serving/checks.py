"""What would make a job fail for certain, said before it is queued."""

from __future__ import annotations

import threading
from collections.abc import Collection

from radedit.lib.edit.backbone import PromptTokenizer, load_prompts
from radedit.lib.errors import CheckpointError, MaskError, NotFoundError
from radedit.lib.jobs.model import JobRequest
from radedit.lib.mask_grammar import Difference, Dilated, Inverse, Node, Source, Union, parse
from radedit.lib.settings import Settings


class PromptCheck:
    """Refuses words that a model does not know; of a model no more than its tokenizer is read.

    Parameters
    ----------
    settings : name the models
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[str, PromptTokenizer] = {}
        self._lock = threading.Lock()

    def check(self, request: JobRequest) -> None:
        """Check the prompts of a request.

        Raises
        ------
        PromptError
            A prompt is empty, too long, or holds words that the model does not know.
        NotFoundError
            There is no such model.
        """
        spec = self._settings.model(request.model)
        with self._lock:
            if spec.name not in self._loaded:
                try:
                    self._loaded[spec.name] = load_prompts(spec)
                except CheckpointError:
                    return  # its files are the workers' alone, or the job says what they lack
            prompts = self._loaded[spec.name]
        prompts.check_prompt(request.prompt)
        if request.invert_prompt:
            prompts.check_prompt(request.invert_prompt, "inversion prompt")


def check_masks(request: JobRequest, tasks: Collection[str]) -> None:
    """Refuse masks that cannot be there.

    Parameters
    ----------
    tasks : that masks come from

    Raises
    ------
    MaskError
        An expression is malformed, or names a mask that did not come with the request.
    NotFoundError
        It names a task that this server does not have.
    """
    for expression in (request.edit_mask, request.keep_mask):
        for source in _sources(parse(expression)) if expression else ():
            if source.kind == "uploaded" and source.name not in request.masks:
                raise MaskError(
                    f"The mask 'uploaded:{source.name}' did not come with the request "
                    f"(sent: {', '.join(sorted(request.masks)) or 'none'}); send it in masks "
                    "under that name."
                )
            task = source.name.partition(":")[0]
            if source.kind == "task" and task not in tasks:
                raise NotFoundError(
                    f"There is no task '{task}' on this server; masks come from "
                    f"{', '.join(sorted(tasks))}."
                )


def _sources(node: Node) -> list[Source]:
    match node:
        case Source():
            return [node]
        case Union(left, right) | Difference(left, right):
            return [*_sources(left), *_sources(right)]
        case Inverse(inner) | Dilated(inner):
            return _sources(inner)
    return []
