"""Who comes to the phantom's hospital: patients drawn from dials, and their films.

The dials are the world's correlations: a drain given a pneumothorax, a site given a finding.
An editor or a classifier that learns from a biased world learns its shortcut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from radedit.lib.phantom import chest as chests
from radedit.lib.phantom import devices, exposure, findings
from radedit.lib.phantom.body import Body, Mask, draw_body
from radedit.lib.phantom.chest import Chest
from radedit.lib.phantom.devices import Device
from radedit.lib.phantom.exposure import SITES, Exposure
from radedit.lib.phantom.findings import Finding
from radedit.lib.phantom.rays import Map, View

ONE_SIDED = ("pneumothorax", "effusion", "consolidation", "nodule", "mass", "atelectasis")


@dataclass(frozen=True)
class World:
    """The dials; every probability 0 to 1.

    Attributes
    ----------
    normal : of no finding at all
    second : of a second finding beside a first
    findings : how often each kind is drawn, relative
    sites : how often each site is drawn, relative
    site_given : finding to site to relative weight, instead of `sites`
    drain_given_pneumothorax, drain_otherwise : of a chest drain
    devices : of each other device, in any patient
    """

    normal: float = 0.30
    second: float = 0.25
    findings: Mapping[str, float] = field(
        default_factory=lambda: dict(
            pneumothorax=0.26, effusion=0.16, consolidation=0.20, oedema=0.07, nodule=0.06,
            mass=0.11, atelectasis=0.06, cardiomegaly=0.08,
        )
    )  # fmt: skip
    sites: Mapping[str, float] = field(
        default_factory=lambda: dict(north=0.45, harbour=0.30, ward=0.25)
    )
    site_given: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    drain_given_pneumothorax: float = 0.95
    drain_otherwise: float = 0.03
    devices: Mapping[str, float] = field(
        default_factory=lambda: {
            "pacemaker": 0.14,
            "endotracheal tube": 0.06,
            "central line": 0.09,
            "ECG leads": 0.07,
        }
    )


@dataclass(frozen=True)
class Patient:
    """One patient and one exposure: all that a film follows from."""

    seed: int
    body: Body
    findings: tuple[Finding, ...]
    devices: tuple[Device, ...]
    exposure: Exposure
    turn: float
    tilt: float
    shift: tuple[float, float]

    @property
    def kinds(self) -> set[str]:
        """The kinds of all findings."""
        return {finding.kind for finding in self.findings}


@dataclass(frozen=True)
class Rendering:
    """A rendered film and the truth about it.

    Attributes
    ----------
    image : float32 [R, C], 0 to 1, 1 = white
    masks : bool [R, C] each: "lung_left", "lung_right", "heart", every finding, every device
    spacing : mm between pixels, at the detector
    """

    image: NDArray[np.float32]
    masks: Mapping[str, Mask]
    spacing: float


def draw_patient(seed: int, world: World | None = None) -> Patient:
    """Draw one patient of a world; a pure function of both."""
    world = world or World()
    rng = np.random.default_rng([seed, 0x5EED])
    found = _draw_findings(rng, world)
    weights = world.sites
    for finding in found:
        weights = world.site_given.get(finding.kind, weights)
    site = _pick(rng, weights)
    taken = SITES[site](rng)
    return Patient(
        seed=seed,
        body=draw_body(rng, supine=taken.projection == "AP"),
        findings=tuple(found),
        devices=tuple(_draw_devices(rng, world, found)),
        exposure=taken,
        turn=float(rng.normal(0, 0.035)),
        tilt=float(rng.normal(0, 0.03)),
        shift=(float(rng.normal(0, 7)), float(rng.normal(12, 9))),
    )


def without(patient: Patient, *kinds: str) -> Patient:
    """The same patient and exposure with findings of these kinds gone (all, if none is named)."""
    left = tuple(f for f in patient.findings if kinds and f.kind not in kinds)
    return replace(patient, findings=left)


def without_devices(patient: Patient, *kinds: str) -> Patient:
    """The same patient and exposure without devices of these kinds (all, if none is named)."""
    left = tuple(d for d in patient.devices if kinds and d.kind not in kinds)
    return replace(patient, devices=left)


def view_of(patient: Patient, size: int) -> View:
    """The geometry of a patient's film whose longer side has `size` pixels."""
    taken, body = patient.exposure, patient.body
    gap = body.cage_half_depth + body.wall_depth + 35.0
    towards = 1.0 if taken.projection == "PA" else -1.0
    spacing = max(taken.field) / size
    return View(
        round(taken.field[0] / spacing),
        round(taken.field[1] / spacing),
        spacing,
        source_z=towards * (gap - taken.distance),
        detector_z=towards * gap,
        turn=patient.turn,
        tilt=patient.tilt,
        shift_x=patient.shift[0],
        shift_y=patient.shift[1],
    )


