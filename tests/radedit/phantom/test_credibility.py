"""The phantom measured as a physicist would, and the measuring checked against theory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from radedit.lib.errors import NotFoundError
from radedit.lib.phantom import credibility, credibility_pictures
from radedit.lib.phantom.credibility import (
    FIRST_SEED,
    LEAST_LAYER,
    Anatomy,
    Detector,
    Figures,
    cardiothoracic_ratio,
    measure_detector,
    measure_film,
    slanted_edge_mtf,
)
from radedit.lib.phantom.exposure import SITES, Exposure


def exposure_of(site: str) -> Exposure:
    return SITES[site](np.random.default_rng(FIRST_SEED))


@pytest.fixture(scope="module")
def detectors() -> dict[str, Detector]:
    return {site: measure_detector(exposure_of(site)) for site in SITES}


@pytest.fixture(scope="module")
def figures(detectors: dict[str, Detector]) -> Figures:
    films = {site: [measure_film(FIRST_SEED + i, site, 96) for i in range(4)] for site in SITES}
    return Figures(films, detectors)


def test_the_cardiothoracic_ratio_of_drawn_boxes_is_theirs() -> None:
    left, right, heart = (np.zeros((50, 100), bool) for _ in range(3))
    right[10:40, 10:40] = True
    left[10:40, 55:90] = True
    left[30:40, 55:92] = True
    heart[20:38, 35:72] = True
    assert cardiothoracic_ratio({"left": left, "right": right}, heart) == 37 / 82


@pytest.mark.parametrize("site", SITES)
def test_anatomy_and_signal_are_near_clinical_films(site: str, figures: Figures) -> None:
    ratio, _ = figures.spread(site, "cardiothoracic")
    heart, _ = figures.spread(site, "heart")
    diaphragm, _ = figures.spread(site, "diaphragm")
    assert 0.40 < ratio < 0.50
    assert heart == pytest.approx(credibility.CLINICAL_HEART, abs=0.07)
    assert diaphragm == pytest.approx(credibility.CLINICAL_DIAPHRAGM, abs=0.08)
    assert diaphragm < heart


@pytest.mark.parametrize("site", SITES)
def test_the_slanted_edge_measures_the_gaussian_that_the_detector_blurs_by(
    site: str, detectors: dict[str, Detector]
) -> None:
    d = detectors[site]
    np.testing.assert_allclose(d.mtf, d.mtf_theory, atol=0.012)
    blur = exposure_of(site).blur_mm
    half = np.sqrt(np.log(2) / 2) / (np.pi * blur)  # where exp(-2 (pi s f)^2) is one half
    assert d.half_modulation == pytest.approx((half, half), rel=0.02)


def test_a_detector_blurred_twice_as_much_is_sharp_to_half_the_frequency() -> None:
    taken = exposure_of("harbour")
    halves = []
    for factor in (1, 2):
        frequency, mtf = slanted_edge_mtf(replace(taken, blur_mm=factor * taken.blur_mm))
        halves.append(np.interp(-0.5, -mtf, frequency))
    assert halves[0] / halves[1] == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("site", SITES)
def test_noise_is_white_before_the_blur_and_follows_the_squared_mtf_behind_it(
    site: str, detectors: dict[str, Detector]
) -> None:
    d = detectors[site]
    white = d.unblurred / d.unblurred_theory
    assert white[8:].std() < 0.05
    assert white[8:].mean() == pytest.approx(1, abs=0.02)
    slope = np.polyfit(d.frequency[8:], white[8:], 1)[0] * d.frequency[-1]
    assert abs(slope) < 0.05
    np.testing.assert_allclose(d.noise_power[8:] / d.noise_theory[8:], 1, atol=0.25)


@pytest.mark.parametrize("site", SITES)
def test_the_noise_power_integrates_to_the_variance_and_both_are_what_quanta_predict(
    site: str, detectors: dict[str, Detector]
) -> None:
    d = detectors[site]
    rings = np.concatenate([[0.0], d.frequency]), np.concatenate([d.noise_power[:1], d.noise_power])
    integral = np.trapezoid(2 * np.pi * rings[0] * rings[1], rings[0])
    assert integral == pytest.approx(d.variance, rel=0.08)
    assert d.variance_ratio == pytest.approx(1, abs=0.06)


def test_twice_the_quanta_are_half_the_variance() -> None:
    taken = replace(exposure_of("north"), electronic=0.0)
    one, two = (measure_detector(replace(taken, quanta=q)).variance for q in (1e5, 2e5))
    assert one / two == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("site", SITES)
def test_every_beam_is_harder_than_the_law_asks(site: str, detectors: dict[str, Detector]) -> None:
    d = detectors[site]
    assert 100 <= d.kvp <= 125
    assert d.half_value_mm > np.interp(d.kvp, list(LEAST_LAYER), list(LEAST_LAYER.values()))


def test_table_and_summary_say_the_same_and_the_summary_is_json(figures: Figures) -> None:
    summary = json.loads(json.dumps(figures.summary(), allow_nan=False))
    table = "\n".join(figures.table())
    for site, row in summary["sites"].items():
        assert site in table
        assert f"{row['heart']['mean']:.3f} +- {row['heart']['sd']:.3f}" in table
        assert f"{row['half_value_mm_al']:.2f}" in table
    assert summary["clinical"]["heart"] == 0.21


def test_the_spread_is_mean_and_standard_deviation(detectors: dict[str, Detector]) -> None:
    films = [Anatomy(0.4, 0.2, 0.1), Anatomy(0.5, 0.2, 0.1)]
    mean, deviation = Figures({"north": films}, detectors).spread("north", "cardiothoracic")
    assert (mean, deviation) == pytest.approx((0.45, 0.1 / 2**0.5))


def test_the_pictures_are_drawn_alone_and_among_real_films(
    figures: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credibility_pictures, "SHEET_SIZE", 64)
    films = tmp_path / "films"
    films.mkdir()
    for number in range(7):
        Image.new("L", (60, 70), 30 * number).save(films / f"{number}.png")
    seen: list[tuple[int, int]] = []
    drawn = credibility_pictures.draw(
        figures, tmp_path / "out", films, lambda done, total: seen.append((done, total))
    )
    assert [path.name for path in drawn] == [
        "phantom-credibility.png",
        "phantom-contact-sheet.png",
        "phantom-among-real-films.png",
    ]
    for path in drawn:
        assert np.asarray(Image.open(path).convert("L")).std() > 10
    assert seen[-1] == (12, 12)


def test_a_folder_without_real_films_is_refused(figures: Figures, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="real films holds 0 PNG"):
        credibility_pictures.draw(figures, tmp_path / "out", tmp_path, lambda done, total: None)
