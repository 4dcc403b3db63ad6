"""A first, simple chest phantom: a frontal radiograph whose truth is known.

Every structure is a map of its thickness along the beam in mm on a square field, so the
film is a Beer-Lambert sum of ray lengths. Drawing the parameters (`draw_patient`) is apart
from rendering them (`render`): the same patient can be rendered with and without a
finding, which gives the true counterfactual.

Frame: x to the image's right (the patient's left), y down, both in mm from the centre of
the field.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from radedit.lib.phantom import anatomy

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]

FIELD_MM = 400.0
# Linear attenuation at 60 keV, the effective energy of a filtered 120 kVp beam, per mm:
# NIST mass attenuation coefficients times density (soft tissue 1.05, cortical bone 1.92
# diluted to whole-rib density 1.4, inflated lung 0.26 g/cm3; plastic with barium for tubes).
MU_SOFT = 0.0215
MU_LUNG = 0.0053
MU_BONE = 0.0400
MU_AIR = 0.0
MU_TUBE = 0.0900

FINDINGS = ("mass", "consolidation", "effusion", "pneumothorax")


@dataclass(frozen=True)
class Finding:
    """One finding: what, on which side, where in the lung and how large."""

    kind: str
    side: str  # the patient's side: "left" or "right"
    zone: str  # "upper", "mid" or "lower"
    extent: float  # 0 (small) to 1 (large)
    seed: int


@dataclass(frozen=True)
class Patient:
    """The drawn parameters of one patient and one exposure."""

    anatomy: anatomy.Anatomy
    findings: tuple[Finding, ...]
    drain_side: str | None
    photons: float
    blur_mm: float
    gamma: float
    seed: int


@dataclass(frozen=True)
class Rendering:
    """A rendered film.

    Attributes
    ----------
    image : float32 [N, N], 0 to 1, 1 = white (dense)
    masks : each bool [N, N]; keys "lung_left", "lung_right", "heart", "drain" and one per finding
    """

    image: NDArray[np.float32]
    masks: dict[str, Mask] = field(default_factory=dict)


def draw_patient(seed: int, *, drain_given_pneumothorax: float = 0.95) -> Patient:
    """Draw one patient; a pure function of its arguments.

    Parameters
    ----------
    seed : the patient's own seed
    drain_given_pneumothorax : probability of a chest drain on a side with a pneumothorax;
        high on purpose: the editor must learn a biased world for the keep mask to matter
    """
    rng = np.random.default_rng([seed, 0x5EED])
    findings: list[Finding] = []
    if rng.random() > 0.35:
        for _ in range(int(rng.choice([1, 2], p=[0.75, 0.25]))):
            findings.append(
                Finding(
                    kind=str(rng.choice(FINDINGS, p=[0.4, 0.2, 0.2, 0.2])),
                    side=str(rng.choice(["left", "right"])),
                    zone=str(rng.choice(["upper", "mid", "lower"])),
                    extent=float(rng.random()),
                    seed=int(rng.integers(2**31)),
                )
            )
    sides = {f.side for f in findings if f.kind == "pneumothorax"}
    drain = None
    if sides and rng.random() < drain_given_pneumothorax:
        drain = sorted(sides)[0]
    elif not sides and rng.random() < 0.02:
        drain = str(rng.choice(["left", "right"]))
    return Patient(
        anatomy=anatomy.draw_anatomy(rng),
        findings=tuple(findings),
        drain_side=drain,
        photons=float(10 ** rng.uniform(3.2, 4.2)),
        blur_mm=float(rng.uniform(0.15, 0.6)),
        gamma=float(rng.uniform(0.7, 1.4)),
        seed=seed,
    )


def without_findings(patient: Patient) -> Patient:
    """The same patient and exposure with every finding gone; devices stay."""
    return replace(patient, findings=())


def render(patient: Patient, size: int = 256) -> Rendering:
    """Render a patient on a `size` x `size` grid over the whole field."""
    x, y = _grid(size)
    maps = anatomy.thickness_maps(patient.anatomy, x, y)
    optical = (
        MU_SOFT * maps.soft + (MU_BONE - MU_SOFT) * maps.bone - (MU_SOFT - MU_LUNG) * maps.lung
    )
    optical += (MU_SOFT - MU_LUNG) * maps.vessels
    masks: dict[str, Mask] = {
        "lung_left": maps.lung_left,
        "lung_right": maps.lung_right,
        "heart": maps.heart,
    }
    for finding in patient.findings:
        lung = maps.lung_left if finding.side == "left" else maps.lung_right
        mask, change = _finding_change(finding, lung, maps, (x, y))
        optical += change
        masks[finding.kind] = masks.get(finding.kind, np.zeros_like(mask)) | mask
    if patient.drain_side is not None:
        tube = anatomy.drain(patient.anatomy, patient.drain_side, x, y)
        optical += MU_TUBE * tube
        masks["drain"] = tube > 0.05
    return Rendering(_expose(optical, maps.body, patient, size), masks)


def _grid(size: int) -> tuple[Map, Map]:
    axis = (np.arange(size) + 0.5) / size * FIELD_MM - FIELD_MM / 2
    x, y = np.meshgrid(axis, axis)
    return x, y


def _finding_change(
    finding: Finding, lung: Mask, maps: anatomy.Maps, grid: tuple[Map, Map]
) -> tuple[Mask, Map]:
    """Mask of a finding and its change of optical depth."""
    x, y = grid
    rng = np.random.default_rng(finding.seed)
    rows = np.flatnonzero(lung.any(axis=1))
    top, bottom = y[rows.min(), 0], y[rows.max(), 0]
    third = (bottom - top) / 3
    start = top + third * ("upper", "mid", "lower").index(finding.zone)
    sign = 1.0 if finding.side == "left" else -1.0
    if finding.kind == "mass":
        in_zone = lung & (y >= start + 0.15 * third) & (y < start + 0.9 * third)
        pick = np.flatnonzero(in_zone if in_zone.any() else lung)
        centre = int(rng.choice(pick))
        radius = 9 + 24 * finding.extent
        depth = anatomy.lobulated(x - x.flat[centre], y - y.flat[centre], radius, rng) * min(
            2 * radius, 60
        )
        return depth > 1.0, (MU_SOFT - MU_LUNG) * depth * (0.55 + 0.45 * lung)
    if finding.kind == "consolidation":
        weight = np.exp(-(((y - (start + third / 2)) / (0.45 * third)) ** 4))
        texture = gaussian_filter(rng.standard_normal(x.shape), 14.0 / FIELD_MM * x.shape[0])
        texture = np.clip(0.75 + 0.6 * texture / texture.std(), 0, 1.4)
        depth = weight * texture * lung * (25 + 45 * finding.extent)
        depth = gaussian_filter(depth, 5.0 / FIELD_MM * x.shape[0])
        return depth > 10.0, (MU_SOFT - MU_LUNG) * depth
    if finding.kind == "effusion":
        level = bottom - (25 + 95 * finding.extent)
        lateral = np.clip((sign * x - 40) / 90, 0, 1)
        surface = level - 26 * lateral**3 + 10 * np.exp(-((sign * x - 75) ** 2) / 900)
        depth = lung * np.clip((y - surface) / 14, 0, 1) * np.minimum(maps.lung, 85.0)
        depth = gaussian_filter(depth, 2.5 / FIELD_MM * x.shape[0])
        return depth > 10.0, (MU_SOFT - MU_LUNG) * depth
    edge = (20 + 45 * finding.extent) * np.exp(-(((y - top) / (0.75 * (bottom - top))) ** 2))
    lateral_limit = np.where(lung, sign * x, -np.inf).max(axis=1, keepdims=True)
    air = lung & ((lateral_limit - sign * x < edge) | (y < top + 0.5 * edge))
    line = np.abs(gaussian_filter(air.astype(float), 1.2) - 0.5) < 0.22
    change = (MU_AIR - MU_LUNG) * maps.lung * air - (MU_SOFT - MU_LUNG) * maps.vessels * air
    return air, change + 0.10 * (line & lung)


def _expose(optical: Map, body: Mask, patient: Patient, size: int) -> NDArray[np.float32]:
    """Primary, scatter behind a grid, quantum noise, blur and a film-like look-up."""
    rng = np.random.default_rng([patient.seed, 0xF11A])
    primary = np.exp(-optical)
    scatter = 0.25 * gaussian_filter(primary, 30.0 / FIELD_MM * size)
    counts = rng.poisson(np.maximum(primary + scatter, 1e-6) * patient.photons * 20)
    signal = np.maximum(counts, 1.0) / (patient.photons * 20)
    depth = gaussian_filter(-np.log(signal), patient.blur_mm / FIELD_MM * size)
    depth = depth - 0.6 * gaussian_filter(depth, 28.0 / FIELD_MM * size)  # vendors' equalisation
    low, high = np.percentile(depth[body], [0.5, 99.5])
    shown = np.clip((depth - low) / (high - low), 0, 1) ** patient.gamma
    return np.asarray(shown, dtype=np.float32)
