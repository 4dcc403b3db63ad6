"""Where rays meet solids: against closed forms, and against marching through space in steps."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_erosion

from radedit.lib.phantom import rays as ray
from radedit.lib.phantom.body import Body, _lung, draw_body, organs
from radedit.lib.phantom.rays import Interval, Rays, View

STEP_MM = 0.1
PA = View(21, 17, 20.0, source_z=-1650.0, detector_z=150.0)


def views() -> st.SearchStrategy[View]:
    small = st.floats(-0.08, 0.08)
    shift = st.floats(-30, 30)
    return st.builds(
        lambda turn, tilt, x, y, front: View(
            21, 17, 20.0, front * 1400.0, -front * 160.0, turn, tilt, x, y
        ),
        small, small, shift, shift, st.sampled_from([-1.0, 1.0]),
    )  # fmt: skip


def marched(rays: Rays) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (x, y, z), each [steps, R, C], along every ray, STEP_MM of depth apart."""
    z = np.arange(-200, 200, STEP_MM)[:, None, None] + STEP_MM / 2
    x, y = (
        np.asarray(a, float) + np.asarray(b, float) * z
        for a, b in ((rays.ax, rays.bx), (rays.ay, rays.by))
    )
    return x, y, np.broadcast_to(z, x.shape)


@given(
    view=views(),
    radius=st.floats(15, 120),
    centre=st.tuples(st.floats(-80, 80), st.floats(-80, 80), st.floats(-30, 30)),
)
@settings(max_examples=30)
def test_a_sphere_gives_the_chord_that_its_distance_from_the_ray_says(
    view: View, radius: float, centre: tuple[float, float, float]
) -> None:
    rays = ray.cast(view)
    found = rays.length(ray.ellipsoid(rays, centre, (radius,) * 3))
    # A ray is a line x = ax + bx z, y = ay + by z, whatever bent it there.
    start = np.stack([rays.ax, rays.ay, np.zeros_like(rays.ax)], -1).astype(float)
    along = np.stack([rays.bx, rays.by, np.ones_like(rays.bx)], -1).astype(float)
    norm = np.linalg.norm(along, axis=-1)
    apart = np.linalg.norm(np.cross(np.asarray(centre) - start, along), axis=-1) / norm
    chord = 2 * np.sqrt(np.maximum(radius**2 - apart**2, 0))
    np.testing.assert_allclose(found, chord * rays.obliquity / norm, rtol=2e-3, atol=0.15)


def test_the_middle_ray_passes_an_ellipsoid_along_its_axis() -> None:
    rays = ray.cast(PA)
    low, high = ray.ellipsoid(rays, (0, 0, 12), (70, 40, 33), 0.4)
    assert (low[10, 8], high[10, 8]) == pytest.approx((12 - 33, 12 + 33), abs=1e-3)
    assert rays.obliquity[10, 8] == 1


def test_an_ellipsoid_turned_by_a_right_angle_has_its_radii_exchanged() -> None:
    rays = ray.cast(PA)
    turned = rays.length(ray.ellipsoid(rays, (5, 9, 3), (60, 30, 20), np.pi / 2))
    exchanged = rays.length(ray.ellipsoid(rays, (5, 9, 3), (30, 60, 20)))
    np.testing.assert_allclose(turned, exchanged, atol=0.01)


Solid = tuple[tuple[float, float, float], tuple[float, float, float]]
solids = st.tuples(
    st.tuples(st.floats(-90, 90), st.floats(-90, 90), st.floats(-60, 60)),
    st.tuples(st.floats(10, 90), st.floats(10, 90), st.floats(10, 70)),
)


@given(view=views(), parts=st.lists(solids, max_size=5))
@settings(max_examples=15)
def test_the_length_in_a_union_is_what_marching_through_it_in_steps_gives(
    view: View, parts: list[Solid]
) -> None:
    rays = ray.cast(view)
    outer: Solid = ((0.0, 0.0, 0.0), (140.0, 170.0, 95.0))
    inside = ray.ellipsoid(rays, *outer)
    found = ray.union_length(rays, inside, [ray.ellipsoid(rays, *part) for part in parts])
    x, y, z = marched(rays)

    def holds(solid: Solid) -> np.ndarray:
        (cx, cy, cz), (rx, ry, rz) = solid
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 <= 1

    taken = np.zeros(x.shape, bool)
    for part in parts:
        taken |= holds(part)
    steps = (taken & holds(outer)).sum(axis=0) * STEP_MM * rays.obliquity
    ends = 2 * (len(parts) + 1)  # each border is found to half a step
    np.testing.assert_allclose(found, steps, atol=STEP_MM * ends)


def test_overlapping_parts_are_counted_once_and_order_does_not_matter() -> None:
    rays = ray.cast(PA)
    space = ray.ellipsoid(rays, (0, 0, 0), (150, 150, 90))
    parts: list[Interval] = [
        ray.ellipsoid(rays, (x, 0, z), (50, 60, 40)) for x, z in ((-20, -10), (10, 5), (15, 40))
    ]
    once = ray.union_length(rays, space, parts)
    np.testing.assert_array_equal(once, ray.union_length(rays, space, parts[::-1] + parts))
    assert (once <= rays.length(space) + 1e-3).all()


@pytest.mark.parametrize("seed", [9_000_001, 9_000_002])
def test_lungs_given_by_a_profile_are_as_deep_as_marching_finds_them(seed: int) -> None:
    body = draw_body(np.random.default_rng(seed))
    view = View(30, 28, 13.0, source_z=-1650.0, detector_z=150.0)
    rays = ray.cast(view)
    x, y, z = marched(rays)
    for side in ("left", "right"):
        found = rays.length(organs(body, rays).lungs[side])
        profile = lung_profile(body, side)
        middle, half = profile(x.astype("f4"), y.astype("f4"))
        steps = (np.abs(z - middle) < half).sum(axis=0) * STEP_MM * rays.obliquity
        # A pixel (13 mm) inside the silhouette and above the cut behind the dome. Nearer to
        # the silhouette the surface is steep, and there the fixed point is only near.
        above = rays.at(0.0)[1] < body.angle_y - 15
        inside = binary_erosion((profile(*rays.at(0.0))[1] > 0) & above)
        assert inside.sum() > 100
        assert np.abs(found - steps)[inside].max() < 1.0
        assert found[above].sum() == pytest.approx(steps[above].sum(), rel=0.01)


def lung_profile(body: Body, side: str) -> ray.Profile:
    return partial(_lung, body, side)


@given(view=views(), z=st.floats(-120, 120))
@settings(max_examples=30)
def test_a_point_on_a_ray_is_projected_onto_that_rays_pixel(view: View, z: float) -> None:
    rays = ray.cast(view)
    x, y = rays.at(z)
    points = np.stack([x, y, np.full_like(x, z)], -1).astype(float)
    row, col = ray.project(view, points)
    rows, cols = np.mgrid[: view.rows, : view.cols]
    np.testing.assert_allclose(row, rows, atol=2e-3)
    np.testing.assert_allclose(col, cols, atol=2e-3)


def test_a_thing_nearer_to_the_source_is_drawn_larger() -> None:
    wall = View(64, 64, 6.0, source_z=-1650.0, detector_z=150.0)
    assert wall.magnification == pytest.approx(1800 / 1650)
    rays = ray.cast(wall)
    near, far = (
        ray.silhouette(ray.ellipsoid(rays, (0, 0, z), (60, 60, 20))).sum() for z in (-110, 110)
    )
    assert near / far == pytest.approx((1760 / 1540) ** 2, rel=0.05)
