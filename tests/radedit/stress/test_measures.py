"""Outlines in mm, and the quality of a set of edited films, on cases with known answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from radedit.lib.pipeline import Editor
from radedit.lib.stress.privacy import FILMS, KEPT, privacy_of
from radedit.lib.stress.quality import coverage, kid, ssim_outside
from radedit.lib.stress.segment_measures import outline_measures


def square(top: int, left: int) -> np.ndarray:
    mask = np.zeros((128, 128), bool)
    mask[top : top + 60, left : left + 60] = True
    return mask


@pytest.mark.parametrize("mm", [1.0, 0.5, 0.14])
def test_a_square_shifted_by_4_pixels_has_known_distances(mm: float) -> None:
    found = outline_measures(square(30, 34), square(30, 30), (mm, mm))
    assert found["hd95_mm"] == pytest.approx(4.0 * mm, rel=1e-5)
    assert found["assd_mm"] == pytest.approx(2.0 * mm, rel=0.02)
    assert found["dice"] == pytest.approx(56 / 60)


def test_rows_and_columns_have_their_own_spacing() -> None:
    along_columns = outline_measures(square(30, 34), square(30, 30), (3.0, 1.0))
    along_rows = outline_measures(square(34, 30), square(30, 30), (3.0, 1.0))
    assert along_columns["hd95_mm"] == pytest.approx(4.0)
    assert along_rows["hd95_mm"] == pytest.approx(12.0)


@pytest.mark.parametrize("spacing", [None, (0.0, 0.0), (0.2, 0.0)])
def test_without_a_spacing_there_is_no_distance_in_mm(spacing: tuple[float, float] | None) -> None:
    found = outline_measures(square(30, 34), square(30, 30), spacing)
    assert (found["hd95_mm"], found["assd_mm"]) == (None, None)
    assert found["dice"] == pytest.approx(56 / 60)


def test_an_empty_outline_overlaps_with_nothing_and_is_at_no_distance() -> None:
    found = outline_measures(np.zeros((128, 128), bool), square(30, 30), (1.0, 1.0))
    assert found == {"dice": 0.0, "hd95_mm": None, "assd_mm": None}


def test_similarity_outside_is_1_where_only_the_inside_changed() -> None:
    rng = np.random.default_rng(0)
    before = rng.random((96, 96), "f4")
    edit = np.zeros((96, 96), bool)
    edit[30:60, 30:60] = True
    inside = np.where(edit, rng.random((96, 96), "f4"), before).astype("f4")
    far = np.ones_like(edit)
    far[24:66, 24:66] = False  # SSIM looks some pixels around
    assert ssim_outside(before, inside, ~far) == pytest.approx(1.0)
    everywhere = (before + rng.normal(0, 0.2, before.shape)).clip(0, 1).astype("f4")
    found = ssim_outside(before, everywhere, edit)
    assert found is not None
    assert found < 0.9
    assert ssim_outside(before, inside, np.ones_like(edit)) is None


def test_the_kernel_distance_is_unbiased_and_grows_with_a_shift() -> None:
    rng = np.random.default_rng(1)
    same = [kid(rng.normal(size=(40, 8)), rng.normal(size=(40, 8))) or 0.0 for _ in range(60)]
    assert abs(float(np.mean(same))) < 3 * float(np.std(same)) / 60**0.5
    shifts = [kid(rng.normal(size=(200, 8)), rng.normal(s, 1, (200, 8))) for s in (0.3, 0.8, 2.0)]
    assert shifts == sorted(shifts)  # type: ignore[type-var]
    assert kid(np.zeros((1, 8)), np.zeros((5, 8))) is None


def test_precision_and_recall_tell_a_collapsed_set_from_a_strange_one() -> None:
    rng = np.random.default_rng(2)
    real = rng.normal(size=(200, 3))
    collapsed = real[0] + rng.normal(0, 0.01, (200, 3))
    strange = rng.normal(20, 1, (200, 3))
    one, other = coverage(real, collapsed), coverage(real, strange)
    assert one is not None
    assert other is not None
    assert one.precision > 0.9
    assert one.recall < 0.1
    assert (other.precision, other.recall) == (0.0, 0.0)
    assert coverage(real[:3], strange) is None


@dataclass(frozen=True)
class World:
    """Films on features of 6 numbers: sources, what the editor learned from, and others."""

    source: np.ndarray
    trained: np.ndarray
    unseen: np.ndarray
    kept: Path

    def rows(self, edited: np.ndarray) -> list[dict[str, Any]]:
        return [
            {"features": [one.tolist(), other.tolist()], "patient": f"p{number // 2}"}
            for number, (one, other) in enumerate(zip(self.source, edited, strict=True))
        ]


FACTS = {"model_sha256": "m", "scorer": "s"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    rng = np.random.default_rng(3)
    source, trained, unseen = (rng.normal(size=(n, 6)) for n in (100, 50, 50))
    path = tmp_path / "features.npz"
    np.savez(path, trained=trained, unseen=unseen, model_sha256="m", scorer="s")
    return World(source, trained, unseen, path)


def test_an_editor_that_copies_its_training_is_told_from_one_that_does_not(world: World) -> None:
    gaps = ((world.source[:, None] - world.trained[None]) ** 2).sum(-1)
    copied = world.source + 0.5 * (world.trained[gaps.argmin(1)] - world.source)
    moved = world.source + 0.5 * np.random.default_rng(4).normal(size=world.source.shape)
    shares = []
    for edited in (copied, moved):
        found = privacy_of(world.rows(edited), FACTS, world.kept)
        assert found is not None
        assert found["films"] == 50
        assert found["trained"]["n"] == 50  # patients, of two edits each
        shares.append((found["trained"]["value"], found["unseen"]["value"]))
    assert shares[0][0] == 1.0
    assert shares[0][0] - shares[0][1] > 0.3
    assert abs(shares[1][0] - shares[1][1]) < 0.15


def test_nothing_is_said_of_the_privacy_of_an_editor_whose_training_is_not_here(
    world: World,
) -> None:
    rows = world.rows(world.source)
    assert privacy_of(rows, {**FACTS, "model_sha256": "another"}, world.kept) is None
    assert privacy_of(rows, {**FACTS, "scorer": "another"}, world.kept) is None
    assert privacy_of(rows, {}, world.kept) is None
    assert privacy_of([{"features": [], "patient": "p"}], FACTS, world.kept) is None


def test_the_features_that_ship_are_of_the_editor_and_the_scorer_that_ship() -> None:
    editor = Editor()
    with np.load(KEPT) as kept:
        assert str(kept["model_sha256"]) == editor.backbone("phantom").sha256
        assert str(kept["scorer"]) == editor.scorer("phantom").name
        assert kept["trained"].shape == kept["unseen"].shape
        assert len(kept["trained"]) == FILMS
