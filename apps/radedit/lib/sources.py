"""Where the masks of one film come from: tasks of this server, files, and uploads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from radedit.lib.errors import MaskError, NotFoundError
from radedit.lib.lungs import segment_lungs
from radedit_dicom.errors import DicomError
from radedit_dicom.film import Film
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import to_display
from radedit_dicom.segmentation import read_segmentation

Mask = NDArray[np.bool_]
Task = Callable[[Film], Mapping[str, Mask]]
"""A segmentation task: a film to its labels, each bool [rows, cols]."""


def embedded_lungs(film: Film) -> Mapping[str, Mask]:
    """The embedded lung segmenter as a task, with the labels left, right and lungs."""
    return segment_lungs(to_display(film))


EMBEDDED_TASKS: Mapping[str, Task] = {"lung_segmentation": embedded_lungs}


@dataclass
class FilmSources:
    """The `Sources` of the mask grammar for one film.

    A task runs once per film, however many of its labels an expression names.

    Parameters
    ----------
    film : the film the masks lie on
    tasks : segmentation tasks by name
    uploaded : masks that came with the request, by name
    """

    film: Film
    tasks: Mapping[str, Task] = field(default_factory=lambda: EMBEDDED_TASKS)
    uploaded: Mapping[str, Mask] = field(default_factory=dict)
    _results: dict[str, Mapping[str, Mask]] = field(default_factory=dict, repr=False)

    def mask(self, kind: str, name: str) -> Mask:
        """Give one mask.

        Raises
        ------
        NotFoundError
            The task or the label does not exist.
        MaskError
            The file cannot be read as a mask, or this call has no such source.
        """
        if kind == "task":
            return self._from_task(name)
        if kind == "file":
            return read_mask(name, self.film)
        if kind == "uploaded":
            if name not in self.uploaded:
                raise NotFoundError(f"no mask named '{name}' came with this request.")
            return self.uploaded[name]
        raise MaskError(
            f"this call has no source for '{kind}:{name}'; use a shape, task:, file: or an upload."
        )

    def _from_task(self, name: str) -> Mask:
        task, _, label = name.partition(":")
        if task not in self.tasks:
            known = ", ".join(sorted(self.tasks))
            raise NotFoundError(f"there is no mask task '{task}'; known tasks are {known}.")
        if task not in self._results:
            self._results[task] = self.tasks[task](self.film)
        labels = self._results[task]
        if not label:
            return np.asarray(np.logical_or.reduce(list(labels.values())))
        if label not in labels:
            known = ", ".join(sorted(labels))
            raise NotFoundError(f"the task {task} has no label '{label}'; its labels are {known}.")
        return labels[label]


def read_mask(name: str, film: Film) -> Mask:
    """Read a mask file: PNG, NIfTI, NRRD or a DICOM SEG ("PATH#LABEL" picks a segment).

    Returns
    -------
    bool of the file's own size, True = not 0

    Raises
    ------
    MaskError
        The file is missing, no image, not two-dimensional, or holds several segments.
    """
    text, _, label = name.partition("#")
    path = Path(text).expanduser()
    if not path.is_file():
        raise MaskError(f"the mask file '{path.name}' does not exist; check the path.")
    if path.suffix.lower() in (".dcm", ".dicom"):
        return _from_segmentation(path, label, film)
    try:
        pixels = _pixels(path)
    except (OSError, RuntimeError, ValueError) as error:
        raise MaskError(
            f"the mask file '{path.name}' cannot be read as PNG, NIfTI or NRRD."
        ) from error
    flat = np.squeeze(pixels)
    if flat.ndim != 2:
        raise MaskError(f"the mask file '{path.name}' is not one grey image: {pixels.shape}.")
    return np.asarray(flat != 0)


def _pixels(path: Path) -> NDArray[np.generic]:
    if path.suffix.lower() == ".png":
        from PIL import Image

        with Image.open(path) as image:
            return np.asarray(image.convert("L") if image.mode != "I;16" else image)
    import itk

    return np.asarray(itk.array_from_image(itk.imread(str(path))))


def _from_segmentation(path: Path, label: str, film: Film) -> Mask:
    try:
        segments = read_segmentation(parse(path, pixels=True), film)
    except DicomError as error:
        raise MaskError(str(error)) from error
    if not label and len(segments) == 1:
        return next(iter(segments.values()))
    if label not in segments:
        known = ", ".join(sorted(segments))
        raise MaskError(
            f"'{path.name}' holds the segments {known}; say which with file:{path.name}#LABEL."
        )
    return segments[label]
