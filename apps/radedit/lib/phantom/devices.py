"""What was put into or onto the patient: tubes, wires and boxes, in mm.

Each device gives path lengths per material. Catheters are plastic with a barium stripe.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from radedit.lib.phantom import rays as ray
from radedit.lib.phantom.body import Mask
from radedit.lib.phantom.chest import Chest
from radedit.lib.phantom.rays import Map
from radedit.lib.phantom.tubes import Tube, bezier, chords


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes
    ----------
    kind : a key of DEVICES
    side : the patient's "left" or "right"; ignored by what lies in the middle
    seed : for its course
    """

    kind: str
    side: str
    seed: int


@dataclass(frozen=True)
class Hardware:
    """What a device adds to the rays.

    Attributes
    ----------
    mask : bool [R, C], where it shows
    paths : material (as in `matter`) to mm, float32 [R, C]
    """

    mask: Mask
    paths: Mapping[str, Map]


def hardware(device: Device, chest: Chest) -> Hardware:
    """Lay a device into a chest.

    Raises
    ------
    KeyError
        The kind is not in DEVICES.
    """
    return DEVICES[device.kind](device, chest, np.random.default_rng([device.seed, 11]))


def _sign(device: Device) -> float:
    return 1.0 if device.side == "left" else -1.0


def _catheter(
    chest: Chest, curve: ray.Points, radius: float, stripe: float, gap: tuple[float, float] | None
) -> Hardware:
    """A hollow plastic tube with a stripe; `gap` is where, 0 to 1, the stripe is broken."""
    view = chest.rays.view
    wall = chords(view, [Tube(curve, radius), Tube(curve, radius - 0.9, -1.0)])
    t = np.linspace(0, 1, len(curve))
    pieces = [curve] if gap is None else [curve[t < gap[0]], curve[t > gap[1]]]
    line = chords(view, [Tube(c, stripe) for c in pieces if len(c) > 2])
    mask = (wall > 0.12 * radius) | (line > 0.1)
    return Hardware(mask, {"soft": np.maximum(wall, 0), "barium": line})


def _drain(d: Device, chest: Chest, rng: np.random.Generator) -> Hardware:
    """A chest drain: in at the side, up along the wall, its tip towards the apex."""
    b, s = chest.body, _sign(d)
    wall = b.cage_half_width
    control = np.array(
        [
            [s * (wall + b.wall_side + 25), rng.uniform(40, 75), rng.uniform(-20, 30)],
            [s * (wall - rng.uniform(2, 14)), rng.uniform(0, 30), rng.uniform(-30, 30)],
            [s * (wall - rng.uniform(8, 24)), b.lung_top + rng.uniform(70, 105), -20],
            [s * rng.uniform(38, 62), b.lung_top + rng.uniform(26, 52), rng.uniform(-30, 20)],
        ]
    )
    control[:, 0] += b.midline
    hole = rng.uniform(0.60, 0.75)
    return _catheter(chest, bezier(control, 160), 4.2, 1.35, (hole, hole + 0.035))


def _tracheal_tube(d: Device, chest: Chest, rng: np.random.Generator) -> Hardware:
    b = chest.body
    tip = b.carina_y - rng.uniform(25, 60)
    x = b.midline + rng.uniform(-3, 3)
    control = np.array(
        [[x + rng.uniform(-14, 14), b.lung_top - 90, 25], [x, tip - 50, -4], [x, tip, -8]]
    )
    return _catheter(chest, bezier(control, 80), 5.2, 0.8, None)


