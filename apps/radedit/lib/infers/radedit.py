"""The MONAI Label task `radedit`: one film in, the edited film and its objects out."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

from radedit.lib.cases import EditRequest
from radedit.lib.deliver import Delivered, Manner, Outbox
from radedit.lib.errors import ParameterError
from radedit.lib.infers.request import (
    UploadSources,
    film_path,
    first,
    given,
    refuse_unknown,
    text,
    uploaded_masks,
)
from radedit.lib.infers.task_masks import known_tasks, mask_tasks
from radedit.lib.mask_names import KnownNames
from radedit.lib.parameters import PARAMETERS, ParameterRange
from radedit.lib.pipeline import Editor
from radedit.lib.prompt_check import PromptCheck
from radedit_dicom.archive import Archive
from radedit_dicom.folder import FolderArchive
from radedit_dicom.objects import StudyMode
from radedit_dicom.pixels import read_film

TEXTS: Final = {
    "prompt": "what the edited region shall show; required",
    "edit_mask": "what may change, in the mask grammar; without it an uploaded label, else all",
    "keep_mask": "what must stay, in the mask grammar",
    "invert_prompt": "text the inversion is conditioned on; empty as in the paper",
    "film_text": "what the film shows before the edit, for the score",
}
STUDY_MODE: Final = ParameterRange(
    str, "new", "study of the results: one of their own, or the film's", choices=("new", "same")
)
UPLOADS: Final = 'more masks, {"NAME": "PNG in base64"}, named uploaded:NAME in the grammar'
logger = logging.getLogger(__name__)


class RadEdit(InferTask):
    """Edit one film by a prompt and two masks.

    Typed `others`: clients read the result of a `segmentation` as label numbers, and an
    edited film is none.

    Parameters
    ----------
    editor : the loaded models and their settings
    output : the archive that results go to; a folder must not be one served as studies
    studies : the archive that `seg:` takes masks from; None = there is none
    tasks : the server's tasks, which `task:` takes masks from; read at each request
    """

    def __init__(
        self,
        editor: Editor,
        output: Archive,
        studies: Archive | None = None,
        tasks: Mapping[str, InferTask] | None = None,
    ) -> None:
        self._editor = editor
        self._prompts = PromptCheck(editor.settings)
        self._tasks = {} if tasks is None else tasks
        self._studies = studies
        self._output = output
        modes: tuple[StudyMode, ...] = ("new", "same")
        key = editor.settings.pseudonym_key
        self._outboxes = {str(mode): Outbox(output, Manner(mode, key)) for mode in modes}
        super().__init__(
            type=InferType.OTHERS,
            labels=None,
            dimension=2,
            description="Edit a frontal chest radiograph by text, inside a mask",
        )

    def is_valid(self) -> bool:
        """Say whether the task can be offered."""
        return True

    def config(self) -> dict[str, Any]:
        """List every parameter with its default, and under `parameters` its type and range.

        The defaults stand flat because MONAI Label's clients show and return them as a form;
        a list is a form's choice, its default first.
        """
        defaults = asdict(self._editor.settings.defaults_for(None))
        flat: dict[str, Any] = {name: "" for name in TEXTS}
        for name, allowed in PARAMETERS.items():
            default, choices = defaults[name], allowed.choices
            flat[name] = [default, *(c for c in choices if c != default)] if choices else default
        flat["edit_model"] = self._models()
        flat["study_mode"] = list(STUDY_MODE.choices)
        return {**flat, "parameters": self._described(defaults)}

    def _models(self) -> list[str]:
        settings = self._editor.settings
        return [settings.default_model, *sorted({*settings.models} - {settings.default_model})]

    def _described(self, defaults: dict[str, Any]) -> dict[str, dict[str, Any]]:
        described: dict[str, dict[str, Any]] = {
            name: {"type": "str", "default": "", "help": said} for name, said in TEXTS.items()
        }
        for name, allowed in {**PARAMETERS, "study_mode": STUDY_MODE}.items():
            described[name] = {
                "type": allowed.type.__name__,
                "default": defaults.get(name, allowed.default),
                "help": allowed.help,
                "minimum": allowed.minimum,
                "maximum": allowed.maximum,
                "below_maximum": allowed.below_maximum,
                "choices": list(allowed.choices),
            }
        models = self._models()
        described["edit_model"] = {
            "type": "str",
            "default": models[0],
            "help": "entry of the model registry",
            "choices": models,
        }
        described["masks"] = {"type": "dict", "default": {}, "help": UPLOADS}
        return described

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Edit one film and store the results.

        Parameters
        ----------
        request : `image`, the film's path; `prompt`; and what `config` lists

        Returns
        -------
        path of a copy of the edited image (the caller removes it), and identifiers, scores
        and timings

        Raises
        ------
        RadEditError, DicomError
            The film or the request is refused, or the result cannot be stored; then nothing
            is left behind.
        """
        started = time.perf_counter()
        refuse_unknown(request, (*TEXTS, *PARAMETERS, "edit_model", "study_mode", "masks"))
        study_mode = str(
            STUDY_MODE.check("study_mode", first(request.get("study_mode")) or STUDY_MODE.default)
        )
        self._outboxes[study_mode].check_writable()
        wanted = self._request(request)
        self._editor.parameters(wanted)
        self._check_names(wanted, request)
        film = read_film(film_path(request))
        self._outboxes[study_mode].check_film(film)
        sources = UploadSources(
            film,
            tasks=mask_tasks(self._tasks, film_path(request)),
            uploaded=uploaded_masks(request, film),
            archive=self._studies,
            remotes=self._editor.settings.remotes,
        )
        edited = self._editor.edit(film, wanted, sources)
        before_writing = time.perf_counter()
        delivered = self._outboxes[study_mode].deliver(edited)
        ended = time.perf_counter()
        answer = self._answer(delivered)
        answer["seconds"]["write"] = round(ended - before_writing, 3)
        answer["seconds"]["total"] = round(ended - started, 3)
        logger.info("edit %s took %.3f s", answer["edit_id"], ended - started)
        return str(self._copy(delivered)), answer

    def _request(self, request: dict[str, Any]) -> EditRequest:
        prompt = text(request, "prompt")
        if prompt is None:
            raise ParameterError("There is no prompt; say what the edited region shall show.")
        uploaded = "uploaded:label" if request.get("label") else None
        return EditRequest(
            prompt=prompt,
            edit_mask=text(request, "edit_mask") or uploaded,
            keep_mask=text(request, "keep_mask"),
            invert_prompt=text(request, "invert_prompt") or "",
            film_text=text(request, "film_text") or "",
            model=text(request, "edit_model"),
            parameters=given(request, PARAMETERS),
        )

    def _check_names(self, wanted: EditRequest, request: Mapping[str, Any]) -> None:
        """Refuse words and masks that are not known, before a film is read or a model loaded."""
        self._prompts.check(wanted.model, wanted.prompt, wanted.invert_prompt, wanted.film_text)
        masks = request.get("masks")
        sent = set(map(str, masks)) if isinstance(masks, dict) else set()
        uploaded = {*sent, "label"} if request.get("label") else sent
        names = KnownNames(known_tasks(self._tasks), uploaded, self._editor.settings.remotes)
        names.check(wanted.edit_mask)
        names.check(wanted.keep_mask)

    def _answer(self, delivered: Delivered) -> dict[str, Any]:
        """Give the summary; of files, each path from the output folder on."""
        summary = delivered.summary()
        if isinstance(self._output, FolderArchive):
            folder = self._output.folder
            summary |= {kind: str(p.relative_to(folder)) for kind, p in delivered.files.items()}
        return summary

    def _copy(self, delivered: Delivered) -> Path:
        """Copy the edited image: MONAI Label removes the file it has sent."""
        content = self._output.fetch(delivered.instances["sc"])
        with tempfile.NamedTemporaryFile(prefix="edited-", suffix=".dcm", delete=False) as file:
            file.write(content)
        return Path(file.name)
