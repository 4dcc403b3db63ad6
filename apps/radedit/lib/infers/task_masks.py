"""Tasks of this server as sources of masks: their request dicts, their files, their labels."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask

from radedit.lib.errors import FilmError, MaskError, RadEditError, SourceError
from radedit.lib.infers.request import first
from radedit.lib.mask_files import label_numbers, read_labels
from radedit.lib.mask_names import EMBEDDED_LABELS
from radedit.lib.network_masks import check_network_masks
from radedit.lib.sources import EMBEDDED_TASKS, Mask, Task
from radedit_dicom.errors import DicomError
from radedit_dicom.film import Film, read_film

# What MONAI Label's own writer is asked for; a task that has a form of its own keeps it.
ANSWER: Final = {"result_extension": ".nrrd", "result_dtype": "uint16", "result_compress": True}
logger = logging.getLogger(__name__)


def mask_tasks(
    tasks: Mapping[str, InferTask], image: Path, without: Collection[str] = ("radedit",)
) -> dict[str, Task]:
    """Offer a server's tasks to the mask grammar, for one film.

    Parameters
    ----------
    tasks : the server's tasks by name, of any kind: one that gives no label image is refused
        when it is asked
    image : the film's own file, which MONAI Label tasks read by themselves
    without : names that are left out; an edited film is no mask

    Returns
    -------
    by name; the embedded ones, which answer without a file in between, come first
    """
    offered = {
        name: partial(_run, name, task, image)
        for name, task in tasks.items()
        if name not in without
    }
    return {**offered, **EMBEDDED_TASKS}


def known_tasks(tasks: Mapping[str, InferTask]) -> dict[str, Collection[str] | None]:
    """Give the labels of a server's tasks, as far as they are known before a task has run.

    Returns
    -------
    by name, as `mask_names.KnownNames` takes them
    """
    stated = {
        name: label_numbers(task.labels).keys() or None
        for name, task in tasks.items()
        if name != "radedit"
    }
    return {**stated, **EMBEDDED_LABELS}


def check_answer(name: str, task: InferTask, image: Path, result: Any, said: Any) -> None:
    """Refuse a task's label image, which goes to a client, as a mask from it would be refused.

    That a task found nothing of what is no lung and no heart is an answer.

    Parameters
    ----------
    name, task, image : as in `mask_tasks`
    result, said : what the task gave: the label image's path, removed when it is refused, and
        its parameters; what is no label image is not looked at

    Raises
    ------
    FilmError
        A lung or heart in it cannot be right.
    DicomError
        The film cannot be read.
    """
    path = Path(result) if isinstance(result, str) else None
    if name in EMBEDDED_TASKS or path is None or not path.is_file():
        return
    film = read_film(image)
    try:
        masks = read_labels(path, _numbers(task, said), film)
    except MaskError:
        return
    try:
        check_network_masks(name, masks, film, list(masks))
    except (FilmError, DicomError):
        path.unlink(missing_ok=True)
        raise


def _run(name: str, task: InferTask, image: Path, film: Film) -> Mapping[str, Mask]:
    """Run one task on a film.

    Raises
    ------
    SourceError
        The task failed, or gave no label image of this film.
    RadEditError, DicomError
        The task says itself what is wrong.
    """
    defaults = {key: first(value) for key, value in task.config().items()}
    request = {**defaults, **ANSWER, "model": name, "image": str(image)}
    try:
        result, said = task({**request, "description": task.description})
    except (RadEditError, DicomError):
        raise
    except HTTPException as error:
        raise SourceError(f"the mask task {name} refused this film: {error.detail}") from error
    except Exception as error:  # the edge to code that is not ours, a bundle's for example
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(where.filename).name}:{where.lineno}"
        logger.error("mask task %s failed: %s", name, place)
        raise SourceError(
            f"the mask task {name} failed on this film ({type(error).__name__}); the server's "
            "log says where."
        ) from None
    return _labels(name, task, result, said, film)


def _labels(name: str, task: InferTask, result: Any, said: Any, film: Film) -> dict[str, Mask]:
    path = Path(result) if isinstance(result, str) else None
    if path is None or not path.is_file():
        raise SourceError(
            f"the mask task {name} gives no label image, so it is no source of masks."
        )
    try:
        return read_labels(path, _numbers(task, said), film)
    except MaskError as error:
        raise SourceError(
            f"the answer of the mask task {name} cannot be used: {str(error).rstrip('.')}."
        ) from error
    finally:
        path.unlink(missing_ok=True)


def _numbers(task: InferTask, said: Any) -> dict[str, int]:
    """Labels to numbers, as an answer states them, or else the task."""
    stated = said.get("label_names") if isinstance(said, dict) else None
    return label_numbers(stated) or label_numbers(task.labels)
