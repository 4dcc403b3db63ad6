"""The MONAI Label app: which tasks there are, where films come from, and plain refusals."""

from __future__ import annotations

import logging
import re
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fastapi import HTTPException
from monailabel.config import settings as monai_settings
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import Datastore, DefaultLabelTag
from monailabel.interfaces.tasks.infer_v2 import InferTask

from radedit.lib.archived_studies import ArchivedStudies
from radedit.lib.errors import NotFoundError, ParameterError, RadEditError
from radedit.lib.infers.bundle import bundles
from radedit.lib.infers.lung_segmentation import LungSegmentation
from radedit.lib.infers.radedit import RadEdit
from radedit.lib.infers.task_masks import check_answer
from radedit.lib.lungs import WEIGHTS
from radedit.lib.pipeline import Editor
from radedit.lib.served import ServedPlace, served_place
from radedit.lib.studies import FilmFolder, check_name
from radedit_dicom.errors import DicomError
from radedit_dicom.film import read_film
from radedit_dicom.uids import is_uid

TASKS: Final = ("radedit", "lung_segmentation")
# `bundles`, `cache`, `cache_gb` and `output` are ours; the others are those of MONAI Label's own
# apps that mean something here or that its users are wont to give.
CONF_KEYS: Final = frozenset(
    {
        "bundles",
        "cache",
        "cache_gb",
        "models",
        "output",
        "preload",
        "server_mode",
        "skip_scoring",
        "skip_strategies",
        "skip_trainers",
        "use_pretrained_model",
    }
)
logger = logging.getLogger(__name__)


