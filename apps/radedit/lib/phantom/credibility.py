"""How like a chest film the phantom is, measured: anatomy, signal, noise, sharpness, beam.

Each measurement is made as a physicist makes it of a real system, from masks and detector
signals, and not read off the numbers that went in; where theory gives an answer, both are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from radedit.lib.phantom import chest as chests
from radedit.lib.phantom import exposure, world
from radedit.lib.phantom.chest import Chest
from radedit.lib.phantom.exposure import SITES, Exposure
from radedit.lib.phantom.matter import transmit
from radedit.lib.phantom.rays import View
from radedit.lib.phantom.world import World

Values = NDArray[np.float64]
Progress = Callable[[int, int], None]

FIRST_SEED = 9_000_000
SIZE = 192  # pixels of the films that anatomy and signal are measured on
CLINICAL_HEART, CLINICAL_DIAPHRAGM = 0.21, 0.10
"""Signal behind the heart, and below the diaphragm, over that behind the lungs."""
CLINICAL_RATIO = 0.50
"""What a normal adult's cardiothoracic ratio does not exceed, PA (Danzer, Am J Med Sci 1919)."""
UNDER_DOME_MM = (45.0, 75.0)  # from the midline to the patient's right
LEAST_LAYER = {100: 3.6, 110: 3.9, 120: 4.3}
"""Least half-value layer, mm Al, at a tube voltage in kV: IEC 60601-1-3:2008, table 3."""

PATCH, PITCH, TISSUE_MM = 512, 0.1, 100.0  # the bench: pixels, mm between them, mm in the beam
REGION, FIELDS = 256, 6  # noise is measured in regions of so many pixels, in so many fields
EDGE_DEGREES, EDGE_METAL_MM, EDGE_DOSE, OVERSAMPLED = 3.0, 5.0, 1000.0, 4


@dataclass(frozen=True)
class Anatomy:
    """What one normal film measures.

    Attributes
    ----------
    cardiothoracic : heart's width over the lungs' outer width, from the masks
    heart, diaphragm : signal there over the signal behind the lungs
    """

    cardiothoracic: float
    heart: float
    diaphragm: float


@dataclass(frozen=True)
class Detector:
    """What one site's detector measures.

    Attributes
    ----------
    frequency : cycles/mm of the next two
    noise_power, noise_theory : mm2, radial mean, of the signal against the open field
    unblurred, unblurred_theory : noise power at the same frequencies without detector blur, and
        the constant that quanta and electronics predict
    variance, variance_theory : of the signal; the theory is that of the continuous detector
    edge_frequency, mtf, mtf_theory : slanted-edge modulation transfer and exp(-2 (pi s f)^2)
    kvp, filtration_mm, half_value_mm : the beam; the last as the detector sees it
    """

    frequency: Values
    noise_power: Values
    noise_theory: Values
    unblurred: Values
    unblurred_theory: float
    variance: float
    variance_theory: float
    edge_frequency: Values
    mtf: Values
    mtf_theory: Values
    kvp: float
    filtration_mm: float
    half_value_mm: float

    @property
    def variance_ratio(self) -> float:
        """Measured over predicted variance."""
        return self.variance / self.variance_theory

    @property
    def half_modulation(self) -> tuple[float, float]:
        """Cycles/mm where the modulation falls to one half: measured, in theory."""
        found = [
            float(np.interp(-0.5, -curve, self.edge_frequency))
            for curve in (self.mtf, self.mtf_theory)
        ]
        return found[0], found[1]


