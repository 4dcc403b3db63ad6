"""A route's spool and journal, and objects that came into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from radedit_dicom.readback import part10
from radedit_dicom.router.audit import Audit
from radedit_dicom.router.intake import Intake
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.part10 import opened
from radedit_dicom.router.planning import Completeness, Planner
from radedit_dicom.router.rules import Rule
from radedit_dicom.router.sorting import Sorter
from radedit_dicom.router.spool import Spool

Made = tuple[Spool, Journal, Audit]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    spool = Spool(tmp_path / "spool")
    return spool, Journal(spool.journal), Audit(spool.audit)


@pytest.fixture
def come(made: Made) -> Callable[..., None]:
    """Have objects come, and plan what a rule orders for them."""

    def run(rule: Rule, *datasets: Dataset) -> None:
        intake = Intake(*made)
        for dataset in datasets:
            dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            intake.take_whole(opened(part10(dataset)), "CR1")
        while Sorter(*made).sort():
            pass
        Planner(*made, Completeness(0.0, 0.0)).plan([rule])

    return run
