"""What cannot be lungs or a heart is refused; real ones are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from radedit.lib.errors import FilmError
from radedit.lib.lungs import segment_heart, segment_lungs
from radedit.lib.phantom.films import read_films
from radedit.lib.plausibility import (
    LEAST_CERTAIN,
    MARGIN,
    certainty,
    check_heart,
    check_lungs,
    check_shape,
    check_sure,
    check_turn,
    check_whole,
)
from radedit.lib.sources import embedded_heart, embedded_lungs
from radedit_dicom.film import read_film

Mask = NDArray[np.bool_]
SIDE = 128


def ellipse(row: float, col: float, half_height: float, half_width: float) -> Mask:
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.asarray(((y - row) / half_height) ** 2 + ((x - col) / half_width) ** 2 <= 1)


RIGHT, LEFT, HEART = ellipse(60, 38, 38, 18), ellipse(60, 90, 38, 18), ellipse(80, 72, 18, 20)


def test_lungs_and_a_heart_in_their_places_pass() -> None:
    check_lungs(LEFT, RIGHT)
    check_heart(HEART, LEFT, RIGHT)
    check_whole(LEFT, LEFT, "left lung")


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        (RIGHT, LEFT, "distance of the lungs' centres"),
        (ellipse(70, 90, 46, 18), ellipse(48, 38, 46, 18), "distance of the lungs' centres, down"),
        (ellipse(60, 90, 4, 4), RIGHT, "left lung .* part of the film is 0.00"),
        (LEFT, ellipse(60, 34, 63, 60), "right lung .* part of the film"),
        (ellipse(60, 90, 24, 10), ellipse(60, 34, 58, 24), "smaller lung's part"),
        (ellipse(100, 90, 26, 22), ellipse(26, 38, 26, 22), "height in which both lungs lie"),
        (ellipse(60, 70, 38, 30), ellipse(60, 40, 38, 30), "drawn as the other"),
    ],
)
def test_lungs_that_no_patient_has_are_refused(left: Mask, right: Mask, said: str) -> None:
    with pytest.raises(FilmError, match=said) as caught:
        check_lungs(left, right)
    assert str(caught.value).endswith("or draw the mask.")


@pytest.mark.parametrize(
    ("heart", "said"),
    [
        (ellipse(80, 72, 4, 4), "part of the lungs"),
        (ellipse(80, 64, 45, 60), "part of the lungs"),
        (ellipse(80, 20, 18, 18), "between the lungs' centres"),
        (ellipse(30, 70, 18, 20), "depth below the lungs' centres"),
    ],
)
def test_a_heart_that_is_not_between_the_lungs_is_refused(heart: Mask, said: str) -> None:
    with pytest.raises(FilmError, match=said):
        check_heart(heart, LEFT, RIGHT)


def test_a_piece_of_what_was_drawn_is_refused() -> None:
    with pytest.raises(FilmError, match=r"largest piece's part of it is 0\.50"):
        check_whole(LEFT, LEFT | RIGHT, "left lung")


def test_certainty_is_of_what_may_be_inside() -> None:
    sure, unsure = np.full((1, 4, 4), 9, np.float32), np.zeros((1, 4, 4), np.float32)
    assert certainty(sure) > 0.99
    assert certainty(unsure) == 0.0
    assert certainty(np.full((1, 4, 4), -9, np.float32)) == 0.0
    outside = np.concatenate([sure, np.full((1, 4, 4), -9, np.float32)])
    assert certainty(outside) == certainty(sure)


@pytest.mark.parametrize(
    ("certainties", "said"),
    [
        ([0.8, 0.9, 0.5, 0.5], "lie on its side"),
        ([0.8, 0.5, 0.8 - MARGIN / 2, 0.5], "lie upside down"),
        ([0.8, 0.5, 0.5, 0.9], "lie on its side"),
    ],
)
def test_a_film_that_shows_lungs_as_surely_when_turned_is_refused(
    certainties: list[float], said: str
) -> None:
    check_turn([0.9, 0.6, 0.8, 0.6])
    with pytest.raises(FilmError, match=said):
        check_turn(certainties)


def test_a_film_that_has_lost_much_of_its_length_is_refused(turned) -> None:
    check_shape(100, 81)  # 43 cm x 35 cm, either way
    check_shape(81, 100)
    with pytest.raises(FilmError, match=r"0\.60 times as high as it is wide.* cut off"):
        check_shape(60, 100)
    dataset = turned(0)
    values = dataset.pixel_array[: dataset.Rows * 11 // 20]
    dataset.Rows, dataset.PixelData = values.shape[0], values.tobytes()
    with pytest.raises(FilmError, match="seems to be cut off"):
        embedded_lungs(read_film(dataset))


def test_lungs_that_are_not_seen_surely_are_refused() -> None:
    check_sure(LEAST_CERTAIN)
    with pytest.raises(FilmError, match="not seen surely enough"):
        check_sure(LEAST_CERTAIN - 0.01)


@pytest.fixture
def turned(rg1: Path):
    """Give the real film turned by quarters, without the orientation that CR may leave out."""

    def make(quarters: int) -> pydicom.Dataset:
        dataset = pydicom.dcmread(rg1)
        values = np.ascontiguousarray(np.rot90(dataset.pixel_array[::4, ::4], quarters))
        dataset.pop("PatientOrientation", None)
        dataset.ViewPosition = "PA"
        dataset.Rows, dataset.Columns = values.shape
        dataset.PixelData = values.astype("<u2").tobytes()
        return dataset

    return make


@pytest.mark.parametrize(
    ("quarters", "lies"), [(1, "on its side"), (2, "upside down"), (3, "on its side")]
)
def test_neither_lungs_nor_heart_of_a_real_film_are_found_when_it_lies_turned(
    turned, quarters: int, lies: str
) -> None:
    for task in (embedded_lungs, embedded_heart):
        with pytest.raises(FilmError, match=f"The film seems to lie {lies}"):
            task(read_film(turned(quarters)))
    assert set(embedded_lungs(read_film(turned(0)))) == {"left", "right", "lungs"}
    assert embedded_heart(read_film(turned(0)))["heart"].any()


def test_no_reviewed_hospital_film_is_refused_and_each_is_when_it_is_turned(
    hospital_films: Path,
) -> None:
    films = [f for f in read_films(hospital_films / "hannover", 256) if f.lungs is not None]
    assert len(films) == 31
    for film in films:
        segment_heart(film.image)  # its lungs are found with it
    for film in films[::4]:
        for quarters in (1, 2, 3):
            with pytest.raises(FilmError):
                segment_lungs(np.ascontiguousarray(np.rot90(film.image, quarters)))
