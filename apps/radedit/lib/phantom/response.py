"""How a real film turns attenuation into grey, as far as the film itself tells.

A film for display is, over its window, a curve of film over the logarithm of the signal: a toe,
a straight part, a shoulder. Assumed is the curve of the phantom's own films
(`exposure.show`): the logistic one, so that `level`, the logit of the display, is linear in
optical depth. Its slope is measured on the film: the step from lung to heart is taken as that of
a usual adult, behind whose heart the detector's signal is `HEART_SIGNAL` of that behind lung
(docs/phantom.md).

A vendor's equalisation takes from what is as wide as the heart and not from what is small, so a
wire shows with a steeper slope than the heart does: assumed is the phantom's, of which the share
`EQUALISED` of the mean over `EQUALISED_MM` is subtracted.

Part of the signal behind lung is scatter, which no inserted thing attenuates: what is laid over a
white part of the film shows less than over lung, and the more is laid the nearer the film comes
to the white of its own abdomen, from which the share is measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from radedit.lib.errors import FilmError
from radedit.lib.phantom.body import Mask
from radedit.lib.phantom.rays import Map

HEART_SIGNAL = 0.23
SCATTER = 0.11  # share of the signal behind lung, where the film does not show the abdomen
SCATTERS = (0.06, 0.20)  # what is believed of a film
OF_ABDOMEN = 1.1  # of its signal: where a chest filled with water ends
LEAST_PRIMARY = 0.15  # share of any signal that is not scatter
EQUALISED, EQUALISED_MM = 0.5, 26.0
HEART_KEEPS = 1 - EQUALISED * 0.9  # what equalisation leaves of something as wide as a heart
LEAST_STEP = 0.25  # in level, from lung to heart
DARKEST = 1 / 512  # display below which the curve is not followed, and 1 minus it above
NEIGHBOURS = (0.02, 0.80)  # correlation of noise between neighbouring pixels: what is believed
_BANDS = 12  # of grey, that noise is measured in


@dataclass(frozen=True)
class Response:
    """What was measured on one film.

    Attributes
    ----------
    slope : level for one unit of optical depth
    lung : level of open lung, whose signal counts as 1
    scatter : share of the signal behind lung
    blur_px : standard deviation of the film's unsharpness, in pixels
    greys, noise : float32 [N] each: display, and the noise's standard deviation there
    """

    slope: float
    lung: float
    scatter: float
    blur_px: float
    greys: NDArray[np.float32]
    noise: NDArray[np.float32]

    def noise_at(self, display: Map) -> Map:
        """Standard deviation of the film's noise where it shows a grey."""
        return np.asarray(np.interp(display, self.greys, self.noise), "f4")

    def change(self, levels: Map, depth: Map) -> Map:
        """What optical depth laid over a film adds to its levels, float32 [R, C]."""
        signal = np.exp((np.float32(self.lung) - levels) / np.float32(self.slope))
        primary = np.maximum(signal - np.float32(self.scatter), LEAST_PRIMARY * signal)
        after = signal + primary * np.expm1(-depth)
        return np.asarray(self.slope * np.log(signal / after), "f4")


def level(display: Map) -> Map:
    """Display, 0 to 1, to what adds up as attenuation does; ends are held finite."""
    held = np.clip(display, DARKEST, 1 - DARKEST)
    return np.asarray(np.log(held / (1 - held)), "f4")


def grey(levels: Map) -> Map:
    """Back from `level` to display."""
    return np.asarray(1 / (1 + np.exp(-levels)), "f4")


def as_shown(depth: Map, pixel_mm: float) -> Map:
    """Optical depth as an equalising display shows it beside the heart's, float32 [R, C].

    Equalisation never turns a sign: beside a thing the film keeps its grey.
    """
    mean = gaussian_filter(depth, EQUALISED_MM / pixel_mm)
    shown = (depth - EQUALISED * mean) / HEART_KEEPS
    return np.asarray(np.where(depth >= 0, np.maximum(shown, 0), np.minimum(shown, 0)), "f4")


def measure(display: Map, lungs: Mask, heart: Mask, abdomen: Mask | None = None) -> Response:
    """Measure a film.

    Parameters
    ----------
    display : float32 [R, C], 0 to 1, 1 = white
    lungs, heart : bool [R, C]; what is both counts as heart
    abdomen : bool [R, C], below the diaphragm; None or empty: its usual scatter is assumed

    Raises
    ------
    FilmError
        The heart is hardly whiter than the lungs: an inverted film, or one of no contrast.
    """
    shown = level(display)
    open_lung = lungs & ~heart
    if not open_lung.any() or not heart.any():
        raise FilmError(
            "No heart was found beside the lungs, so the film's contrast cannot be measured; "
            "choose a frontal film that shows both."
        )
    lung = float(np.median(shown[open_lung]))
    step = float(np.median(shown[heart])) - lung
    if step < LEAST_STEP:
        raise FilmError(
            "The heart is hardly whiter than the lungs on this film, so its contrast cannot be "
            "measured (an inverted film, or white lungs); choose a film with aerated lungs."
        )
    greys, noise, blur = _noise(display, lungs | heart)
    slope = float(step / -np.log(HEART_SIGNAL))
    scatter = SCATTER
    if abdomen is not None and abdomen.any():
        white = float(np.median(shown[abdomen]))
        scatter = float(np.clip(OF_ABDOMEN * np.exp((lung - white) / slope), *SCATTERS))
    return Response(slope, lung, scatter, blur, greys, noise)


def _noise(display: Map, where: Mask) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Noise by grey, and the unsharpness that its correlation between neighbours tells.

    Of noise of deviation s behind a Gaussian blur, whose neighbours correlate by r and whose
    second neighbours by r^4, half the mixed second difference deviates by s (1 - r), and by
    s (1 - r^4) over two pixels. Both are taken from the mean of their size without the largest
    tenth, which is where anatomy has edges of one pixel.
    """
    near, far = (_mixed(display, step) for step in (1, 2))
    inside = where[2:, 2:]
    size = np.abs(near[1:, 1:][inside])
    ratio = _spread(size) / max(_spread(np.abs(far[inside])), 1e-6)
    known = np.linspace(*NEIGHBOURS, 200)
    r = float(known[np.argmin(np.abs((1 - known) / (1 - known**4) - ratio))])
    at = gaussian_filter(display, 2.0)[2:, 2:][inside]
    edges = np.quantile(at, np.linspace(0, 1, _BANDS + 1))
    bands = [(at >= a) & (at <= b) for a, b in pairwise(edges)]
    greys = np.array([np.median(at[band]) for band in bands], "f4")
    noise = np.array([_spread(size[band]) for band in bands]) / (1 - r)
    return greys, noise.astype("f4"), float(np.sqrt(-1 / (4 * np.log(r))))


def _mixed(display: Map, step: int) -> Map:
    """Half the mixed second difference over `step` pixels, [R - step, C - step]."""
    d = display
    first, last = slice(None, -step), slice(step, None)
    return np.asarray((d[last, last] - d[first, last] - d[last, first] + d[first, first]) / 2)


def _spread(size: NDArray[np.float32]) -> float:
    """Standard deviation of a Gaussian from the sizes of its draws, the largest tenth left out."""
    kept = size[size <= np.quantile(size, 0.9)]
    return float(kept.mean()) / 0.657
