"""A cohort of phantoms drawn from seeds: films in memory, true masks, true counterfactuals."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from radedit.lib.errors import ParameterError
from radedit.lib.phantom.devices import Device
from radedit.lib.phantom.findings import KINDS
from radedit.lib.phantom.instances import FILM, LABELS, Identity, film_object
from radedit.lib.phantom.lessons import OPACITIES
from radedit.lib.phantom.world import (
    Patient,
    Rendering,
    Studio,
    World,
    draw_finding,
    draw_patient,
    without,
    without_devices,
)
from radedit.lib.sources import FilmSources
from radedit.lib.stress.subjects import Image, Problem, Subject
from radedit.lib.stress.suite import Edit, Group
from radedit_dicom.film import Film, read_film

Mask = NDArray[np.bool_]
DRAWS = 30  # of a finding until it covers enough; then the largest is taken
LEAST_ADDED_PX = 400  # of 512 x 512, that an added finding must cover
PLACES = (
    ("left", "upper"),
    ("right", "lower"),
    ("left", "lower"),
    ("right", "upper"),
    ("right", "middle"),
)
DEVICES = ("chest drain", "pacemaker", "endotracheal tube", "central line", "ECG leads")


@dataclass
class PhantomSources:
    """Masks of a phantom: `seg:` gives the true ones, everything else as for any film."""

    film: Film
    masks: Mapping[str, Mask]

    def mask(self, kind: str, name: str) -> Mask:
        """Give one mask; a finding that is not there has an empty one."""
        if kind != "seg":
            return self._others.mask(kind, name)
        return self.masks.get(name, np.zeros(self.film.shape, bool))

    @cached_property
    def _others(self) -> FilmSources:
        return FilmSources(self.film)


@dataclass(frozen=True)
class PhantomCohort:
    """Groups of phantoms, one after the other.

    Raises
    ------
    ParameterError
        A group's world has dials that the phantom does not have.
    """

    groups: tuple[Group, ...]

    def __post_init__(self) -> None:
        """Check the dials."""
        known = {f.name for f in fields(World)}
        for group in self.groups:
            for dial in set(group.world) - known:
                raise ParameterError(
                    f"the world of group '{group.name}' has no dial '{dial}'; it has "
                    f"{', '.join(sorted(known))}."
                )

    @property
    def digest(self) -> str:
        """Name all that the films follow from, but the program's version."""
        return hashlib.sha256(repr(self.groups).encode()).hexdigest()

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Phantoms have none; a seed in two groups is one."""
        seeds: set[int] = set()
        twice = 0
        for group in self.groups:
            mine = set(range(group.first_seed, group.first_seed + group.count))
            twice += len(seeds & mine)
            seeds |= mine
        if not twice:
            return ()
        return (
            Problem(
                "patients in two groups",
                twice,
                f"{twice} phantoms have the seed of one in another group",
                "groups of different patients: their difference is no longer independent",
            ),
        )

    def __len__(self) -> int:
        """Count the patients."""
        return sum(group.count for group in self.groups)

    def subject(self, number: int) -> Subject:
        """Draw and render one patient."""
        for group in self.groups:
            if number < group.count:
                return _subject(group, number)
            number -= group.count
        raise IndexError(number)


def _subject(group: Group, number: int) -> Subject:
    seed = group.first_seed + number
    patient = draw_patient(seed, World(**group.world))
    studio, shown = _visible(patient, group)
    patient = studio.patient
    key = hashlib.sha256(f"stress {seed} {group!r}".encode()).hexdigest()
    film = read_film(film_object(shown, Identity(patient, key), FILM))
    side, zone = PLACES[number % len(PLACES)]
    if patient.findings:
        side, zone = patient.findings[0].side, patient.findings[0].zone
    masks = _named(shown)
    return Subject(
        key=key[:16],
        patient=hashlib.sha256(f"phantom {seed}".encode()).hexdigest()[:16],
        group=group.name,
        film=film,
        sources=PhantomSources(film, masks),
        present=_present(patient),
        text=sentence(patient),
        words={"side": side, "zone": zone},
        traits={
            "sex": patient.body.sex,
            "age": f"{int(patient.body.age) // 10 * 10}s",
            "view": patient.exposure.projection,
            "site": patient.exposure.site,
            "drain": "yes" if "chest drain" in masks else "no",
        },
        truth=lambda edit: _truth(edit, studio, (side, zone)),
    )


def sentence(patient: Patient) -> str:
    """Say what a phantom shows, in the editor's words."""
    if not patient.findings:
        return "No acute cardiopulmonary process"
    parts = []
    for finding in patient.findings:
        name = {"effusion": "pleural effusion", "oedema": "pulmonary edema"}.get(finding.kind)
        side = "" if finding.side == "both" else f"{finding.side} "
        lobe = f"{finding.zone} lobe " if finding.kind in ("consolidation", "mass") else ""
        parts.append(f"{side}{lobe}{name or finding.kind}")
    text = " and ".join(parts)
    return text[0].upper() + text[1:]


