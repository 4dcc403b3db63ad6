"""What dciodvfy says, and the few things of it that are known to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faulty_films import write
from pydicom import config
from pydicom.dataset import Dataset

from radedit_dicom.dciodvfy import Finding, Severity, run_dciodvfy
from radedit_dicom.film import read_film

Errors = Callable[[Dataset], list[Finding]]


@pytest.fixture
def errors(tmp_path: Path, peer: Callable[[str], str]) -> Errors:
    peer("dciodvfy")

    def of(dataset: Dataset) -> list[Finding]:
        findings = run_dciodvfy(write(dataset, tmp_path / "object.dcm"))
        return [finding for finding in findings if finding.severity is Severity.ERROR]

    return of


@pytest.mark.parametrize("width", [0.5, 0.05, 0.999])
def test_a_narrow_sigmoid_window_is_right_and_one_of_no_width_is_not(
    make_dataset: Callable[..., Dataset], make_edit: Any, errors: Errors, width: float
) -> None:
    film = read_film(
        make_dataset(
            VOILUTFunction="SIGMOID",
            WindowCenter=2,
            WindowWidth=width,
            RescaleSlope=0.001,
            RescaleIntercept=0,
            RescaleType="OD",
        )
    )
    capture = make_edit(film)[1].sc
    assert errors(capture) == []
    for wrong in ("0", "0.0", "-0.5"):
        capture.WindowWidth = wrong
        assert any("WindowWidth" in finding.sentence for finding in errors(capture)), wrong


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_leading_zeros_of_the_films_uids_are_the_devices_and_no_other_value_is(
    make_dataset: Callable[..., Dataset],
    make_edit: Any,
    errors: Errors,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with config.disable_value_validation():
        made = make_dataset(
            StudyInstanceUID="1.2.392.02.0104484",
            SeriesInstanceUID="1.2.392.02.0104485",
            SOPInstanceUID="1.2.392.02.0104486",
        )
    film = read_film(made)
    objects = make_edit(film)[1]
    assert "1.2.392" not in caplog.text
    for written in (objects.sc, objects.seg, objects.sr):
        assert errors(written) == []
    with config.disable_value_validation():
        for name, wrong in (("SOPInstanceUID", "1.2.826.0.01"), ("StudyDate", "20249999")):
            right = objects.sc[name].value
            objects.sc[name].value = wrong
            assert errors(objects.sc), name
            objects.sc[name].value = right


@pytest.mark.filterwarnings("ignore:The (PN|value)")
def test_lengths_are_of_characters_and_not_of_the_bytes_that_dciodvfy_counts(
    make_dataset: Callable[..., Dataset], make_edit: Any, errors: Errors
) -> None:
    name = "Константинопольский-Верхоянский^Александр"  # 41 characters in 80 bytes
    film = read_film(make_dataset(SpecificCharacterSet="ISO_IR 192", PatientName=name))
    capture = make_edit(film, "same")[1].sc
    assert errors(capture) == []
    with config.disable_value_validation():
        capture.PatientName = "Ж" * 65
    assert any("Length invalid" in finding.sentence for finding in errors(capture))
    capture.PatientName, capture.StationName = name, "A" * 17
    assert any("expected <= 16" in finding.sentence for finding in errors(capture))
