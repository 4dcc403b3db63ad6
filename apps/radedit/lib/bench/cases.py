"""Patients of the bench, their films in memory, and the truth about every edit asked of them.

A patient has a pneumothorax and a drain. The first task removes the finding and keeps the
drain. The others add something to the same patient without either. Every truth is the same
patient, exposure and noise rendered again.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from radedit.lib.bench.measures import Image, Mask, scale_of
from radedit.lib.phantom.devices import Device
from radedit.lib.phantom.instances import FILM, Identity, film_object
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
from radedit_dicom.film import Film, read_film

FIRST_SEED = 9_000_000  # never trained on
WORLD = World(normal=0.0, second=0.0, findings={"pneumothorax": 1.0}, drain_given_pneumothorax=1.0)
NORMAL = "No acute cardiopulmonary process"
LOBES = (
    ("left", "upper"),
    ("left", "lower"),
    ("right", "upper"),
    ("right", "middle"),
    ("right", "lower"),
)
SIDES = ("left", "right")
REMOVAL_GROWS_PX, ADDITION_GROWS_PX = 5, 8  # masks are the truth's, grown; of 512
LEAST_PX = 400  # of 512 x 512, that an added finding must cover to be worth adding
DRAWS = 20  # for such a finding; after that the largest is taken


@dataclass(frozen=True, eq=False)
class Removal:
    """One pneumothorax to remove beside a drain that stays.

    Attributes
    ----------
    seed : of the patient
    film : with finding and drain
    bare : with the finding, without the drain
    side : of the finding, and of the drain
    truth, empty : the true counterfactual, and the same without its drain
    anew, anew_empty : the same two with the lungs' vessels drawn from another seed (and ribs up
        to some mm elsewhere): another film that would have been as right
    finding, drain : what shows on the film
    devices : the drain and every other device on the film: all that stays
    chest : lungs and heart; `lungs` both lung fields
    """

    seed: int
    film: Film
    bare: Film
    side: str
    truth: Image
    empty: Image
    anew: Image
    anew_empty: Image
    finding: Mask
    drain: Mask
    devices: Mask
    lungs: Mask
    chest: Mask

    @property
    def sentence(self) -> str:
        """What the film shows, in words."""
        return f"{self.side.capitalize()} pneumothorax"

    @property
    def edit(self) -> Mask:
        """The edit mask."""
        return grown(self.finding, REMOVAL_GROWS_PX)

    def masks(self, keep: str = "values") -> dict[str, Mask]:
        """The masks `edit` and `keep`: objects alone for "attenuation", with room for "values"."""
        room = 0 if keep == "attenuation" else REMOVAL_GROWS_PX
        return {"edit": self.edit, "keep": grown(self.devices, room)}


@dataclass(frozen=True, eq=False)
class Addition:
    """One thing to add to a film without findings.

    Attributes
    ----------
    seed : of the patient
    kind : "consolidation", "effusion" or "pacemaker"
    place : "right lower", "left"
    prompt : what is asked for
    film : without it
    truth : the same patient with it
    edit : the truth's mask, grown
    chest : lungs and heart
    """

    seed: int
    kind: str
    place: str
    prompt: str
    film: Film
    truth: Image
    edit: Mask
    chest: Mask

    @property
    def label(self) -> str:
        """What the judge calls it."""
        return f"{self.kind} {self.place}"


def grown(mask: Mask, px: float) -> Mask:
    """A mask and all within `px` pixels of it, on a film of 512 a side."""
    return np.asarray(distance_transform_edt(~mask) <= px * scale_of(mask.shape))


def draw(number: int, size: int) -> tuple[Removal, list[Addition]]:
    """Draw the tasks of one patient of the bench.

    Parameters
    ----------
    number : 0, 1, ...; lobes and sides take turns with it
    size : pixels of the films' longer side
    """
    studio = _studio(number, size)
    return _removal(studio), _additions(studio, number)


def draw_removal(number: int, size: int) -> Removal:
    """Draw the first task of a patient alone; arguments as `draw`."""
    return _removal(_studio(number, size))


def in_memory(film: Rendering, patient: Patient) -> Film:
    """The film as its site would send it, read as any film is."""
    key = hashlib.sha256(f"bench {patient!r}".encode()).hexdigest()
    return read_film(film_object(film, Identity(patient, key), FILM))


def _studio(number: int, size: int) -> Studio:
    return Studio(draw_patient(FIRST_SEED + number, WORLD), size)


def _removal(studio: Studio) -> Removal:
    patient = studio.patient
    before, cured = studio.render(), without(patient)
    undrained = without_devices(patient, "chest drain")
    anew = replace(cured, body=replace(cured.body, seed=cured.body.seed + 1))
    return Removal(
        seed=patient.seed,
        film=in_memory(before, patient),
        bare=in_memory(studio.render(undrained), undrained),
        side=patient.findings[0].side,
        truth=studio.render(cured).image,
        empty=studio.render(without_devices(cured, "chest drain")).image,
        anew=studio.render(anew).image,
        anew_empty=studio.render(without_devices(anew, "chest drain")).image,
        finding=before.masks["pneumothorax"],
        drain=before.masks["chest drain"],
        devices=np.logical_or.reduce([before.masks[d.kind] for d in patient.devices]),
        lungs=before.masks["lung_left"] | before.masks["lung_right"],
        chest=_chest(before),
    )


def _additions(studio: Studio, number: int) -> list[Addition]:
    bare = without_devices(without(studio.patient), "chest drain", "pacemaker")
    before = studio.render(bare)
    film, chest = in_memory(before, bare), _chest(before)
    side, zone = LOBES[number % len(LOBES)]
    wet = SIDES[number % len(SIDES)]
    rng = np.random.default_rng([studio.patient.seed, 0xADD])
    with_device = replace(
        bare, devices=(*bare.devices, Device("pacemaker", "left", int(rng.integers(2**31))))
    )
    asked = (
        ("consolidation", f"{side} {zone}", f"{side.capitalize()} {zone} lobe consolidation",
         _with_finding(studio, bare, rng, ("consolidation", side, zone))),
        ("effusion", wet, f"{wet.capitalize()} pleural effusion",
         _with_finding(studio, bare, rng, ("effusion", wet, None))),
        ("pacemaker", "left", "Left pacemaker", studio.render(with_device)),
    )  # fmt: skip
    return [
        Addition(
            seed=bare.seed,
            kind=kind,
            place=place,
            prompt=prompt,
            film=film,
            truth=truth.image,
            edit=grown(truth.masks[kind], ADDITION_GROWS_PX),
            chest=chest,
        )
        for kind, place, prompt, truth in asked
    ]


def _with_finding(
    studio: Studio, bare: Patient, rng: np.random.Generator, what: tuple[str, str, str | None]
) -> Rendering:
    """Render the patient with a finding, drawn again until it can be seen."""
    kind, side, zone = what
    least, films = LEAST_PX * scale_of((studio.view.rows, studio.view.cols)) ** 2, []
    for _ in range(DRAWS):
        finding = draw_finding(rng, kind, side, zone)
        films.append(studio.render(replace(bare, findings=(finding,))))
        if films[-1].masks[kind].sum() >= least:
            break
    return max(films, key=lambda film: int(film.masks[kind].sum()))


def _chest(film: Rendering) -> NDArray[np.bool_]:
    return film.masks["lung_left"] | film.masks["lung_right"] | film.masks["heart"]
