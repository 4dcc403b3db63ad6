"""Real training films: where their reviewed outlines lie."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from radedit.lib.errors import ParameterError
from radedit.lib.geometry import SquareGrid
from radedit.lib.phantom import films
from radedit.lib.victims.embedded import load_victim

Mask = NDArray[np.bool_]
SIZE = 64


def either(lungs: Mask) -> Mask:
    return np.asarray(lungs.any(0))


def dice(a: Mask, b: Mask) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def two_lungs(side: int) -> Mask:
    y, x = np.mgrid[:side, :side] / side
    return np.asarray(((np.abs(x - 0.5) - 0.2) / 0.13) ** 2 + ((y - 0.5) / 0.3) ** 2 < 1)


def saved(mask: Mask, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray((mask * 255).astype(np.uint8)).save(path)


@given(rows=st.integers(200, 400), cols=st.integers(200, 400), right=st.floats(-1, 1))
def test_a_mask_of_a_square_comes_back_to_that_square(rows: int, cols: int, right: float) -> None:
    side = min(rows, cols)
    top, left = (rows - side) // 2, (cols - side) // 2
    left += int(right * left)
    square = slice(top, top + side), slice(left, left + side)
    on_film, inside = np.zeros((rows, cols), bool), np.zeros((rows, cols), bool)
    on_film[square], inside[square] = two_lungs(side), True
    stretched = Image.fromarray(two_lungs(side)).resize((cols, rows))
    grid = SquareGrid(rows, cols, SIZE)
    lungs, known = films.outlined(np.asarray(stretched, bool), grid, square)
    wanted = grid.down(on_film.astype(np.float32)) > 0.5
    assert dice(either(lungs), wanted) > 0.96
    middle = wanted.shape[1] // 2 + round((left - (cols - side) / 2) / grid.scale)
    assert np.nonzero(lungs[0])[1].min() >= middle - 1  # the patient's left
    assert np.nonzero(lungs[1])[1].max() <= middle + 1
    beside = ~grid.mask_down(np.ones((rows, cols), bool))
    covered = grid.down(inside.astype(np.float32)) > 0.5
    assert (known == (covered | beside)).mean() > 0.96
    assert known[beside].all()


def folder_of_one(folder: Path, drawn_on: str | None) -> Path:
    mask = np.zeros((200, 240), bool)
    mask[40:160, 30:100] = mask[40:160, 140:210] = True
    saved(~mask, folder / "images" / "a.png")
    saved(mask, folder / "lung_masks" / "a.png")
    columns = {"image_id": "a", "patient_id": "p", "lung_mask": "1"}
    if drawn_on is not None:
        columns["mask_of"] = drawn_on
    index = f"{','.join(columns)}\n{','.join(columns.values())}\n"
    (folder / "index.csv").write_text(index)
    return folder


def test_a_mask_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match='"lung" as mask_of; write "film"'):
        films.read_films(folder_of_one(tmp_path, "lung"), 240)


@pytest.mark.parametrize("drawn_on", ["film", "square", None])
def test_a_folder_says_what_its_masks_were_drawn_on(tmp_path: Path, drawn_on: str | None) -> None:
    (film,) = films.read_films(folder_of_one(tmp_path, drawn_on), 240)
    assert film.lungs is not None
    found = np.nonzero(either(film.lungs).any(0))[0]
    if drawn_on == "film":
        assert (found.min(), found.max()) == (30, 209)
        assert film.known.all()
    else:  # 200 columns from the 20th on
        assert (found.min(), found.max()) == (20 + 30 * 200 // 240, 20 + 210 * 200 // 240 - 1)
        unknown = np.nonzero(~film.known.all(0))[0]
        np.testing.assert_array_equal(unknown, [*range(20), *range(220, 240)])


def test_the_reviewed_outlines_were_drawn_on_squares(hospital_films: Path) -> None:
    """A network that saw phantoms only agrees better with every outline once it is laid back."""
    folder = hospital_films / "hannover"
    phantoms_only = load_victim("lungs-strong")
    gains = []
    with (folder / "index.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    for row, film in zip(rows, films.read_films(folder, 128), strict=True):
        height, width = int(row["height"]), int(row["width"])
        if film.lungs is None or max(height, width) / min(height, width) < 1.05:
            continue
        path = folder / "lung_masks" / f"{row['image_id']}.png"
        as_filed = np.asarray(Image.open(path).convert("L")) > 127
        lungs, _ = films.outlined(as_filed, SquareGrid(height, width, 128))
        found = phantoms_only.segment(film.image)
        before = dice(found, either(lungs))
        gains.append(dice(found & film.known, either(film.lungs) & film.known) - before)
    assert len(gains) == 25
    assert min(gains) > 0
    assert float(np.mean(gains)) > 0.05
