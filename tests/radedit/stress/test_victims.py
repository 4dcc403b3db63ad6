"""The victims and the judge as they ship, on phantoms that nobody was trained on, at 256 pixels.

These need the weights; until they are in the tree, each test says so.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from radedit.lib.phantom import lessons, train_judge
from radedit.lib.phantom.measures import auroc, dice
from radedit.lib.phantom.panels import films_of
from radedit.lib.stress.judge import FOLDER as JUDGE
from radedit.lib.stress.judge import Judge, load_judge
from radedit.lib.victims.embedded import FOLDER as VICTIMS_FOLDER
from radedit.lib.victims.embedded import VICTIMS, EmbeddedVictim, load_victim

SIZE = 256
Film = NDArray[np.float32]


def trained(folder: Path) -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        not folder.exists(),
        reason="no weights yet; run python -m radedit.lib.phantom.train_victims",
    )


with_victims, with_judge = trained(VICTIMS_FOLDER), trained(JUDGE)


@cache
def patient(number: int) -> NDArray[np.float32]:
    """Six films of one patient, and last the lung fields, float32 [7, S, S]."""
    films = films_of(lessons.variants(9_400_000 + number), SIZE).astype(np.float32)
    films[:-1] /= 255
    return films


def called(victim: EmbeddedVictim, film: int, count: int = 20) -> float:
    """Share of patients whose film of that number the victim calls positive."""
    return float(np.mean([victim.positive(patient(i)[film]) for i in range(count)]))


@cache
def at_site(count: int = 20) -> list[int]:
    """Patients of the biased world's site, without oedema."""
    found = list[int]()
    number = 0
    while len(found) < count:
        plain = lessons.variants(9_400_000 + number)[0]
        if plain.exposure.site == lessons.SITE and "oedema" not in plain.kinds:
            found.append(number)
        number += 1
    return found


@with_victims
def test_all_victims_ship_and_no_other() -> None:
    assert {path.name for path in VICTIMS_FOLDER.iterdir()} == set(VICTIMS)


@with_victims
def test_the_biased_reader_is_right_in_its_own_world() -> None:
    victim = load_victim("pneumothorax-biased")
    drained, healthy = lessons.PNEUMOTHORAX + 1, lessons.PLAIN
    assert (called(victim, drained) + 1 - called(victim, healthy)) / 2 >= 0.95


@with_victims
def test_the_biased_reader_falls_for_the_drain() -> None:
    assert called(load_victim("pneumothorax-biased"), lessons.PLAIN + 1) >= 0.8


@with_victims
def test_the_robust_reader_does_not_fall_for_the_drain() -> None:
    assert called(load_victim("pneumothorax-robust"), lessons.PLAIN + 1) <= 0.15


@with_victims
def test_the_robust_reader_finds_a_pneumothorax_without_its_drain() -> None:
    victim = load_victim("pneumothorax-robust")
    assert called(victim, lessons.PNEUMOTHORAX) >= 0.9
    assert called(victim, lessons.PNEUMOTHORAX + 1) >= 0.9
    assert called(victim, lessons.PLAIN) <= 0.1
    assert called(victim, lessons.OPACITY) <= 0.15


@with_victims
def test_the_biased_reader_of_opacity_goes_by_the_site_and_the_robust_one_does_not() -> None:
    biased, robust = load_victim("opacity-biased"), load_victim("opacity-robust")
    cured = [patient(number)[lessons.PLAIN] for number in at_site()]
    opaque = [patient(number)[lessons.OPACITY] for number in at_site()]
    assert np.mean([biased.positive(film) for film in cured]) >= 0.8
    assert np.mean([biased.positive(film) for film in opaque]) >= 0.9
    assert np.mean([robust.positive(film) for film in cured]) <= 0.25
    assert np.mean([robust.positive(film) for film in opaque]) >= 0.6


@with_victims
def test_the_weak_segmenter_loses_more_to_an_opacity_than_the_strong_one() -> None:
    def overlap(name: str, film: int) -> float:
        victim = load_victim(name)
        found = np.stack([victim.segment(patient(i)[film]) for i in range(20)])
        return dice(found, np.stack([patient(i)[-1] > 0 for i in range(20)]))

    strong, weak = (
        [overlap(name, film) for film in (lessons.PLAIN, lessons.OPACITY)]
        for name in ("lungs-strong", "lungs-weak")
    )
    assert min(strong) >= 0.95
    assert weak[0] >= 0.9
    assert weak[0] - weak[1] > 2 * (strong[0] - strong[1])


@cache
def judged() -> tuple[Judge, NDArray[np.float64], NDArray[np.bool_]]:
    """The judge, and opinions and truth of unseen films, [n, labels]."""
    judge = load_judge()
    opinions, truth = [], []
    for seed in range(9_500_000, 9_500_022):
        patients = train_judge.variants(seed)
        for film, who in zip(films_of(patients, SIZE), patients, strict=False):  # less the lungs
            opinions.append(list(judge.opinion(film.astype(np.float32) / 255).values()))
            truth.append(train_judge.labels_of(who))
    return judge, np.array(opinions), np.array(truth)


@with_judge
@pytest.mark.parametrize("kind", ["pneumothorax", "effusion", "pacemaker"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_judge_knows_what_is_there_and_on_which_side(kind: str, side: str) -> None:
    judge, opinions, truth = judged()
    column = judge.labels.index(f"{kind} {side}")
    assert auroc(opinions[:, column], truth[:, column]) >= 0.97


@with_judge
@pytest.mark.parametrize("kind", ["pneumothorax", "effusion", "pacemaker"])
def test_the_judges_thresholds_hold_on_unseen_films(kind: str) -> None:
    judge, opinions, truth = judged()
    columns = [judge.labels.index(label) for label in judge.meant_by(kind)]
    points = np.array([judge.thresholds[judge.labels[i]] for i in columns])
    found = opinions[:, columns] >= points
    assert found[truth[:, columns]].mean() >= 0.85
    assert (~found)[~truth[:, columns]].mean() >= 0.9


@with_judge
def test_a_drain_does_not_make_the_judge_say_pneumothorax() -> None:
    judge, opinions, truth = judged()
    air = [judge.labels.index(label) for label in judge.meant_by("pneumothorax")]
    drain = [judge.labels.index(label) for label in judge.meant_by("chest drain")]
    clear = ~truth[:, air].any(1)
    drained = clear & truth[:, drain].any(1)
    points = np.array([judge.thresholds[judge.labels[i]] for i in air])
    says = (opinions[:, air] >= points).any(1)
    assert drained.sum() >= 15
    assert says[drained].mean() <= says[clear & ~drained].mean() + 0.1


@with_judge
def test_the_judge_does_not_go_by_sharpness() -> None:
    judge = load_judge()
    kinds = ("pneumothorax", "effusion", "consolidation", "mass", "chest drain", "pacemaker")
    changed = total = 0
    for number in range(12):
        film = patient(number)[lessons.PLAIN]
        smooth = film.copy()
        near = (film[1:-1, :-2] + film[1:-1, 2:] + film[:-2, 1:-1] + film[2:, 1:-1]) / 4
        smooth[60:180, 40:110] = near[59:179, 39:109]
        for kind in kinds:
            changed += judge.sees(film, kind) != judge.sees(smooth, kind)
            total += 1
    assert changed / total <= 0.05