class RadEditApp(MONAILabelApp):
    """Edit and segment the chest films of a folder.

    Parameters
    ----------
    app_dir : folder of main.py
    studies : folder of films, or the address of an archive
    conf : `--conf` pairs: `models`, names of `TASKS` with commas between, or all; `preload`,
        true = load the model at once; `bundles`, folders of MONAI bundles with commas
        between, served by their folders' names; and what `served_place` knows

    Raises
    ------
    SystemExit
        The configuration is refused; its text is the sentence why.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str] | None) -> None:
        # MONAI Label logs every request whole, and the name of every film; a prompt is
        # nobody's business, and people put names of patients into names of files.
        for name in ("endpoints.infer", "endpoints.datastore", "datastore"):
            logging.getLogger(f"monailabel.{name}").setLevel(logging.WARNING)
        # These quote header values, and tracebacks of films that are refused anyway.
        logging.getLogger("highdicom").setLevel(logging.WARNING)
        logging.getLogger("pydicom").setLevel(logging.CRITICAL)
        conf = dict(conf or {})
        try:
            self._chosen = chosen_tasks(conf)
            self._editor = Editor()
            self._place = served_place(studies, conf)
            super().__init__(
                app_dir=app_dir,
                studies=studies,
                conf=conf,
                name="RadEdit for hospitals",
                description="Edit chest radiographs by text to test other models. "
                "Research and QA only, never diagnosis.",
            )
            if conf.get("preload", "false").lower() == "true" and "radedit" in self._chosen:
                self._editor.backbone()
        except (RadEditError, DicomError) as error:
            raise SystemExit(f"radedit: {error}") from error

    @property
    def place(self) -> ServedPlace:
        """Where films come from and results go."""
        return self._place

    @property
    def editor(self) -> Editor:
        """The settings, and the models that this process has loaded."""
        return self._editor

    @property
    def tasks(self) -> Mapping[str, InferTask]:
        """Every task by its name."""
        found: Mapping[str, InferTask] = self._infers
        return found

    def init_datastore(self) -> Datastore:
        """Serve the films of the archive, or those of the studies folder."""
        if self._place.shelf is not None:
            return ArchivedStudies(self._place.shelf)
        return FilmFolder(
            Path(self.studies),
            auto_reload=monai_settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=monai_settings.MONAI_LABEL_DATASTORE_READ_ONLY,
            films=self._place.folder,
        )

    def init_infers(self) -> dict[str, InferTask]:
        """Make the chosen tasks.

        `radedit` alone can still take masks from `task:lung_segmentation:...`: the mask
        grammar asks the network, not the task. It sees every other task by its name.
        """
        tasks = bundles(self.conf.get("bundles", ""), self._editor.settings.device)
        for name in set(tasks) & set(TASKS):
            raise ParameterError(
                f"A bundle is named '{name}' like our own task; rename its folder."
            )
        if "radedit" in self._chosen:
            place = self._place
            tasks["radedit"] = RadEdit(self._editor, place.output, place.archive, tasks)
        if "lung_segmentation" in self._chosen:
            tasks["lung_segmentation"] = LungSegmentation()
        return tasks

    def infer(
        self, request: dict[str, Any], datastore: Datastore | None = None
    ) -> dict[str, Any] | None:
        """Run one task.

        Raises
        ------
        fastapi.HTTPException
            The request is refused: the error's own status, its sentence as the detail. What
            was not foreseen is a 500 that says so, and where it happened is in the log.
        """
        datastore = datastore or self.datastore()
        uploads = [_form_file(request.get(name)) for name in ("image", "label")]
        try:
            return self._infer(request, datastore)
        except HTTPException:
            raise
        except (RadEditError, DicomError) as error:
            raise HTTPException(error.http_status, str(error)) from error
        except Exception as error:
            logger.error("request failed: %s", _place(error))
            raise HTTPException(
                500, "The request failed for a reason nobody foresaw; the server's log says where."
            ) from None
        finally:
            # MONAI Label removes uploads only behind a good answer.
            for path in uploads:
                if path is not None:
                    path.unlink(missing_ok=True)

    def _infer(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        self._check_model(request.get("model"))
        image_id = request.get("image")
        film = self._film_path(image_id, datastore)
        self._check_upload(request.get("label"))
        # An edited film is no label of its source.
        save_label = bool(request.get("save_label")) and request["model"] != "radedit"
        tag = request.get("label_tag", DefaultLabelTag.ORIGINAL)
        if save_label:
            check_name("label_tag", tag)
        result: dict[str, Any] | None = super().infer({**request, "image": film}, datastore)
        if result and (task := request["model"]) != "radedit":
            check_answer(task, self._infers[task], Path(film), result["file"], result["params"])
        if result and save_label and self._is_listed(image_id, datastore):
            about = {"model": request["model"], "params": result["params"]}
            result["label"] = datastore.save_label(image_id, result["file"], tag, about)
        return result

    def _check_model(self, name: object) -> None:
        if not isinstance(name, str) or name not in self._infers:
            known = ", ".join(self._infers)
            raise NotFoundError(f"There is no model '{name}' here; there are {known}.")

    def _film_path(self, image: object, datastore: Datastore) -> str:
        """Give the path behind an image id, an upload or a session, and no other path."""
        if isinstance(image, str):
            if self._is_listed(image, datastore):
                return str(datastore.get_image_uri(image))
            if self._is_upload(image):
                return image
            self._check_unlisted(image)
        raise NotFoundError(f"There is no image '{image}'; GET /datastore lists the films.")

    def _check_unlisted(self, image: str) -> None:
        """Refuse a file of the served folder that is no film with what it lacks of one."""
        path = Path(self.studies) / image
        if self._place.shelf is None and Path(image).name == image and path.is_file():
            read_film(path)

    def _is_listed(self, image: object, datastore: Datastore) -> bool:
        """Say whether a film is served by that id, or is all there is of a series in an archive."""
        if image in datastore.list_images():
            return True
        if not isinstance(datastore, ArchivedStudies) or not is_uid(image):
            return False
        try:
            datastore.shelf.film(str(image))
        except NotFoundError:
            return False
        return True

    def model_file(self, model: str, validate: bool = True) -> str | None:
        """Give the file of an embedded network; those of editors are not handed out."""
        if model == "lung_segmentation" and model in self._infers:
            return str(WEIGHTS)
        found: str | None = super().model_file(model, validate)
        return found

    def _check_upload(self, label: object) -> None:
        if label and not self._is_upload(label):
            raise ParameterError("label is a path; upload the mask as the form's file 'label'.")

    def _is_upload(self, path: object) -> bool:
        """Say whether MONAI Label made this file, from a form or for a session."""
        if _form_file(path) is not None:
            return True
        sessions = self.sessions()
        if not isinstance(path, str) or not sessions:
            return False
        resolved = Path(path).resolve()
        return resolved.is_file() and resolved.is_relative_to(Path(sessions.store_path).resolve())


def _form_file(path: object) -> Path | None:
    """Give the path of a form's uploaded file; None for any other file or value.

    MONAI Label puts uploads into the temporary folder under names that tempfile draws.
    """
    if not isinstance(path, str):
        return None
    resolved = Path(path).resolve()
    drawn = re.match(rf"{tempfile.gettempprefix()}[a-z0-9_]{{8}}(\.|$)", resolved.name)
    here = resolved.parent == Path(tempfile.gettempdir()).resolve()
    return resolved if drawn and here and resolved.is_file() else None


def _place(error: BaseException) -> str:
    """Say where an error came from, without its text, which may quote what was read."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    calls = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    return f"{type(error).__name__} in {', '.join(calls)}"


def chosen_tasks(conf: Mapping[str, str]) -> tuple[str, ...]:
    """Read `--conf models`.

    Raises
    ------
    ParameterError
        A key or a task is unknown, or no task is chosen; names the choices.
    """
    for key in conf:
        if key not in CONF_KEYS:
            raise ParameterError(
                f"There is no --conf key '{key}'; known keys are {', '.join(sorted(CONF_KEYS))}."
            )
    names = [name.strip() for name in conf.get("models", "").split(",") if name.strip()]
    if not names:
        raise ParameterError(
            f"No models are chosen; add --conf models NAME[,NAME] with {', '.join(TASKS)} or all."
        )
    if names == ["all"]:
        return TASKS
    for name in names:
        if name not in TASKS:
            raise ParameterError(f"There is no model '{name}'; known are {', '.join(TASKS)}, all.")
    return tuple(task for task in TASKS if task in names)
