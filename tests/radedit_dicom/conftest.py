"""Films to test on: a real one, and small ones made to order."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from radedit_dicom.objects import EditObjects, build_objects
from radedit_dicom.pixels import Film, apply_display_delta, read_film
from radedit_dicom.provenance import Provenance, pixel_sha256

pydicom.config.INVALID_KEYWORD_BEHAVIOR = "RAISE"

MakeDataset = Callable[..., Dataset]


def make_dataset(pixels: np.ndarray | None = None, bits: int = 12, **attributes: Any) -> Dataset:
    """Make a frontal chest CR, with any attribute replaced (None: left out)."""
    if pixels is None:
        pixels = np.random.default_rng(5).integers(0, 1 << bits, (24, 20))
    signed = bool(attributes.get("PixelRepresentation", 0))
    allocated = attributes.get("BitsAllocated", 8 if bits == 8 else 16)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    values: dict[str, Any] = {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": "1.2.3.4",
        "SeriesInstanceUID": "1.2.3",
        "StudyInstanceUID": "1.2",
        "PatientName": "Geheim^Nam\u00e9",
        "PatientID": "4711",
        "PatientBirthDate": "19500101",
        "PatientSex": "F",
        "StudyDate": "20240102",
        "StudyTime": "101112",
        "StudyID": "7",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "Doc^Tor",
        "SpecificCharacterSet": "ISO_IR 100",
        "Modality": "CR",
        "BodyPartExamined": "CHEST",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": 0,
    } | attributes
    for name, value in values.items():
        if value is not None:
            setattr(dataset, name, value)
    kind = ("i" if signed else "u") + str(allocated // 8)
    data = pixels.astype(f"<{kind}").tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if allocated == 8 else "OW"
    return dataset


def lut_item(entries: list[int], first: int, bits: int) -> Dataset:
    """Make an item of a VOI or modality LUT sequence."""
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries) % 65536, first, bits])
    item.add_new(0x00283006, "US", entries)
    return item


@pytest.fixture(name="make_dataset", scope="session")
def make_dataset_fixture() -> MakeDataset:
    return make_dataset


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
def rg1(sample: Callable[[str], Path]) -> Path:
    return sample("RG1_UNCR.dcm")


@pytest.fixture(scope="session")
def rg1_film(rg1: Path) -> Film:
    return read_film(rg1)


@pytest.fixture(scope="session")
def tool() -> Callable[[str, str], str]:
    """Find a peer program, else say which is missing (under CI=true: fail)."""

    def find(name: str, package: str) -> str:
        found = shutil.which(name)
        if found is None:
            message = f"{name} (Debian package {package}) is not installed"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        return found

    return find


def make_provenance(film: Film, edited: np.ndarray, masks: dict[str, np.ndarray]) -> Provenance:
    """Make the record of an edit."""
    keep = masks.get("keep mask")
    return Provenance(
        edit_id="0f8fad5bd9cb469fa16570867728950e",
        tool="radedit",
        tool_version="0.1.0",
        method="radedit",
        model="phantom",
        model_sha256="ab" * 32,
        prompt="Kein Erguss \u2013 ça va",
        invert_prompt="",
        steps=20,
        skip=0.1,
        guidance=7.5,
        seed=7,
        support="band",
        edit_mask="box:2,2,9,9",
        keep_mask=None if keep is None else "box:12,2,18,9",
        source_sop_instance_uid=film.sop_instance_uid,
        source_pixel_sha256=pixel_sha256(film.stored),
        result_pixel_sha256=pixel_sha256(edited),
        edit_mask_sha256=pixel_sha256(masks["edit mask"]),
        keep_mask_sha256=None if keep is None else pixel_sha256(keep),
        platform={"python": "3.11", "torch": "2.13.0"},
        batch=1,
        created="2025-03-04T05:06:07.000008+01:00",
    )


def make_edit(film: Film, mode: Any = "new", score: Any = None) -> tuple[np.ndarray, EditObjects]:
    """Edit a film by hand and build its objects."""
    rows, columns = film.shape
    edit = np.zeros(film.shape, dtype=np.bool_)
    edit[rows // 4 : rows // 2, columns // 4 : columns // 2] = True
    keep = np.zeros(film.shape, dtype=np.bool_)
    keep[rows // 2 : rows // 2 + 3, :] = True
    masks = {"edit mask": edit, "keep mask": keep, "left lung": ~keep}
    edited = apply_display_delta(film, np.where(edit, 0.07, 0.0).astype(np.float32))
    provenance = make_provenance(film, edited, masks)
    scores = {"fidelity": 0.75, "directional similarity": None} if score is None else score
    return edited, build_objects(film, edited, masks, provenance, scores, mode)


@pytest.fixture(name="make_edit", scope="session")
def make_edit_fixture() -> Callable[..., tuple[np.ndarray, EditObjects]]:
    return make_edit


@pytest.fixture
def provenance(make_dataset: MakeDataset) -> Provenance:
    film = read_film(make_dataset())
    mask = np.ones(film.shape, dtype=np.bool_)
    return replace(make_provenance(film, film.stored, {"edit mask": mask}), keep_mask=None)