def _visible(patient: Patient, group: Group) -> tuple[Studio, Rendering]:
    """Draw the first finding again until it covers enough of the film."""
    studio = Studio(patient, group.size)
    shown = studio.render()
    if not group.least_px or not patient.findings:
        return studio, shown
    least = group.least_px * (group.size / 512) ** 2
    rng = np.random.default_rng([patient.seed, 0xF1])
    first, tries = patient.findings[0], [(shown, patient)]
    while tries[-1][0].masks[first.kind].sum() < least and len(tries) < DRAWS:
        again = draw_finding(rng, first.kind, first.side)
        redrawn = replace(patient, findings=(again, *patient.findings[1:]))
        tries.append((studio.render(redrawn), redrawn))
    shown, drawn = max(tries, key=lambda t: int(t[0].masks[first.kind].sum()))
    studio.patient = drawn
    return studio, shown


def _named(shown: Rendering) -> dict[str, Mask]:
    """Masks by the labels that a phantom's SEG has too."""
    return {LABELS.get(name, name): mask for name, mask in shown.masks.items()}


def _present(patient: Patient) -> dict[str, bool]:
    worn = {device.kind for device in patient.devices}
    found = {kind: kind in patient.kinds for kind in KINDS}
    found |= {kind: kind in worn for kind in DEVICES}
    return {**found, "opacity": bool(patient.kinds & set(OPACITIES))}


def _truth(edit: Edit, studio: Studio, place: tuple[str, str]) -> Image | None:
    """Render the same patient as the edit should leave it."""
    patient = studio.patient
    gone = [kind for name in edit.removes for kind in (OPACITIES if name == "opacity" else (name,))]
    if not gone and not edit.adds:
        return None
    after = without_devices(without(patient, *gone), *gone) if gone else patient
    rng = np.random.default_rng([patient.seed, 0xADD])
    shown: Rendering | None = None
    for kind in edit.adds:
        shown, after = _with(studio, after, kind, place, rng)
    return (shown or studio.render(after)).image


def _with(
    studio: Studio, patient: Patient, kind: str, place: tuple[str, str], rng: np.random.Generator
) -> tuple[Rendering, Patient]:
    """Add a device, or a finding that is drawn until it can be seen."""
    if kind in DEVICES:
        side = "left" if kind == "pacemaker" else place[0]
        device = Device(kind, side, int(rng.integers(2**31)))
        more = replace(patient, devices=(*patient.devices, device))
        return studio.render(more), more
    least = LEAST_ADDED_PX * (max(studio.view.rows, studio.view.cols) / 512) ** 2
    tries: list[tuple[Rendering, Patient]] = []
    while not tries or (tries[-1][0].masks[kind].sum() < least and len(tries) < DRAWS):
        diffuse = kind in ("oedema", "cardiomegaly")
        finding = draw_finding(rng, kind, *(() if diffuse else place))
        more = replace(patient, findings=(*patient.findings, finding))
        tries.append((studio.render(more), more))
    return max(tries, key=lambda t: int(t[0].masks[kind].sum()))
