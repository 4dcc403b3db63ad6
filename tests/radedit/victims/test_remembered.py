"""Scores in a file, and runs that go on where their victim died."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from radedit.lib.errors import ParameterError, VictimError, VictimGoneError
from radedit.lib.victims.locate import open_victim
from radedit.lib.victims.protocol import Answer, VictimCard
from radedit.lib.victims.remembered import RememberingVictim
from radedit_dicom.film import Film, read_film

Display = NDArray[np.float32]
BLACK = np.zeros((4, 4), dtype=np.float32)


class Dying:
    """Answers with a film's mean until it dies, for good or until it is started again."""

    def __init__(self, lives: int, version: str = "1") -> None:
        self.card = VictimCard("dying", version, 0.5, "none")
        self.lives, self.asked = lives, 0

    def answer(
        self, display: Display, valid: NDArray[np.bool_] | None = None, film: Film | None = None
    ) -> Answer:
        self.asked += 1
        if display.mean() > 0.95:
            raise VictimError("no answer about this film")
        if self.asked > self.lives:
            raise VictimGoneError("it died")
        return Answer(
            {"bright": float(display.mean())}, {"white": display > 0.5, "none": display > 2}
        )


def films(count: int) -> list[Display]:
    return [np.full((3, 5), i / count, dtype=np.float32) for i in range(count)]


def run(victim: RememberingVictim, cohort: list[Display]) -> tuple[list[float], int]:
    """Ask about all films as a run does; scores, and how many answers are missing."""
    scores, missing = list[float](), 0
    for display in cohort:
        try:
            scores.append(victim.answer(display).scores["bright"])
        except VictimGoneError:
            raise
        except VictimError:
            missing += 1
    return scores, missing


def test_a_run_whose_victim_died_half_way_goes_on_and_asks_nothing_twice(tmp_path: Path) -> None:
    cohort = [*films(10), np.ones((3, 5), dtype=np.float32)]
    first = Dying(lives=6)
    with pytest.raises(VictimGoneError):
        run(RememberingVictim(first, tmp_path / "answers"), cohort)
    second = Dying(lives=99)
    scores, missing = run(RememberingVictim(second, tmp_path / "answers"), cohort)
    assert scores == pytest.approx([i / 10 for i in range(10)])
    assert missing == 1
    assert second.asked == 5  # four that were left, and the one without an answer


def test_a_kept_answer_is_the_answer(tmp_path: Path) -> None:
    display = films(3)[2]
    given = Dying(9).answer(display)
    for _ in range(2):
        kept = RememberingVictim(Dying(1), tmp_path).answer(display)
        assert kept.scores == given.scores
        assert kept.segments is not None
        assert given.segments is not None
        assert set(kept.segments) == set(given.segments)
        for label, mask in given.segments.items():
            assert kept.segments[label].dtype == np.bool_
            np.testing.assert_array_equal(kept.segments[label], mask)


@pytest.mark.parametrize("segments", [None, {}])
def test_no_segments_and_segments_of_nothing_stay_apart(
    segments: dict[str, NDArray[np.bool_]] | None, tmp_path: Path
) -> None:
    class Says(Dying):
        def answer(self, *_: object, **__: object) -> Answer:
            return Answer({}, segments)

    for _ in range(2):
        assert RememberingVictim(Says(1), tmp_path).answer(BLACK).segments == segments


def test_another_version_another_film_and_other_padding_are_asked_again(
    tmp_path: Path, make_dataset: Callable[..., Dataset]
) -> None:
    film = read_film(make_dataset())
    victim = Dying(99)
    valid = np.ones(BLACK.shape, dtype=bool)
    for kept in (RememberingVictim(victim, tmp_path) for _ in range(2)):
        kept.answer(BLACK)
        kept.answer(BLACK, valid)
        kept.answer(BLACK, film=film)
        kept.answer(BLACK + 0.1)
        kept.answer(BLACK.reshape(2, 8))
    assert victim.asked == 5
    newer = Dying(9, version="2")
    RememberingVictim(newer, tmp_path).answer(BLACK)
    assert newer.asked == 1


def test_scores_of_a_csv_are_those_of_the_film_with_that_uid(
    tmp_path: Path, make_dataset: Callable[..., Dataset]
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(
        "sop_instance_uid, pneumothorax ,oedema\n1.2.3.4,0.25,\n1.2.3.5,,\n1.2.3.6,7,\n"
    )
    path.with_name("scores.csv.toml").write_text('threshold = 0.2\nversion = "2024-06"\n')
    victim = open_victim(f"csv:{path}")
    answer = victim.answer(BLACK, film=read_film(make_dataset(SOPInstanceUID="1.2.3.4")))
    assert answer.scores == {"pneumothorax": 0.25}  # a blank cell is no score
    assert victim.card.version == "2024-06"
    for uid, said in (("1.2.3.5", "no score"), ("1.2.3.7", "no score"), ("1.2.3.6", "0 to 1")):
        with pytest.raises(VictimError, match=said):
            victim.answer(BLACK, film=read_film(make_dataset(SOPInstanceUID=uid)))
    with pytest.raises(VictimError, match="no UID"):
        victim.answer(BLACK)


def test_a_table_with_semicolons_and_decimal_commas_is_read(
    tmp_path: Path, make_dataset: Callable[..., Dataset]
) -> None:
    (tmp_path / "scores.csv").write_text("sop_instance_uid;file;oedema\n1.2.3.4;x.dcm;0,25\n")
    victim = open_victim(f"csv:{tmp_path / 'scores.csv'}")
    answer = victim.answer(BLACK, film=read_film(make_dataset(SOPInstanceUID="1.2.3.4")))
    assert answer.scores == {"oedema": 0.25}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("uid;a\n1.2;0.5\n", "needs a column sop_instance_uid"),
        ("sop_instance_uid,file\n1.2,x.dcm\n", "one column for each label"),
        ("uid,a\n1.2,0.5\n", "needs a column sop_instance_uid"),
        ("sop_instance_uid\n1.2\n", "one column for each label"),
        ("sop_instance_uid,a,a\n1.2,0,0\n", "each named once"),
        ("sop_instance_uid,a\n1.2,0.5\n1.2,0.6\n", "line 3"),
        ("sop_instance_uid,a\nMUELLER,0.5\n", "line 2"),
        ("sop_instance_uid,a\n1.2,0.5,0.6\n", "line 2"),
        ("", "needs a column"),
    ],
)
def test_a_csv_that_cannot_be_meant_is_refused_without_naming_a_patient(
    text: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    with pytest.raises(ParameterError, match=said) as refused:
        open_victim(f"csv:{path}")
    assert "MUELLER" not in str(refused.value)
