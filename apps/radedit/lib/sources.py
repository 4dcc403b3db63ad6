"""Where the masks of one film come from: tasks of this server, files, and uploads."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radedit.lib.errors import MaskError, NotFoundError
from radedit.lib.lungs import segment_lungs
from radedit_dicom.errors import DicomError
from radedit_dicom.film import Film
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import to_display
from radedit_dicom.segment_reader import read_segmentation

Mask = NDArray[np.bool_]
NIFTI_HEADER_BYTES = 352  # the least that lies in front of the pixels
Task = Callable[[Film], Mapping[str, Mask]]
"""A segmentation task: a film to its labels, each bool [rows, cols]."""


def embedded_lungs(film: Film) -> Mapping[str, Mask]:
    """The embedded lung segmenter as a task, with the labels left, right and lungs.

    A film shown from behind (PatientOrientation R..., its columns run to the patient's right)
    is mirrored for the segmenter, so that left stays the patient's left.
    """
    display, measured = to_display(film), ~film.padding
    if not str((film.header.get("PatientOrientation") or [""])[0]).startswith("R"):
        return segment_lungs(display, measured)
    found = segment_lungs(
        np.ascontiguousarray(display[:, ::-1]), np.ascontiguousarray(measured[:, ::-1])
    )
    return {label: np.ascontiguousarray(mask[:, ::-1]) for label, mask in found.items()}


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
    if path.suffix.lower() == ".png":
        return read_png(path, path.name, film)
    return _read_volume(path, film)


def read_png(file: Path | BinaryIO, name: str, film: Film) -> Mask:
    """Read a PNG as a mask: any colour channel that is not 0 is inside, alpha says nothing.

    Raises
    ------
    MaskError
        No PNG, or of another size than the film, which is seen before it is decoded.
    """
    try:
        with Image.open(file, formats=["PNG"]) as image:
            _check_size((image.height, image.width), name, film)
            pixels = np.asarray(image.convert("RGB") if image.mode in ("P", "PA") else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MaskError(f"the mask '{name}' cannot be read as a PNG; write it anew.") from error
    if pixels.ndim == 3:
        colours = pixels.shape[2] - (pixels.shape[2] in (2, 4))  # LA and RGBA end with alpha
        pixels = np.asarray(pixels[:, :, :colours].any(axis=2))
    return np.asarray(pixels != 0)


def _read_volume(path: Path, film: Film) -> Mask:
    """Read NIfTI or NRRD of one slice: columns first, then rows, in the film's directions."""
    import itk

    name = path.name
    header = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
    if header is None:
        raise MaskError(f"the mask file '{name}' cannot be read as PNG, NIfTI or NRRD.")
    try:
        header.SetFileName(str(path))
        header.ReadImageInformation()
        axes = header.GetNumberOfDimensions()
        size = [int(header.GetDimensions(i)) for i in range(axes)]
        if axes < 2 or any(n != 1 for n in size[2:]) or header.GetNumberOfComponents() != 1:
            raise MaskError(f"the mask file '{name}' is not one grey image but {size}.")
        _check_size((size[1], size[0]), name, film)
        _check_whole(path, int(header.GetImageSizeInBytes()))
        pixels = np.asarray(itk.array_from_image(itk.imread(str(path))))
    except (RuntimeError, OSError, EOFError, ValueError, zlib.error) as error:
        raise MaskError(f"the mask file '{name}' cannot be read as PNG, NIfTI or NRRD.") from error
    return np.asarray(pixels.reshape(film.shape) != 0)


def _check_whole(path: Path, pixel_bytes: int) -> None:
    """Refuse a NIfTI that was cut off: ITK makes up the pixels that are missing."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return
    is_packed = path.suffix.lower() == ".gz"
    with gzip.open(path) if is_packed else path.open("rb") as stream:
        stream.seek(NIFTI_HEADER_BYTES + pixel_bytes - 1)
        if not stream.read(1):
            raise EOFError


def _check_size(found: tuple[int, int], name: str, film: Film) -> None:
    if found != film.shape:
        raise MaskError(
            f"the mask '{name}' has {found[0]} x {found[1]} pixels and the film "
            f"{film.shape[0]} x {film.shape[1]}; draw it on the film's own grid."
        )


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
