"""The directional score: a cosine of two changes, or a reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from radedit.lib.errors import PromptError
from radedit.lib.score.directional import (
    KEEP_FROM,
    NO_FILM_CHANGE,
    NO_FILM_TEXT,
    NO_TEXT_CHANGE,
    Directional,
    score,
)

Vector = NDArray[np.float32]


@dataclass
class Table:
    """An encoder that is its own table: a film *is* its embedding, a text is looked up."""

    texts: dict[str, Vector] = field(default_factory=dict)

    def embed_image(self, film: Vector) -> Vector:
        return film.ravel()

    def embed_text(self, text: str) -> Vector:
        if text not in self.texts:
            raise PromptError("the scorer does not know the words: zebra.")
        return self.texts[text]


def film(*values: float) -> Vector:
    return np.array([values], np.float32)


def scored(films: tuple[Vector, Vector], texts: tuple[Vector, Vector]) -> Directional:
    table = Table({"before": texts[0].ravel(), "after": texts[1].ravel()})
    return score(table, films, ("before", "after"))


vectors = (
    st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4)
    .map(lambda values: film(*values))
    .filter(lambda v: float(np.linalg.norm(v)) > 0.1)
)
pairs = st.tuples(vectors, vectors).filter(
    lambda p: np.linalg.norm(p[0] / np.linalg.norm(p[0]) - p[1] / np.linalg.norm(p[1])) > 0.01
)


@given(pairs, pairs)
def test_every_figure_lies_between_minus_one_and_one(
    films: tuple[Vector, Vector], texts: tuple[Vector, Vector]
) -> None:
    found = scored(films, texts)
    assert found.reason == ""
    assert all(value is not None and -1 <= value <= 1 for value in found.as_scores().values())


@given(pairs)
def test_a_film_that_moves_as_the_text_does_scores_one(pair: tuple[Vector, Vector]) -> None:
    assert scored(pair, pair).directional == pytest.approx(1, abs=1e-5)


@given(pairs, pairs)
def test_the_opposite_direction_flips_the_sign(
    films: tuple[Vector, Vector], texts: tuple[Vector, Vector]
) -> None:
    forwards = scored(films, texts).directional
    assert forwards is not None
    assert scored(films[::-1], texts).directional == pytest.approx(-forwards, abs=1e-9)
    assert scored(films, texts[::-1]).directional == pytest.approx(-forwards, abs=1e-9)
    assert scored(films[::-1], texts[::-1]).directional == pytest.approx(forwards, abs=1e-9)


@given(pairs, pairs)
def test_films_and_texts_can_change_places(
    films: tuple[Vector, Vector], texts: tuple[Vector, Vector]
) -> None:
    assert scored(films, texts).directional == pytest.approx(
        scored(texts, films).directional, abs=1e-9
    )


@given(pairs, pairs, st.floats(0.1, 10), st.floats(0.1, 10))
def test_the_length_of_an_embedding_does_not_count(
    films: tuple[Vector, Vector], texts: tuple[Vector, Vector], a: float, b: float
) -> None:
    longer = ((films[0] * a).astype("f4"), (films[1] * b).astype("f4"))
    plain = scored(films, texts).directional
    assert scored(longer, texts).directional == pytest.approx(plain, abs=1e-3)


@given(vectors, pairs)
def test_no_change_of_the_film_is_not_scorable(same: Vector, texts: tuple[Vector, Vector]) -> None:
    found = scored((same, same.copy()), texts)
    assert (found.directional, found.reason) == (None, NO_FILM_CHANGE)
    assert found.is_kept is None
    assert found.is_kept_by_lance is None
    assert found.image_image == pytest.approx(1)


@given(pairs, vectors)
def test_no_change_of_the_text_is_not_scorable(films: tuple[Vector, Vector], same: Vector) -> None:
    found = scored(films, (same, same.copy()))
    assert (found.directional, found.reason) == (None, NO_TEXT_CHANGE)
    assert found.image_text is not None


@pytest.mark.parametrize("unknown", [None, ""])
def test_without_a_text_of_the_film_only_the_likenesses_are_given(unknown: str | None) -> None:
    table = Table({"after": film(1, 0).ravel()})
    found = score(table, (film(0, 1), film(1, 1)), (unknown, "after"))
    assert (found.directional, found.reason) == (None, NO_FILM_TEXT)
    assert found.image_text == pytest.approx(np.sqrt(0.5))
    assert found.in_words() == NO_FILM_TEXT


@pytest.mark.parametrize("texts", [("before", "zebra"), ("zebra", "before")])
def test_words_that_the_scorer_does_not_know_are_not_scorable(texts: tuple[str, str]) -> None:
    found = score(Table({"before": film(1, 0).ravel()}), (film(0, 1), film(1, 1)), texts)
    assert found.directional is None
    assert found.reason == "not scorable: the scorer does not know the words: zebra."


def test_the_filter_keeps_from_a_fifth_on_and_throws_the_worst_away() -> None:
    assert KEEP_FROM == 0.2
    assert Directional(0.2, 1, 1, "").is_kept is True
    assert Directional(0.19999, 1, 1, "").is_kept is False
    # 1 - cos, which the paper prints, would keep this one before any other.
    assert Directional(-1.0, 1, 1, "").is_kept is False


@pytest.mark.parametrize(
    ("figures", "kept"),
    [((0.2, 0.7, 0.2), True), ((0.1, 0.9, 0.9), False), ((0.9, 0.69, 0.9), False),
     ((0.9, 0.9, 0.19), False)],
)  # fmt: skip
def test_lances_filter_wants_all_three(figures: tuple[float, float, float], kept: bool) -> None:
    assert Directional(*figures, "").is_kept_by_lance is kept


def test_an_embedding_that_is_not_finite_is_a_defect_and_no_score() -> None:
    with pytest.raises(ValueError, match="never gives that"):
        scored((film(np.nan, 1), film(1, 1)), (film(1, 0), film(0, 1)))
