"""Which image of a study: the newest frontal original, and a reason for every other one."""

from __future__ import annotations

from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)

from radedit_dicom import frontal
from radedit_dicom.errors import DicomError
from radedit_dicom.film import read_film
from radedit_dicom.frontal import View, Wanted, choose_frontal
from radedit_dicom.gate import check_film


@pytest.fixture
def film(make_dataset):
    def make(number: int, **attributes: Any) -> Dataset:
        return make_dataset(SOPInstanceUID=f"1.2.3.{number}", **attributes)

    return make


def source(uid: str) -> list[Dataset]:
    item = Dataset()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    item.ReferencedSOPInstanceUID = uid
    return [item]


@pytest.fixture
def study(film) -> dict[str, View]:
    """Give a study as a PACS holds it, and the patient's prior and a result of ours."""
    original = ["ORIGINAL", "PRIMARY"]
    report = Dataset()
    report.SOPClassUID, report.Modality = ComprehensiveSRStorage, "SR"
    report.SOPInstanceUID, report.StudyInstanceUID = "1.2.3.9", "1.2"
    headers = {
        "lateral": film(1, ViewPosition="LL", PatientOrientation=["A", "F"]),
        "pa": film(2, ImageType=original),
        "suppressed": film(3, ImageType=["DERIVED", "PRIMARY"]),
        "marked": film(4, ImageType=["DERIVED", "PRIMARY"], SourceImageSequence=source("1.2.3.2")),
        "pasted": film(5, ImageType=["DERIVED", "SECONDARY"]),
        "raw": film(6, SOPClassUID=DigitalXRayImageStorageForProcessing, Modality="DX"),
        "knee": film(7, BodyPartExamined="KNEE"),
        "prior": film(8, StudyInstanceUID="1.3", StudyDate="20190102", ImageType=original),
        "report": report,
        "edited": film(10, SyntheticData="YES", ImageType=["DERIVED", "SECONDARY", "OTHER"]),
    }
    return {name: View.of(header) for name, header in headers.items()}


def test_the_newest_frontal_original_is_chosen_and_every_other_has_its_reason(study) -> None:
    choice = choose_frontal(study)
    assert choice.chosen == ("pa",)
    assert set(choice.passed_over) == set(study) - {"pa"}
    assert choice.passed_over["suppressed"] == frontal.COPY == choice.passed_over["marked"]
    assert choice.passed_over["pasted"] == frontal.SECONDARY
    assert choice.passed_over["raw"] == frontal.PROCESSING
    assert choice.passed_over["prior"] == frontal.PRIOR
    assert choice.passed_over["report"] == frontal.NO_IMAGE
    assert "lateral" in choice.passed_over["lateral"]
    assert "not known as the chest" in choice.passed_over["knee"]
    assert "synthetic" in choice.passed_over["edited"]
    for reason in choice.passed_over.values():
        assert reason.endswith(".")
        assert "4711" not in reason
        assert "Geheim" not in reason


def test_priors_and_derived_images_are_chosen_when_asked_for(study) -> None:
    assert choose_frontal(study, Wanted(priors=True)).chosen == ("pa", "prior")
    derived = choose_frontal(study, Wanted(derived=True))
    assert derived.chosen == ("pa", "suppressed", "marked", "pasted")


def test_a_processed_film_without_its_raw_image_is_an_original(film) -> None:
    """What a console shows is DERIVED from the raw image, as is the film of the demo."""
    shown = film(
        1,
        SOPClassUID=DigitalXRayImageStorageForPresentation,
        Modality="DX",
        ImageType=["DERIVED", "PRIMARY"],
        SourceImageSequence=source("1.2.3.99"),
    )
    assert choose_frontal({"shown": View.of(shown)}).chosen == ("shown",)


ONE_DAY = {"StudyDate": "20240102", "StudyInstanceUID": "1.2"}


