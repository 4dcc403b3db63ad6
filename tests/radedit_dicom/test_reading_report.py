"""A reader's decision as a DICOM report: valid, traceable, and without surprises."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from radedit_dicom.conformance import Severity, check_file
from radedit_dicom.errors import ConformanceError, ProvenanceError
from radedit_dicom.pixels import Film, read_film
from radedit_dicom.reading_report import Reading, build_reading

READING = Reading(
    reader="Dr Zoë O'Neill=1^2\\3",
    decision="reject",
    reason="The rib ends in mid-air <b>&amp; jumps</b>",
    blinded="right",
    event_sha256="cd" * 32,
    time=datetime(2026, 3, 4, 5, 6, 7, 8000, tzinfo=UTC),
)


@pytest.fixture(scope="module")
def films(make_dataset: Any, make_edit: Any) -> tuple[Film, Film]:
    """Give the edited image and its source."""
    source = read_film(make_dataset())
    _, objects = make_edit(source)
    return read_film(objects.sc, allow_synthetic=True), source


def all_items(dataset: Dataset) -> list[Dataset]:
    """List the items of every sequence, at every depth."""
    found = []
    for element in dataset.iterall():
        if element.VR == "SQ":
            found += list(element.value)
    return found


@pytest.mark.parametrize("decision", ["accept", "reject", "unsure"])
def test_a_reading_passes_the_gate(films, peer, tmp_path: Path, decision: str) -> None:
    peer("dciodvfy")
    path = tmp_path / "reading.dcm"
    report = build_reading(replace(READING, decision=decision), *films)
    report.save_as(path, enforce_file_format=True)
    findings = [f for f in check_file(path) if f.severity is not Severity.ALLOWED]
    assert [f for f in findings if f.severity is Severity.ERROR] == []


def test_it_says_who_decided_what_when_and_of_which_model(films) -> None:
    result, source = films
    report = build_reading(READING, result, source)
    items = all_items(report)
    said = [str(item.TextValue) for item in items if "TextValue" in item]
    assert READING.reason in said
    assert READING.event_sha256 in said
    assert f"model_sha256: {'ab' * 32}" in said
    names = [str(item.PersonName) for item in items if "PersonName" in item]
    assert names == ["Dr Zoë O'Neill 1 2 3^"]
    coded = [
        str(item.ConceptCodeSequence[0].CodeValue)
        for item in items
        if "ConceptCodeSequence" in item
    ]
    assert "REJECT" in coded
    moment = result.header.get("TimezoneOffsetFromUTC")
    assert moment == "+0100"
    assert (report.ContentDate, report.ContentTime[:6]) == ("20260304", "060607")
    assert report.StudyInstanceUID == result.header.StudyInstanceUID
    referenced = {
        str(item.ReferencedSOPInstanceUID) for item in items if "ReferencedSOPInstanceUID" in item
    }
    assert {result.sop_instance_uid, source.sop_instance_uid} <= referenced


def test_the_same_reading_is_the_same_object_and_another_is_another(films) -> None:
    one, again = build_reading(READING, *films), build_reading(READING, *films)
    other = build_reading(replace(READING, event_sha256="ef" * 32), *films)
    assert one.SOPInstanceUID == again.SOPInstanceUID
    assert one.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID != other.SeriesInstanceUID


def test_no_identity_of_the_patient_leaves_with_it(films, tmp_path: Path) -> None:
    path = tmp_path / "reading.dcm"
    build_reading(READING, *films).save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    assert b"Geheim" not in content
    assert b"4711" not in content
    assert str(pydicom.dcmread(path).PatientName) == "RADEDIT^QA"


def test_a_word_that_is_no_decision_and_a_foreign_source_are_refused(films, make_dataset) -> None:
    with pytest.raises(ConformanceError, match="none of accept, reject, unsure"):
        build_reading(replace(READING, decision="fine"), *films)
    foreign = read_film(make_dataset(SOPInstanceUID="1.2.3.5"))
    with pytest.raises(ProvenanceError, match="another film"):
        build_reading(READING, films[0], foreign)
