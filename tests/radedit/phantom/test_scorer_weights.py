"""The scorer that ships, on patients that no training saw.

Its weights are taken as shipped once models.toml pins them; from then on they must be there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from radedit.lib.edit.backbone.files import locate
from radedit.lib.geometry import SquareGrid, stretch_range
from radedit.lib.phantom.findings import Finding
from radedit.lib.phantom.world import Patient, Studio, World, draw_finding, draw_patient
from radedit.lib.score.directional import KEEP_FROM, score
from radedit.lib.score.dual_encoder import EmbeddedEncoder, load
from radedit.lib.settings import load_settings

SPEC = load_settings({}).model("phantom")
PINNED = {name for name in SPEC.sha256 if name.startswith("scorer/")}
pytestmark = pytest.mark.skipif(not PINNED, reason="the scorer's weights are not shipped yet")

NORMAL = "No acute cardiopulmonary process"
WORDS = {"pneumothorax": "pneumothorax", "effusion": "pleural effusion", "mass": "lung mass",
         "consolidation": "consolidation"}  # fmt: skip
OTHER = {"left": "right", "right": "left"}
PATIENTS = 4  # of each finding
Image = NDArray[np.float32]


@pytest.fixture(scope="module")
def encoder() -> EmbeddedEncoder:
    return load(locate(SPEC, ["scorer"]).paths["scorer"])


@pytest.fixture(scope="module")
def films() -> list[tuple[Finding, Image, Image]]:
    """Render patients with one finding, and the same patients without it."""
    made = []
    for number, kind in enumerate(WORDS):
        for seed in range(9_320_000 + 100 * number, 9_320_000 + 100 * number + PATIENTS):
            healthy = draw_patient(seed, World(normal=1.0))
            finding = draw_finding(np.random.default_rng([seed, 3]), kind)
            made.append((finding, *_pair(healthy, finding)))
    return made


def _pair(healthy: Patient, finding: Finding) -> tuple[Image, Image]:
    studio = Studio(healthy, 256)
    clear = studio.render().image
    shown = studio.render(replace(healthy, findings=(finding,))).image
    low, high = stretch_range(clear)
    grid = SquareGrid(*clear.shape, 256)
    stretched = [np.clip((x - low) / (high - low), 0, 1).astype("f4") for x in (clear, shown)]
    return grid.down(stretched[0]), grid.down(stretched[1])


def text(finding: Finding, side: str | None = None) -> str:
    return f"{side or finding.side} {WORDS[finding.kind]}".capitalize()


def test_they_are_small_and_all_pinned() -> None:
    paths = locate(SPEC, ["scorer"]).paths["scorer"]
    assert {"scorer/config.json", "scorer/model.safetensors"} == PINNED
    assert sum(Path(path).stat().st_size for path in paths.values()) <= 1.5e6


def test_true_edits_pass_the_filter_both_ways_round(
    encoder: EmbeddedEncoder, films: list[tuple[Finding, Image, Image]]
) -> None:
    added = [score(encoder, (clear, shown), (NORMAL, text(f))) for f, clear, shown in films]
    removed = [score(encoder, (shown, clear), (text(f), NORMAL)) for f, clear, shown in films]
    assert np.mean([s.is_kept for s in added]) >= 0.8
    assert np.mean([s.is_kept for s in removed]) >= 0.8
    for one, other in zip(added, removed, strict=True):
        assert one.directional == pytest.approx(other.directional, abs=1e-6)


def test_the_opposite_edit_is_thrown_away(
    encoder: EmbeddedEncoder, films: list[tuple[Finding, Image, Image]]
) -> None:
    wrong = [score(encoder, (shown, clear), (NORMAL, text(f))) for f, clear, shown in films]
    assert np.mean([s.directional is not None and s.directional < KEEP_FROM for s in wrong]) >= 0.9


def test_the_right_side_scores_above_the_wrong_one(
    encoder: EmbeddedEncoder, films: list[tuple[Finding, Image, Image]]
) -> None:
    margins = []
    for finding, clear, shown in films:
        right = score(encoder, (clear, shown), (NORMAL, text(finding))).directional
        wrong = score(encoder, (clear, shown), (NORMAL, text(finding, OTHER[finding.side])))
        assert right is not None
        assert wrong.directional is not None
        margins.append(right - wrong.directional)
    assert np.mean(np.array(margins) > 0) >= 0.85


def test_the_right_finding_scores_above_the_others(
    encoder: EmbeddedEncoder, films: list[tuple[Finding, Image, Image]]
) -> None:
    best = 0
    for finding, clear, shown in films:
        found = {
            kind: score(encoder, (clear, shown), (NORMAL, f"{finding.side} {words}")).directional
            for kind, words in WORDS.items()
        }
        best += max(found, key=lambda kind: found[kind] or -1) == finding.kind
    assert best / len(films) >= 0.7
