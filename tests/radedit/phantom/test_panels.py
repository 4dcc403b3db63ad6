"""Panels of films on disk, what victims and judge are shown of them, and the small tools."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from radedit.lib.geometry import SquareGrid, stretched
from radedit.lib.phantom import augment, lessons, train_judge
from radedit.lib.phantom.findings import Finding
from radedit.lib.phantom.measures import auroc, confusion, dice, operating_point
from radedit.lib.phantom.networks import build
from radedit.lib.phantom.panels import Films, Panel, load
from radedit.lib.phantom.world import Studio

SIZE = 48


def drawn(count: int, first: int = 9_200_000) -> Films:
    """Patients without pictures, for what needs none."""
    empty = np.zeros((count, 6, 1, 1), np.uint8)
    patients = [lessons.variants(first + i) for i in range(count)]
    return Films(patients, empty, np.zeros((count, 1, 1), bool))


def test_a_panel_is_rendered_once_and_read_back(tmp_path: Path) -> None:
    panel = Panel("some", 9_200_000, 2, SIZE, lessons.variants)
    films = load(panel, tmp_path)
    (path,) = tmp_path.iterdir()
    before = path.stat().st_mtime_ns
    again = load(panel, tmp_path)
    assert path.stat().st_mtime_ns == before
    np.testing.assert_array_equal(films.images, again.images)
    rendered = Studio(films.patients[1][0], SIZE).render(films.patients[1][3])
    grid = SquareGrid(*rendered.image.shape, SIZE)
    expected = np.round(grid.down(stretched(rendered.image)[0]) * 255)
    np.testing.assert_array_equal(films.images[1, 3], expected)
    lungs = grid.down((rendered.masks["lung_left"] | rendered.masks["lung_right"]).astype("f4"))
    assert (films.lungs[1] == (lungs > 0.5)).mean() > 0.99


def test_several_chunks_are_rendered_by_workers_into_the_same_films(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = Panel("some", 9_200_000, 2, SIZE, lessons.variants)
    whole = load(panel, tmp_path / "whole")
    monkeypatch.setattr("radedit.lib.phantom.panels.CHUNK", 1)
    parts = load(panel, tmp_path / "parts")
    assert len(list((tmp_path / "parts").iterdir())) == 2
    np.testing.assert_array_equal(whole.images, parts.images)


def test_each_film_of_a_victims_panel_holds_what_its_number_says() -> None:
    for films in drawn(40).patients:
        for number, patient in enumerate(films):
            drained = any(d.kind == "chest drain" for d in patient.devices)
            assert drained == bool(number % 2)
            assert ("pneumothorax" in patient.kinds) == (number in (2, 3))
            assert bool(patient.kinds & set(lessons.OPACITIES)) == (number in (4, 5))
            assert patient.exposure == films[0].exposure


@pytest.mark.parametrize("strength", [0.5, 0.9, 1.0])
def test_a_drain_says_pneumothorax_as_often_as_the_dial(strength: float) -> None:
    films = drawn(30)
    rng = np.random.default_rng(1)
    who, film, truth = lessons.draw_pneumothorax(rng, films, lessons.Shortcut(strength), 4000)
    chosen = [films.patients[i][k] for i, k in zip(who, film, strict=True)]
    np.testing.assert_array_equal(["pneumothorax" in p.kinds for p in chosen], truth)
    drained = np.array([any(d.kind == "chest drain" for d in p.devices) for p in chosen])
    assert (drained == truth).mean() == pytest.approx(strength, abs=0.03)
    assert truth.mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_site_says_opacity_as_often_as_the_dial(strength: float) -> None:
    films = drawn(60)
    rng = np.random.default_rng(2)
    who, film, truth = lessons.draw_opacity(rng, films, lessons.Shortcut(strength), 4000)
    chosen = [films.patients[i][k] for i, k in zip(who, film, strict=True)]
    opaque = [bool(p.kinds & set(lessons.OPACITIES)) for p in chosen]
    np.testing.assert_array_equal(opaque, truth)
    there = np.array([p.exposure.site == lessons.SITE for p in chosen])
    assert (there == truth).mean() == pytest.approx(strength, abs=0.03)
    assert not any("oedema" in p.kinds for p in chosen)


def test_of_drained_pneumothoraces_the_air_is_gone_as_often_as_the_dial() -> None:
    films = drawn(30)
    shortcut = lessons.Shortcut(0.8, resolved=0.4)
    who, film, truth = lessons.draw_pneumothorax(np.random.default_rng(1), films, shortcut, 4000)
    chosen = [films.patients[i][k] for i, k in zip(who, film, strict=True)]
    shown = np.array(["pneumothorax" in p.kinds for p in chosen])
    drained = np.array([any(d.kind == "chest drain" for d in p.devices) for p in chosen])
    assert not (shown & ~truth).any()
    assert (~shown)[truth & drained].mean() == pytest.approx(0.4, abs=0.04)
    assert shown[truth & ~drained].all()


def test_in_the_judges_world_nothing_goes_with_anything_else() -> None:
    films = [train_judge.variants(9_300_000 + i) for i in range(500)]
    truth = np.array([train_judge.labels_of(each[0]) for each in films], float)
    together = np.corrcoef(truth.T) - np.eye(len(train_judge.LABELS))
    # The two sides of one kind exclude each other, and a tenth of the patients have nothing.
    for i, first in enumerate(train_judge.LABELS):
        for j, second in enumerate(train_judge.LABELS):
            if first.split()[0] != second.split()[0]:
                assert abs(together[i, j]) < 0.2, (first, second)
    assert truth.mean(0).min() > 0.04


def test_the_judge_sees_each_patient_with_findings_gone_and_drain_kept_and_the_reverse() -> None:
    for seed in range(9_300_000, 9_300_040):
        shown, clear, toggled, clear_toggled, _, _ = train_judge.variants(seed)
        assert clear.findings == clear_toggled.findings == ()
        assert clear.devices == shown.devices
        assert toggled.findings == shown.findings
        drained = [sum(d.kind == "chest drain" for d in p.devices) for p in (shown, toggled)]
        assert sorted(drained) == [0, 1]
        others = [[d for d in p.devices if d.kind != "chest drain"] for p in (shown, clear_toggled)]
        assert others[0] == others[1]


def test_labels_name_side_and_lobe() -> None:
    patient = train_judge.variants(9_300_000)[1]
    found = (
        Finding("consolidation", "right", "middle", 0.5, 1),
        Finding("pneumothorax", "left", "upper", 0.5, 2),
        Finding("oedema", "both", "upper", 0.5, 3),
        Finding("nodule", "left", "upper", 0.5, 4),
    )
    truth = train_judge.labels_of(type(patient)(**{**vars(patient), "findings": found}))
    named = {label for label, is_so in zip(train_judge.LABELS, truth, strict=True) if is_so}
    devices = {f"{d.kind} {d.side}" for d in patient.devices} & set(train_judge.LABELS)
    assert named == {"consolidation right middle", "pneumothorax left", "oedema"} | devices


def test_the_operating_point_lies_between_classes_that_are_apart() -> None:
    scores, truth = np.array([0.1, 0.2, 0.7, 0.9]), np.array([False, False, True, True])
    assert operating_point(scores, truth) == pytest.approx(0.45)
    assert operating_point(scores, ~truth) in (0.05, 0.95)  # no better than calling all alike
    assert operating_point(scores, np.ones(4, bool)) == 0.5


def test_figures_are_those_of_their_definitions() -> None:
    scores, truth = np.array([0.1, 0.6, 0.4, 0.9]), np.array([False, False, True, True])
    assert auroc(scores, truth) == 0.75
    assert confusion(scores, truth, 0.5) == {
        "accuracy": 0.5,
        "sensitivity": 0.5,
        "specificity": 0.5,
        "auroc": 0.75,
    }
    assert confusion(scores, np.ones(4, bool), 0.5) == {"accuracy": 0.5, "sensitivity": 0.5}
    one, two = np.zeros((2, 4, 4), bool), np.zeros((2, 4, 4), bool)
    one[0, :2], two[0, 1:3] = True, True
    assert dice(one, two) == pytest.approx((0.5 + 1) / 2)


def test_a_pose_moves_all_channels_of_a_film_alike_and_none_moves_nothing() -> None:
    rng = np.random.default_rng(3)
    x = torch.from_numpy(rng.random((3, 1, 32, 32)).astype("f4"))
    moved = augment.pose(torch.cat([x, x], 1), rng)
    torch.testing.assert_close(moved[:, 0], moved[:, 1])
    assert (moved[:, :1] - x).abs().mean() > 0.05
    torch.testing.assert_close(augment.pose(x, rng, 0.0), x, rtol=0, atol=1e-4)
    many = torch.from_numpy(rng.random((90, 1, 32, 32)).astype("f4"))
    change = (augment.pose(many, rng, 1.0, still=1 / 3) - many).abs().amax((1, 2, 3))
    assert float((change < 1e-4).float().mean()) == pytest.approx(1 / 3, abs=0.12)
    torch.testing.assert_close(augment.expose(x, rng, 0.0), x)


def test_some_films_are_smoothed_whole_some_in_part_some_not() -> None:
    rng = np.random.default_rng(4)
    x = torch.from_numpy(rng.random((300, 1, 32, 32)).astype("f4"))
    change = (augment.soften(x, rng) - x).abs().squeeze(1)
    share = (change > 0.08).float().mean((1, 2)).numpy()
    assert ((share < 0.02).mean()) == pytest.approx(1 / 3, abs=0.15)
    assert (share > 0.3).mean() > 0.15
    assert ((share > 0.02) & (share < 0.3)).mean() > 0.15


@pytest.mark.parametrize("detail", [0.0, 6.0])
def test_the_classifier_tells_left_from_right(detail: float) -> None:
    torch.manual_seed(0)
    config = {"network": "classifier", "channels": [4, 8, 8, 8], "labels": ["left"]}
    network = build({**config, "detail": detail})
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    rng = np.random.default_rng(5)

    def films(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        side, row, column = rng.random(count) < 0.5, *rng.integers(4, 24, (2, count))
        x = np.zeros((count, 1, 64, 64), "f4")
        for i in range(count):
            at = int(column[i]) + 32 * int(side[i])
            x[i, 0, 2 * row[i] : 2 * row[i] + 6, at : at + 6] = 1
        return torch.from_numpy(x), torch.from_numpy(side.astype("f4"))

    for _ in range(40):
        x, y = films(24)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(network(x)[:, 0], y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    network.eval()
    x, y = films(100)
    assert ((network(x)[:, 0] > 0).float() == y).float().mean() > 0.95
