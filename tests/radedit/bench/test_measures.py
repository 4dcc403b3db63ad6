"""What the bench measures: nothing where nothing differs, and what was put in where it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from radedit.lib.bench.cases import (
    LOBES,
    Addition,
    Removal,
    draw,
    grown,
)
from radedit.lib.bench.measures import (
    FEWEST_PLACES,
    Drain,
    Image,
    border_of,
    mean_error,
    scale_of,
)
from radedit_dicom.pixels import to_display


@dataclass(frozen=True)
class Patient:
    """One patient of the bench, and what a drain is compared with."""

    removal: Removal
    additions: list[Addition]
    drain: Drain
    before: Image


@pytest.fixture(scope="module")
def patient() -> Patient:
    removal, additions = draw(0, 512)
    drain = Drain(removal.truth, removal.empty, removal.drain, removal.lungs)
    return Patient(removal, additions, drain, to_display(removal.film))


def test_the_true_drain_is_found_whole_and_a_missing_one_not_at_all(patient: Patient) -> None:
    overlap, contrast = patient.drain.compare(patient.removal.truth)
    assert (overlap, contrast) == (1.0, pytest.approx(1.0))
    overlap, contrast = patient.drain.compare(patient.removal.empty)
    assert (overlap, contrast) == (0.0, pytest.approx(0.0, abs=1e-6))


def test_lungs_with_other_vessels_do_not_change_what_is_the_drains(patient: Patient) -> None:
    case, drain = patient.removal, patient.drain
    overlap, contrast = drain.compare(case.anew, case.anew_empty)
    assert overlap > 0.98
    assert contrast == pytest.approx(1, abs=0.05)
    assert abs(drain.compare(case.anew)[1] - contrast) > 0.02  # on the true lung they do


def test_film_and_bare_film_differ_by_the_drain_alone(patient: Patient) -> None:
    case = patient.removal
    bare = to_display(case.bare)
    overlap, contrast = patient.drain.compare(patient.before, bare)
    assert overlap > 0.98
    assert contrast == pytest.approx(1, abs=0.15)
    assert patient.drain.compare(bare, bare) == (0.0, 0.0)
    far = ~grown(case.drain, 60)
    assert np.abs(patient.before - bare)[far].max() < 0.02  # scatter alone


@pytest.mark.parametrize(("part", "seen"), [(0.45, 0), (0.55, 1)])
def test_a_drain_is_seen_from_half_of_its_contrast_on(
    patient: Patient, part: float, seen: float
) -> None:
    case = patient.removal
    faded = np.float32(part) * case.truth + np.float32(1 - part) * case.empty
    overlap, contrast = patient.drain.compare(faded)
    assert contrast == pytest.approx(part, abs=1e-3)
    assert overlap == seen


def test_a_drain_that_ends_half_way_is_seen_half(patient: Patient) -> None:
    case = patient.removal
    crossing = case.drain & case.lungs
    rows = np.nonzero(crossing)[0]
    cut = case.truth.copy()
    cut[: int(np.median(rows))] = case.empty[: int(np.median(rows))]
    overlap, contrast = patient.drain.compare(cut)
    assert overlap == pytest.approx(2 / 3, abs=0.1)  # of a half and the whole
    assert 0.3 < contrast < 0.7


def test_a_smooth_error_behind_a_drain_does_not_count_as_the_drains(patient: Patient) -> None:
    rng = np.random.default_rng(0)
    field = gaussian_filter(rng.standard_normal(patient.removal.truth.shape), 40)
    hazy = patient.removal.truth + (0.1 * field / np.abs(field).max()).astype("f4")
    overlap, contrast = patient.drain.compare(hazy)
    assert overlap > 0.95
    assert contrast == pytest.approx(1, abs=0.1)


def test_a_kept_drain_loses_contrast_when_only_its_surroundings_get_lighter(
    patient: Patient,
) -> None:
    case = patient.removal
    kept = np.where(case.drain, patient.before, case.truth)
    _, contrast = patient.drain.compare(kept)
    assert contrast < 0.85


def test_leaving_a_finding_in_is_an_error_inside_the_mask_only(patient: Patient) -> None:
    case = patient.removal
    assert mean_error(case.truth, case.truth, case.edit) == 0
    inside = mean_error(patient.before, case.truth, case.edit)
    outside = mean_error(patient.before, case.truth, ~case.edit)
    assert inside > 0.03
    assert outside < inside / 10


def test_a_line_along_the_border_is_a_seam_and_the_truth_has_none(patient: Patient) -> None:
    case = patient.removal
    border = border_of(case.edit, patient.before, case.chest, 3)
    assert border.usual.size >= FEWEST_PLACES
    drawn = case.truth.copy()
    drawn[grown(case.edit, 1.5) & ~case.edit] -= 0.15
    seam, true, own = (border.seam(film) for film in (drawn, case.truth, patient.before))
    assert seam.z is not None
    assert true.z is not None
    assert own.z is not None
    assert abs(true.z - own.z) < 0.5
    assert seam.z > true.z + 2
    assert seam.mean > true.mean


def test_a_border_that_fits_nowhere_else_has_no_z(patient: Patient) -> None:
    case = patient.removal
    whole = np.zeros_like(case.edit)
    whole[2:-2, 2:-2] = True
    seam = border_of(whole, patient.before, case.chest, 3).seam(patient.before)
    assert seam.z is None
    assert seam.mean > 0


def test_every_truth_differs_from_its_film_where_it_should_and_hardly_elsewhere(
    patient: Patient,
) -> None:
    assert [case.kind for case in patient.additions] == ["consolidation", "effusion", "pacemaker"]
    for case in patient.additions:
        before = to_display(case.film)
        inside = mean_error(before, case.truth, case.edit)
        assert inside > 5 * mean_error(before, case.truth, ~case.edit), case.label


def test_lobes_and_sides_take_turns_and_prompts_name_them() -> None:
    seen = []
    for number in range(len(LOBES)):
        lobe, fluid, device = draw(number, 96)[1]
        seen.append(lobe.label)
        side, zone = LOBES[number]
        assert lobe.prompt == f"{side.capitalize()} {zone} lobe consolidation"
        assert fluid.label == f"effusion {'left' if number % 2 == 0 else 'right'}"
        assert device.label == "pacemaker left"
        assert lobe.edit.any()
        assert fluid.edit.any()
    assert seen == [f"consolidation {side} {zone}" for side, zone in LOBES]


def test_lengths_grow_with_the_film() -> None:
    assert (scale_of((1024, 900)), scale_of((512, 512)), scale_of((100, 256))) == (2, 1, 0.5)
