"""From path lengths to a film: beam, scatter, quanta, detector, and a vendor's look-up.

The look-up's window and its equalisation are set on the patient without findings, as a
technician's fixed protocol would be, so that two films of one patient differ where, and only
where, anatomy and scatter differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from radedit.lib.phantom.matter import Beam, transmit
from radedit.lib.phantom.rays import Map, View


@dataclass(frozen=True)
class Exposure:
    """How one film was taken and processed.

    Attributes
    ----------
    site : where; a key of SITES
    projection : "PA" or "AP"
    distance : focus to detector, mm
    field : height and width of the film, mm at the detector
    beam : tube voltage and filtration
    quanta : detected per mm2 without a patient
    scatter : scattered over primary signal behind the grid
    scatter_mm, blur_mm : Gaussian widths of scatter and of the detector's point spread
    electronic : noise of the electronics, as a share of the open field
    equalise, sharpen, gamma : the vendor's processing
    window : percentiles of the torso that become black and white
    border : mm of collimation on each side (top, bottom, left, right)
    border_grey : what the vendor shows there, 0 to 1
    marker : text in lead, "" for none; `marker_at` its place (x, y) as shares of the film
    bits_stored, photometric : of the DICOM object
    """

    site: str
    projection: str
    distance: float
    beam: Beam
    quanta: float
    scatter: float
    blur_mm: float
    equalise: float
    sharpen: float
    gamma: float
    field: tuple[float, float] = (400.0, 400.0)
    border: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    border_grey: float = 0.0
    marker: str = ""
    marker_at: tuple[float, float] = (0.9, 0.08)
    scatter_mm: float = 32.0
    electronic: float = 2e-5
    window: tuple[float, float] = (0.7, 99.6)
    bits_stored: int = 12
    photometric: str = "MONOCHROME2"


def _north(rng: np.random.Generator) -> Exposure:
    """A fixed wall stand in a large hospital."""
    u = rng.uniform
    return Exposure(
        "north", "PA", 1800.0, Beam(u(118, 125), 3.5),
        quanta=u(0.8e5, 2e5), scatter=u(0.06, 0.14), blur_mm=u(0.10, 0.2),
        equalise=u(0.55, 0.72), sharpen=u(0.2, 0.8), gamma=u(0.8, 1.1),
        field=(u(370, 420), u(350, 390)),
        marker="L", marker_at=(u(0.87, 0.93), u(0.06, 0.13)),
    )  # fmt: skip


def _harbour(rng: np.random.Generator) -> Exposure:
    """A practice with hard contrast, edge enhancement and shuttered borders."""
    u = rng.uniform
    return Exposure(
        "harbour", "PA", 1800.0, Beam(u(102, 112), 3.0),
        quanta=u(0.5e5, 1.2e5), scatter=u(0.10, 0.18), blur_mm=u(0.15, 0.3),
        equalise=u(0.42, 0.58), sharpen=u(0.8, 1.6), gamma=u(1.0, 1.35),
        field=(u(380, 430), u(370, 420)),
        border=(u(5, 18), u(5, 18), u(8, 26), u(8, 26)), border_grey=0.0,
        marker="R", marker_at=(u(0.08, 0.13), u(0.10, 0.2)), window=(2.0, 99.0),
        bits_stored=10, photometric="MONOCHROME1",
    )  # fmt: skip


def _ward(rng: np.random.Generator) -> Exposure:
    """A mobile unit at the bedside: AP, no grid, fewer quanta."""
    u = rng.uniform
    return Exposure(
        "ward", "AP", u(1100, 1400), Beam(u(100, 108), 2.8),
        quanta=u(3e4, 9e4), scatter=u(0.22, 0.40), blur_mm=u(0.3, 0.6),
        equalise=u(0.55, 0.7), sharpen=u(0.1, 0.5), gamma=u(0.7, 0.95),
        field=(u(330, 370), u(390, 430)),
        border=(0.0, u(0, 12), u(0, 10), u(0, 10)), border_grey=u(0.75, 1.0),
        marker="AP PORTABLE", marker_at=(u(0.14, 0.24), u(0.04, 0.07)), electronic=8e-5,
        bits_stored=15,
    )  # fmt: skip


SITES = {"north": _north, "harbour": _harbour, "ward": _ward}


@dataclass(frozen=True)
class LookUp:
    """A vendor's processing, set on one patient.

    Attributes
    ----------
    low, high : optical depth, equalised, that is shown black and white
    background : what equalisation subtracts, float32 [R, C]
    """

    low: float
    high: float
    background: Map = field(repr=False)


def detect(paths: Mapping[str, Map], exposure: Exposure, view: View, seed: int) -> Map:
    """Signal of the detector against the open field, float32 [R, C].

    Quantum noise is the Gaussian limit of Poisson's (hundreds of quanta a pixel and more),
    drawn per seed, so that two films of one exposure share it.
    """
    rng = np.random.default_rng([seed, 0xF11A])
    primary = transmit(paths, exposure.beam)
    scattered = exposure.scatter * gaussian_filter(primary, exposure.scatter_mm / view.spacing)
    quanta = exposure.quanta * view.spacing**2
    mean = (primary + scattered) * quanta
    counts = mean + np.sqrt(mean) * rng.standard_normal(mean.shape, "f4")
    signal = gaussian_filter(np.maximum(counts, 0) / quanta, exposure.blur_mm / view.spacing)
    noise = exposure.electronic * rng.standard_normal(mean.shape, "f4")
    return np.asarray(np.maximum(signal + noise, 1e-5), "f4")


def set_look_up(signal: Map, torso: NDArray[np.bool_], exposure: Exposure, view: View) -> LookUp:
    """Set the vendor's processing on one film's signal."""
    depth = -np.log(signal)
    background = exposure.equalise * gaussian_filter(depth, 26.0 / view.spacing)
    shown = depth - background
    low, high = np.percentile(shown[torso], exposure.window)
    return LookUp(float(low), float(high), background)


def show(signal: Map, look_up: LookUp, exposure: Exposure, view: View) -> Map:
    """Film as displayed, float32 [R, C], 0 to 1, 1 = white; border and marker included."""
    depth = -np.log(signal)
    fine = depth - gaussian_filter(depth, 1.6 / view.spacing)
    shown = depth - look_up.background + exposure.sharpen * fine
    grey = _characteristic((shown - look_up.low) / (look_up.high - look_up.low))
    film = _collimate(grey**exposure.gamma, exposure, view)
    return np.asarray(_stamp(film, exposure, view), "f4")


def _characteristic(level: Map) -> Map:
    """A film's curve, with a toe and a shoulder; 0 gives 0.1 and 1 gives 0.9."""
    return np.asarray(1 / (1 + np.exp(-2 * np.log(9.0) * (level - 0.5))), "f4")


def _collimate(film: Map, exposure: Exposure, view: View) -> Map:
    top, bottom, left, right = (round(mm / view.spacing) for mm in exposure.border)
    film[:top] = exposure.border_grey
    if bottom:
        film[-bottom:] = exposure.border_grey
    film[:, :left] = exposure.border_grey
    if right:
        film[:, -right:] = exposure.border_grey
    return film


def _stamp(film: Map, exposure: Exposure, view: View) -> Map:
    """Lay the lead marker on the film."""
    if not exposure.marker:
        return film
    over = 4 if view.rows <= 512 else 1
    canvas = Image.new("L", (view.cols * over, view.rows * over))
    height = (16.0 if len(exposure.marker) == 1 else 9.0) / view.spacing * over
    x, y = exposure.marker_at
    ImageDraw.Draw(canvas).text(
        (x * view.cols * over, y * view.rows * over), exposure.marker, 255,
        ImageFont.load_default(size=height), anchor="mm",
    )  # fmt: skip
    letters = canvas.resize((view.cols, view.rows), Image.Resampling.BOX)
    share = np.asarray(letters, "f4") / 255
    return np.asarray(film * (1 - share) + np.float32(0.96) * share, "f4")
