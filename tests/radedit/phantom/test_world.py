"""The phantom's world: pure in its seed, true to its dials, honest about what a finding changes."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt
from scipy.stats import binomtest

from radedit.lib.phantom import chest as chests
from radedit.lib.phantom import findings
from radedit.lib.phantom.devices import DEVICES, Device
from radedit.lib.phantom.exposure import SITES
from radedit.lib.phantom.findings import KINDS, Finding
from radedit.lib.phantom.sentences import describe, vocabulary
from radedit.lib.phantom.world import (
    Patient,
    Studio,
    World,
    draw_patient,
    view_of,
    without,
    without_devices,
)

SIZE = 112
OPACITIES = ("effusion", "consolidation", "nodule", "mass", "atelectasis")
seeds = st.integers(9_000_000, 9_900_000)


@lru_cache
def normal(site: str = "north", seed: int = 9_000_020) -> Studio:
    patient = draw_patient(seed, World(normal=1.0, sites={site: 1.0}))
    return Studio(without_devices(patient), SIZE)


def ill(studio: Studio, kind: str, side: str = "left", extent: float = 0.6) -> Patient:
    both = kind in ("oedema", "cardiomegaly")
    found = Finding(kind, "both" if both else side, "lower", extent, seed=5)
    return replace(studio.patient, findings=(found,))


def share_with_drain(world: World, kind: str, count: int = 1500) -> tuple[int, int]:
    patients = [draw_patient(9_100_000 + i, world) for i in range(count)]
    asked = [p for p in patients if (kind in p.kinds) == bool(kind)]
    return sum(any(d.kind == "chest drain" for d in p.devices) for p in asked), len(asked)


@given(seeds)
def test_a_patient_is_a_pure_function_of_seed_and_world(seed: int) -> None:
    assert draw_patient(seed) == draw_patient(seed)
    assert draw_patient(seed) != draw_patient(seed + 1)


def test_the_same_seed_gives_the_same_film_to_the_last_bit() -> None:
    patient = draw_patient(9_000_031)
    first, again = (Studio(patient, SIZE).render() for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.masks.keys() == again.masks.keys()
    for name, mask in first.masks.items():
        np.testing.assert_array_equal(mask, again.masks[name])


@pytest.mark.parametrize("p", [0.0, 0.5, 0.95, 1.0])
def test_drains_go_with_pneumothorax_as_the_dial_says(p: float) -> None:
    world = World(normal=0.0, findings={"pneumothorax": 1.0}, drain_given_pneumothorax=p)
    drained, count = share_with_drain(world, "pneumothorax")
    assert count == 1500
    interval = binomtest(drained, count).proportion_ci(0.999, method="exact")
    assert interval.low <= p <= interval.high
    assert 0 < p < 1 or drained in (0, count)


def test_drains_are_rare_without_a_pneumothorax() -> None:
    drained, count = share_with_drain(World(normal=1.0, drain_otherwise=0.1), "")
    interval = binomtest(drained, count).proportion_ci(0.999, method="exact")
    assert interval.low <= 0.1 <= interval.high


def test_a_drain_lies_on_the_side_of_its_pneumothorax() -> None:
    world = World(normal=0.0, findings={"pneumothorax": 1.0}, drain_given_pneumothorax=1.0)
    for seed in range(9_100_000, 9_100_200):
        patient = draw_patient(seed, world)
        assert patient.devices[0].kind == "chest drain"
        assert patient.devices[0].side == patient.findings[0].side


def test_normals_findings_and_sites_come_as_often_as_their_dials_say() -> None:
    world = World(normal=0.3, second=0.0, sites={"north": 0.2, "ward": 0.8})
    patients = [draw_patient(9_200_000 + i, world) for i in range(1500)]
    total = sum(world.findings.values())
    expected = {
        "normal": (sum(not p.findings for p in patients), 0.3),
        "ward": (sum(p.exposure.site == "ward" for p in patients), 0.8),
        **{k: (sum(k in p.kinds for p in patients), 0.7 * w / total)
           for k, w in world.findings.items()},
    }  # fmt: skip
    for name, (seen, share) in expected.items():
        interval = binomtest(seen, len(patients)).proportion_ci(0.9999, method="exact")
        assert interval.low <= share <= interval.high, name


def test_a_site_can_be_made_to_go_with_a_finding() -> None:
    world = World(normal=0.5, second=0.0, findings={"mass": 1.0}, sites={"north": 1.0},
                  site_given={"mass": {"harbour": 1.0}})  # fmt: skip
    for seed in range(9_100_000, 9_100_200):
        patient = draw_patient(seed, world)
        assert patient.exposure.site == ("harbour" if patient.findings else "north")


def test_taking_findings_away_leaves_devices_body_and_exposure() -> None:
    world = World(normal=0.0, second=1.0)
    for seed in range(9_100_000, 9_100_100):
        patient = draw_patient(seed, world)
        cured = without(patient)
        assert cured == replace(patient, findings=())
        kind = patient.findings[0].kind
        assert without(patient, kind).kinds == patient.kinds - {kind}
        assert without_devices(patient) == replace(patient, devices=())


@pytest.mark.parametrize("kind", [*OPACITIES, "oedema"])
def test_an_opacity_makes_its_mask_denser_than_the_true_counterfactual(kind: str) -> None:
    studio = normal()
    shown, clear = studio.render(ill(studio, kind)), studio.render()
    change = (shown.image - clear.image)[shown.masks[kind]]
    assert change.size > 20
    assert (change > 0).mean() > 0.9
    assert kind not in clear.masks


def test_a_pneumothorax_makes_its_mask_less_dense() -> None:
    studio = normal()
    shown = studio.render(ill(studio, "pneumothorax"))
    change = (shown.image - studio.render().image)[shown.masks["pneumothorax"]]
    assert np.median(change) < -0.02


def test_a_large_heart_is_wider_and_its_mask_is_what_it_gained() -> None:
    studio = normal()
    shown, clear = studio.render(ill(studio, "cardiomegaly")), studio.render()
    widths = [film.masks["heart"].any(axis=0).sum() for film in (shown, clear)]
    assert widths[0] > 1.1 * widths[1]
    gained = shown.masks["heart"] & ~clear.masks["heart"]
    np.testing.assert_array_equal(shown.masks["cardiomegaly"], gained)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["pneumothorax", "consolidation"])
def test_a_finding_lies_in_the_lung_of_the_side_it_names(kind: str, side: str) -> None:
    studio = normal()
    shown = studio.render(ill(studio, kind, side))
    other = shown.masks["lung_right" if side == "left" else "lung_left"]
    inside = shown.masks[kind] & shown.masks[f"lung_{side}"]
    assert inside.sum() > 0.6 * shown.masks[kind].sum()  # some lies behind heart or dome
    assert not (shown.masks[kind] & other).any()
    columns = np.nonzero(shown.masks[f"lung_{side}"])[1]
    assert (columns.mean() > shown.image.shape[1] / 2) == (side == "left")  # it faces us


@pytest.mark.parametrize("site", sorted(SITES))
def test_every_mask_of_anatomy_and_finding_lies_inside_the_torso(site: str) -> None:
    studio = normal(site)
    torso = chests.lay(studio.patient.body, studio.view).torso
    for kind in KINDS:
        for name, mask in studio.render(ill(studio, kind, "right", 1.0)).masks.items():
            assert not mask[~torso].any(), (kind, name)


def reach_px(studio: Studio) -> float:
    """How far, in pixels, any part of the imaging chain carries a change: Gaussians end at 4 SD."""
    taken, spacing = studio.patient.exposure, studio.view.spacing
    scattered = taken.scatter_mm if taken.scatter else 0.0
    widths = (scattered, taken.blur_mm, 1.6)  # the last is the sharpening's
    return float(sum(np.floor(4 * width / spacing + 0.5) for width in widths)) * 2**0.5


@pytest.mark.parametrize("scatter", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["nodule", "mass"])
def test_beyond_the_reach_of_scatter_and_blur_the_counterfactual_is_the_film_bit_for_bit(
    kind: str, scatter: float
) -> None:
    patient = normal().patient
    patient = replace(patient, exposure=replace(patient.exposure, scatter=scatter))
    studio = Studio(patient, SIZE)
    sick = ill(studio, kind, extent=0.3)
    shown, clear = studio.render(sick), studio.render()
    change = findings.change_of(sick.findings[0], chests.lay(patient.body, studio.view))
    assert change.soft is not None
    away = distance_transform_edt(change.soft == 0)
    beyond = away > reach_px(studio)
    assert beyond.mean() > (0.8 if scatter == 0 else 0.01)
    np.testing.assert_array_equal(shown.image[beyond], clear.image[beyond])
    assert (shown.image != clear.image)[change.soft > 1].all()


def test_the_counterfactual_is_the_film_that_the_healthy_patient_would_have_had() -> None:
    studio = normal()
    sick = Studio(ill(studio, "consolidation"), SIZE)
    np.testing.assert_array_equal(sick.render(without(sick.patient)).image, studio.render().image)


@pytest.mark.parametrize("kind", sorted(DEVICES))
def test_devices_stay_where_they_are_when_the_findings_go_and_are_dense(kind: str) -> None:
    studio = normal()
    worn = replace(ill(studio, "pneumothorax"), devices=(Device(kind, "left", 3),))
    shown, clear = studio.render(worn), studio.render(without(worn))
    np.testing.assert_array_equal(shown.masks[kind], clear.masks[kind])
    change = (clear.image - studio.render().image)[clear.masks[kind]]
    assert change.size > 10
    assert (change > 0).mean() > 0.6


def test_masks_and_films_agree_between_resolutions() -> None:
    patient = normal().patient
    coarse, fine = Studio(patient, SIZE).render(), Studio(patient, 2 * SIZE).render()
    assert coarse.spacing == pytest.approx(2 * fine.spacing)
    rows, cols = coarse.image.shape
    for name, mask in coarse.masks.items():
        halved = fine.masks[name][: 2 * rows : 2, : 2 * cols : 2][:rows, :cols]
        both = halved[: mask.shape[0]] & mask[: halved.shape[0], : halved.shape[1]]
        assert 2 * both.sum() / (halved.sum() + mask.sum()) > 0.95, name


def test_the_sites_differ_in_polarity_depth_projection_and_border() -> None:
    exposures = [draw(np.random.default_rng(1)) for draw in SITES.values()]
    assert {e.photometric for e in exposures} == {"MONOCHROME1", "MONOCHROME2"}
    assert len({e.bits_stored for e in exposures}) == 3
    assert {e.projection for e in exposures} == {"PA", "AP"}
    assert len({e.marker for e in exposures}) == 3


@given(seeds)
@settings(max_examples=60)
def test_a_film_has_the_proportions_of_its_field_and_a_positive_magnification(seed: int) -> None:
    patient = draw_patient(seed)
    view = view_of(patient, 200)
    height, width = patient.exposure.field
    assert max(view.rows, view.cols) == 200
    assert view.rows / view.cols == pytest.approx(height / width, rel=0.01)
    assert 1.05 < view.magnification < 1.25


def test_every_sentence_is_made_of_words_the_encoder_knows() -> None:
    known = set(vocabulary())
    for seed in range(9_100_000, 9_100_300):
        text = describe(draw_patient(seed), np.random.default_rng(seed))
        assert set(text.lower().split()) <= known, text
