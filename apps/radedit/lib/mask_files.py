"""Masks and label images in files: PNG, NIfTI, NRRD and DICOM SEG, brought to a film's grid.

NIfTI and NRRD state directions. A film lies with its columns along x and its rows along y, as
ITK reads it, so a file whose axes run otherwise is flipped or transposed until it lies the same
way; where it begins is not looked at, since a film has no place in space.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from radedit.lib.errors import MaskError
from radedit_dicom.errors import DicomError
from radedit_dicom.film import MAX_PIXELS, Film
from radedit_dicom.orientation import axis_map, turned
from radedit_dicom.parsing import SUFFIXES, parse
from radedit_dicom.segment_reader import (
    MAX_MASK_PIXELS,
    read_segmentation,
    segment_labels,
    select_mask,
)

Mask = NDArray[np.bool_]
NIFTI_HEADER_BYTES = 352  # the least that lies in front of the pixels
MAX_LABELS = 256  # a label image with more values is a picture
_UNREADABLE = "cannot be read as PNG, NIfTI or NRRD"


def read_mask(name: str, film: Film) -> Mask:
    """Read a mask file: PNG, NIfTI, NRRD or a DICOM SEG ("PATH#LABEL" picks a segment).

    Returns
    -------
    bool [rows, cols] on the film's grid, True = not 0; not a number (NaN) is outside

    Raises
    ------
    MaskError
        The file is missing, no image, not two-dimensional, turned obliquely, of another size
        than the film, holds several segments, or numbers that are no mask's.
    """
    text, _, label = name.partition("#")
    path = Path(text).expanduser()
    if not path.is_file():
        raise MaskError(f"the mask file '{path.name}' does not exist; check the path.")
    if path.suffix.lower() in SUFFIXES:
        return _from_segmentation(path, label, film)
    if path.suffix.lower() == ".png":
        return read_png(path, path.name, film.shape)
    pixels = _read_volume(path, film)
    if (pixels < 0).any() or (pixels != np.rint(pixels)).any():
        raise MaskError(
            f"the mask file '{path.name}' holds fractions or numbers below 0, so nobody can say "
            "what is inside; write whole numbers, 0 = outside."
        )
    return np.asarray(pixels != 0)


def read_png(file: Path | BinaryIO, name: str, shape: tuple[int, int] | None) -> Mask:
    """Read a PNG as a mask: any colour channel that is not 0 is inside, alpha says nothing.

    Parameters
    ----------
    shape : rows and columns of the film; None = they are not known, and any film's will do

    Raises
    ------
    MaskError
        No PNG, or of another size than the film, which is seen before it is decoded.
    """
    pixels = _decoded(file, name, shape, colours=True)
    if pixels.ndim == 3:
        colours = pixels.shape[2] - (pixels.shape[2] in (2, 4))  # LA and RGBA end with alpha
        pixels = np.asarray(pixels[:, :, :colours].any(axis=2))
    return np.asarray(pixels != 0)


def read_labels(path: Path, names: Mapping[str, int], film: Film) -> dict[str, Mask]:
    """Read a label image, as segmentation tasks write it, into one mask per label.

    Parameters
    ----------
    path : PNG (grey or palette), NIfTI or NRRD of whole numbers, 0 = nothing; or a DICOM SEG,
        which brings its own labels
    names : label to its number in the image
    film : the film it was made of

    Returns
    -------
    label to bool [rows, cols]: every name, and under its number what has no name

    Raises
    ------
    MaskError
        As `read_mask`, or the image does not hold labels.
    """
    if path.suffix.lower() in SUFFIXES:
        try:
            return read_segmentation(parse(path, pixels=True), film)
        except DicomError as error:
            raise MaskError(str(error)) from error
    if path.suffix.lower() == ".png":
        pixels = _decoded(path, path.name, film.shape)
    else:
        pixels = _read_volume(path, film)
    values = np.unique(pixels)
    if pixels.shape != film.shape or len(values) > MAX_LABELS or (values != np.rint(values)).any():
        raise MaskError(f"'{path.name}' is no label image, whose pixels are a few whole numbers.")
    if (len(values) + len(names)) * film.stored.size > MAX_MASK_PIXELS:
        raise MaskError(
            f"'{path.name}' holds {len(values)} labels, too many on a film of this size; write "
            "fewer of them into one file."
        )
    unnamed = {str(int(value)): int(value) for value in values if value not in (0, *names.values())}
    return {label: np.asarray(pixels == number) for label, number in {**unnamed, **names}.items()}


def label_numbers(said: object) -> dict[str, int]:
    """Read what MONAI Label tasks call label names: label to number, or labels in order from 1.

    The background (number 0, or of that name) is no label; what is no such thing gives none.
    """
    if isinstance(said, Mapping):
        pairs = {str(name): number for name, number in said.items() if str(number).isdecimal()}
        return {
            name: int(number)
            for name, number in pairs.items()
            if int(number) > 0 and name.lower() != "background"
        }
    if isinstance(said, list | tuple):
        names = [str(name) for name in said if str(name).lower() != "background"]
        return {name: number for number, name in enumerate(names, start=1)}
    return {}


def _decoded(
    file: Path | BinaryIO, name: str, shape: tuple[int, int] | None, *, colours: bool = False
) -> NDArray[Any]:
    """Decode a PNG of the film's size; a palette's indices are kept unless colours are wanted."""
    try:
        with Image.open(file, formats=["PNG"]) as image:
            _check_size((image.height, image.width), name, shape)
            is_indexed = image.mode in ("P", "PA")
            return np.asarray(image.convert("RGB") if colours and is_indexed else image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MaskError(f"the mask '{name}' cannot be read as a PNG; write it anew.") from error


def _read_volume(path: Path, film: Film) -> NDArray[Any]:
    """Read NIfTI or NRRD of one slice, turned to lie as the film does: [rows, cols], NaN = 0."""
    import itk

    name = path.name
    header = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
    if header is None:
        raise MaskError(f"the mask file '{name}' {_UNREADABLE}.")
    try:
        header.SetFileName(str(path))
        header.ReadImageInformation()
        count = header.GetNumberOfDimensions()
        size = [int(header.GetDimensions(i)) for i in range(count)]
        axes = axis_map([list(header.GetDirection(i)) for i in range(count)])
        flat = count >= 2 and sum(n != 1 for n in size) <= 2
        if not flat or header.GetNumberOfComponents() != 1:
            raise MaskError(f"the mask file '{name}' is not one grey image but {size}.")
        _check_size(_lying(size, axes, name), name, film.shape)
        _check_whole(path, int(header.GetImageSizeInBytes()))
        pixels = np.asarray(itk.array_from_image(itk.imread(str(path))))
    except (RuntimeError, OSError, EOFError, ValueError, zlib.error) as error:
        raise MaskError(f"the mask file '{name}' {_UNREADABLE}.") from error
    if np.isinf(pixels).any():
        raise MaskError(f"the mask file '{name}' holds numbers that are not finite; write it anew.")
    return turned(np.nan_to_num(pixels, nan=0), axes or []).reshape(film.shape)


def _lying(size: list[int], axes: list[tuple[int, int]] | None, name: str) -> tuple[int, int]:
    """Give the rows and columns of a volume once it is turned to lie as the film does."""
    along = {film_axis: n for (film_axis, _), n in zip(axes or [], size, strict=False)}
    if axes is None or any(n != 1 for film_axis, n in along.items() if film_axis > 1):
        raise MaskError(
            f"the mask file '{name}' is turned out of the film's plane or obliquely in it; write "
            "it with its axes along the film's rows and columns."
        )
    return along[1], along[0]


def _check_whole(path: Path, pixel_bytes: int) -> None:
    """Refuse a NIfTI that was cut off: ITK makes up the pixels that are missing."""
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return
    is_packed = path.suffix.lower() == ".gz"
    with gzip.open(path) if is_packed else path.open("rb") as stream:
        stream.seek(NIFTI_HEADER_BYTES + pixel_bytes - 1)
        if not stream.read(1):
            raise EOFError


def _check_size(found: tuple[int, int], name: str, shape: tuple[int, int] | None) -> None:
    if shape is None:
        if found[0] * found[1] > MAX_PIXELS:
            raise MaskError(
                f"The mask '{name}' has {found[0]} x {found[1]} pixels, more than any film that "
                "is read; draw it on the film's own grid."
            )
    elif found != shape:
        raise MaskError(
            f"the mask '{name}' has {found[0]} x {found[1]} pixels and the film "
            f"{shape[0]} x {shape[1]}; draw it on the film's own grid."
        )


def _from_segmentation(path: Path, label: str, film: Film) -> Mask:
    try:
        dataset = parse(path, pixels=True)
        if label:
            return select_mask(dataset, film, label)
        segments = read_segmentation(dataset, film)
    except DicomError as error:
        raise MaskError(str(error)) from error
    if len(segments) == 1:
        return next(iter(segments.values()))
    raise MaskError(
        f"'{path.name}' holds the segments {', '.join(segment_labels(dataset))}; say which with "
        f"file:{path.name}#LABEL."
    )
