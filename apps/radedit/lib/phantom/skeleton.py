"""Bones and the lungs' fine structure, as tubes and plates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radedit.lib.phantom import rays as ray
from radedit.lib.phantom.body import APEX, Body
from radedit.lib.phantom.rays import Map, Points, Rays
from radedit.lib.phantom.tubes import Tube, bezier, chords

RIBS = 11
FLATNESS = 0.75  # a rib is about half as thick as it is high
VESSEL_RADII = (0.35, 0.5, 0.7, 1.0, 1.4, 1.9, 2.6, 3.4, 4.4, 6.0)  # mm; a vessel takes the next
MARROW = 0.72  # share of the hollow that is no mineral


def bones(body: Body, rays: Rays) -> Map:
    """Equivalent thickness of cortical bone in mm, [R, C]."""
    tubes = [*_ribs(body), *_clavicles(body), *_vertebrae(body), *_scapula_edges(body)]
    total = chords(rays.view, tubes)
    for sign in (-1.0, 1.0):
        x, y = body.midline + sign * (body.cage_half_width + 16), body.lung_top + 78
        plate = ray.ellipsoid(rays, (x, y, -body.cage_half_depth), (27, 66, 3.0), sign * 0.12)
        head = (body.midline + sign * (body.cage_half_width + 52), body.lung_top + 22, -20.0)
        total = (
            total
            + 0.7 * rays.length(plate)
            + 0.25 * rays.length(ray.ellipsoid(rays, head, (25, 27, 25)))
        )
    sternum = (body.midline, body.lung_top + 75, body.cage_half_depth - 4)
    total = total + 0.2 * rays.length(ray.ellipsoid(rays, sternum, (19, 62, 6)))
    return np.asarray(np.maximum(total, 0) * np.float32(body.bone), "f4")


def _hollow(curve: Points, radius: float, wall: float, weight: float) -> list[Tube]:
    return [Tube(curve, radius, weight), Tube(curve, radius - wall, -weight * MARROW)]


def _ribs(body: Body) -> list[Tube]:
    """Each rib runs around the cage from the spine to its cartilage, falling as it goes."""
    rng = np.random.default_rng([body.seed, 1])
    tubes = []
    for i in range(RIBS):
        t = np.clip((i + 0.4) / 5.5, 0.0, 1.0)
        width = (body.cage_half_width + 5) * (0.52 + 0.48 * np.sin(t * np.pi / 2))
        depth = (body.cage_half_depth + 4) * (0.55 + 0.45 * np.sin(t * np.pi / 2))
        start = body.lung_top - 2 + i * body.rib_pitch + rng.normal(0, 0.8)
        end = 2.45 if i < 7 else 2.45 - 0.28 * (i - 6)
        for sign in (-1.0, 1.0):
            angle = np.linspace(0.17, end, 72)
            lift = -7 * np.sin(np.clip(angle * 1.9, 0, np.pi))
            fall = body.rib_drop * (1 + 0.10 * i) * 72 * (1 - np.cos(angle)) / 2 * 1.55
            x = sign * width * np.sin(angle) ** 0.82
            z = -depth * np.cos(angle)
            curve = np.stack([body.midline + x, start + lift + fall, z], axis=1)
            tubes += _hollow(curve, 5.6 + 0.12 * min(i, 6), 1.1, FLATNESS)
    return tubes


def _clavicles(body: Body) -> list[Tube]:
    tubes = []
    for sign in (-1.0, 1.0):
        y, front = body.lung_top + 24, body.cage_half_depth * 0.72
        control = np.array(
            [
                [sign * 16, y + 8, front],
                [sign * 66, y - 4, front + 12],
                [sign * 104, y - 24, front - 46],
                [sign * (body.cage_half_width + 34), y - 16, -8],
            ]
        )
        control[:, 0] += body.midline
        tubes += _hollow(bezier(control, 60), 5.8, 1.5, 1.3)
    return tubes


def _scapula_edges(body: Body) -> list[Tube]:
    tubes = []
    for sign in (-1.0, 1.0):
        x, y = body.cage_half_width + 16, body.lung_top + 78
        back = -body.cage_half_depth
        medial = [[x - 27, y - 46, back], [x - 22, y + 10, back], [x - 2, y + 66, back]]
        lateral = [[x - 2, y + 66, back], [x + 16, y + 10, back], [x + 30, y - 44, back + 30]]
        spine = [[x - 24, y - 40, back - 6], [x + 8, y - 54, back - 2], [x + 40, y - 66, back + 45]]
        for control, radius in ((medial, 1.7), (lateral, 3.0), (spine, 3.6)):
            curve = bezier(np.array(control), 40)
            curve[:, 0] = body.midline + sign * curve[:, 0]
            tubes.append(Tube(curve, radius, 0.8))
    return tubes


def _vertebrae(body: Body) -> list[Tube]:
    """Bodies as stacks of bars with dense endplates; pedicles as rings; spinous processes."""
    tubes = []
    for i in range(-3, 14):
        y = body.lung_top + 6 + i * 23.5
        x, half = body.midline, 15 + 0.45 * i
        for dy, radius, weight in ((-8.5, 1.5, 0.6), (0.0, 8.0, 0.25), (8.5, 1.5, 0.6)):
            bar = np.array([[x - half, y + dy, -58], [x + half, y + dy, -58]])
            tubes.append(Tube(bezier(bar, 20), radius, weight))
        turn = np.linspace(0, 2 * np.pi, 24)
        for sign in (-1, 1):
            ring = np.stack(
                [
                    x + sign * (half - 5) + 3.6 * np.cos(turn),
                    y - 3 + 4.6 * np.sin(turn),
                    np.full(24, -80.0),
                ],
                axis=1,
            )
            tubes.append(Tube(ring, 1.3, 0.5))
        process = np.array([[x, y + 4, -88], [x, y + 15, -104]])
        tubes.append(Tube(bezier(process, 12), 3.0, 0.3))
    return tubes


def airways(body: Body) -> list[Tube]:
    """Trachea and main bronchi; their chord is air instead of soft tissue."""
    x, top, carina = body.midline, body.lung_top, body.carina_y
    trachea = np.array([[x, top - 70, 5.0], [x + 1, (top + carina) / 2, -8], [x - 1, carina, -14]])
    right = np.array([[x - 1, carina, -14], [x - 16, carina + 20, -16], [x - 30, carina + 32, -14]])
    left = np.array([[x - 1, carina, -14], [x + 20, carina + 17, -14], [x + 42, carina + 30, -16]])
    return [
        Tube(bezier(trachea, 50), 8.2, 1.0),
        Tube(bezier(right, 24), 6.4, 0.9),
        Tube(bezier(left, 24), 5.4, 0.9),
    ]


def vessels(body: Body, congestion: float = 0.0) -> list[Tube]:
    """The pulmonary vessels of both sides: three orders of branches from each hilum.

    Parameters
    ----------
    congestion : 0 (upright, healthy: lower vessels are wider) to 1 (upper ones as wide)
    """
    rng = np.random.default_rng([body.seed, 2])
    tubes: list[Tube] = []
    for sign in (-1.0, 1.0):
        hilum = np.array([body.midline + sign * 33, body.hilum_y + (4 if sign < 0 else -6), -6.0])
        hub = np.stack(
            [
                hilum + np.array([sign * a, b, c])
                for a, b, c in ((-6, -16, 4), (2, 2, 0), (8, 26, -8))
            ]
        )
        tubes.append(Tube(bezier(hub, 20), 8.5, 1.0))
        for _ in range(12):
            end = _inside(rng, body, sign)
            start = hub[int(rng.integers(3))]
            _branch(rng, body, tubes, (start, end), 3.3, 0, congestion)
    return tubes


def _inside(rng: np.random.Generator, body: Body, sign: float) -> NDArray[np.float64]:
    """Draw a place in the outer two thirds of one lung."""
    t = rng.uniform(0.12, 0.97)
    y = body.lung_top + t * (body.angle_y - body.lung_top)
    outer = body.cage_half_width * np.sqrt(1 - (1 - t) ** APEX)
    x = body.midline + sign * rng.uniform(0.42, 0.96) * outer
    z = rng.uniform(-0.8, 0.75) * body.cage_half_depth * np.sqrt(1 - (1 - t) ** 2.3)
    return np.array([x, y, z])


def _branch(
    rng: np.random.Generator,
    body: Body,
    tubes: list[Tube],
    ends: tuple[NDArray[np.float64], NDArray[np.float64]],
    radius: float,
    order: int,
    congestion: float,
) -> None:
    start, end = ends
    length = float(np.linalg.norm(end - start))
    bend = (start + end) / 2 + rng.normal(0, 0.10 * length, 3)
    curve = bezier(np.stack([start, bend, end]), max(6, int(length / 4)))
    upper = float(np.clip((body.hilum_y - end[1]) / 80, 0, 1))
    wide = radius * (1 - 0.30 * upper * (1 - congestion) + 0.25 * congestion)
    pieces = (4, 2, 1)[order]
    for k in range(pieces):
        part = curve[k * len(curve) // pieces : (k + 1) * len(curve) // pieces + 1]
        if len(part) > 1:
            taper = wide * (1 - 0.66 * (k + 0.3) / (pieces + 0.3))
            tubes.append(Tube(part, VESSEL_RADII[int(np.searchsorted(VESSEL_RADII, taper))]))
    if order == 2:
        return
    for _ in range(4):
        at = curve[int(rng.uniform(0.25, 0.95) * (len(curve) - 1))]
        out = end - start + rng.normal(0, 0.75 * length, 3)
        stop = at + out / np.linalg.norm(out) * length * rng.uniform(0.30, 0.6)
        _branch(rng, body, tubes, (at, stop), radius * 0.60, order + 1, congestion)
