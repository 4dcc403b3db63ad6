"""From rows to effects: what each model lost by an edit, by its sham, and by the truth.

Every question has one figure of damage per film, so that all suites are reckoned alike:

    gap         1 where the model is wrong about the label, else 0
    off_target  the score of a label that the edit has nothing to do with
    dice_fall   1 - Dice

What a verdict rests on is the *effect*, whose rule is fixed before the data:

    gap, of an edit that turns the label (removes or adds it): among the films that the model read
        right before, the share that it gets wrong after, less the share that it gets wrong of the
        real films that are as the edited ones should be. A sham shows the finding still, so it
        has nothing to be taken off here; it is told beside, and its harm may leave nothing shown.
    gap, of another edit: among the films that it read right before, the share that it gets wrong
        after, less the share that it gets wrong on the sham.
    off_target, dice_fall: damage on the edit less damage on the sham, on every film.

A model that is right about nothing has nothing to lose, so no effect is made up for it. Beside it
stands the fall of accuracy as papers have it, over all films, right before or not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, TypeVar

from radedit.lib.stress.evidence import did
from radedit.lib.stress.statistics import Estimate, excess, mean, mean_of, proportion
from radedit.lib.stress.suite import Edit, Suite

T = TypeVar("T", bool, bool | None)
Row = Mapping[str, Any]
Values = dict[str, float]
"""One number per film or per patient."""
_DIGITS = 6  # a difference that is smaller is one of rounding


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

    def did(self, subject: str, edit: Edit, seed: int) -> tuple[str, bool | None]:
        """Say by what an edit was measured, and whether it did what it says; see `evidence`."""
        row = self.films.get((subject, "edit", edit.name, seed), {})
        if "reasons" not in row:
            return "", None
        shams = [self.films.get((subject, "sham", edit.name, at), {}) for at in edit.seeds]
        return did(row, shams, self.suite.filter.consistent)

    def counts(self, subject: str, edit: Edit, seed: int) -> bool:
        """Say whether an effect may rest on an edit: accepted, and not known to be undone."""
        return self.accepted(subject, edit.name, seed) and (
            self.did(subject, edit, seed)[1] is not False
        )


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
    """Damage on every film of one arm, by subject; of edits, on those that count.

    Parameters
    ----------
    edit : whose outcome decides what is right; None = what the film showed at first
    """
    values = {}
    kind, _, seed, _ = arm
    for subject, answer in found.answers.get(asked.victim, {}).get(arm, {}).items():
        if kind == "edit" and (edit is None or not found.counts(subject, edit, seed)):
            continue
        value = damage(found, asked, answer, expected(found, asked, subject, edit))
        if value is not None:
            values[subject] = round(value, _DIGITS)
    return values


def over_seeds(per_seed: Sequence[Values]) -> Values:
    """Mean over the seeds that a film has."""
    collected = defaultdict(list)
    for values in per_seed:
        for subject, value in values.items():
            collected[subject].append(value)
    return {subject: round(fmean(v), _DIGITS) for subject, v in collected.items()}


def less(one: Values, other: Values) -> Values:
    """Difference where both have a value; what rounding leaves of two equal ones is none."""
    return {at: round(one[at] - other[at], _DIGITS) for at in one if at in other}


def by_patient(found: Found, values: Values) -> Values:
    """Mean over the films of each patient."""
    collected = defaultdict(list)
    for subject, value in values.items():
        collected[found.patient(subject)].append(value)
    return {patient: round(fmean(v), _DIGITS) for patient, v in collected.items()}


@dataclass(frozen=True, eq=False)
class Effect:
    """What one edit did to one model; every mapping is one number per patient.

    Attributes
    ----------
    kind : one of criterion.EFFECTS
    turned : whether the edit turns the very label that is asked for
    patients : with an edit that counts, answered or not
    answers : share of the edits that count, or of the real films if that is less, that were
        answered
    real, edited, sham, true : damage on the real films that were edited, on edits that count, on
        shams, on true counterfactuals
    per_seed : damage on the edits of each seed
    raw, sham_effect, truth : damage added by edit, sham and true counterfactual, on every film
    lost, shaken, lost_truly, lost_masked : damage on edit, sham, true counterfactual and on the
        film with the region filled with grey, among the films that were read right before; of
        scores and outlines all films are
    compared : what the effect is the mean of, before `reference` is taken off
    reference : damage on the real films that are as the edited ones should be; empty unless a
        gap turns the label
    controls : kind of control to the damage that it adds
    """

    edit: Edit
    asked: Asked
    kind: str
    turned: bool
    patients: int
    answers: float
    real: Values
    edited: Values
    sham: Values
    true: Values
    per_seed: Mapping[int, Values]
    raw: Values
    sham_effect: Values
    truth: Values
    lost: Values
    shaken: Values
    lost_truly: Values
    lost_masked: Values
    compared: Values
    reference: Values
    controls: Mapping[str, Values]

    @property
    def is_gap(self) -> bool:
        """Say whether damage is to be wrong, 0 or 1 on each film; else it is any number."""
        return self.kind == "gap"

    def mean(self, values: Values) -> Estimate:
        """Mean of a difference over patients, with the interval that suits its kind."""
        return mean_of(list(values.values()), self.kind)

    def level(self, values: Values) -> Estimate:
        """Mean of values from 0 to 1 over patients, with the interval that suits their kind."""
        found = (proportion if self.is_gap else mean)(list(values.values()))
        if found.low is None or found.high is None:
            return found
        return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))

    @property
    def estimate(self) -> Estimate:
        """The effect that a verdict rests on, with its interval."""
        if self.turned and self.is_gap:
            return excess(list(self.compared.values()), list(self.reference.values()))
        return self.mean(self.compared)


def effect_of(found: Found, asked: Asked, edit: Edit) -> Effect:
    """Collect what one edit did to one model."""
    kind = found.suite.criterion.effect
    turned = asked.label in (*edit.removes, *edit.adds)
    every = on_arm(found, asked, ("real", "", 0, 0.0), None)
    seeds = {
        seed: on_arm(found, asked, ("edit", edit.name, seed, 0.0), edit) for seed in edit.seeds
    }
    edited = over_seeds(list(seeds.values()))
    sham = over_seeds(
        [on_arm(found, asked, ("sham", edit.name, seed, 0.0), None) for seed in edit.seeds]
    )
    true = on_arm(found, asked, ("truth", edit.name, 0, 0.0), edit)
    real = {subject: value for subject, value in every.items() if subject in edited}
    right = {subject for subject, value in real.items() if kind != "gap" or value == 0}
    after = asked.label in edit.adds
    like = {s: v for s, v in every.items() if expected(found, asked, s, None) is after}
    counted = _counted(found, edit)

    def patients(values: Values, among: Container[str] = edited) -> Values:
        return by_patient(found, {s: v for s, v in values.items() if s in among})

    lost, shaken = patients(edited, right), patients(sham, right)
    controls = {
        name: on_arm(found, asked, (name, edit.name, 0, 0.0), None)
        for name in ("blur", "reconstruction", "masked")
    }
    return Effect(
        edit=edit,
        asked=asked,
        kind=kind,
        turned=turned,
        patients=len({found.patient(subject) for subject, _ in counted}),
        answers=_answers(found, asked, edit, counted),
        real=patients(real),
        edited=patients(edited),
        sham=patients(sham),
        true=patients(true),
        per_seed={seed: patients(values) for seed, values in seeds.items()},
        raw=patients(less(edited, real)),
        sham_effect=patients(less(sham, real)),
        truth=patients(less(true, real)),
        lost=lost,
        shaken=shaken,
        lost_truly=patients(true, right),
        lost_masked=patients(on_arm(found, asked, ("masked", edit.name, 0, 0.0), edit), right),
        compared=lost if turned and kind == "gap" else patients(less(edited, sham), right),
        reference=by_patient(found, like) if turned and kind == "gap" else {},
        controls={k: patients(less(v, real)) for k, v in controls.items() if v},
    )


def _counted(found: Found, edit: Edit) -> list[tuple[str, int]]:
    """Subject and seed of the edits that count."""
    return [
        (subject, seed)
        for (subject, kind, name, seed) in found.films
        if kind == "edit" and name == edit.name and found.counts(subject, edit, seed)
    ]


def _answers(found: Found, asked: Asked, edit: Edit, counted: Sequence[tuple[str, int]]) -> float:
    """Share that was answered of what there is: silence where it would be wrong is no reading."""
    arms = found.answers.get(asked.victim, {})

    def is_answered(arm: tuple[str, str, int, float], subject: str) -> bool:
        row = arms.get(arm, {}).get(subject, {})
        return asked.label in row.get("scores", {}) if asked.label else "measures" in row

    edits = [is_answered(("edit", edit.name, seed, 0.0), subject) for subject, seed in counted]
    real = [is_answered(("real", "", 0, 0.0), subject) for subject in found.subjects]
    return min(sum(flags) / len(flags) if flags else 1.0 for flags in (edits, real))