def newest_of(film, *films: dict[str, Any]) -> int:
    """Give the place of the one film that is chosen, whatever order they are found in."""
    views = {n: View.of(film(7 + n, **each)) for n, each in enumerate(films)}
    backwards = dict(reversed(views.items()))
    (chosen,) = choose_frontal(views).chosen
    assert choose_frontal(backwards).chosen == (chosen,)
    return chosen


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ({"AcquisitionDate": "20240101"}, {"AcquisitionDate": "20240102"}),
        ({}, {"AcquisitionDate": "20240102"}),
        (
            {"AcquisitionDate": "20240102", "AcquisitionTime": "0930"},
            {"AcquisitionDate": "20240102", "AcquisitionTime": "093001.5"},
        ),
        ({"AcquisitionDateTime": "20240102093000"}, {"AcquisitionDateTime": "20240102093001+0100"}),
        (
            {"ContentDate": "20240102", "ContentTime": "235959"},
            {"AcquisitionDateTime": "20240103000000"},
        ),
        (
            {"StudyTime": "080000", "StudyInstanceUID": "1.9"},
            {"StudyTime": "09", "StudyInstanceUID": "1.3"},
        ),
    ],
)
def test_of_two_films_of_one_day_the_later_is_chosen(film, earlier, later) -> None:
    assert newest_of(film, {**ONE_DAY, **earlier}, {**ONE_DAY, **later}) == 1
    assert newest_of(film, {**ONE_DAY, **later}, {**ONE_DAY, **earlier}) == 0


def test_of_films_of_one_time_one_is_chosen_by_its_uid_and_the_other_is_told_so(film) -> None:
    """2 films of one study, and 2 of 2 studies of a day: 1.2.3.10 was made after 1.2.3.9."""
    for other in ({}, {"StudyInstanceUID": "1.7"}):
        views = {n: View.of(film(n, **{**ONE_DAY, **(other if n == 9 else {})})) for n in (10, 9)}
        choice = choose_frontal(views)
        assert (choice.chosen, choice.passed_over) == ((10,), {9: frontal.TIED})
        assert choose_frontal(views, Wanted(priors=True)).chosen == (10, 9)


def test_films_without_a_patient_number_are_nobodys_priors(film) -> None:
    views = {
        day: View.of(film(n, PatientID=None, StudyDate=day, StudyInstanceUID=f"1.2.{n}"))
        for n, day in enumerate(("20200101", "20240102"), start=1)
    }
    assert len(choose_frontal(views).chosen) == 2


def test_the_same_number_of_two_hospitals_is_two_patients(film) -> None:
    views = {
        issuer: View.of(
            film(n, IssuerOfPatientID=issuer, StudyDate=f"202{n}0101", StudyInstanceUID=f"1.2.{n}")
        )
        for n, issuer in enumerate(("A", "B"), start=1)
    }
    assert choose_frontal(views).chosen == ("A", "B")


def test_the_real_film_is_chosen_and_the_extremity_is_not(rg1, rg3) -> None:
    views = {path: View.of(pydicom.dcmread(path, stop_before_pixels=True)) for path in (rg1, rg3)}
    choice = choose_frontal(views)
    assert choice.chosen == (rg1,)
    assert "not known as the chest" in choice.passed_over[rg3]


KINDS = st.fixed_dictionaries(
    {
        "ViewPosition": st.sampled_from(["PA", "AP", "LL", None]),
        "ImageType": st.sampled_from(
            [["ORIGINAL", "PRIMARY"], ["DERIVED", "PRIMARY"], ["DERIVED", "SECONDARY"], None]
        ),
        "StudyDate": st.sampled_from(["20200101", "20240101", None]),
        "StudyInstanceUID": st.sampled_from(["1.2", "1.3"]),
    }
)


@given(st.lists(KINDS, max_size=6))
def test_every_object_is_chosen_or_has_a_reason_and_what_is_chosen_can_be_edited(
    make_dataset, kinds
) -> None:
    headers = {
        n: make_dataset(SOPInstanceUID=f"1.2.3.{n}", **kind) for n, kind in enumerate(kinds, 1)
    }
    views = {n: View.of(header) for n, header in headers.items()}
    choice = choose_frontal(views)
    assert set(choice.chosen) | set(choice.passed_over) == set(views)
    assert not set(choice.chosen) & set(choice.passed_over)
    for n in choice.chosen:
        assert read_film(headers[n]).sop_instance_uid == f"1.2.3.{n}"
    some = [n for n, view in views.items() if not view.refusal]
    if some and not any(frontal._is_secondary(views[n]) for n in some):
        assert choice.chosen, "of films that could be edited, one at least is"
    for n, reason in choice.passed_over.items():
        if reason not in (frontal.COPY, frontal.PRIOR, frontal.SECONDARY, frontal.TIED):
            with pytest.raises(DicomError):
                check_film(headers[n], allow_synthetic=False, max_pixels=10**6)
