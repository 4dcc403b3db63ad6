"""Which sentence is true of which film."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from radedit.lib.phantom.claims import Claim, agreement, change, describe_both, mirrored
from radedit.lib.phantom.sentences import NAMES, NORMAL
from radedit.lib.phantom.world import World, draw_patient, without, without_devices

SEEDS = range(9_300_000, 9_300_060)
NOTHING: frozenset[Claim] = frozenset()


def claims(*several: Claim) -> frozenset[Claim]:
    return frozenset(several)


def test_what_a_sentence_leaves_out_is_true_of_either_side() -> None:
    film = claims(Claim("mass", "left", "upper"))
    for said in (Claim("mass"), Claim("mass", "left"), Claim("mass", "left", "upper")):
        assert agreement(film, claims(said)) == 1
    for said in (Claim("mass", "right"), Claim("mass", "left", "lower"), Claim("effusion")):
        assert agreement(film, claims(said)) == 0


def test_what_is_shown_and_not_said_counts_in_part() -> None:
    film = claims(Claim("mass", "left", "upper"), Claim("pacemaker", "left"))
    assert agreement(film, claims(Claim("mass"))) == pytest.approx(2 / 3)
    assert agreement(film, NOTHING) == 0
    assert agreement(NOTHING, NOTHING) == 1


def test_one_thing_bears_out_one_claim_only() -> None:
    film = claims(Claim("effusion", "left"))
    assert agreement(film, claims(Claim("effusion"), Claim("effusion", "left"))) == pytest.approx(
        2 / 3
    )
    two = claims(Claim("effusion", "left"), Claim("effusion", "right"))
    assert agreement(two, claims(Claim("effusion"), Claim("effusion", "left"))) == 1


def test_a_change_backwards_agrees_with_nothing_of_the_change_forwards() -> None:
    before, after = claims(Claim("mass", "left")), claims(Claim("pacemaker", "left"))
    forwards, backwards = change(before, after), change(after, before)
    assert forwards == claims(Claim("mass", "left", sign=-1), Claim("pacemaker", "left"))
    assert agreement(forwards, forwards) == 1
    assert agreement(forwards, backwards) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_a_described_film_bears_out_all_that_its_sentence_says(seed: int) -> None:
    patient = draw_patient(seed, World(drain_given_pneumothorax=0.5))
    bare = without_devices(without(patient))
    shown, plain = describe_both(patient, bare, np.random.default_rng(seed))
    assert all(any(claim.is_true_of(thing) for thing in shown.shown) for claim in shown.said)
    named = {finding.kind for finding in patient.findings}
    assert named | {device.kind for device in patient.devices} == {c.kind for c in shown.said}
    for kind in named:
        assert any(name in shown.text.lower() for name in NAMES[kind])
    for claim in shown.said:  # a side or zone is claimed only where the words are there
        for word in filter(None, (claim.side, claim.zone)):
            assert word in shown.text.lower().split()
    assert plain.said == plain.shown == NOTHING
    assert plain.text in NORMAL
    if not patient.findings:
        assert any(shown.text.startswith(words) for words in NORMAL)


def test_what_does_not_change_is_said_in_the_same_words() -> None:
    found = 0
    for seed in SEEDS:
        patient = draw_patient(seed)
        if not (patient.findings and patient.devices):
            continue
        found += 1
        cured = replace(patient, findings=())
        shown, clear = describe_both(patient, cured, np.random.default_rng(seed))
        devices = {c for c in shown.said if c.kind in {d.kind for d in patient.devices}}
        assert devices == clear.said
        tail = clear.text.partition(" and ")[2]
        assert shown.text.endswith(tail)
    assert found > 5


def test_a_mirrored_sentence_is_about_the_other_side_and_twice_is_the_same() -> None:
    text = "Left mass and right chest drain"
    assert mirrored(text) == "Right mass and left chest drain"
    assert mirrored(mirrored(text)) == text
    assert mirrored("No finding") == "No finding"
