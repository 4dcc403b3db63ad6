"""The training of the embedded scorer runs, resumes, and leaves what the loader takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from radedit.lib.phantom import train_scorer
from radedit.lib.phantom.corpus import Corpus, triplet
from radedit.lib.phantom.world import World, draw_patient
from radedit.lib.score.dual_encoder import EmbeddedEncoder, ImageTextNetwork, Shape, load

NAMES = ("config.json", "model.safetensors")


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    world = World(normal=0.1, drain_given_pneumothorax=0.5)
    patients = [draw_patient(seed, world) for seed in range(9_310_000, 9_310_012)]
    films = np.stack([triplet(patient, 96) for patient in patients])
    return Corpus(patients, films[:, 0], films[:, 1], films[:, 2], films[:, 3])


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_scorer, "BATCH", 4)


def test_a_training_repeats_to_the_byte_and_a_finished_one_is_taken_as_it_is(
    corpus: Corpus, tmp_path: Path
) -> None:
    whole = train_scorer.train(corpus, tmp_path / "a", tmp_path / "whole", 4)
    torch.manual_seed(99)
    train_scorer.train(corpus, tmp_path / "b", tmp_path / "part", 4)
    state = torch.load(tmp_path / "b" / "scorer.pt", weights_only=True)
    assert state["step"] == 4
    again = train_scorer.train(corpus, tmp_path / "b", tmp_path / "again", 4)
    for name in NAMES:
        written = (tmp_path / "whole" / name).read_bytes()
        assert (tmp_path / "part" / name).read_bytes() == written
        assert (tmp_path / "again" / name).read_bytes() == written
    assert again == whole
    shares = ("auroc_side", "auroc_change", "kept_right", "kept_wrong_side", "kept_other_change")
    assert all(0 <= whole[name] <= 1 for name in (*shares, "retrieval"))
    assert -1 <= whole["median_right"] <= 1
    encoder = load({name: tmp_path / "whole" / name for name in NAMES})
    assert encoder.embed_text("Left chest drain").shape == (64,)


def test_every_pair_differs_in_what_it_shows_and_no_pair_comes_twice(corpus: Corpus) -> None:
    pairs = train_scorer._pairs(corpus, 64)
    assert len(pairs) >= 12
    seen = set()
    for pair in pairs:
        a, b = pair.patients
        assert (a.findings, a.devices) != (b.findings, b.devices)
        assert pair.films.shape == (2, 64, 64)
        assert (pair.films[0] != pair.films[1]).any()
        seen.add((a.seed, a.findings, a.devices, b.findings, b.devices))
    assert len(seen) == len(pairs)


def test_equal_descriptions_share_the_target_and_wrong_ones_cost() -> None:
    right = 20 * torch.eye(3)
    fits = np.eye(3, dtype=np.float32)
    assert float(train_scorer._info_nce(right, fits)) < 1e-6
    assert float(train_scorer._info_nce(-right, fits)) > 10
    twins = fits.copy()
    twins[0, 1] = twins[1, 0] = 1
    shared = right.clone()
    shared[0, 1] = shared[1, 0] = 20
    # The best that can be had where two of three answers are equally right: log 2 for these two.
    assert float(train_scorer._info_nce(shared, twins)) == pytest.approx(
        2 / 3 * np.log(2), abs=1e-5
    )
    assert float(train_scorer._info_nce(right, twins)) > float(
        train_scorer._info_nce(shared, twins)
    )


def test_an_untrained_scorer_measures_no_better_than_chance(corpus: Corpus) -> None:
    torch.manual_seed(0)
    shape = Shape(tuple(train_scorer.vocabulary()))
    found = train_scorer.measure(
        EmbeddedEncoder(ImageTextNetwork(shape).eval()), train_scorer._pairs(corpus, 128)
    )
    assert found["auroc_change"] < 0.75
    assert found["auroc_side"] < 0.75
    assert found["retrieval"] < 0.5
