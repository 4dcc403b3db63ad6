"""Effects, verdicts and what is counted, from rows whose answers are known."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from radedit.lib.stress.agreement import agreement
from radedit.lib.stress.findings import Asked, effect_of, sort_rows
from radedit.lib.stress.first_page import pairs_of, sentence, verdict_rows
from radedit.lib.stress.results import summarise
from radedit.lib.stress.suite import Suite
from radedit.lib.stress.yields import yield_of

N = 40


def verdict_of(suite: Suite, rows: Any) -> Any:
    return summarise(sort_rows(suite, rows), ())["victims"][0]["verdict"]


def biased(n: int, kind: str) -> float:
    """Calls it whatever is shown: a reader of the drain."""
    return 0.9


def robust(n: int, kind: str) -> float:
    return 0.1 if kind in ("edit", "truth") else 0.9


def without_truth(rows: Any) -> Any:
    return [row for row in rows if row.get("kind") != "truth"]


def on_grey(rows: Any, score: float) -> Any:
    """Answers about the film with the edited region filled with grey."""
    return [
        {**row, "kind": "masked", "scores": {"finding": score}}
        for row in rows
        if row["type"] == "answer" and row["kind"] == "blur"
    ]


def test_a_reader_of_the_shortcut_is_wrong_on_every_edit(known_suite: Suite, rows_of: Any) -> None:
    found = sort_rows(known_suite, rows_of({"biased": biased, "robust": robust}, N))
    edit = known_suite.edits[0]
    bad = effect_of(found, Asked("biased", "finding"), edit)
    good = effect_of(found, Asked("robust", "finding"), edit)
    assert (bad.estimate.value, good.estimate.value) == (1.0, 0.0)
    assert bad.truth == bad.raw
    assert good.truth == good.raw


def test_the_criterion_fails_the_one_and_passes_the_other(known_suite: Suite, rows_of: Any) -> None:
    result = summarise(sort_rows(known_suite, rows_of({"biased": biased, "robust": robust}, N)), ())
    held = {v["victim"]: v["verdict"]["held"] for v in result["victims"]}
    assert held == {"biased": False, "robust": True}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def not_turned(suite: Suite, effect: str = "gap") -> Suite:
    """The suite with an edit that adds something else, so that the label stays as it was."""
    edit = replace(suite.edits[0], removes=(), adds=("another",))
    criterion = replace(suite.criterion, effect=effect)
    label = "finding" if effect == "gap" else ""
    question = replace(suite.question, label=label, watch=("finding",) if not label else ())
    return replace(suite, edits=(edit,), criterion=criterion, question=question)


def test_a_sham_that_flips_a_reader_as_often_as_the_edit_leaves_no_effect(
    known_suite: Suite, rows_of: Any
) -> None:
    def shaken(n: int, kind: str) -> float:
        """Wrong on a third, whenever the film went through the editor."""
        return 0.1 if kind in ("edit", "sham") and n % 3 == 0 else 0.9

    found = sort_rows(not_turned(known_suite), rows_of({"shaken": shaken}, 39))
    effect = effect_of(found, Asked("shaken", "finding"), found.suite.edits[0])
    assert np.mean(list(effect.lost.values())) == pytest.approx(1 / 3)
    assert effect.estimate.value == 0.0


def test_a_sham_that_does_more_than_the_bound_by_itself_leaves_nothing_shown(
    known_suite: Suite, rows_of: Any
) -> None:
    def blinded(n: int, kind: str) -> float:
        """Calls no film that went through the editor: right on every edit, wrong on every sham."""
        return 0.9 if kind == "real" else 0.1

    verdict = verdict_of(known_suite, rows_of({"v": blinded}, N))
    assert (verdict["outcome"], verdict["unmet"]) == ("not shown", ["sham"])


def test_the_seeds_of_a_film_count_once_for_fidelity(known_suite: Suite, rows_of: Any) -> None:
    rng = np.random.default_rng(2)
    source = rng.normal(size=(N, 4))
    rows = rows_of({"v": robust}, N)
    for row in rows:
        if row["type"] == "film" and row["kind"] == "edit":
            mine = source[int(row["subject"][1:])]
            row["features"] = [mine.tolist(), (mine + 1e-3 * row["seed"]).tolist()]
    made = summarise(sort_rows(known_suite, rows), ())["edits"][0]
    # Edits equal to their sources: with two seeds each, their own twins would hide the others.
    assert (made["precision"], made["recall"]) == (1.0, 1.0)
    assert made["kid"] < 0.01


def test_rejected_edits_are_counted_and_do_not_count(known_suite: Suite, rows_of: Any) -> None:
    def fails_on_rejected(n: int, kind: str) -> float:
        return 0.9 if n >= 30 else robust(n, kind)

    rows = rows_of({"v": fails_on_rejected}, N)
    for row in rows:
        if row["type"] == "film" and row["kind"] == "edit" and int(row["subject"][1:]) >= 30:
            row |= {"accepted": False, "reasons": ["directional similarity 0.12 is under 0.2"]}
    result = summarise(sort_rows(known_suite, rows), ())
    made = result["edits"][0]
    assert (made["made"], made["accepted"], made["yield"]) == (2 * N, 60, 0.75)
    assert made["reasons"] == {"directional similarity under 0.2": 20}
    effect = result["victims"][0]["effects"][0]
    assert (effect["patients"], effect["corrected"]["value"]) == (30, 0.0)


def test_a_missing_answer_is_counted_and_never_guessed(known_suite: Suite, rows_of: Any) -> None:
    def silent(n: int, kind: str) -> float | None:
        return None if kind == "edit" and n < 10 else robust(n, kind)

    result = summarise(sort_rows(known_suite, rows_of({"silent": silent}, N)), ())
    victim = result["victims"][0]
    assert victim["missing"] == {"asked": 8 * N, "missing": 20, "reasons": {"no answer": 20}}
    effect = victim["effects"][0]
    assert (effect["patients"], effect["corrected"]["n"]) == (N, N - 10)


def test_a_label_that_is_left_out_of_an_answer_is_missing_and_counts_for_nothing(
    known_suite: Suite, rows_of: Any
) -> None:
    edit = replace(known_suite.edits[0], doses=(0.5,))
    suite = replace(known_suite, edits=(edit,))
    rows = rows_of({"v": robust}, N)
    for row in rows:
        if row["type"] == "answer" and row["kind"] == "real" and int(row["subject"][1:]) < 5:
            row["scores"] = {"other": 0.1}
    victim = summarise(sort_rows(suite, rows), ())["victims"][0]
    assert victim["missing"]["reasons"] == {"no score of finding in the answer": 5}
    effect = victim["effects"][0]
    assert effect["patients"] == N
    assert effect["corrected"]["n"] == N - 5
    assert len(effect["response"]["points"]) == 2 * N - 5  # real and edit; no dose was shown


@pytest.mark.parametrize(
    ("patients", "rejected", "why"),
    [
        (8, 0, "8 patients were read right and have an edit that counts, 10 are needed"),
        (40, 25, "38% of the edits"),
    ],
)
def test_too_few_patients_or_edits_conclude_nothing(
    patients: int, rejected: int, why: str, known_suite: Suite, rows_of: Any
) -> None:
    rows = rows_of({"robust": robust}, patients)
    for row in rows:
        if row["type"] == "film" and int(row["subject"][1:]) < rejected:
            row |= {"accepted": False, "reasons": ["seen"]}
    verdict = summarise(sort_rows(known_suite, rows), ())["victims"][0]["verdict"]
    assert verdict["held"] is None
    assert why in verdict["why"]


def test_a_sham_that_helps_a_reader_makes_no_gap_that_the_edit_did_not(
    known_suite: Suite, rows_of: Any
) -> None:
    def helped(n: int, kind: str) -> float:
        """Misses a quarter of the findings unless a sham makes them plainer."""
        return 0.1 if kind in ("edit", "truth") or (kind == "real" and n % 4 == 0) else 0.9

    found = sort_rows(known_suite, rows_of({"v": helped}, N))
    effect = effect_of(found, Asked("v", "finding"), known_suite.edits[0])
    assert np.mean(list(effect.sham_effect.values())) == -0.25
    assert effect.estimate.value == 0.0
    assert effect.estimate.n == 30
    assert set(effect.shaken.values()) == {0.0}


def test_a_model_that_sees_nothing_holds_no_criterion(known_suite: Suite, rows_of: Any) -> None:
    """It is right on every edit that removed the finding, and would have been without a film."""
    verdict = verdict_of(known_suite, rows_of({"never": lambda n, kind: 0.1}, N))
    assert (verdict["outcome"], verdict["held"]) == ("not shown", None)
    assert "reading" in verdict["unmet"]
    assert "sensitivity 0.00" in verdict["why"]


def test_labels_that_are_swapped_are_asked_about(known_suite: Suite, rows_of: Any) -> None:
    rows = rows_of({"swapped": lambda n, kind: 1 - robust(n, kind)}, N, lambda n: 0.95)
    verdict = verdict_of(known_suite, rows)
    assert verdict["outcome"] == "not shown"
    assert "its labels may be swapped" in verdict["why"]


def test_an_edit_that_did_no_more_than_its_sham_fails_nobody(
    known_suite: Suite, rows_of: Any
) -> None:
    rows = rows_of({"good": lambda n, kind: 0.9}, N)  # the finding is there still, and is called
    for row in rows:
        if row["type"] == "film":
            row["dose"] = 0.05
    verdict = verdict_of(known_suite, rows)
    assert (verdict["outcome"], verdict["held"]) == ("not shown", None)
    assert "edits" in verdict["unmet"]


def test_what_is_right_once_the_region_is_grey_was_called_for_the_traces_of_the_edit(
    known_suite: Suite, rows_of: Any
) -> None:
    rows = without_truth(rows_of({"stubborn": biased}, N))
    assert verdict_of(known_suite, rows)["outcome"] == "failed"
    verdict = verdict_of(known_suite, rows + on_grey(rows, 0.1))
    assert verdict["outcome"] == "not shown"
    assert "filled with grey" in verdict["why"]


def test_what_is_right_on_the_true_counterfactual_was_called_for_the_traces_of_the_edit(
    known_suite: Suite, rows_of: Any
) -> None:
    def stubborn(n: int, kind: str) -> float:
        return 0.1 if kind == "truth" else 0.9

    verdict = verdict_of(known_suite, rows_of({"stubborn": stubborn}, N))
    assert verdict["outcome"] == "not shown"
    assert "on the true counterfactuals" in verdict["why"]
    rows = rows_of({"bound": biased}, N)  # grey may hide what it leans on; the truth does not
    assert verdict_of(known_suite, rows + on_grey(rows, 0.1))["outcome"] == "failed"


def test_a_model_that_is_silent_where_it_would_be_wrong_holds_nothing(
    known_suite: Suite, rows_of: Any
) -> None:
    def silent(n: int, kind: str) -> float | None:
        return None if kind == "edit" and n % 2 else robust(n, kind)

    verdict = verdict_of(known_suite, rows_of({"v": silent}, N))
    assert (verdict["outcome"], verdict["unmet"]) == ("not shown", ["answers"])
    assert "50% of the films were answered" in verdict["why"]


def test_a_difference_of_rounding_is_no_effect(known_suite: Suite, rows_of: Any) -> None:
    def rounded(n: int, kind: str) -> float:
        return {"edit": 0.1 + 0.2, "sham": 0.3 - 1e-9}.get(kind, 0.3)

    suite = not_turned(known_suite, "off_target")
    result = summarise(sort_rows(suite, rows_of({"v": rounded}, N)), ())["victims"][0]
    effect = result["effects"][0]
    assert (effect["corrected"]["value"], effect["p"]) == (0.0, 1.0)


def test_a_sham_is_taken_off_in_full_where_the_edit_leaves_the_label_as_it_was(
    known_suite: Suite, rows_of: Any
) -> None:
    def shaken(n: int, kind: str) -> float:
        """Scores 0.2 less whatever went through the editor, and 0.3 more for what was added."""
        return {"sham": 0.2, "edit": 0.5}.get(kind, 0.4)

    suite = not_turned(known_suite, "off_target")
    found = sort_rows(suite, rows_of({"v": shaken}, N))
    effect = effect_of(found, Asked("v", "finding"), suite.edits[0])
    assert np.mean(list(effect.raw.values())) == pytest.approx(0.1)
    assert effect.estimate.value == pytest.approx(0.3)


def test_a_bound_inside_the_interval_is_not_shown_and_says_what_it_would_take(
    known_suite: Suite, rows_of: Any
) -> None:
    def sometimes(n: int, kind: str) -> float:
        return 0.9 if n % 12 == 0 else robust(n, kind)

    verdict = summarise(sort_rows(known_suite, rows_of({"v": sometimes}, 36)), ())["victims"][0][
        "verdict"
    ]
    assert (verdict["outcome"], verdict["held"]) == ("not shown", None)
    assert "inside" in verdict["why"]
    assert "with 36 patients the criterion holds only if none is lost" in verdict["why"]


def test_in_a_null_world_no_effect_is_told(known_suite: Suite, rows_of: Any) -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(20):
        noise = rng.random((60, 7)) < 0.15

        def null(n: int, kind: str, noise: Any = noise) -> float:
            """Wrong at random, equally often on every kind of film."""
            kinds = ("real", "edit", "sham", "truth", "blur")
            return abs(robust(n, kind) - float(noise[n, kinds.index(kind)]) * 0.8)

        well = np.where(rng.random(120) < 0.15, 0.9, 0.1).tolist().__getitem__
        found = sort_rows(known_suite, rows_of({"null": null}, 60, well))
        estimate = effect_of(found, Asked("null", "finding"), known_suite.edits[0]).estimate
        assert estimate.low is not None
        assert estimate.high is not None
        wrong += not estimate.low <= 0 <= estimate.high
    assert wrong <= 3


def test_several_films_of_a_patient_are_one_patient(known_suite: Suite, rows_of: Any) -> None:
    rows = rows_of({"biased": biased}, N)
    for row in rows:
        if row["type"] == "subject":
            row["patient"] = f"p{row['number'] // 2}"
    effect = summarise(sort_rows(known_suite, rows), ())["victims"][0]["effects"][0]
    assert effect["corrected"]["n"] == N // 2


def test_scores_of_other_findings_are_followed_off_target(rows_of: Any, known_suite: Suite) -> None:
    def planted(n: int, kind: str) -> float:
        return 0.7 if kind in ("edit", "truth") else 0.2

    question = replace(known_suite.question, label="", watch=("finding",))
    criterion = replace(known_suite.criterion, effect="off_target")
    suite = replace(known_suite, question=question, criterion=criterion)
    rows = rows_of({"planted": planted, "clean": lambda n, kind: 0.2}, N)
    result = summarise(sort_rows(suite, rows), ())
    effects = {v["victim"]: v["effects"][0]["corrected"]["value"] for v in result["victims"]}
    assert effects == {"planted": pytest.approx(0.5), "clean": pytest.approx(0.0)}
    assert [v["verdict"]["held"] for v in result["victims"]] == [False, True]


def test_estimates_that_are_true_have_no_bias_and_cover_the_truth(
    rows_of: Any, known_suite: Suite
) -> None:
    def reader(share: int) -> Any:
        return lambda n, kind: 0.9 if n % 10 < share else robust(n, kind)

    victims = {f"v{share}": reader(share) for share in (0, 2, 4, 6, 8, 10)}
    found = sort_rows(known_suite, rows_of(victims, 80))
    effects = [effect_of(found, Asked(v, "finding"), known_suite.edits[0]) for v in victims]
    told = agreement(effects)
    assert told is not None
    assert told["bias"]["value"] == 0.0
    assert told["rank"] == pytest.approx(1.0)
    assert told["coverage"]["value"] > 0.94


def test_estimates_that_are_wrong_are_told_to_be(rows_of: Any, known_suite: Suite) -> None:
    def half_undone(n: int, kind: str) -> float:
        """The edit leaves the finding in half of the films; the truth does not."""
        return 0.9 if kind == "edit" and n % 2 else robust(n, kind)

    found = sort_rows(known_suite, rows_of({"v": half_undone}, 80))
    told = agreement([effect_of(found, Asked("v", "finding"), known_suite.edits[0])])
    assert told is not None
    assert told["bias"]["value"] == pytest.approx(0.5)
    assert told["coverage"]["value"] < 0.1


def test_subgroups_and_their_widest_gap_are_told(rows_of: Any, known_suite: Suite) -> None:
    def unfair(n: int, kind: str) -> float:
        return 0.9 if n % 2 else robust(n, kind)

    effect = summarise(sort_rows(known_suite, rows_of({"v": unfair}, N)), ())["victims"][0]
    sexes = effect["effects"][0]["subgroups"]["sex"]
    assert sexes["widest_gap"] == 1.0
    assert {k: g["value"] for k, g in sexes["groups"].items()} == {"F": 0.0, "M": 1.0}


@pytest.mark.parametrize(("wrong", "told"), [(3, False), (20, True)])
def test_labels_that_a_reader_contradicts_too_often_are_doubted(
    wrong: int, told: bool, rows_of: Any, known_suite: Suite
) -> None:
    rows = rows_of({"robust": robust}, N)
    for row in rows:
        if row["type"] == "subject":
            row["reader"] = row["present"]["finding"] is (row["number"] >= wrong)
    problems = summarise(sort_rows(known_suite, rows), ())["problems"]
    kinds = {problem["kind"]: problem for problem in problems}
    assert ("labels that an independent reader contradicts" in kinds) is told
    if told:
        assert "accuracy" in kinds["labels that an independent reader contradicts"]["loses"]


def test_a_mask_without_what_the_label_says_is_told(rows_of: Any, known_suite: Suite) -> None:
    rows = rows_of({"robust": robust}, N)
    rows.append(
        {"type": "film", "subject": "s0", "kind": "edit", "edit": "removed", "seed": 5,
         "refused": "the edit mask is empty on this film; draw a region that may change."}
    )  # fmt: skip
    result = summarise(sort_rows(known_suite, rows), ())
    assert [problem["count"] for problem in result["problems"]] == [1]
    assert sum(result["edits"][0]["refused"].values()) == 1


def test_outlines_are_told_per_patient_however_many_seeds_there_are(
    known_suite: Suite, rows_of: Any
) -> None:
    rows = rows_of({"v": robust}, N)
    for row in rows:
        if row["type"] == "answer":
            n = int(row["subject"][1:])
            lost = 0.1 + 0.01 * (n % 7) if row["kind"] == "edit" else 0.02
            row["measures"] = {"dice": 1 - lost, "hd95_mm": 10 * lost, "assd_mm": None}
    question = replace(known_suite.question, label="", structure="lungs", region="task:lungs")
    criterion = replace(known_suite.criterion, effect="dice_fall")
    suite = replace(known_suite, question=question, criterion=criterion)
    effect = summarise(sort_rows(suite, rows), ())["victims"][0]["effects"][0]
    table = effect["millimetres"]
    assert table["edited"]["hd95_mm"]["n"] == table["edited"]["dice"]["n"] == N
    lost = [0.1 + 0.01 * (n % 7) for n in range(N)]
    half = 2.0227 * np.std(lost, ddof=1) / np.sqrt(N)  # t of 39 degrees of freedom
    assert table["edited"]["dice"]["low"] == pytest.approx(1 - np.mean(lost) - half, abs=1e-5)
    assert "assd_mm" not in table["edited"]


def test_films_of_a_patient_that_were_not_edited_change_no_effect(
    known_suite: Suite, rows_of: Any
) -> None:
    """A patient's film without the finding is no real film that his edit is compared with."""
    rows = rows_of({"v": robust}, N)
    for row in rows:
        if row["type"] == "subject" and not row["present"]["finding"]:
            row["patient"] = f"p{row['number'] - N}"
        if row["type"] == "answer" and row["subject"] == f"s{N}":
            row["scores"] = {"finding": 0.9}  # a false call on the other film of patient 0
    found = sort_rows(known_suite, rows)
    effect = effect_of(found, Asked("v", "finding"), known_suite.edits[0])
    assert set(effect.real.values()) == {0.0}
    assert effect.reference["p0"] == 1.0


