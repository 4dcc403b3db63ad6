"""What a film shows and what a sentence says, as sets that can be compared.

Training the scorer needs to know which sentences are true of which films: in a batch drawn at
random many are, and none of those may count as a wrong answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from radedit.lib.phantom.devices import Device
from radedit.lib.phantom.findings import Finding
from radedit.lib.phantom.sentences import (
    MENTIONED,
    NORMAL,
    SIDED_DEVICES,
    device_phrase,
    finding_phrase,
)
from radedit.lib.phantom.world import Patient

Thing = Finding | Device
ZONED = ("mass", "nodule", "consolidation")
_MIRROR = {"left": "right", "right": "left", "Left": "Right", "Right": "Left"}


@dataclass(frozen=True)
class Claim:
    """One thing on a film or in a sentence.

    Attributes
    ----------
    kind : of finding or device
    side, zone : as for Finding; "" = not told, which is true of every side or zone
    sign : +1 = it is there, or came; -1 = it went
    """

    kind: str
    side: str = ""
    zone: str = ""
    sign: int = 1

    def is_true_of(self, thing: Claim) -> bool:
        """Whether a film that shows `thing` bears this claim out."""
        return (
            (self.kind, self.sign) == (thing.kind, thing.sign)
            and self.side in ("", thing.side)
            and self.zone in ("", thing.zone)
        )


@dataclass(frozen=True)
class Described:
    """One film of a patient.

    Attributes
    ----------
    text : a sentence about it
    shown : what is on it
    said : what the sentence claims
    """

    text: str
    shown: frozenset[Claim]
    said: frozenset[Claim]


def describe_both(
    before: Patient, after: Patient, rng: np.random.Generator
) -> tuple[Described, Described]:
    """Describe two films of one patient in the same words where they are the same.

    What differs is always named; other devices as often as `sentences.describe` names them.
    """
    common = set(_things(before)) & set(_things(after))
    words = dict[Thing, str]()
    for thing in dict.fromkeys([*_things(before), *_things(after)]):
        if isinstance(thing, Finding):
            words[thing] = finding_phrase(thing, rng)
        elif thing not in common or rng.random() < MENTIONED:
            words[thing] = device_phrase(thing, rng)
    normal = str(rng.choice(NORMAL))
    return _described(before, words, normal), _described(after, words, normal)


def _things(patient: Patient) -> list[Thing]:
    return [*patient.findings, *patient.devices]


def _described(patient: Patient, words: dict[Thing, str], normal: str) -> Described:
    parts = [words[finding] for finding in patient.findings] or [normal]
    parts += [words[device] for device in patient.devices if device in words]
    text = " and ".join(parts)
    things = _things(patient)
    said = frozenset(_claimed(_shown(t), words[t]) for t in things if t in words)
    return Described(text[0].upper() + text[1:], frozenset(map(_shown, things)), said)


def _shown(thing: Thing) -> Claim:
    if isinstance(thing, Finding):
        side = "" if thing.side == "both" else thing.side
        return Claim(thing.kind, side, thing.zone if thing.kind in ZONED else "")
    return Claim(thing.kind, thing.side if thing.kind in SIDED_DEVICES else "")


def _claimed(thing: Claim, phrase: str) -> Claim:
    words = phrase.split()
    return replace(
        thing,
        side=thing.side if thing.side in words else "",
        zone=thing.zone if thing.zone in words else "",
    )


def change(before: frozenset[Claim], after: frozenset[Claim]) -> frozenset[Claim]:
    """What came (sign +1) and what went (sign -1)."""
    gone = frozenset(replace(claim, sign=-1) for claim in before - after)
    return (after - before) | gone


def agreement(shown: frozenset[Claim], said: frozenset[Claim]) -> float:
    """How well a sentence fits a film, 0 to 1: twice what is said and shown, over both.

    Each claim counts for one thing at most. Nothing said of a film that shows nothing fits
    wholly.
    """
    left = sorted(shown, key=repr)
    met = 0
    for claim in sorted(said, key=lambda c: (not c.side, not c.zone, repr(c))):
        found = next((thing for thing in left if claim.is_true_of(thing)), None)
        if found is not None:
            left.remove(found)
            met += 1
    total = len(shown) + len(said)
    return 2 * met / total if total else 1.0


def agreements(
    shown: Sequence[frozenset[Claim]], said: Sequence[frozenset[Claim]]
) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """`agreement` of every film with every sentence, float32 [N, M]."""
    return np.array([[agreement(film, text) for text in said] for film in shown], np.float32)


def mirrored(text: str) -> str:
    """The same sentence about the other side."""
    return " ".join(_MIRROR.get(word, word) for word in text.split(" "))
