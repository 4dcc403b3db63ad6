"""Scores in the shapes and units that vendors send: read, or refused with advice that helps."""

from __future__ import annotations

from typing import Any

import pytest

from radedit.lib.errors import VictimError
from radedit.lib.victims.scores import labelled, usable_scores

WANTED = {"Pneumothorax": 0.9, "Effusion": 0.1}


@pytest.mark.parametrize(
    "found",
    [
        {"Pneumothorax": 0.9, "Effusion": 0.1},
        [{"Pneumothorax": 0.9}, {"Effusion": 0.1}],
        [
            {"label": "Pneumothorax", "probability": 0.9},
            {"label": "Effusion", "probability": 0.1, "box": [1, 2, 3, 4]},
        ],
        [
            {"Finding": "Pneumothorax", "Confidence": "90 %"},
            {"Finding": "Effusion", "Confidence": "10%"},
        ],
        {"Pneumothorax": {"probability": 0.9, "heatmap": "..."}, "Effusion": {"score": 0.1}},
        [{"Pneumothorax": {"score": 0.9}}, {"Effusion": {"score": 0.1}}],
        [0.9, 0.1],
        ["0.9", "0,1"],
        {"Pneumothorax": "90.0 %", "Effusion": "10 %"},
        [{"name": "Pneumothorax", "score": 0.9}, {"name": "Effusion", "score": 0.1}] * 2,
    ],
    ids=str,
)
def test_every_shape_is_read_as_the_same_scores(found: Any) -> None:
    scores, assumed = usable_scores(labelled(found, tuple(WANTED)))
    assert scores == pytest.approx(WANTED)
    assert not assumed


def test_one_finding_alone_is_one_finding() -> None:
    assert labelled({"label": "Pneumothorax", "score": 0.9}) == {"Pneumothorax": 0.9}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (3, "neither an object nor a list"),
        ("0.9", "neither an object nor a list"),
        ([0.9], "gave 1 scores; expected one for each of the 2"),
        ([{"finding": "Pneumothorax", "box": [1, 2]}], "without a name .* and a number"),
        ([{"label": "A", "score": 0.9}, {"label": "A", "score": 0.4}], "names 'A' twice"),
    ],
)
def test_a_shape_that_could_be_meant_otherwise_is_refused(found: Any, said: str) -> None:
    with pytest.raises(VictimError, match=said):
        labelled(found, tuple(WANTED))


def test_units_are_what_the_file_says() -> None:
    assert usable_scores({"a": 90, "b": 0.5}, "percent")[0] == pytest.approx({"a": 0.9, "b": 0.005})
    assert usable_scores({"a": 0.0, "b": -800.0}, "logit")[0] == pytest.approx({"a": 0.5, "b": 0.0})
    assert usable_scores({"a": "12 %"}, "ratio")[0] == pytest.approx({"a": 0.12})


def test_a_service_that_speaks_in_per_cent_is_understood_and_that_is_said() -> None:
    assert usable_scores({"a": 90.0, "b": 0.5}, is_service=True) == ({"a": 0.9, "b": 0.005}, True)


@pytest.mark.parametrize("value", [1.01, 7.5, -0.1, 101, "NaN", "inf", None, True, [0.5], "high"])
@pytest.mark.parametrize("is_service", [True, False])
def test_what_could_be_a_logit_or_nothing_is_refused_with_the_key_that_says_it(
    value: Any, is_service: bool
) -> None:
    with pytest.raises(VictimError, match='unit = "percent"'):
        usable_scores({"a": value}, is_service=is_service)


@pytest.mark.parametrize("unit", ["ratio", "percent"])
def test_a_number_out_of_its_unit_is_refused(unit: str) -> None:
    with pytest.raises(VictimError):
        usable_scores({"a": 101}, unit, is_service=True)


def test_a_network_is_never_taken_to_speak_in_per_cent() -> None:
    with pytest.raises(VictimError):
        usable_scores({"a": 90.0})
