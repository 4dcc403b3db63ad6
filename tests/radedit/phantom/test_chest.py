"""The simple chest phantom: a pure function of its seed, with masks that tell the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from radedit.lib.phantom import chest
from radedit.lib.phantom.sentences import describe, vocabulary

SIZE = 128


def patient_with(kind: str, side: str = "left") -> chest.Patient:
    finding = chest.Finding(kind, side, "mid", 0.6, seed=5)
    return replace(chest.draw_patient(3), findings=(finding,), drain_side=None, photons=1e9)


def test_a_film_is_a_pure_function_of_its_seed() -> None:
    first, again = (chest.render(chest.draw_patient(11), SIZE) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.masks.keys() == again.masks.keys()
    assert (chest.render(chest.draw_patient(12), SIZE).image != first.image).any()


@pytest.mark.parametrize("kind", ["mass", "consolidation", "effusion"])
def test_an_opacity_makes_its_mask_denser_than_the_true_counterfactual(kind: str) -> None:
    patient = patient_with(kind)
    shown = chest.render(patient, SIZE)
    normal = chest.render(chest.without_findings(patient), SIZE)
    mask = shown.masks[kind]
    assert mask.any()
    change = (shown.image - normal.image)[mask]
    assert (change > 0).mean() > 0.9
    assert kind not in normal.masks


def test_a_pneumothorax_makes_its_mask_less_dense() -> None:
    patient = patient_with("pneumothorax")
    shown = chest.render(patient, SIZE)
    normal = chest.render(chest.without_findings(patient), SIZE)
    change = (shown.image - normal.image)[shown.masks["pneumothorax"]]
    assert np.median(change) < 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_finding_lies_in_the_lung_of_the_side_it_names(side: str) -> None:
    shown = chest.render(patient_with("consolidation", side), SIZE)
    inside = shown.masks["consolidation"] & shown.masks[f"lung_{side}"]
    assert inside.sum() > 0.8 * shown.masks["consolidation"].sum()
    columns = np.nonzero(shown.masks[f"lung_{side}"])[1]
    assert (columns.mean() > SIZE / 2) == (side == "left")  # the patient faces us


def test_the_drain_is_kept_when_the_pneumothorax_is_gone() -> None:
    patient = replace(patient_with("pneumothorax"), drain_side="left")
    shown, normal = chest.render(patient, SIZE), chest.render(chest.without_findings(patient), SIZE)
    np.testing.assert_array_equal(shown.masks["drain"], normal.masks["drain"])
    assert shown.masks["drain"].any()


def test_the_world_is_biased_as_the_dial_says() -> None:
    def drained(dial: float) -> float:
        patients = [chest.draw_patient(seed, drain_given_pneumothorax=dial) for seed in range(400)]
        ill = [p for p in patients if any(f.kind == "pneumothorax" for f in p.findings)]
        return sum(p.drain_side is not None for p in ill) / len(ill)

    assert drained(1.0) == 1.0
    assert drained(0.0) == 0.0
    assert 0.35 < drained(0.5) < 0.65


def test_every_sentence_is_made_of_words_the_encoder_knows() -> None:
    known = set(vocabulary())
    for seed in range(300):
        text = describe(chest.draw_patient(seed), np.random.default_rng(seed))
        assert set(text.lower().split()) <= known, text
