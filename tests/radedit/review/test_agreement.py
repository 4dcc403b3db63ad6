"""Cohen's kappa of readers, against figures worked out elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from radedit.lib.review.agreement import agreements, detections
from radedit.lib.review.events import EventStore, Said, Subject


def subject(number: int) -> Subject:
    return Subject(f"1.2.{number}", "e", "r", "phantom", "m", "0.1.0")


def decide(store: EventStore, reader: str, answers: list[str]) -> None:
    for number, answer in enumerate(answers):
        store.add(Said(reader, "decision", answer, "why"), subject(number))


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "readings.sqlite")


def test_kappa_is_that_of_the_textbook(store: EventStore) -> None:
    # Two raters, 50 cases: both yes 20, yes/no 5, no/yes 10, both no 15. Observed 0.7, by chance
    # 0.5 * 0.6 + 0.5 * 0.4 = 0.5, so kappa = 0.4.
    one = ["accept"] * 25 + ["reject"] * 25
    other = ["accept"] * 20 + ["reject"] * 5 + ["accept"] * 10 + ["reject"] * 15
    decide(store, "Anna", one)
    decide(store, "Ben", other)
    (found,) = agreements(store.events())
    assert found.readers == ("Anna", "Ben")
    assert found.edits == 50
    assert found.table == ((20, 5, 0), (10, 15, 0), (0, 0, 0))
    assert found.observed == pytest.approx(0.7)
    assert found.kappa == pytest.approx(0.4)
    assert found.interval is not None
    low, high = found.interval
    # Fleiss, Cohen and Everitt's standard error for this table is 0.1281.
    assert (high - low) / 2 == pytest.approx(1.96 * 0.1281, rel=0.01)


def test_the_newest_decision_counts(store: EventStore) -> None:
    decide(store, "Anna", ["accept", "reject"])
    decide(store, "Ben", ["reject", "reject"])
    store.add(Said("Ben", "decision", "accept"), subject(0))
    (found,) = agreements(store.events())
    assert found.kappa == pytest.approx(1.0)


def test_without_two_answers_there_is_no_kappa_and_no_warning(store: EventStore) -> None:
    decide(store, "Anna", ["accept", "accept"])
    decide(store, "Ben", ["accept", "accept"])
    (found,) = agreements(store.events())
    assert found.observed == 1.0
    assert found.kappa is None
    assert found.interval is None


def test_readers_without_a_common_edit_are_not_compared(store: EventStore) -> None:
    decide(store, "Anna", ["accept"])
    store.add(Said("Ben", "decision", "accept"), subject(7))
    assert agreements(store.events()) == []


def test_three_readers_make_three_pairs(store: EventStore) -> None:
    for reader in ("Anna", "Ben", "Cleo"):
        decide(store, reader, ["accept", "unsure", "reject"])
    assert [pair.readers for pair in agreements(store.events())] == [
        ("Anna", "Ben"),
        ("Anna", "Cleo"),
        ("Ben", "Cleo"),
    ]


def test_blinded_answers_are_counted_by_whether_they_were_right(store: EventStore) -> None:
    for number in range(6):
        side = store.edited_side("Anna", subject(number).sop_instance_uid)
        wrong = "b" if side == "a" else "a"
        answer = [side, side, side, wrong, wrong, "unsure"][number]
        store.add(Said("Anna", "blinded", answer), subject(number))
    (found,) = detections(store.events())
    assert (found.reader, found.right, found.wrong, found.unsure) == ("Anna", 3, 2, 1)
