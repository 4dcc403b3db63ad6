"""Tubes by convolution: against the exact chord of a cylinder, and the mass that they must keep."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radedit.lib.phantom.rays import View
from radedit.lib.phantom.tubes import Tube, bezier, chords

# So far away that its rays are parallel: a cylinder's chord and volume are then known exactly.
FAR = View(200, 200, 1.0, source_z=-1e7, detector_z=1.0)


def straight(start: tuple[float, ...], end: tuple[float, ...], points: int = 80) -> np.ndarray:
    return bezier(np.array([start, end], float), points)


def exact_chord(radius: float) -> np.ndarray:
    """Chord of a cylinder on the film's middle; a pixel sees the mean over its width."""
    fine = (np.arange(200 * 50) + 0.5) / 50 - 100
    chord = 2 * np.sqrt(np.maximum(radius**2 - fine**2, 0))
    return np.asarray(chord.reshape(200, 50).mean(axis=1))


@pytest.mark.parametrize("radius", [2.5, 4.0, 8.0, 13.0])
def test_a_tube_across_the_beam_has_the_chord_of_a_cylinder(radius: float) -> None:
    film = chords(FAR, [Tube(straight((0, -90, 0), (0, 90, 0)), radius)])
    exact = exact_chord(radius)
    across = film[60:140].mean(axis=0)
    np.testing.assert_allclose(across, exact, atol=0.05 * 2 * radius)
    assert across.max() == pytest.approx(exact.max(), rel=0.02)
    assert np.std(film[60:140], axis=0).max() < 0.02 * 2 * radius


@given(
    radius=st.floats(0.6, 9),
    slope=st.floats(-1.2, 1.2),
    depth=st.floats(0, 60),
    bend=st.floats(-30, 30),
)
@settings(max_examples=25)
def test_a_tube_keeps_its_volume_however_it_lies(
    radius: float, slope: float, depth: float, bend: float
) -> None:
    control = [[-40, -40 * slope, -depth / 2], [bend, 0, 0], [40, 40 * slope, depth / 2]]
    curve = bezier(np.array(control), 90)
    film = chords(FAR, [Tube(curve, radius)])
    length = np.linalg.norm(np.diff(curve, axis=0), axis=1).sum()
    # The kernel's radius is rounded to a hundredth of a half pixel, its disc drawn in eighths.
    assert film.sum(dtype=float) == pytest.approx(np.pi * radius**2 * length, rel=0.04)


def test_tubes_that_cross_add_up() -> None:
    one = Tube(straight((-70, -20, 0), (70, 30, 20)), 3.0)
    other = Tube(straight((-50, 50, 5), (60, -60, -20)), 5.0, 0.7)
    both = chords(FAR, [one, other])
    np.testing.assert_allclose(both, chords(FAR, [one]) + chords(FAR, [other]), atol=1e-3)


def test_a_hollow_tube_shows_twice_its_wall_in_the_middle_and_more_at_its_edge() -> None:
    curve = straight((0, -90, 0), (0, 90, 0))
    film = chords(FAR, [Tube(curve, 8.0), Tube(curve, 6.0, -1.0)])
    across = film[80:120].mean(axis=0)
    assert across[99:101].mean() == pytest.approx(2 * (8.0 - 6.0), rel=0.03)
    wall = exact_chord(8.0) - exact_chord(6.0)
    assert wall.max() > 2 * wall[100]
    np.testing.assert_allclose(across, wall, atol=0.1 * wall.max())


def test_a_tube_nearer_to_the_source_is_wider_but_no_thicker() -> None:
    view = View(200, 200, 1.0, source_z=-1000.0, detector_z=250.0)
    widths, depths = [], []
    for z in (-150.0, 150.0):
        film = chords(view, [Tube(straight((0, -60, z), (0, 60, z)), 8.0)])
        widths.append((film[100] > 0.5).sum())
        depths.append(film[100].max())
    assert widths[0] / widths[1] == pytest.approx(1150 / 850, rel=0.1)
    assert depths == pytest.approx([16.0, 16.0], rel=0.05)


def test_the_film_does_not_depend_on_how_many_points_draw_the_curve() -> None:
    films = [
        chords(FAR, [Tube(straight((-60, 10, 0), (60, -30, 0), points), 4.0)])
        for points in (12, 200)
    ]
    np.testing.assert_allclose(films[0], films[1], atol=0.05)


@given(st.lists(st.tuples(*[st.floats(-100, 100)] * 3), min_size=2, max_size=4))
def test_a_bezier_curve_begins_and_ends_at_its_end_points(
    control: list[tuple[float, float, float]],
) -> None:
    curve = bezier(np.array(control), 17)
    np.testing.assert_allclose(curve[[0, -1]], np.array(control)[[0, -1]])
    assert curve.shape == (17, 3)
