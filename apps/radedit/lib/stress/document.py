"""The report as a DICOM object, so that it lies in the archive beside the films it is about."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from radedit.lib.errors import OutputError
from radedit.lib.phantom.instances import tool_version
from radedit.lib.whole_files import replacing
from radedit_dicom.encapsulated import Document, encapsulated_pdf


def write_document(report: Mapping[str, Any], pdf: Path, target: Path) -> Path:
    """Wrap the printed report; it belongs to a QA patient and names no real one.

    Raises
    ------
    OutputError
        A file cannot be read or written.
    """
    try:
        content = pdf.read_bytes()
        made = encapsulated_pdf(
            Document(
                content=content,
                title=f"Stress test: {report['title']}",
                made=datetime.fromisoformat(report["made"]),
                version=tool_version(),
            )
        )
        with replacing(target) as stream:
            made.save_as(stream, enforce_file_format=True)
    except OSError as error:
        raise OutputError(f"the report's object cannot be written ({error.strerror}).") from None
    return target