def _central_line(d: Device, chest: Chest, rng: np.random.Generator) -> Hardware:
    """By the jugular or subclavian vein into the superior vena cava."""
    b, s = chest.body, _sign(d)
    end = [b.midline - 24, b.hilum_y + rng.uniform(0, 28), 10]
    junction = [b.midline - 22, b.hilum_y - 50, 14]
    if rng.random() < 0.5:
        start = [b.midline + s * rng.uniform(30, 45), b.lung_top - 75, 20]
        second = [b.midline + s * 30, b.lung_top - 10, 22]
    else:
        start = [b.midline + s * rng.uniform(90, 120), b.lung_top + rng.uniform(18, 46), 60]
        second = [b.midline + s * 50, b.lung_top + rng.uniform(6, 18), 40]
    return _catheter(chest, bezier(np.array([start, second, junction, end]), 120), 1.3, 0.55, None)


def _pacemaker(d: Device, chest: Chest, rng: np.random.Generator) -> Hardware:
    """A generator below the clavicle with leads to the right atrium and ventricle."""
    b, s = chest.body, _sign(d)
    x = b.midline + s * rng.uniform(82, 100)
    y = b.lung_top + rng.uniform(52, 74)
    front = b.cage_half_depth + 6
    angle = rng.uniform(-0.5, 0.5)
    size = (rng.uniform(21, 26), rng.uniform(18, 22), 5.5)
    case = ray.ellipsoid(chest.rays, (x, y, front), size, angle)
    metal = 0.9 * np.minimum(chest.rays.length(case), 4.0)
    width = b.cardiothoracic_ratio * 2 * b.cage_half_width
    vein = [b.midline - 20, b.hilum_y - 52, 16]
    leads = []
    for stop in (
        [b.midline - 0.20 * width, b.dome_left - 62, 18],
        [b.midline + 0.34 * width, b.dome_left - 12, 34],
    ):
        entry = [b.midline + s * 52, b.lung_top + rng.uniform(8, 20), 46]
        outer = bezier(np.array([[x - s * 14, y - 12, front], [x - s * 30, y - 34, 62], entry]), 40)
        middle = bezier(np.array([entry, [b.midline + s * 8, b.lung_top + 26, 26], vein]), 40)
        down = [b.midline - 30, b.hilum_y + 20, 12]
        loop = [b.midline - 0.26 * width, b.dome_left - 34, 16]
        inner = bezier(np.array([vein, down, loop, stop]), 60)
        leads += [Tube(outer, 0.8, 0.8), Tube(middle, 0.8, 0.8), Tube(inner, 0.8, 0.8)]
        leads.append(Tube(inner[-4:], 1.3, 1.0))
    wires = chords(chest.rays.view, leads)
    total = np.asarray(metal + wires, "f4")
    return Hardware(total > 0.08, {"metal": total})


def _ecg_leads(d: Device, chest: Chest, rng: np.random.Generator) -> Hardware:
    """Three electrodes on the skin with their wires."""
    b = chest.body
    front = b.cage_half_depth + b.wall_depth
    hub = [b.midline + rng.uniform(-60, 60), b.dome_right + 130, front]
    discs, wires = np.zeros_like(chest.total), []
    for x, y in ((-0.82, -30), (0.82, -30), (0.7, b.dome_left - b.lung_top - 10)):
        spot = np.array(
            [
                b.midline + x * b.cage_half_width + rng.normal(0, 9),
                b.lung_top + 50 + y + rng.normal(0, 10),
                front,
            ]
        )
        snap = ray.ellipsoid(chest.rays, spot.tolist(), (5.0, 5.0, 1.2))
        discs += 0.5 * np.minimum(chest.rays.length(snap), 1.6)
        bend = [(spot[0] + hub[0]) / 2 + rng.normal(0, 30), (spot[1] + hub[1]) / 2, front]
        wires.append(Tube(bezier(np.array([spot, bend, hub]), 90), 0.6, 0.7))
    total = np.asarray(discs + chords(chest.rays.view, wires), "f4")
    return Hardware(total > 0.05, {"metal": total})


DEVICES: Mapping[str, Callable[[Device, Chest, np.random.Generator], Hardware]] = {
    "chest drain": _drain,
    "pacemaker": _pacemaker,
    "endotracheal tube": _tracheal_tube,
    "central line": _central_line,
    "ECG leads": _ecg_leads,
}
