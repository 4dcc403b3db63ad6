"""From rows to effects: what each victim lost by an edit, by its sham, and by the truth.

Every question has one figure of damage per film, so that all suites are reckoned alike:

    gap         1 where the victim is wrong about the label, else 0
    off_target  the score of a label that the edit has nothing to do with
    dice_fall   1 - Dice

The effect of an edit is the damage on the edited film less that on the real one, paired within
the patient. Sham-corrected, it is less that of the sham too. A sham shows what the film showed.
Where the edit turns the very label that is asked for, to be wrong means the opposite on sham and
edit, and a sham that makes a finding plainer, so that fewer are missed, says nothing about calls
of a finding that is gone: there only its harm is taken off. The truth bears this out:
docs/benchmarks.md has gaps estimated both ways beside the true ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from radedit.lib.stress.statistics import Estimate, difference, mean
from radedit.lib.stress.suite import Edit, Suite

T = TypeVar("T", bool, bool | None)
Row = Mapping[str, Any]
Values = dict[str, float]
"""One number per patient."""


@dataclass(frozen=True, eq=False)
class Found:
    """The rows of one run, sorted.

    Attributes
    ----------
    subjects : key to its row
    cards : victim to its card
    films : (subject, kind, edit, seed) to figures of an edit or a sham
    answers : victim to (kind, edit, seed, level) to subject to answer
    """

    suite: Suite
    subjects: Mapping[str, Row]
    cards: Mapping[str, Row]
    films: Mapping[tuple[str, str, str, int], Row]
    answers: Mapping[str, Mapping[tuple[str, str, int, float], Mapping[str, Row]]]

    def patient(self, subject: str) -> str:
        """Name the patient of a subject."""
        return str(self.subjects[subject]["patient"])

    def accepted(self, subject: str, edit: str, seed: int) -> bool:
        """Say whether an edit passed the filter."""
        return bool(self.films.get((subject, "edit", edit, seed), {}).get("accepted"))


def sort_rows(suite: Suite, rows: Sequence[Row]) -> Found:
    """Sort the rows of a ledger."""
    subjects = {r["subject"]: r for r in rows if r["type"] == "subject"}
    cards = {r["victim"]: r for r in rows if r["type"] == "card"}
    films = {
        (r["subject"], r["kind"], r["edit"], r["seed"]): r for r in rows if r["type"] == "film"
    }
    answers: dict[str, dict[tuple[str, str, int, float], dict[str, Row]]] = {}
    for row in rows:
        if row["type"] == "answer":
            arm = (row["kind"], row["edit"], row["seed"], row["level"])
            answers.setdefault(row["victim"], {}).setdefault(arm, {})[row["subject"]] = row
    return Found(suite, subjects, cards, films, answers)


@dataclass(frozen=True)
class Asked:
    """One victim and one label; the label is "" where a structure is outlined."""

    victim: str
    label: str


def asked_of(found: Found) -> list[Asked]:
    """Every victim with every label of the question."""
    question = found.suite.question
    labels = [label for label in (question.label, *question.watch) if label] or [""]
    return [Asked(victim, label) for victim in found.cards for label in labels]


def damage(found: Found, asked: Asked, answer: Row, wanted: bool | None) -> float | None:
    """Damage on one film; None where there is no answer, or nobody knows the truth."""
    effect = found.suite.criterion.effect
    if effect == "dice_fall":
        dice = answer.get("measures", {}).get("dice")
        return None if dice is None else 1 - float(dice)
    score = answer.get("scores", {}).get(asked.label)
    if score is None:
        return None
    if effect == "off_target":
        return float(score)
    threshold = found.cards[asked.victim]["thresholds"][asked.label]
    return None if wanted is None else float((score >= threshold) != wanted)


def expected(found: Found, asked: Asked, subject: str, edit: Edit | None) -> bool | None:
    """Whether the label is on the film: what is known of it, or what the edit made of it."""
    value = found.subjects[subject]["present"].get(asked.label)
    before = None if value is None else bool(value)
    return before if edit is None else expected_after(edit, asked.label, before)


def expected_after(edit: Edit, label: str, before: T) -> bool | T:
    """Say whether a label is on the film after an edit."""
    if label in edit.removes:
        return False
    return True if label in edit.adds else before


def on_arm(
    found: Found, asked: Asked, arm: tuple[str, str, int, float], edit: Edit | None
) -> Values:
    """Damage of every patient on one arm; several films of a patient are averaged.

    Parameters
    ----------
    edit : whose outcome decides what is right; None = what the film showed at first
    """
    collected = defaultdict(list)
    for subject, answer in found.answers.get(asked.victim, {}).get(arm, {}).items():
        kind, name, seed, _ = arm
        if kind == "edit" and not found.accepted(subject, name, seed):
            continue
        value = damage(found, asked, answer, expected(found, asked, subject, edit))
        if value is not None:
            collected[found.patient(subject)].append(value)
    return {patient: float(np.mean(values)) for patient, values in collected.items()}


def over_seeds(per_seed: Sequence[Values]) -> Values:
    """Mean over the seeds that a patient has."""
    collected = defaultdict(list)
    for values in per_seed:
        for patient, value in values.items():
            collected[patient].append(value)
    return {patient: float(np.mean(values)) for patient, values in collected.items()}


def less(one: Values, other: Values) -> Values:
    """Difference of the patients that both have."""
    return {patient: one[patient] - other[patient] for patient in one if patient in other}


@dataclass(frozen=True, eq=False)
class Effect:
    """What one edit did to one victim; every mapping is one number per patient.

    Attributes
    ----------
    real : damage on the real films of the patients that were edited
    edited, sham, true : damage on accepted edits, on shams, on true counterfactuals
    per_seed : damage on the accepted edits of each seed
    controls : kind of control to damage
    is_gap : whether damage is to be wrong, 0 or 1 on each film; else any number
    """

    edit: Edit
    asked: Asked
    real: Values
    edited: Values
    sham: Values
    true: Values
    per_seed: Mapping[int, Values]
    controls: Mapping[str, Values]
    is_gap: bool

    def mean(self, values: Values) -> Estimate:
        """Mean of an effect over patients, with the interval that suits its kind."""
        return (difference if self.is_gap else mean)(list(values.values()))

    @property
    def raw(self) -> Values:
        """Effect of the edit, before the sham is taken off."""
        return less(self.edited, self.real)

    @property
    def sham_effect(self) -> Values:
        """Effect of the sham."""
        return less(self.sham, self.real)

    @property
    def corrected(self) -> Values:
        """Sham-corrected effect, as above; the raw one where there is no sham to take off."""
        harm = self.sham_effect
        turned = self.asked.label in (*self.edit.removes, *self.edit.adds)
        if not harm or (turned and sum(harm.values()) <= 0):
            return self.raw
        return less(self.raw, harm)

    @property
    def truth(self) -> Values:
        """Effect of the true counterfactual."""
        return less(self.true, self.real)

    @property
    def estimate(self) -> Estimate:
        """Sham-corrected effect with its interval."""
        return self.mean(self.corrected)


def effect_of(found: Found, asked: Asked, edit: Edit) -> Effect:
    """Collect what one edit did to one victim."""
    real_all = on_arm(found, asked, ("real", "", 0, 0.0), None)
    per_seed = {
        seed: on_arm(found, asked, ("edit", edit.name, seed, 0.0), edit) for seed in edit.seeds
    }
    edited = over_seeds(list(per_seed.values()))
    shams = [on_arm(found, asked, ("sham", edit.name, seed, 0.0), None) for seed in edit.seeds]
    kinds = ("blur", "reconstruction", "masked")
    controls = {kind: on_arm(found, asked, (kind, edit.name, 0, 0.0), None) for kind in kinds}
    return Effect(
        edit=edit,
        asked=asked,
        real={patient: value for patient, value in real_all.items() if patient in edited},
        edited=edited,
        sham=over_seeds(shams),
        true=on_arm(found, asked, ("truth", edit.name, 0, 0.0), edit),
        per_seed=per_seed,
        controls={kind: values for kind, values in controls.items() if values},
        is_gap=found.suite.criterion.effect == "gap",
    )