def test_by_dose_alone_a_model_that_calls_the_grey_region_has_not_held(
    known_suite: Suite, rows_of: Any
) -> None:
    """As a reader of a drain does where the edit erased the drain as well."""
    rows = without_truth(rows_of({"drain": robust}, N))
    masked = on_grey(rows, 0.9)
    assert verdict_of(known_suite, rows)["outcome"] == "held"
    verdict = verdict_of(known_suite, rows + masked)
    assert verdict["outcome"] == "not shown"
    assert "erased more than they say" in verdict["why"]
    for row in rows:
        if row["type"] == "film":
            row["truth"] = {"done": 1.0, "beside": 0.2}
    assert verdict_of(known_suite, rows + masked)["outcome"] == "held"


def test_two_models_are_compared_on_the_patients_that_both_read_right(
    known_suite: Suite, rows_of: Any
) -> None:
    def one(n: int, kind: str) -> float:
        return 0.1 if kind == "real" and n < 10 else biased(n, kind)

    pair = pairs_of(sort_rows(known_suite, rows_of({"one": one, "other": robust}, N)))
    assert [(row["one"], row["other"], row["edit"]) for row in pair] == [
        ("one", "other", "removed")
    ]
    assert (pair[0]["difference"]["value"], pair[0]["difference"]["n"]) == (1.0, N - 10)
    assert pair[0]["difference"]["low"] > 0.8


