"""Small films of different studies, and a way to run them through one process's pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from radedit.lib.batch.cohort import Cohort, Missed
from radedit.lib.batch.line import Line, Shop
from radedit.lib.batch.plan import Pace
from radedit.lib.batch.results import Results
from radedit.lib.cases import EditRequest
from radedit.lib.deliver import Manner
from radedit.lib.pipeline import Editor
from radedit.lib.settings import load_settings
from radedit_dicom.archive import Archive
from radedit_dicom.folder import FolderArchive

REQUEST = EditRequest("Large left lung mass", "box:100,40,170,120", parameters={"steps": 2})
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def write_films(make_dataset: Callable[..., Dataset]) -> Write:
    """Write small films into a folder, each of its own study and patient."""

    def write(folder: Path, count: int, **change: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            root = f"1.2.826.0.1.3680043.10.6.{number}"
            pixels = np.random.default_rng(number).integers(0, 4096, (240, 200))
            given = {
                "StudyInstanceUID": root,
                "SeriesInstanceUID": f"{root}.1",
                "SOPInstanceUID": f"{root}.1.1",
                "PatientID": f"Geheim-{number}",
                "AccessionNumber": f"A{number}",
            }
            dataset = make_dataset(pixels, **{**given, **change})
            dataset.save_as(folder / f"film-{number:03}.dcm", enforce_file_format=True)
        return folder

    return write


@pytest.fixture(scope="session")
def editor() -> Editor:
    return Editor(replace(load_settings(), inversion_cache_mb=0))


@pytest.fixture
def run_line(editor: Editor, tmp_path: Path) -> Callable[..., tuple[list[dict[str, Any]], Line]]:
    """Run the studies of a folder to their ends; gives the rows and the line."""

    def run(
        source: Path, output: Archive, known: Any = None, **change: Any
    ) -> tuple[list[dict[str, Any]], Line]:
        archive = FolderArchive(source)
        given = {
            "editor": editor, "request": REQUEST, "archive": archive, "cache": tmp_path / "cache",
            "results": Results(output, Manner()), "pace": Pace(1, 2, 2),
        }  # fmt: skip
        rows: list[dict[str, Any]] = []
        line = Line(Shop(**{**given, **change}), lambda _, row: rows.append(row) if row else None)
        for number, found in enumerate(Cohort(archive)):
            assert not isinstance(found, Missed)
            line.put(number, found, known)
        line.close()
        line.run()
        return rows, line

    return run
