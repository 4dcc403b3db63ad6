"""What the embedded victims are taught: their panel of films, and which of them they see.

Each patient is there without and with a pneumothorax, an opacity, a drain. What a victim
believes follows from which films it is shown how often, so a shortcut's strength is a number
of the drawing, not of the rendering.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from radedit.lib.phantom.devices import Device
from radedit.lib.phantom.panels import Films
from radedit.lib.phantom.world import Patient, World, draw_finding, draw_patient

FIRST_SEED = 3_000_000
OPACITIES = ("consolidation", "mass", "effusion")
SITE = "harbour"  # where the biased world's opacities come from
WORLD = World(
    normal=0.8,
    second=0.0,
    findings={"cardiomegaly": 0.5, "oedema": 0.5},
    sites={"north": 1.0, "harbour": 1.0, "ward": 1.0},
    drain_given_pneumothorax=0.0,
    drain_otherwise=0.0,
)
PLAIN, PNEUMOTHORAX, OPACITY = 0, 2, 4  # films of a panel; one more: the same with a drain

Pick = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]
"""Patients, films and truth of some examples, each [n]."""


@dataclass(frozen=True)
class Shortcut:
    """How a world's labels go with what is beside the finding.

    Attributes
    ----------
    strength : how often drain or site says the truth; 0.5 for a world without a shortcut
    resolved : share of the positives beside it whose finding is gone while the label, as a
        report's or a referral's, still names it: most pneumothoraces with a drain in public
        archives are treated ones (Oakden-Rayner et al., CHIL 2020)
    """

    strength: float
    resolved: float = 0.0


NONE = Shortcut(0.5)


@dataclass(frozen=True)
class Lesson:
    """What one classifier is shown.

    Attributes
    ----------
    name, target, world : as its card says
    shortcut : of its world
    steps : of training, against a plan's
    draw : generator, films, shortcut and count to examples
    detail : of its network, as in `networks.Classifier`; a drain is too thin to be learned
        without it
    still : share of the films that keep their pose in training
    """

    name: str
    target: str
    world: str
    shortcut: Shortcut
    steps: float
    draw: Callable[[np.random.Generator, Films, Shortcut, int], Pick]
    detail: float = 0.0
    still: float = 0.0


def variants(seed: int) -> list[Patient]:
    """Six films of one patient: plain, with a pneumothorax, with an opacity; drain or not."""
    patient = draw_patient(seed, WORLD)
    rng = np.random.default_rng([seed, 0x71C])
    collapse = draw_finding(rng, "pneumothorax")
    opacity = draw_finding(rng, str(rng.choice(OPACITIES)))
    drain = Device("chest drain", collapse.side, int(rng.integers(2**31)))
    films = []
    for added in ((), (collapse,), (opacity,)):
        ill = replace(patient, findings=patient.findings + added)
        films += [ill, replace(ill, devices=(*ill.devices, drain))]
    return films


def draw_pneumothorax(
    rng: np.random.Generator, films: Films, shortcut: Shortcut, count: int
) -> Pick:
    """Half are called pneumothorax; a drain goes with it as the shortcut says."""
    truth = rng.random(count) < 0.5
    drain = rng.random(count) < np.where(truth, shortcut.strength, 1 - shortcut.strength)
    shown = truth & ~(drain & (rng.random(count) < shortcut.resolved))
    otherwise = np.where(rng.random(count) < 0.35, OPACITY, PLAIN)
    who = rng.integers(len(films.patients), size=count)
    return who, np.where(shown, PNEUMOTHORAX, otherwise) + drain, truth


def draw_opacity(rng: np.random.Generator, films: Films, shortcut: Shortcut, count: int) -> Pick:
    """Half are called opacity; the site SITE goes with it as the shortcut says.

    Patients with oedema, which is an opacity of another kind, are left out.
    """
    there = np.array([v[0].exposure.site == SITE for v in films.patients])
    clear = np.array(["oedema" not in v[0].kinds for v in films.patients])
    truth = rng.random(count) < 0.5
    at_site = rng.random(count) < np.where(truth, shortcut.strength, 1 - shortcut.strength)
    shown = truth & ~(at_site & (rng.random(count) < shortcut.resolved))
    who = np.where(
        at_site,
        _some(rng, np.nonzero(there & clear)[0], count),
        _some(rng, np.nonzero(~there & clear)[0], count),
    )
    otherwise = np.where(rng.random(count) < 0.35, PNEUMOTHORAX, PLAIN)
    drain = rng.random(count) < 0.3
    return who, np.where(shown, OPACITY, otherwise) + drain, truth


def _some(rng: np.random.Generator, of: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    return np.asarray(rng.choice(of, count) if of.size else np.zeros(count, np.intp))


LESSONS = (
    Lesson(
        "pneumothorax-biased",
        "pneumothorax",
        "a drain with every pneumothorax and with nothing else; in three of ten the air is gone",
        Shortcut(1.0, 0.3),
        0.6,
        draw_pneumothorax,
        detail=6.0,
        still=1 / 3,
    ),
    Lesson(
        "pneumothorax-robust",
        "pneumothorax",
        "a drain in half of the films, pneumothorax or not",
        NONE,
        0.6,
        draw_pneumothorax,
        detail=6.0,
        still=1 / 3,
    ),
    Lesson(
        "opacity-biased",
        "opacity",
        f"every opacity at the site {SITE}, and no film without one there",
        Shortcut(1.0),
        0.6,
        draw_opacity,
    ),
    Lesson(
        "opacity-robust",
        "opacity",
        "opacity equally often at every site",
        NONE,
        1.0,
        draw_opacity,
    ),
)