@dataclass(frozen=True)
class Figures:
    """All measurements, by site."""

    anatomy: Mapping[str, list[Anatomy]]
    detectors: Mapping[str, Detector]

    def spread(self, site: str, name: str) -> tuple[float, float]:
        """Mean and standard deviation of one attribute of `Anatomy` over a site's films."""
        values = [getattr(one, name) for one in self.anatomy[site]]
        return float(np.mean(values)), float(np.std(values, ddof=1))

    def summary(self) -> dict[str, Any]:
        """Give everything that the table says in plain values."""
        sites: dict[str, Any] = {}
        for site, films in self.anatomy.items():
            d = self.detectors[site]
            spreads = {name: self.spread(site, name) for name in Anatomy.__dataclass_fields__}
            sites[site] = {
                "films": len(films),
                **{k: {"mean": round(m, 4), "sd": round(s, 4)} for k, (m, s) in spreads.items()},
                "noise_variance": {"measured": d.variance, "theory": d.variance_theory},
                "half_modulation_per_mm": dict(
                    zip(("measured", "theory"), d.half_modulation, strict=True)
                ),
                "kvp": d.kvp,
                "filtration_mm_al": d.filtration_mm,
                "half_value_mm_al": d.half_value_mm,
            }
        clinical = {
            "cardiothoracic_at_most": CLINICAL_RATIO,
            "heart": CLINICAL_HEART,
            "diaphragm": CLINICAL_DIAPHRAGM,
        }
        return {"clinical": clinical, "sites": sites}

    def table(self) -> list[str]:
        """Lay the figures out for a person."""
        lines = [
            f"{'':30}{'clinical':>12}" + "".join(f"{site:>16}" for site in self.anatomy),
        ]
        rows = (
            ("cardiothoracic ratio", f"<= {CLINICAL_RATIO:.2f}", "cardiothoracic"),
            ("signal, heart / lung", f"{CLINICAL_HEART:.2f}", "heart"),
            ("signal, diaphragm / lung", f"{CLINICAL_DIAPHRAGM:.2f}", "diaphragm"),
        )
        for title, clinical, name in rows:
            cells = [f"{m:.3f} +- {s:.3f}" for m, s in (self.spread(x, name) for x in self.anatomy)]
            lines.append(_row(title, clinical, cells))
        seen = [self.detectors[site] for site in self.anatomy]
        lines += [
            _row("noise variance / theory", "1", [f"{d.variance_ratio:.3f}" for d in seen]),
            _row("MTF 0.5 at, cycles/mm", "", [f"{d.half_modulation[0]:.2f}" for d in seen]),
            _row("  in theory", "", [f"{d.half_modulation[1]:.2f}" for d in seen]),
            _row("tube voltage, kV", "100-125", [f"{d.kvp:.0f}" for d in seen]),
            _row("half-value layer, mm Al", ">= 3.6-4.3", [f"{d.half_value_mm:.2f}" for d in seen]),
        ]  # fmt: skip
        films = ", ".join(f"{len(films)} {site}" for site, films in self.anatomy.items())
        return [*lines, f"mean +- standard deviation over normal films: {films}"]


def _row(title: str, clinical: str, cells: list[str]) -> str:
    return f"{title:30}{clinical:>12}" + "".join(f"{cell:>16}" for cell in cells)


def measure(films: int, progress: Progress = lambda done, total: None) -> Figures:
    """Measure `films` normal films, spread evenly over the sites, and every site's detector."""
    total = films + len(SITES)
    anatomy: dict[str, list[Anatomy]] = {site: [] for site in SITES}
    for i in range(films):
        site = list(SITES)[i % len(SITES)]
        anatomy[site].append(measure_film(FIRST_SEED + i, site))
        progress(i + 1, total)
    detectors = {}
    for i, site in enumerate(SITES):
        detectors[site] = measure_detector(SITES[site](np.random.default_rng(FIRST_SEED)))
        progress(films + i + 1, total)
    return Figures(anatomy, detectors)


def measure_film(seed: int, site: str, size: int = SIZE) -> Anatomy:
    """Measure one normal film without devices; its signal is the detector's, scatter included."""
    patient = world.draw_patient(seed, World(normal=1.0, sites={site: 1.0}))
    patient = world.without_devices(patient)
    view = world.view_of(patient, size)
    chest = chests.lay(patient.body, view)
    signal = world.detect(chest, {}, {}, patient, view)
    lungs = chest.field["left"] | chest.field["right"]
    behind = float(signal[lungs].mean())
    return Anatomy(
        cardiothoracic=cardiothoracic_ratio(chest.field, chest.heart),
        heart=float(signal[chest.heart & ~lungs].mean()) / behind,
        diaphragm=float(signal[_below_dome(chest)].mean()) / behind,
    )


def cardiothoracic_ratio(lungs: Mapping[str, NDArray[np.bool_]], heart: NDArray[np.bool_]) -> float:
    """Heart's greatest width over the greatest inner width of the chest, as read off a film.

    Parameters
    ----------
    lungs : "left", "right": bool [R, C], the patient's; left lies right on the film
    heart : bool [R, C]
    """
    columns = np.nonzero(heart.any(axis=0))[0]
    rows = lungs["left"].any(axis=1) & lungs["right"].any(axis=1)
    width = lungs["left"].shape[1]
    outer = width - np.argmax(lungs["left"][rows, ::-1], axis=1)
    inner = np.argmax(lungs["right"][rows], axis=1)
    return float((columns[-1] + 1 - columns[0]) / (outer - inner).max())


def _below_dome(chest: Chest) -> NDArray[np.bool_]:
    """Under the middle of the right hemidiaphragm: liver alone, no lung, gas or spine."""
    deep = chest.y > chest.body.dome_right + 25
    lateral = chest.body.midline - chest.x
    middle = (lateral > UNDER_DOME_MM[0]) & (lateral < UNDER_DOME_MM[1])
    return deep & middle & chest.pleura["right"] & (chest.lung["right"] < 2)


