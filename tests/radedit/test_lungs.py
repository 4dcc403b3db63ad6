"""The embedded lung segmenter on real films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import ConvexHull

from radedit.lib.errors import FilmError
from radedit.lib.lungs import segment_lungs
from radedit.lib.phantom.chest import lung_zones
from radedit.lib.phantom.films import read_films
from radedit.lib.phantom.train_lungs import held_out
from radedit.lib.phantom.world import draw_patient, render, view_of
from radedit_dicom.film import read_film
from radedit_dicom.pixels import to_display


def test_both_lungs_of_a_real_film_are_found_on_their_sides(rg1: Path) -> None:
    display = to_display(read_film(rg1))
    lungs = segment_lungs(display)
    area = {name: mask.mean() for name, mask in lungs.items()}
    assert 0.08 < area["left"] < 0.3
    assert 0.08 < area["right"] < 0.3
    assert np.nonzero(lungs["left"])[1].mean() > display.shape[1] / 2
    assert np.nonzero(lungs["right"])[1].mean() < display.shape[1] / 2
    np.testing.assert_array_equal(lungs["lungs"], lungs["left"] | lungs["right"])
    assert display[lungs["lungs"]].mean() < display.mean()  # lungs are the darker part


def test_the_masks_of_hospital_films_are_met(hospital_films: Path) -> None:
    films = [f for f in read_films(hospital_films / "hannover", 256) if f.lungs is not None]
    held = held_out(films)
    scores = {True: list[float](), False: list[float]()}
    for film in films:
        assert film.lungs is not None
        found = segment_lungs(film.image)
        for mask, truth in zip((found["left"], found["right"]), film.lungs, strict=True):
            a, b = mask & film.known, truth & film.known
            scores[film.patient_id in held].append(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert len(scores[True]) == 2 * 9
    assert len(scores[False]) == 2 * 22
    assert float(np.mean(scores[True])) > 0.92  # never trained on
    assert float(np.mean(scores[False])) > 0.93


def test_a_picture_without_lungs_is_refused() -> None:
    with pytest.raises(FilmError, match="no lung"):
        segment_lungs(np.zeros((300, 200), np.float32))


def test_lungs_and_heart_of_unseen_phantoms_are_met() -> None:
    scores = {"lungs": list[float](), "heart": list[float]()}
    for seed in range(9_500_000, 9_500_012):
        patient = draw_patient(seed)
        view = view_of(patient, 256)
        rendering = render(patient, 256)
        zones = lung_zones(patient.body, view)
        truth = {"lungs": zones["left"] | zones["right"], "heart": rendering.masks["heart"]}
        found = segment_lungs(rendering.image)
        for name, values in scores.items():
            overlap = (found[name] & truth[name]).sum()
            values.append(2 * overlap / (found[name].sum() + truth[name].sum()))
    assert np.mean(scores["lungs"]) > 0.96
    assert np.mean(scores["heart"]) > 0.93


def test_the_heart_of_hospital_films_lies_between_the_lungs_in_one_piece(
    hospital_films: Path,
) -> None:
    films = [f for f in read_films(hospital_films / "hannover", 256) if f.lungs is not None]
    plausible = []
    for film in films:
        found = segment_lungs(film.image)
        rows, cols = np.nonzero(found["heart"])
        hull = ConvexHull(np.stack([rows, cols], 1)).volume if rows.size > 2 else np.inf
        share = found["heart"].sum() / found["lungs"].sum()
        right, left = (np.nonzero(found[side])[1].mean() for side in ("right", "left"))
        between = right < cols.mean() < left
        plausible.append(between and 0.2 < share < 0.8 and rows.size / hull > 0.85)
    assert len(plausible) == 31
    assert float(np.mean(plausible)) > 0.9
