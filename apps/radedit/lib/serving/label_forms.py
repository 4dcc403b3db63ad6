"""Labels in the forms of MONAI Label's viewers: raw bytes in, DICOM SEG out."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
from fastapi import HTTPException
from fastapi.responses import FileResponse, Response
from PIL import Image

from radedit.lib.app import RadEditApp
from radedit.lib.mask_files import label_numbers, read_labels
from radedit.lib.record import TOOL
from radedit_dicom.film import read_film
from radedit_dicom.label_segmentation import About, build_label
from radedit_dicom.readback import part10

_SERIES_NUMBER: Final = 8000


def image_of_bytes(film_path: str, label_file: str) -> str:
    """Make a label image of what MONAI Label's OHIF plugin sends as `label.bin`.

    Parameters
    ----------
    film_path : of the film it was drawn on
    label_file : one byte for each of the film's pixels, row after row; removed

    Returns
    -------
    path of a PNG in the temporary folder, under a name that tempfile draws

    Raises
    ------
    fastapi.HTTPException
        400: it has another size than the film.
    DicomError
        The film cannot be read.
    """
    try:
        film = read_film(Path(film_path))
        values = np.fromfile(label_file, dtype=np.uint8)
    finally:
        Path(label_file).unlink(missing_ok=True)
    if values.size != film.stored.size:
        rows, cols = film.shape
        raise HTTPException(
            400,
            f"The label has {values.size} bytes, and the film {rows} x {cols} pixels; send one "
            "byte for each pixel, row after row.",
        )
    handle, name = tempfile.mkstemp(suffix=".png")
    os.close(handle)
    Image.fromarray(values.reshape(film.shape)).save(name)
    return name


def label_names(params: object, labels: object) -> dict[str, int]:
    """Find the names of the numbers in a label image: those of the request, else the task's.

    Parameters
    ----------
    params : of the request, as JSON or read; its `label_info` is [{"name": ..., "idx": ...}]
    labels : of the task
    """
    read = json.loads(params or "{}") if isinstance(params, str) else params
    listed = read.get("label_info") if isinstance(read, Mapping) else None
    if isinstance(listed, list) and listed and all(isinstance(item, Mapping) for item in listed):
        named = {
            str(item.get("name")): item.get("idx", at) for at, item in enumerate(listed, start=1)
        }
        return label_numbers(named)
    return label_numbers(labels)


def as_segmentation(
    app: RadEditApp, model: str, image: str, params: object, found: Any
) -> Response:
    """Make a DICOM SEG of a task's label image.

    Parameters
    ----------
    model, image, params : of the request
    found : MONAI Label's answer with the label image

    Raises
    ------
    fastapi.HTTPException
        400: the film is not one of the served ones, or the task makes no labels; 422: there is
        nothing in the label image.
    RadEditError, DicomError
        The label image or the film cannot be used.
    """
    path = Path(found.path) if isinstance(found, FileResponse) else None
    try:
        if model == "radedit" or path is None:
            raise HTTPException(400, f"The task {model} makes no labels; ask for output=image.")
        if not image:
            raise HTTPException(400, "A DICOM SEG needs a served film; name it as image.")
        film = read_film(Path(app.datastore().get_image_uri(image)))
        names = label_names(params, app.tasks[model].labels)
        masks = {name: mask for name, mask in read_labels(path, names, film).items() if mask.any()}
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
    if not masks:
        raise HTTPException(422, "The task found nothing on this film, so there is no SEG of it.")
    built = build_label(film, masks, About("original", model, version(TOOL), _SERIES_NUMBER))
    stream = BytesIO(part10(built))
    headers = {"content-disposition": 'attachment; filename="label.dcm"'}
    return Response(stream.getvalue(), media_type="application/dicom", headers=headers)