def test_the_first_page_says_the_outcome_and_why_something_was_not_shown(
    known_suite: Suite, rows_of: Any
) -> None:
    vendors = {"bound": biased, "never": lambda n, kind: 0.1, "fair": robust}
    result = summarise(sort_rows(known_suite, rows_of(vendors, N)), ())
    rows = verdict_rows([{"suite": asdict(known_suite), "result": result}])
    assert sentence(rows) == (
        "Failed: bound (finding). Held: fair (finding). Not shown: never (finding)."
    )
    never = rows[1]
    assert never["effect"] == {}  # no effect is drawn that no verdict can rest on
    assert "sensitivity 0.00" in never["why"]


def test_a_film_that_could_not_be_edited_lacks_the_edits_of_all_seeds(
    known_suite: Suite, rows_of: Any
) -> None:
    rows = rows_of({"robust": robust}, N)
    rows += [
        {"type": "film", "subject": f"s{n}", "kind": "edit", "edit": "removed", "seed": 0,
         "refused": "the edit mask is empty on this film"}
        for n in range(2 * N, 3 * N)
    ]  # fmt: skip
    made = yield_of(sort_rows(known_suite, rows), known_suite.edits[0])
    assert (made["asked"], made["made"], made["yield"]) == (4 * N, 2 * N, 0.5)
