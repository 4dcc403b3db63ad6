"""Prompts that a model does not take, refused before the model is loaded."""

from __future__ import annotations

import threading

from radedit.lib.edit.backbone import PromptTokenizer, load_prompts
from radedit.lib.errors import CheckpointError
from radedit.lib.settings import Settings
from radedit.lib.settings_file import SCORER


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

    def check(
        self, model: str | None, prompt: str, invert_prompt: str = "", film_text: str = ""
    ) -> None:
        """Check the texts of a request, as they stand in `cases.EditRequest`.

        Raises
        ------
        PromptError
            A text is empty, too long, or holds words that the model, or what scores its edits
            and has its vocabulary, does not know.
        NotFoundError
            There is no such model.
        """
        spec = self._settings.model(model)
        with self._lock:
            if spec.name not in self._loaded:
                try:
                    self._loaded[spec.name] = load_prompts(spec)
                except CheckpointError:
                    return  # its files are the workers' alone, or the job says what they lack
            prompts = self._loaded[spec.name]
        prompts.check_prompt(prompt)
        if invert_prompt:
            prompts.check_prompt(invert_prompt, "inversion prompt")
        if film_text.strip() and SCORER in spec.components:
            prompts.check_prompt(film_text.strip(), "film text")
