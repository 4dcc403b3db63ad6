"""The rows of a run: about a film, a victim, an answer. Their format is `ledger.FORMAT`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import numpy as np

from radedit.lib.stress.asking import Asked
from radedit.lib.stress.filters import reader_sees
from radedit.lib.stress.judge import Judge
from radedit.lib.stress.ledger import Row
from radedit.lib.stress.subjects import Subject
from radedit.lib.stress.suite import Question
from radedit.lib.stress.variants import Arm
from radedit.lib.victims.protocol import Victim, VictimCard
from radedit_dicom.pixels import to_display


def about_row(subject: Subject, number: int, question: Question, judge: Judge | None) -> Row:
    """What is known of a subject, and what an independent reader sees on it."""
    label = question.label
    seen = None
    if label and judge is not None:
        display = to_display(subject.film)
        facing = display[:, ::-1] if subject.film.is_mirrored else display
        seen = reader_sees(judge, np.ascontiguousarray(facing), label)
    return {
        "type": "subject",
        "number": number,
        "subject": subject.key,
        "patient": subject.patient,
        "group": subject.group,
        "present": dict(subject.present),
        "reader": seen,
        "traits": dict(subject.traits),
        "spacing_mm": list(subject.film.spacing_mm or ()),
    }


def answer_row(subject: str, victim: str, arm: Arm, asked: Asked) -> Row:
    """What came of one question."""
    return {
        "type": "answer",
        "subject": subject,
        "victim": victim,
        **asdict(arm),
        **asked.as_row(),
    }


def arm_of(row: Row) -> Arm:
    """Read which film of a subject a row is about."""
    return Arm(row["kind"], row["edit"], row["seed"], row["level"])


def card_row(name: str, victim: Victim, question: Question, key: str) -> Row:
    """What a run says of a victim, and the key that its answers carry."""
    card = victim.card
    labels = (question.label, *question.watch)
    return {
        "type": "card",
        "victim": name,
        "name": card.name,
        "version": card.version,
        "threshold": card.threshold,
        "thresholds": {x: card.threshold_of(x) for x in labels if x},
        "assumed": [x for x in labels if x and card.assumed and x not in card.thresholds],
        "preprocessing": card.preprocessing,
        "sha256": card.sha256,
        "world": getattr(card, "world", ""),
        "model": model_of(card),
        "key": key,
    }


def model_of(card: VictimCard) -> str:
    """Digest all that is known of a model, so that it is told from another of the same name."""
    known = {**asdict(card), "name": "", "measured": None}
    whole = json.dumps(known, sort_keys=True, default=str)
    return hashlib.sha256(whole.encode()).hexdigest()[:16]
