"""The conformance statement says what the code does."""

from __future__ import annotations

from pathlib import Path

from radedit_dicom.statement import statement

WRITTEN = Path(__file__).resolve().parents[2] / "docs" / "conformance-statement.md"


def test_the_statement_in_the_documentation_is_up_to_date() -> None:
    assert WRITTEN.read_text(encoding="utf-8") == statement(), (
        "write it again: python -m radedit_dicom.statement > docs/conformance-statement.md"
    )


def test_it_names_the_marks_that_survive_de_identification() -> None:
    text = statement()
    for line in (
        "| (0008,001C) | Synthetic Data | CS | YES |",
        "| (0008,0064) | Conversion Type | CS | SYN |",
        "| Secondary Capture Image Storage | 1.2.840.10008.5.1.4.1.1.7 |",
    ):
        assert line in text