class Studio:
    """Renders the films of one patient; what they share is worked out once.

    Parameters
    ----------
    patient : whose body, exposure and noise are used
    size : pixels a side
    """

    def __init__(self, patient: Patient, size: int = 256) -> None:
        self.patient = patient
        self.view = view_of(patient, size)
        self._chests: dict[tuple[Body, float], Chest] = {}
        normal = self._chest(replace(patient, findings=()))
        signal = detect(normal, {}, {}, patient, self.view)
        self._look_up = exposure.set_look_up(signal, normal.torso, patient.exposure, self.view)

    def render(self, patient: Patient | None = None) -> Rendering:
        """Render this patient, or a variant that differs in findings and devices."""
        patient = patient or self.patient
        chest = self._chest(patient)
        masks: dict[str, Mask] = {
            "lung_left": chest.field["left"],
            "lung_right": chest.field["right"],
            "heart": chest.heart,
        }
        changes: dict[str, list[findings.Change]] = {}
        for finding in patient.findings:
            if finding.kind == "cardiomegaly":
                usual = chests.heart_mask(self.patient.body, self.view)
                changes[finding.kind] = [findings.Change(chest.heart & ~usual)]
            else:
                change = findings.change_of(finding, chest)
                changes.setdefault(finding.kind, []).append(change)
        added = {d.kind: devices.hardware(d, chest) for d in patient.devices}
        for kind, several in changes.items():
            masks[kind] = np.asarray(np.logical_or.reduce([c.mask for c in several]))
        masks.update({kind: hardware.mask for kind, hardware in added.items()})
        flat = {f"{k}{i}": c for k, several in changes.items() for i, c in enumerate(several)}
        signal = detect(chest, flat, added, patient, self.view)
        image = exposure.show(signal, self._look_up, patient.exposure, self.view)
        return Rendering(image, masks, self.view.spacing)

    def _chest(self, patient: Patient) -> Chest:
        body, congestion = patient.body, 0.0
        for finding in patient.findings:
            if finding.kind == "cardiomegaly":
                body = findings.with_large_heart(body, finding)
            if finding.kind == "oedema":
                congestion = 0.5 + 0.5 * finding.extent
        key = (body, congestion)
        if key not in self._chests:
            self._chests[key] = chests.lay(body, self.view, congestion)
        return self._chests[key]


def render(patient: Patient, size: int = 256) -> Rendering:
    """Render one film, [size, size]."""
    return Studio(patient, size).render()


def detect(
    chest: Chest,
    changes: Mapping[str, findings.Change],
    added: Mapping[str, devices.Hardware],
    patient: Patient,
    view: View,
) -> Map:
    """The detector's signal behind a chest with its findings and devices."""
    lung = chest.lung["left"] + chest.lung["right"]
    vessels, air = chest.vessels, np.minimum(chest.air, chest.total)
    solid = np.zeros_like(lung)
    line = np.zeros_like(lung)
    for change in changes.values():
        if change.air is not None:
            free = change.air * np.maximum(lung - solid, 0)
            lung, air = lung - free, air + free
            vessels = vessels * (1 - change.air)
        if change.soft is not None:
            solid = np.minimum(solid + change.soft, lung)
        if change.line is not None:
            line = line + change.line
    vessels = np.minimum(vessels, np.maximum(lung - solid, 0))
    aerated = np.maximum(lung - solid - vessels, 0)
    soft = chest.total - chest.fat - aerated - air - chest.bone + line
    paths = {
        "soft": np.maximum(soft, 0),
        "fat": np.asarray(chest.fat),
        "lung": aerated * np.float32(patient.body.lung_density),
        "bone": chest.bone,
    }
    for hardware in added.values():
        for material, path in hardware.paths.items():
            paths[material] = paths.get(material, np.zeros_like(path)) + path
    return exposure.detect(paths, patient.exposure, view, patient.seed)


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    shares = np.array(list(weights.values()), float)
    return str(rng.choice(list(weights), p=shares / shares.sum()))


def _draw_findings(rng: np.random.Generator, world: World) -> list[Finding]:
    found: list[Finding] = []
    if rng.random() < world.normal:
        return found
    for _ in range(1 + int(rng.random() < world.second)):
        kind = _pick(rng, world.findings)
        if any(f.kind == kind for f in found):
            continue
        found.append(draw_finding(rng, kind))
    return found


def draw_finding(
    rng: np.random.Generator, kind: str, side: str | None = None, zone: str | None = None
) -> Finding:
    """Draw one finding of a kind, on a given side and zone or anywhere."""
    drawn_side = str(rng.choice(["left", "right"])) if kind in ONE_SIDED else "both"
    drawn_zone = str(rng.choice(["upper", "middle", "lower"]))
    side = side or drawn_side
    if kind == "consolidation" and side == "left" and drawn_zone == "middle":
        drawn_zone = "lower"  # the left lung has two lobes
    return Finding(kind, side, zone or drawn_zone, float(rng.random()), int(rng.integers(2**31)))


def _draw_devices(rng: np.random.Generator, world: World, found: list[Finding]) -> list[Device]:
    placed: list[Device] = []
    sides = [f.side for f in found if f.kind == "pneumothorax"]
    chance = world.drain_given_pneumothorax if sides else world.drain_otherwise
    if rng.random() < chance:
        side = sides[0] if sides else str(rng.choice(["left", "right"]))
        placed.append(Device("chest drain", side, int(rng.integers(2**31))))
    for kind, share in world.devices.items():
        if rng.random() < share:
            side = "left" if rng.random() < 0.8 else "right"
            placed.append(Device(kind, side, int(rng.integers(2**31))))
    return placed
