"""What is measured on one film: error, change elsewhere, a drain that stayed, seams.

Films are float32 [rows, cols], display intensity 0 to 1; masks bool [rows, cols]. Lengths are
in pixels of a film of 512 a side and grow with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_dilation,
    distance_transform_edt,
    gaussian_filter,
    gaussian_gradient_magnitude,
)

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

RING_PX = (2.0, 6.0)  # around a drain, where the lung is that it is compared with
NEAR_PX = 4.0  # width of the Gaussian that says what is near a pixel of a drain
SEEN, FAINT = 0.5, 0.25  # of the truth's contrast near a pixel, and of its median
BAND_PX = 3.0  # half width of the band along a border: 3 pixels in all at 256 a side
PLACES, FEWEST_PLACES = 100, 20  # of a film, that a border's gradient is compared with


def scale_of(shape: tuple[int, ...]) -> float:
    """Pixels of this film per pixel of a film of 512 a side."""
    return max(shape) / 512


def mean_error(image: Image, truth: Image, where: Mask) -> float:
    """Mean absolute difference inside a mask; 0 where the mask is empty."""
    return float(np.abs(image - truth)[where].mean()) if where.any() else 0.0


@dataclass(frozen=True, eq=False)
class Drain:
    """A drain as the true counterfactual shows it, to be looked for in edited films.

    What is looked at is the shadow of the drain: the film less the same film without the drain,
    both edited alike, so that ribs, vessels and whatever else was drawn are no part of it. Its
    contrast is the mean on the drain less that in a ring of lung beside it. It is looked for
    where it crosses the lungs.

    Parameters
    ----------
    truth : the true counterfactual: finding gone, drain there
    empty : the same without the drain
    whole : the drain
    lungs : both lung fields
    """

    truth: Image
    empty: Image
    whole: Mask
    lungs: Mask

    def compare(self, image: Image, without: Image | None = None) -> tuple[float, float]:
        """Find the drain in a film.

        Parameters
        ----------
        image : the film
        without : the same patient, exposure and edit, but for the drain. Unless given, `empty`:
            then all that an edit draws wrongly near the drain counts as if it were the drain's

        Returns
        -------
        dice : of the drain's pixels that are seen here and in the truth, 0 to 1. A pixel is seen
            here where the contrast of the drain and ring near it is half the truth's or more
        contrast : of the drain as a whole, over the truth's; 1 = the same
        """
        shadow = image - (self.empty if without is None else without)
        here = (self._local(shadow) >= SEEN * self._expected) & self._visible
        ring, mask = self._ring, self._mask

        def contrast(added: Image) -> float:
            return float(added[mask].mean() - added[ring].mean())

        return dice(here, self._visible), contrast(shadow) / contrast(self.truth - self.empty)

    @cached_property
    def _mask(self) -> Mask:
        return self.whole & self.lungs

    @cached_property
    def _ring(self) -> Mask:
        px = scale_of(self.whole.shape)
        distance = distance_transform_edt(~self.whole) / px
        reach = max(1, round((RING_PX[1] + 1) * px))
        near = binary_dilation(self._mask, iterations=reach) & self.lungs
        return np.asarray((distance > RING_PX[0]) & (distance <= RING_PX[1]) & near)

    @cached_property
    def _expected(self) -> Image:
        return self._local(self.truth - self.empty)

    @cached_property
    def _visible(self) -> Mask:
        """The drain, but where even the truth hardly shows it."""
        usual = float(np.median(self._expected[self._mask]))
        return self._mask & (self._expected > FAINT * usual)

    def _local(self, added: Image) -> Image:
        """Contrast of drain to ring around each pixel, weighted by a Gaussian."""

        def around(part: Mask) -> Image:
            weight, width = part.astype("f4"), NEAR_PX * scale_of(part.shape)
            total = gaussian_filter(weight, width)
            return np.asarray(gaussian_filter(added * weight, width) / np.maximum(total, 1e-6))

        return around(self._mask) - around(self._ring)


@dataclass(frozen=True)
class Seam:
    """Gradient along an edit's border against other places of the film.

    Attributes
    ----------
    mean : mean gradient magnitude in the band, display intensity per pixel
    z : the mean, in standard deviations of those of the same band at other places of the
        untouched film; None where the band fits in too few of them
    """

    mean: float
    z: float | None


@dataclass(frozen=True, eq=False)
class Border:
    """The band along an edit mask's border, and the same band at other places of a film.

    Attributes
    ----------
    band : bool [rows, cols]
    usual : float64 [PLACES or less], mean gradients of the untouched film at other places
    """

    band: Mask
    usual: NDArray[np.float64]

    def seam(self, image: Image) -> Seam:
        """Measure a film along the border."""
        mean = float(_gradient(image)[self.band].mean())
        if len(self.usual) < FEWEST_PLACES:
            return Seam(mean, None)
        return Seam(mean, (mean - float(self.usual.mean())) / max(float(self.usual.std()), 1e-9))


def border_of(edit: Mask, film: Image, chest: Mask, seed: int) -> Border:
    """Lay a band along the border of an edit mask and try it elsewhere on the film.

    Parameters
    ----------
    edit : its border is measured
    film : untouched
    chest : other places lie, four fifths of them and more, in the rectangle around this mask
    seed : of the places: shifted at random, turned round left to right or upside down
    """
    band = border_band(edit)
    gradient, rng = _gradient(film), np.random.default_rng([seed, 0x5EA])
    points = np.argwhere(band)
    allowed, shape = _rectangle(chest), np.array(band.shape)
    usual: list[float] = []
    for _ in range(40 * PLACES):
        placed = points * rng.choice([-1, 1], 2)
        placed = placed - placed.min(0)
        placed = placed + rng.integers(0, np.maximum(shape - placed.max(0), 1))
        if (placed >= shape).any():
            continue
        rows, cols = placed.T
        if allowed[rows, cols].mean() >= 0.8 and band[rows, cols].mean() <= 0.2:
            usual.append(float(gradient[rows, cols].mean()))
        if len(usual) == PLACES:
            break
    return Border(band, np.array(usual))


def border_band(edit: Mask) -> Mask:
    """All within BAND_PX of a mask's border, but the film's own edge."""
    distance = np.where(edit, distance_transform_edt(edit), distance_transform_edt(~edit))
    band = np.asarray(distance <= BAND_PX * scale_of(edit.shape))
    band[[0, -1]] = band[:, [0, -1]] = False
    return band


def _gradient(image: Image) -> Image:
    return np.asarray(gaussian_gradient_magnitude(image, scale_of(image.shape)), "f4")


def _rectangle(mask: Mask) -> Mask:
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    filled = np.zeros_like(mask)
    filled[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = True
    return filled


def dice(one: Mask, other: Mask) -> float:
    """Overlap of two masks, 0 to 1; 1 where both are empty."""
    total = int(one.sum() + other.sum())
    return 2 * float((one & other).sum()) / total if total else 1.0
