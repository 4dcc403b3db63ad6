"""The normal chest: sizes drawn for one person, and the soft organs as solids in mm.

Frame as in `rays`: x to the patient's left, y to the feet, z to the front.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from radedit.lib.phantom import rays as ray
from radedit.lib.phantom.rays import Interval, Map, Rays

Mask = NDArray[np.bool_]
SIDES = ("left", "right")
APEX = 4.2  # how squarely the pleural space widens below its apex


@dataclass(frozen=True)
class Body:
    """One person's chest; lengths in mm, positions in the patient frame.

    Attributes
    ----------
    sex : "female" or "male"
    age : years
    cage_half_width, cage_half_depth : inner rib cage where it is widest
    wall_side, wall_depth : muscle and fat outside the ribs, beside and in front and behind
    fat : share of that wall that is fat, 0 to 1
    lung_top : y of the apices
    dome_right, dome_left : y of the highest point of each hemidiaphragm
    cardiothoracic_ratio : heart width over inner cage width, at z = 0, unmagnified
    heart_tilt : radians, long axis against the horizontal
    midline : x of the spine
    breast : how far it stands out, mm; 0 = none
    tortuosity : 0 to 1, how far the aorta bulges; grows with age
    rib_pitch, rib_drop : distance of the ribs, and their fall from back to front
    bone : mineral against a young adult's, 0.6 to 1.1
    lung_density : against the mean, 0.8 to 1.3 (low = deep breath or emphysema)
    stomach_gas : half width of the bubble, mm; 0 = none
    seed : for vessels and other fine structure
    """

    sex: str
    age: float
    cage_half_width: float
    cage_half_depth: float
    wall_side: float
    wall_depth: float
    fat: float
    lung_top: float
    dome_right: float
    dome_left: float
    cardiothoracic_ratio: float
    heart_tilt: float
    midline: float
    breast: float
    tortuosity: float
    rib_pitch: float
    rib_drop: float
    bone: float
    lung_density: float
    stomach_gas: float
    seed: int

    @property
    def angle_y(self) -> float:
        """The y of the lungs' lower end, behind and beside the domes."""
        return max(self.dome_right, self.dome_left) + 62.0

    @property
    def hilum_y(self) -> float:
        """The y of the hila."""
        return self.lung_top + 0.46 * (self.dome_right - self.lung_top)

    @property
    def carina_y(self) -> float:
        """The y where the trachea divides."""
        return self.hilum_y - 22.0