def measure_detector(taken: Exposure) -> Detector:
    """Measure one exposure's detector on the bench; see `Detector`."""
    clean = replace(taken, blur_mm=0.0)
    frequency, noise, variance = _noise_power(taken)
    _, unblurred, _ = _noise_power(clean)
    level = float(_tissue_signal(taken))
    quantum, electronic = level / taken.quanta, taken.electronic**2 * PITCH**2
    blur = gaussian_mtf(frequency, taken.blur_mm)
    edge_frequency, mtf = slanted_edge_mtf(taken)
    return Detector(
        frequency=frequency,
        noise_power=noise,
        noise_theory=quantum * blur**2 + electronic,
        unblurred=unblurred,
        unblurred_theory=quantum + electronic,
        variance=variance,
        variance_theory=quantum / (4 * np.pi * taken.blur_mm**2) + taken.electronic**2,
        edge_frequency=edge_frequency,
        mtf=mtf,
        mtf_theory=gaussian_mtf(edge_frequency, taken.blur_mm),
        kvp=taken.beam.kvp,
        filtration_mm=taken.beam.filtration_mm,
        half_value_mm=taken.beam.half_value_layer(),
    )


def gaussian_mtf(frequency: Values, blur_mm: float) -> Values:
    """Modulation transfer of a Gaussian point spread of standard deviation `blur_mm`."""
    return np.asarray(np.exp(-2 * (np.pi * blur_mm * frequency) ** 2))


def _bench() -> View:
    return View(PATCH, PATCH, PITCH, source_z=-1650.0, detector_z=150.0)


def _tissue_signal(taken: Exposure) -> np.float32:
    path = np.full((1, 1), TISSUE_MM, "f4")
    return np.float32(transmit({"soft": path}, taken.beam)[0, 0] * (1 + taken.scatter))


def _noise_power(taken: Exposure) -> tuple[Values, Values, float]:
    """Radial frequencies, noise power and variance behind a slab (IEC 62220-1's regions)."""
    flat = np.full((PATCH, PATCH), TISSUE_MM, "f4")
    power, variance = np.zeros((REGION, REGION)), 0.0
    count = FIELDS * (PATCH // REGION) ** 2
    window = np.outer(np.hanning(REGION), np.hanning(REGION))
    window = window / np.sqrt((window**2).mean())  # keeps the power; lets little leak
    even = replace(taken, scatter_mm=PITCH)  # a flat field's scatter is flat at any width
    for field in range(FIELDS):
        signal = exposure.detect({"soft": flat}, even, _bench(), FIRST_SEED + field)
        for row in range(0, PATCH, REGION):
            for col in range(0, PATCH, REGION):
                region = signal[row : row + REGION, col : col + REGION].astype(np.float64)
                region = region - region.mean()
                power += np.abs(np.fft.fft2(region * window)) ** 2 * PITCH**2 / REGION**2 / count
                variance += float(region.var()) / count
    axis = np.fft.fftfreq(REGION, PITCH)
    radius = np.hypot(axis[:, None], axis[None])
    step = 1 / (REGION * PITCH)
    ring = np.round(radius / step).astype(int)
    inside = (ring > 1) & (radius <= 0.5 / PITCH)
    weight = np.bincount(ring[inside])
    used = weight > 0
    mean = np.bincount(ring[inside], power[inside])[used] / weight[used]
    middle = np.bincount(ring[inside], radius[inside])[used] / weight[used]
    return middle, mean, variance


def slanted_edge_mtf(taken: Exposure) -> tuple[Values, Values]:
    """Modulation transfer from the image of a slanted metal edge, free in air.

    Without scatter, and at a dose that makes noise small, as an average of many images would.

    Returns
    -------
    Frequencies in cycles/mm up to the Nyquist frequency, and the modulation, 1 at 0.
    """
    slope = np.tan(np.deg2rad(EDGE_DEGREES))
    row, col = np.mgrid[:PATCH, :PATCH].astype(np.float64) - (PATCH - 1) / 2
    distance = (col - slope * row) * np.cos(np.deg2rad(EDGE_DEGREES)) * PITCH
    metal = np.where(distance > 0, EDGE_METAL_MM, 0).astype("f4")
    bright = replace(taken, scatter=0.0, scatter_mm=PITCH, quanta=taken.quanta * EDGE_DOSE)
    signal = exposure.detect({"metal": metal}, bright, _bench(), FIRST_SEED)
    bin_mm = PITCH / OVERSAMPLED
    reach = 8.0  # mm on each side of the edge
    near = np.abs(distance) < reach
    place = np.floor((distance[near] + reach) / bin_mm).astype(int)
    bins = round(2 * reach / bin_mm)
    spread = np.bincount(place, signal[near], bins) / np.bincount(place, minlength=bins)
    line = np.diff(spread)
    transfer = np.abs(np.fft.rfft(line * np.hanning(len(line))))
    frequency = np.fft.rfftfreq(len(line), bin_mm)
    # The finite difference of neighbouring bins is itself a low pass.
    transfer = transfer / transfer[0] / np.sinc(frequency * bin_mm) ** 2
    shown = frequency <= 0.5 / PITCH
    return np.asarray(frequency[shown]), np.asarray(transfer[shown], np.float64)
