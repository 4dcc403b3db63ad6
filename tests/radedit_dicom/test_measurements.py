"""Numbers out of reports that other programs wrote, in the layouts that are met."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from radedit_dicom.measurements import measured, references, written


def code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def content(
    kind: str, name: Dataset | None = None, children: list[Dataset] | None = None
) -> Dataset:
    item = Dataset()
    item.ValueType = kind
    if name is not None:
        item.ConceptNameCodeSequence = [name]
    if children is not None:
        item.ContentSequence = children
    return item


def number(name: str, value: str, unit: str = "1") -> Dataset:
    item = content("NUM", code("X", "99VENDOR", name))
    held = Dataset()
    held.NumericValue = value
    held.MeasurementUnitsCodeSequence = [code(unit, "UCUM", unit)]
    item.MeasuredValueSequence = [held]
    return item


def finding(name: str) -> Dataset:
    item = content("CODE", code("121071", "DCM", "Finding"))
    item.ConceptCodeSequence = [code("1", "SCT", name)]
    return item


def container(*children: Dataset) -> Dataset:
    return content("CONTAINER", code("125007", "DCM", "Measurement Group"), list(children))


def test_a_number_goes_by_the_finding_of_its_group() -> None:
    report = container(
        container(finding("Pneumothorax"), number("Probability", "0.83")),
        container(finding("Pleural effusion"), number("AI confidence", "12", "%")),
    )
    assert measured(report) == {"pneumothorax": 0.83, "pleural effusion": 0.12}


def test_numbers_without_a_finding_go_by_their_own_names() -> None:
    report = container(number("Pneumothorax probability", "0.4"), number("Oedema", "0.6"))
    assert measured(report) == {"pneumothorax probability": 0.4, "oedema": 0.6}


def test_among_several_numbers_the_general_one_is_the_findings() -> None:
    group = container(finding("Nodule"), number("Score", "0.7"), number("Image quality", "0.9"))
    assert measured(group) == {"nodule": 0.7, "image quality": 0.9}


def test_a_finding_around_a_group_counts_where_the_group_has_none() -> None:
    report = container(finding("Nodule"), container(container(number("Likelihood", "0.5"))))
    assert measured(report) == {"nodule": 0.5}


@pytest.mark.parametrize(
    ("value", "unit"), [("12", "mm"), ("2", "1"), ("-0.1", "1"), ("101", "%"), ("3", "{count}")]
)
def test_a_number_that_is_no_share_is_passed_over(value: str, unit: str) -> None:
    assert measured(container(finding("Nodule"), number("Diameter", value, unit))) == {}


def test_a_report_without_content_and_one_of_endless_depth_say_nothing() -> None:
    deep = container(number("Score", "0.5"))
    for _ in range(100):
        deep = container(deep)
    assert measured(Dataset()) == {}
    assert measured(deep) == {}


def test_scores_are_read_out_of_a_text() -> None:
    text = "AI result. Pneumothorax: 0.91\nPleural effusion: 0.05 not for diagnosis"
    pattern = r"(?P<label>[A-Za-z][A-Za-z ]*): *(?P<score>[01](?:\.[0-9]+)?)"
    assert written(text, pattern) == {"pneumothorax": 0.91, "pleural effusion": 0.05}
    assert written("no result", pattern) == {}


@pytest.mark.parametrize("text", ["Pneumothorax: 0,91", "Pneumothorax: .", "Pneumothorax: high"])
def test_a_score_that_is_no_number_is_refused(text: str) -> None:
    pattern = r"(?P<label>[A-Z][a-z]+): *(?P<score>[\d.,]+)?"
    with pytest.raises(ValueError, match=r"float|number"):
        written(text, pattern)


def test_several_values_where_one_number_belongs_are_refused() -> None:
    report = container(finding("Nodule"), number("Score", "0.5"))
    report.ContentSequence[1].MeasuredValueSequence[0].NumericValue = ["0.5", "0.7"]
    with pytest.raises(ValueError, match="not one number"):
        measured(report)


def test_references_are_found_however_deep_they_lie() -> None:
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    image = content("IMAGE")
    image.ReferencedSOPSequence = [inner]
    report = container(container(image))
    report.StudyInstanceUID = "1.2"
    assert references(report) == {"1.2", "1.2.3"}