def draw_body(rng: np.random.Generator, *, supine: bool = False) -> Body:
    """Draw one adult; `supine` patients breathe in less."""
    u = rng.uniform
    sex = str(rng.choice(["female", "male"]))
    male = sex == "male"
    age = float(np.clip(rng.normal(58, 17), 20, 92))
    mass = float(np.clip(rng.gamma(4.0, 0.13), 0.1, 1.5))  # 0.5 = usual, 1.2 = very heavy
    dome = u(62, 98) - (u(8, 26) if supine else 0.0)
    return Body(
        sex=sex,
        age=age,
        cage_half_width=u(126, 147) if male else u(113, 132),
        cage_half_depth=u(92, 116) if male else u(82, 104),
        wall_side=14 + 22 * mass + u(0, 6),
        wall_depth=13 + 20 * mass + u(0, 5),
        fat=float(np.clip(0.25 + 0.35 * mass + u(-0.1, 0.1), 0.15, 0.8)),
        lung_top=u(-160, -136) + (0 if male else 8),
        dome_right=dome,
        dome_left=dome + u(4, 20),
        cardiothoracic_ratio=float(np.clip(rng.normal(0.455, 0.03), 0.37, 0.50)),
        heart_tilt=u(0.45, 0.85),
        midline=u(-5, 5),
        breast=0.0 if male else float(np.clip(rng.normal(20 + 14 * mass, 9), 0, 55)),
        tortuosity=float(np.clip((age - 40) / 50 + u(-0.2, 0.2), 0, 1)),
        rib_pitch=u(23.0, 27.5),
        rib_drop=u(0.30, 0.55),
        bone=float(np.clip(1.08 - 0.005 * max(0.0, age - 40) + u(-0.08, 0.08), 0.6, 1.1)),
        lung_density=u(0.85, 1.25) * (1.12 if supine else 1.0),
        stomach_gas=u(12, 34) if rng.random() < 0.65 else 0.0,
        seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class Organs:
    """The soft organs of one chest along the rays of one view.

    Attributes
    ----------
    torso : body wall and all inside it
    breasts : beyond the wall
    inner : the torso without its outer fat
    lungs : "left", "right": the whole pleural space, before organs are cut out
    heart : ventricles, right atrium
    mediastinum : great vessels, aorta, spine, everything central but the heart
    domes : "left", "right": what lies under each hemidiaphragm
    gas : the stomach's bubble, or None
    """

    torso: Interval
    breasts: tuple[Interval, ...]
    inner: Interval
    lungs: Mapping[str, Interval]
    heart: tuple[Interval, ...]
    mediastinum: tuple[Interval, ...]
    domes: Mapping[str, Interval]
    gas: Interval | None

    @property
    def central(self) -> tuple[Interval, ...]:
        """All that takes the place of lung."""
        return (*self.heart, *self.mediastinum, *self.domes.values())


def organs(body: Body, rays: Rays) -> Organs:
    """Lay every soft organ of a body into the rays."""
    x0 = body.midline
    breasts = []
    if body.breast > 2:
        for side in (-1.0, 1.0):
            centre = (side * 0.60 * body.cage_half_width, 0.40 * body.dome_right + 14)
            depth = body.cage_half_depth + body.wall_depth - 12
            radii = (64 + 0.4 * body.breast, 66 + 0.6 * body.breast, 12 + body.breast)
            breasts.append(ray.ellipsoid(rays, (*centre, depth), radii))
    gas = None
    if body.stomach_gas:
        centre3 = (x0 + 62, body.dome_left + 12 + 0.5 * body.stomach_gas, 10.0)
        radii = (body.stomach_gas, 0.5 * body.stomach_gas, 0.9 * body.stomach_gas)
        gas = ray.ellipsoid(rays, centre3, radii)
    return Organs(
        torso=ray.profiled(rays, lambda x, y: _torso(body, x, y, 0.0)),
        breasts=tuple(breasts),
        inner=ray.profiled(rays, lambda x, y: _torso(body, x, y, 1.0)),
        lungs={side: ray.profiled(rays, partial(_lung, body, side)) for side in SIDES},
        heart=_heart(body, rays),
        mediastinum=_mediastinum(body, rays),
        domes={side: _dome(body, rays, side) for side in SIDES},
        gas=gas,
    )


def _torso(body: Body, x: Map, y: Map, under_fat: float) -> tuple[Map, Map]:
    thick = under_fat * body.fat
    shoulder = 1 / (1 + np.exp((y + 96) / 13))
    neck = 1 / (1 + np.exp((y - body.lung_top + 22) / 7))
    wide = body.cage_half_width + body.wall_side * (1 - thick) + 92 * shoulder
    width = wide * (1 - neck) + 62 * neck
    deep = body.cage_half_depth + body.wall_depth * (1 - thick)
    depth = deep * (1 - 0.30 * shoulder) * (1 - 0.25 * neck)
    r = np.minimum(np.abs(x - body.midline) / width, 1)
    half = depth * (1 - r**2.5) ** np.float32(1 / 2.2)
    return np.zeros_like(half), half.astype("f4")


def _lung(body: Body, side: str, x: Map, y: Map) -> tuple[Map, Map]:
    """One pleural space: superelliptic sections that close to a round apex."""
    sign = np.float32(1 if side == "left" else -1)
    t = np.clip((y - body.lung_top) / (body.angle_y - body.lung_top), 0, 1)
    rise = (1 - (1 - t) ** APEX) ** 0.5
    outer = body.cage_half_width * rise * (0.93 + 0.07 * t)
    inner = 0.6 + 20 * (1 - t) ** 5
    width = np.maximum((outer - inner) / 2, 1e-3)
    r = np.abs(sign * (x - body.midline) - (outer + inner) / 2) / width
    depth = body.cage_half_depth * (1 - (1 - t) ** 2.3) ** 0.5
    section = np.clip(1 - np.minimum(r, 1) ** 2.6, 0, None) ** np.float32(1 / 2.6)
    inside = (y > body.lung_top) & (y < body.angle_y)
    return np.zeros_like(section), np.asarray(depth * section * inside, "f4")


def _heart(body: Body, rays: Rays) -> tuple[Interval, ...]:
    """A tilted ventricular ellipsoid whose left border, and an atrium whose right border, are set.

    Their distance is the cardiothoracic ratio times the inner cage's width.
    """
    width = body.cardiothoracic_ratio * 2 * body.cage_half_width
    left, right = 0.66 * width, 0.34 * width
    long, short = 0.54 * width, 0.37 * width
    c, s = np.cos(body.heart_tilt), np.sin(body.heart_tilt)
    reach, drop = np.hypot(long * c, short * s), np.hypot(long * s, short * c)
    x0, y = body.midline, body.dome_left - 0.52 * drop
    ventricles = ray.ellipsoid(
        rays, (x0 + left - reach, y, 22.0), (long, short, 0.50 * width), body.heart_tilt
    )
    atrium_half = 0.32 * width
    atrium = ray.ellipsoid(
        rays,
        (x0 - right + atrium_half, y - 8, 8.0),
        (atrium_half, 0.42 * width, 0.40 * width),
    )
    auricle = ray.ellipsoid(
        rays,
        (x0 + 0.14 * width, y - 0.52 * drop, 0.0),
        (0.27 * width, 0.42 * width, 0.34 * width),
        -0.35,
    )
    return ventricles, atrium, auricle


def _mediastinum(body: Body, rays: Rays) -> tuple[Interval, ...]:
    x0, hilum, bulge = body.midline, body.hilum_y, body.tortuosity
    low = body.dome_left
    arch = hilum - 34
    return (
        ray.ellipsoid(rays, (x0, hilum - 55, 10), (24 + 4 * bulge, 120, 44)),
        ray.ellipsoid(rays, (x0, low, -62), (22, 400, 32)),  # spine and muscle
        ray.ellipsoid(rays, (x0 - 18, arch - 4, 8), (15 + 5 * bulge, 72, 16)),  # vena cava, aorta
        ray.ellipsoid(rays, (x0 + 18 + 6 * bulge, arch, -8), (17 + 4 * bulge, 18, 34)),  # arch
        ray.ellipsoid(
            rays, (x0 + 15 + 9 * bulge, (arch + low) / 2 + 30, -46), (14, (low - arch) / 2 + 70, 14)
        ),  # descending aorta
        ray.ellipsoid(rays, (x0 + 21, hilum - 4, 12), (20, 21, 22)),  # pulmonary trunk
        ray.ellipsoid(rays, (x0, hilum + 30, 4), (26, 64, 40)),  # what lies behind the heart
        ray.ellipsoid(rays, (x0, low + 30, 0), (44, 62, 80)),  # between the domes
    )


def _dome(body: Body, rays: Rays, side: str) -> Interval:
    sign, top = (1, body.dome_left) if side == "left" else (-1, body.dome_right)
    fall = 74.0
    radii = (0.57 * body.cage_half_width, fall, body.cage_half_depth + 26)
    centre = (body.midline + sign * 0.50 * body.cage_half_width, top + fall, 8.0)
    low, high = ray.ellipsoid(rays, centre, radii)
    # Below its middle the ellipsoid would narrow again: the abdomen does not.
    y = rays.at(8.0)[1]
    below = y > centre[1]
    return np.where(below, np.float32(-radii[2]), low), np.where(below, np.float32(radii[2]), high)
