"""The file of readings: it grows, and nothing in it changes."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from radedit.lib.errors import OutputError, ParameterError
from radedit.lib.review.events import EventStore, Said, Subject

SUBJECT = Subject("1.2.3", "ab" * 16, "cd" * 32, "phantom", "ef" * 32, "0.1.0")
ACCEPT = Said("Anna", "decision", "accept")


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    store = EventStore(tmp_path / "readings.sqlite")
    for number in range(3):
        store.add(ACCEPT, replace(SUBJECT, sop_instance_uid=f"1.2.{number}"))
    return store


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET answer = 'reject' WHERE number = 2",
        "UPDATE OR REPLACE events SET number = 1 WHERE number = 2",
        "DELETE FROM events WHERE number = 3",
        "DELETE FROM events",
        "INSERT OR REPLACE INTO events SELECT 2, time, 'Ben', kind, answer, reason, edited_side,"
        " sop_instance_uid, edit_id, result_sha256, model, model_sha256, tool_version, sha256"
        " FROM events WHERE number = 2",
        "INSERT INTO events SELECT NULL, time, reader, kind, answer, reason, edited_side,"
        " sop_instance_uid, edit_id, result_sha256, model, model_sha256, tool_version, sha256"
        " FROM events WHERE number = 2",
    ],
)
def test_no_statement_changes_or_removes_an_event(store: EventStore, statement: str) -> None:
    before = store.events()
    with (
        pytest.raises(sqlite3.IntegrityError, match="events are"),
        sqlite3.connect(store.path) as connection,
    ):
        connection.execute(statement)
    assert store.events() == before
    assert store.first_changed() is None


def test_a_change_past_the_triggers_is_seen(store: EventStore) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TRIGGER events_stay")
        connection.execute("UPDATE events SET answer = 'reject' WHERE number = 2")
    assert EventStore(store.path).first_changed() == 2


def test_an_event_cut_out_past_the_triggers_is_seen(store: EventStore) -> None:
    with sqlite3.connect(store.path) as connection:
        connection.execute("DROP TRIGGER events_remain")
        connection.execute("DELETE FROM events WHERE number = 1")
    assert store.first_changed() == 2


def test_readers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "readings.sqlite"

    def read(reader: str) -> None:
        own = EventStore(path)
        for number in range(10):
            own.add(Said(reader, "decision", "accept"), replace(SUBJECT, edit_id=str(number)))

    threads = [threading.Thread(target=read, args=(f"reader {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = EventStore(path)
    assert len(store.events()) == 40
    assert store.first_changed() is None


def test_the_coin_of_a_reader_and_an_edit_stays_and_is_fair(store: EventStore) -> None:
    sides = [store.edited_side("Anna", f"1.2.{n}") for n in range(400)]
    again = EventStore(store.path)
    assert sides == [again.edited_side("Anna", f"1.2.{n}") for n in range(400)]
    assert 140 < sides.count("a") < 260  # six standard deviations
    others = [store.edited_side("Ben", f"1.2.{n}") for n in range(400)]
    assert 140 < sum(a == b for a, b in zip(sides, others, strict=True)) < 260


def test_a_second_blinded_answer_is_refused_and_nothing_is_written(store: EventStore) -> None:
    store.add(Said("Ben", "blinded", "unsure"), SUBJECT)
    with pytest.raises(ParameterError, match="answered before"):
        store.add(Said("Ben", "blinded", "a"), SUBJECT)
    assert len(store.events()) == 4


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    store = EventStore(tmp_path / "new" / "readings.sqlite")
    assert store.path.stat().st_mode & 0o077 == 0


def test_a_file_that_is_something_else_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "readings.sqlite"
    path.write_bytes(b"no database, and long enough to be taken for one" * 100)
    with pytest.raises(OutputError, match="cannot be used"):
        EventStore(path)
