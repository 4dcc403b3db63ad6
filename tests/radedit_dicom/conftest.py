"""What the DICOM side asks for beside the films made to order: samples."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from radedit_dicom.pixels import Film, read_film


def lut_item(entries: list[int], first: int, bits: int) -> Dataset:
    """Make an item of a VOI or modality LUT sequence."""
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries) % 65536, first, bits])
    item.add_new(0x00283006, "US", entries)
    return item


@pytest.fixture(name="lut_item", scope="session")
def lut_item_fixture() -> Callable[[list[int], int, int], Dataset]:
    return lut_item


@pytest.fixture(scope="session")
def sample() -> Callable[[str], Path]:
    """Give the path of a file of the PyPI package pydicom-data."""
    spec = importlib.util.find_spec("data_store")
    assert spec is not None, "pydicom-data is not installed"
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    return lambda name: next(folder.rglob(name))


@pytest.fixture(scope="session")
def rg1_film(rg1: Path) -> Film:
    return read_film(rg1)
