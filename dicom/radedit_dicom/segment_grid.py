"""Where the pixels of a DICOM Segmentation lie on a film (PS3.3 C.7.6.16.2, C.7.6.2).

A projection has no position in space, so most segmentations of a film simply share its pixel
grid. Others were made on a picture of it that was turned, or brought to another size; they say
so in their orientation and spacing, and their masks are brought back to the film's pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.film import Film, positive_pair
from radedit_dicom.orientation import axis_map, turned

Mask = NDArray[np.bool_]
UPRIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@dataclass(frozen=True)
class Placement:
    """How to bring a mask from a segmentation's grid to the film's.

    Attributes
    ----------
    axes : which axis of the film the rows and the columns of the segmentation run along
    start : (x, y), centre of the first pixel of the turned grid, in film pixels
    step : (x, y), size of its pixels in film pixels
    shape : rows and columns of the film
    resampled : False = one pixel of the turned grid is one pixel of the film
    """

    axes: list[tuple[int, int]]
    start: tuple[float, float]
    step: tuple[float, float]
    shape: tuple[int, int]
    resampled: bool

    def mask(self, drawn: Mask) -> Mask:
        """Bring one mask from the segmentation's grid to the film's: bool [rows, columns] both.

        Resampling takes the nearest pixel; the film outside the segmentation is outside.
        """
        upright = np.ascontiguousarray(turned(drawn, self.axes))
        if not self.resampled:
            return upright.astype(np.bool_)
        import itk

        image = itk.image_from_array(upright.astype(np.uint8))
        image.SetOrigin(self.start)
        image.SetSpacing(self.step)
        found = itk.resample_image_filter(
            image,
            interpolator=itk.NearestNeighborInterpolateImageFunction.New(image),
            size=[self.shape[1], self.shape[0]],
            output_spacing=[1.0, 1.0],
            output_origin=[0.0, 0.0],
        )
        return np.asarray(itk.array_from_image(found) != 0)


def placement(dataset: Dataset, film: Film) -> Placement:
    """Find out how a segmentation's grid lies on the film.

    Parameters
    ----------
    dataset : pydicom.Dataset
        A SEG that refers to the film.
    film : Film

    Raises
    ------
    UnsupportedImageError
        It holds several slices, is turned obliquely, lies in another frame of reference, or
        covers another extent than the film.
    """
    shared = _first(dataset.get("SharedFunctionalGroupsSequence"))
    groups = dataset.get("PerFrameFunctionalGroupsSequence") or []
    position = _position(groups, shared)
    frames = {str(holder.get("FrameOfReferenceUID") or "") for holder in (dataset, film.header)}
    if len(frames - {""}) > 1:
        raise unusable("its frame of reference is another one than the film's")
    orientation = _group(groups, shared, "PlaneOrientationSequence")
    axes = _axes(orientation, film, bool(dataset.get("FrameOfReferenceUID")))
    size = np.array([int(dataset.Columns), int(dataset.Rows)], dtype=np.float64)
    along = [axis for axis, _ in axes]
    turned_size = size[along]  # the axes are exchanged or not, so the map is its own inverse
    film_size = np.array(film.shape[::-1], dtype=np.float64)
    same_size = bool((turned_size == film_size).all())
    spacing = positive_pair(_group(groups, shared, "PixelMeasuresSequence"), "PixelSpacing")
    if spacing is None or film.spacing_mm is None:
        if not same_size:
            raise _other_size(dataset, film, "and not both state their pixel spacing")
        return Placement(axes, (0.0, 0.0), (1.0, 1.0), film.shape, resampled=False)
    step = np.array(spacing[::-1])[along] / np.array(film.spacing_mm[::-1])
    corner = _corner(position, film) if len(frames) == 1 and frames != {""} else None
    if corner is None:
        if same_size:
            return Placement(axes, (0.0, 0.0), (1.0, 1.0), film.shape, resampled=False)
        if (np.abs(turned_size * step - film_size) > np.maximum(step, 1)).any():
            raise _other_size(dataset, film, "and they cover different extents")
        start = (step - 1) / 2  # the outer corners of both grids coincide
    else:
        # A flipped axis runs back from its first pixel.
        signs = {film_axis: sign for film_axis, sign in axes}
        back = np.array([signs[axis] < 0 for axis in (0, 1)])
        start = corner - np.where(back, (turned_size - 1) * step, 0.0)
    moved = bool((np.abs(start) > 0.5).any() or (np.abs(step - 1) * film_size > 0.5).any())
    return Placement(
        axes=axes,
        start=(float(start[0]), float(start[1])),
        step=(float(step[0]), float(step[1])),
        shape=film.shape,
        resampled=moved or not same_size,
    )


def unusable(what: str) -> UnsupportedImageError:
    """Say why a segmentation is no mask of the film."""
    return UnsupportedImageError(
        f"The segmentation cannot be used as a mask of this film: {what}; "
        "choose a segmentation made on this film."
    )


def _first(sequence: object) -> Dataset:
    items = list(sequence) if sequence else []  # type: ignore[call-overload]
    return items[0] if items else Dataset()


def _group(groups: list[Dataset], shared: Dataset, keyword: str) -> Dataset:
    """Give the functional group of the first frame, else the shared one."""
    own = _first(groups[0].get(keyword)) if groups else Dataset()
    return own if len(own) else _first(shared.get(keyword))


def _position(groups: list[Dataset], shared: Dataset) -> tuple[float, ...] | None:
    """Give the one position of all frames; None = it is not stated."""
    stated = {
        numbers_of(_first(holder.get("PlanePositionSequence")), "ImagePositionPatient", 3)
        for holder in [*groups, shared]
    } - {None}
    if len(stated) > 1:
        raise unusable("its frames are slices at several positions, and a film is one plane")
    return stated.pop() if stated else None


def numbers_of(holder: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Read so many finite numbers; None for anything else."""
    value = holder.get(keyword)
    if value is None or isinstance(value, str | bytes | float | int) or len(value) != count:
        return None
    numbers = tuple(float(number) for number in value)
    return numbers if np.isfinite(numbers).all() else None


def _film_directions(film: Film) -> NDArray[np.float64]:
    stated = numbers_of(film.header, "ImageOrientationPatient", 6)
    return np.array(stated or UPRIGHT, dtype=np.float64).reshape(2, 3)


def _axes(orientation: Dataset, film: Film, is_placed: bool) -> list[tuple[int, int]]:
    stated = numbers_of(orientation, "ImageOrientationPatient", 6)
    # Without a frame of reference that is written for viewers that hang without any orientation.
    if stated is None or (stated == UPRIGHT and not is_placed):
        return [(0, 1), (1, 1)]
    axes = axis_map((np.array(stated).reshape(2, 3) @ _film_directions(film).T).tolist())
    if axes is None:
        raise unusable("it is turned obliquely against the film")
    return axes


def _corner(position: tuple[float, ...] | None, film: Film) -> NDArray[np.float64] | None:
    """Give (x, y) of the segmentation's first pixel in film pixels; None = a place is missing."""
    place = numbers_of(film.header, "ImagePositionPatient", 3)
    if position is None or place is None or film.spacing_mm is None:
        return None
    offset_mm = _film_directions(film) @ (np.array(position) - np.array(place))
    return np.asarray(offset_mm / np.array(film.spacing_mm[::-1]), dtype=np.float64)


def _other_size(dataset: Dataset, film: Film, why: str) -> UnsupportedImageError:
    rows, columns = film.shape
    return unusable(f"it is {dataset.Rows} x {dataset.Columns}, the film {rows} x {columns}, {why}")
