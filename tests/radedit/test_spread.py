"""Work shared among processes: each has its device, a dead one is told, one alone does it here."""

from __future__ import annotations

import os
import time

import pytest

from radedit.lib.errors import RadEditError
from radedit.lib.spread import spread

Loaded = tuple[str, int]


def load(device: str) -> Loaded:
    return device, os.getpid()


def who(loaded: Loaded, piece: int) -> tuple[int, str, int]:
    time.sleep(0.05)  # so that the other one has its share
    return piece, *loaded


def die(loaded: Loaded, piece: int) -> int:
    os._exit(1)


def refuse(loaded: Loaded, piece: int) -> int:
    raise RadEditError("this piece cannot be done.")


def test_every_piece_is_done_once_and_every_device_has_a_process_of_its_own() -> None:
    work = range(60)
    done = list(spread(who, work, ("here", os.getpid()), load, ("cuda:0", "cuda:1")))
    assert sorted(piece for piece, *_ in done) == list(work)
    pairs = {(device, process) for _, device, process in done}
    assert {device for device, _ in pairs} == {"cuda:0", "cuda:1"}
    assert len(pairs) == 2
    assert os.getpid() not in {process for _, process in pairs}


@pytest.mark.parametrize(("work", "devices"), [([1, 2], ("cpu",)), ([1], ("cpu", "cpu"))])
def test_one_device_or_one_piece_needs_no_other_process(
    work: list[int], devices: tuple[str, ...]
) -> None:
    here = ("here", os.getpid())
    assert list(spread(who, work, here, load, devices)) == [(n, *here) for n in work]


def test_a_process_that_is_ended_from_outside_is_told_in_a_sentence() -> None:
    with pytest.raises(RadEditError, match="was ended from outside"):
        list(spread(die, [1, 2, 3], ("here", 0), load, ("cpu", "cpu")))


def test_what_a_piece_raises_is_raised_here() -> None:
    with pytest.raises(RadEditError, match="cannot be done"):
        list(spread(refuse, [1, 2, 3], ("here", 0), load, ("cpu", "cpu")))
