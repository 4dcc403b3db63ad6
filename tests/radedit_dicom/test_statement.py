"""The conformance statement says what the code does."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from radedit_dicom.router import receiver
from radedit_dicom.statement import statement

WRITTEN = Path(__file__).resolve().parents[2] / "docs" / "conformance-statement.md"


def test_the_statement_in_the_documentation_is_up_to_date() -> None:
    assert WRITTEN.read_text(encoding="utf-8") == statement(), (
        "write it again: python -m radedit_dicom.statement > docs/conformance-statement.md"
    )


def test_it_names_every_service_that_a_route_answers() -> None:
    code = inspect.getsource(receiver)
    services = re.findall(r"add_supported_context\((\w+)\)", code)
    assert set(services) == {"Verification", "StorageCommitmentPushModel"}
    assert "AllStoragePresentationContexts" in code
    text = statement()
    for service in ("Verification", "Storage Commitment Push Model"):
        assert f"| {service} | SCP |" in text
    assert "| Storage, every standard class | SCP |" in text


def test_it_names_the_marks_that_survive_de_identification() -> None:
    text = statement()
    for line in (
        "| (0008,001C) | Synthetic Data | CS | YES |",
        "| (0008,0064) | Conversion Type | CS | SYN |",
        "| Secondary Capture Image Storage | 1.2.840.10008.5.1.4.1.1.7 |",
    ):
        assert line in text
