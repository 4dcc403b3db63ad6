"""The training of victims and judge: it runs from nothing, goes on, and leaves what loads."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from radedit.lib.errors import CheckpointError, FilmError, NotFoundError, ParameterError
from radedit.lib.phantom import checkpoint, train_judge, train_victims
from radedit.lib.stress.judge import load_judge
from radedit.lib.victims.embedded import VICTIMS, load_victim

PLAN = train_victims.Plan(patients=4, held=4, few=1, steps=3, size=64)
JUDGE_PLAN = train_judge.Plan(patients=4, held=4, steps=3, size=64)
Film = NDArray[np.float32]


@dataclass(frozen=True)
class Trained:
    """Where a short training left its state and its weights."""

    work: Path
    out: Path
    measured: dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    base = tmp_path_factory.mktemp("victims")
    measured = train_victims.train(base / "work", base / "victims", PLAN)
    train_judge.train(base / "work", base / "judge", JUDGE_PLAN)
    return Trained(base / "work", base, measured)


@pytest.fixture
def film() -> Film:
    rng = np.random.default_rng(6)
    smooth = np.cumsum(rng.standard_normal((150, 120)), 0)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


@pytest.mark.parametrize("name", VICTIMS)
def test_every_victim_loads_and_says_what_it_is(name: str, trained: Trained) -> None:
    card = load_victim(name, trained.out / "victims").card
    assert card.name == name
    assert card.task == ("segment" if name.startswith("lungs") else "classify")
    assert card.seeds[0] >= 3_000_000
    assert card.seeds[1] < 3_000_004
    assert 0 <= card.threshold <= 1
    assert len(card.sha256) == 64
    assert card.measured == pytest.approx(trained.measured[name], abs=1e-6)


@pytest.mark.parametrize("name", VICTIMS)
def test_a_victim_is_small(name: str, trained: Trained) -> None:
    assert (trained.out / "victims" / name / "model.safetensors").stat().st_size <= 600_000


def test_a_classifier_answers_alike_for_a_film_of_less_contrast(
    trained: Trained, film: Film
) -> None:
    victim = load_victim("pneumothorax-robust", trained.out / "victims")
    probability = victim.predict(film)
    assert 0 <= probability <= 1
    assert victim.predict(0.3 + 0.4 * film) == pytest.approx(probability, abs=1e-4)
    assert victim.predict(1 - film) != pytest.approx(probability, abs=1e-4)
    assert victim.positive(film) == (probability >= victim.card.threshold)


def test_a_segmenter_answers_on_the_films_own_grid(trained: Trained, film: Film) -> None:
    mask = load_victim("lungs-strong", trained.out / "victims").segment(film)
    assert mask.shape == film.shape
    assert mask.dtype == bool


def test_padding_is_left_out_of_the_contrast(trained: Trained, film: Film) -> None:
    victim = load_victim("opacity-robust", trained.out / "victims")
    padded, valid = film.copy(), np.ones(film.shape, bool)
    padded[:, :30], valid[:, :30] = 9.0, False
    unpadded, dark = film.copy(), film.copy()
    unpadded[:, :30], dark[:, :30] = 1.0, 0.0
    assert victim.predict(padded, valid) == pytest.approx(victim.predict(unpadded, valid))
    assert victim.predict(dark, valid) != pytest.approx(victim.predict(unpadded, valid), abs=1e-6)


def test_a_victim_asked_for_what_it_does_not_do_says_what_it_does(
    trained: Trained, film: Film
) -> None:
    with pytest.raises(ParameterError, match="call segment for lungs"):
        load_victim("lungs-weak", trained.out / "victims").predict(film)
    with pytest.raises(ParameterError, match="call predict for opacity"):
        load_victim("opacity-biased", trained.out / "victims").segment(film)


def test_an_unknown_victim_is_refused_with_the_list(trained: Trained) -> None:
    with pytest.raises(NotFoundError, match="lungs-weak"):
        load_victim("nobody", trained.out / "victims")


@pytest.mark.parametrize("shape", [(3, 40, 40), (40,)])
def test_what_is_not_one_film_is_refused(trained: Trained, shape: tuple[int, ...]) -> None:
    victim = load_victim("opacity-biased", trained.out / "victims")
    with pytest.raises(FilmError, match="one grey film"):
        victim.predict(np.zeros(shape, np.float32))
    with pytest.raises(FilmError, match="finite"):
        victim.predict(np.full((40, 40), np.nan, np.float32))


def test_other_weights_than_the_configs_are_refused(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.out / "victims" / "lungs-weak", tmp_path / "lungs-weak")
    weights = tmp_path / "lungs-weak" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-1] ^= 1
    weights.write_bytes(changed)
    with pytest.raises(CheckpointError, match="not those of its config"):
        load_victim("lungs-weak", tmp_path)
    (tmp_path / "lungs-weak" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"unreadable config\.json"):
        load_victim("lungs-weak", tmp_path)
    weights.unlink()
    with pytest.raises(CheckpointError, match="missing"):
        load_victim("lungs-weak", tmp_path)


def test_weights_of_another_shape_are_refused(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained.out / "victims" / "opacity-robust", tmp_path / "opacity-robust")
    path = tmp_path / "opacity-robust" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "detail": 6.0}))
    with pytest.raises(CheckpointError, match="another shape"):
        load_victim("opacity-robust", tmp_path)


def test_the_judge_has_an_opinion_on_every_label(trained: Trained, film: Film) -> None:
    judge = load_judge(trained.out / "judge")
    opinion = judge.opinion(film)
    assert tuple(opinion) == train_judge.LABELS == tuple(judge.thresholds)
    assert all(0 <= p <= 1 for p in opinion.values())
    expected = any(opinion[x] >= judge.thresholds[x] for x in judge.labels if "effusion" in x)
    assert judge.sees(film, "effusion") == expected
    assert (trained.out / "judge" / "model.safetensors").stat().st_size <= 1_500_000


def test_a_label_stands_for_all_that_begin_with_it(trained: Trained) -> None:
    judge = load_judge(trained.out / "judge")
    lobes = ("upper", "middle", "lower")
    assert judge.meant_by("consolidation right") == tuple(
        f"consolidation right {lobe}" for lobe in lobes
    )
    assert judge.meant_by("oedema") == ("oedema",)
    with pytest.raises(NotFoundError, match="chest drain left"):
        judge.meant_by("nodule")


def test_a_training_broken_off_goes_on_and_ends_with_the_same_weights(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained.work / "panels", tmp_path / "panels")
    rendered = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "panels").iterdir()}
    monkeypatch.setattr(train_victims, "LESSONS", train_victims.LESSONS[:2])
    run = checkpoint.Trainer.run

    def break_off(trainer: checkpoint.Trainer[torch.nn.Module], *given: object) -> None:
        if "pneumothorax-robust" in trainer.path.name:
            raise KeyboardInterrupt
        run(trainer, *given)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.Trainer, "run", break_off)
        with pytest.raises(KeyboardInterrupt):
            train_victims.train(tmp_path, tmp_path / "victims", PLAN)
    assert len(list(tmp_path.glob("*.pt"))) == 1
    train_victims.train(tmp_path, tmp_path / "victims", PLAN)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "panels").iterdir()} == rendered
    for name in ("pneumothorax-biased", "pneumothorax-robust", "lungs-weak", "lungs-strong"):
        configs = [base / "victims" / name / "config.json" for base in (trained.out, tmp_path)]
        first, second = (json.loads(path.read_text()) for path in configs)
        assert first == second
