"""Size and place of pixels and masks as highdicom, dcmqi, ITK, pydicom and dciodvfy read them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pydicom
import pytest
from highdicom.seg import segread
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from radedit_dicom.conformance import Severity, run_dciodvfy
from radedit_dicom.film import Film, read_film
from radedit_dicom.label_segmentation import About, build_label
from radedit_dicom.segment_reader import read_segmentation

DX = {"SOPClassUID": DigitalXRayImageStorageForPresentation, "Modality": "DX"}
DIGITISED = {
    "SOPClassUID": SecondaryCaptureImageStorage,
    "Modality": "CR",
    "ConversionType": "DF",
    "NominalScannedPixelSpacing": [0.21, 0.17],
}
PLACED = {"ImagePositionPatient": [10, 20, 5], "ImageOrientationPatient": [1, 0, 0, 0, 0, -1]}
FILMS: dict[str, dict[str, Any]] = {
    "spacing": {"PixelSpacing": [0.14, 0.2]},
    "imager spacing": {"ImagerPixelSpacing": [0.14, 0.2], **DX},
    "imager spacing beside 0": {"ImagerPixelSpacing": [0.14, 0.2], "PixelSpacing": [0, 0]},
    "both": {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.18, 0.18], **DX},
    "no spacing": {},
    "spacing 0": {"PixelSpacing": [0, 0]},
    "aspect ratio": {"PixelAspectRatio": [4, 3]},
    "aspect ratio 1": {"PixelAspectRatio": [1, 1]},
    "aspect ratio and spacing": {"PixelAspectRatio": [4, 3], "PixelSpacing": [0.4, 0.3]},
    "digitised": DIGITISED,
    "digitised and calibrated": {**DIGITISED, "PixelSpacing": [0.2, 0.16]},
    "in a frame": {"PixelSpacing": [0.14, 0.2], "FrameOfReferenceUID": "1.2.77", **PLACED},
    "in no frame": {"PixelSpacing": [0.14, 0.2], **PLACED},
}
LABELLED = ("imager spacing", "no spacing", "in a frame", "in no frame")
Masks = dict[str, NDArray[np.bool_]]


@pytest.fixture(params=[*((name, "edit") for name in FILMS), *((n, "label") for n in LABELLED)])
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Name a film, and whether its masks are those of an edit or labels on the film itself."""
    found: tuple[str, str] = request.param
    return found


@pytest.fixture
def source(case: tuple[str, str], make_dataset: Any) -> Dataset:
    uids = {name: generate_uid() for name in ("SOPInstanceUID", "SeriesInstanceUID")}
    dataset: Dataset = make_dataset(**uids, **FILMS[case[0]])
    return dataset


@pytest.fixture
def film(source: Dataset) -> Film:
    return read_film(source)


@pytest.fixture
def written(case: tuple[str, str], film: Film, make_edit: Any, tmp_path: Path) -> Path:
    seg = make_edit(film)[1].seg
    if case[1] == "label":
        masks = read_segmentation(seg, film)
        seg = build_label(film, masks, About("final", "", "1", 8000))
    path = tmp_path / "seg.dcm"
    seg.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def masks(film: Film, make_edit: Any) -> Masks:
    """Give the masks as they were drawn, without a reader of ours."""
    rows, columns = film.shape
    edit = np.zeros(film.shape, dtype=np.bool_)
    edit[rows // 4 : rows // 2, columns // 4 : columns // 2] = True
    keep = np.zeros(film.shape, dtype=np.bool_)
    keep[rows // 2 : rows // 2 + 3, :] = True
    return {"edit mask": edit, "keep mask": keep, "left lung": ~keep}


def dcmqi(path: Path, out: Path) -> dict[str, Any]:
    """Read a SEG with dcmqi's segimage2itkimage: label to ITK image."""
    out.mkdir()
    program = Path(sys.executable).with_name("segimage2itkimage")
    done = subprocess.run(
        [str(program), "--inputDICOM", str(path), "--outputDirectory", str(out), "-t", "nrrd"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    about = json.loads((out / "meta.json").read_text())
    labels = {item["labelID"]: item["SegmentLabel"] for (item,) in about["segmentAttributes"]}
    return {
        label: itk.imread(str(out / f"{number}.nrrd"))
        for number, label in enumerate((labels[n] for n in sorted(labels)), start=1)
    }


def test_highdicoms_segread_opens_every_segmentation(written: Path, masks: Masks):
    seg = segread(written)
    found = seg.get_pixels_by_source_instance([seg.get_source_image_uids()[0][2]])[0]
    for number, mask in enumerate(masks.values()):
        np.testing.assert_array_equal(found[..., number] != 0, mask)


def test_dcmqi_reads_every_mask_in_its_place(
    written: Path, masks: Masks, source: Dataset, tmp_path: Path
):
    images = dcmqi(written, tmp_path / "out")
    assert list(images) == list(masks)
    seg = pydicom.dcmread(written)
    for label, image in images.items():
        np.testing.assert_array_equal(itk.array_from_image(image)[0] != 0, masks[label])
        place = seg.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        assert list(image.GetOrigin()) == [float(v) for v in place.ImagePositionPatient]


def test_dcmqi_lays_the_masks_over_the_edit_as_itk_reads_it(
    film: Film, make_edit: Any, tmp_path: Path
):
    objects = make_edit(film)[1]
    objects.seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    objects.sc.save_as(tmp_path / "sc.dcm", enforce_file_format=True)
    image = itk.imread(str(tmp_path / "sc.dcm"))
    mask = dcmqi(tmp_path / "seg.dcm", tmp_path / "out")["edit mask"]
    assert list(mask.GetOrigin()) == list(image.GetOrigin())
    np.testing.assert_allclose(mask.GetDirection(), image.GetDirection(), atol=1e-12)
    if "PixelAspectRatio" not in objects.sc:  # which ITK does not read
        assert list(mask.GetSpacing())[:2] == list(image.GetSpacing())[:2]


def test_pydicom_and_we_read_every_mask(written: Path, masks: Masks, film: Film):
    seg = pydicom.dcmread(written)
    np.testing.assert_array_equal(seg.pixel_array != 0, list(masks.values()))
    found = read_segmentation(seg, film)
    assert list(found) == list(masks)
    for label, mask in masks.items():
        np.testing.assert_array_equal(found[label], mask)


def test_masks_written_before_they_had_a_place_are_still_read(
    written: Path, masks: Masks, film: Film
):
    seg = pydicom.dcmread(written)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    shared = seg.SharedFunctionalGroupsSequence[0]
    del shared.PixelMeasuresSequence[0].SliceThickness
    if film.spacing_mm is None:
        del shared.PixelMeasuresSequence
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    if "FrameOfReferenceUID" in seg:
        del seg.FrameOfReferenceUID
    found = read_segmentation(seg, film)
    for label, mask in masks.items():
        np.testing.assert_array_equal(found[label], mask)


def test_masks_of_a_film_without_spacing_say_that_their_millimetres_are_pixels(
    written: Path, source: Dataset
):
    seg = pydicom.dcmread(written)
    names = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
    known = any(value > 0 for name in names for value in source.get(name) or [])
    assert ("1 mm = 1 pixel" in seg.ContentDescription) == (not known)


def test_dciodvfy_finds_no_error_in_masks_and_edit(
    written: Path, film: Film, make_edit: Any, tmp_path: Path, peer: Any
):
    peer("dciodvfy")
    path = tmp_path / "sc.dcm"
    make_edit(film)[1].sc.save_as(path, enforce_file_format=True)
    found = [*run_dciodvfy(path), *run_dciodvfy(written)]
    assert [each.sentence for each in found if each.severity is Severity.ERROR] == []


@pytest.mark.parametrize("name", ["imager spacing", "imager spacing beside 0", "digitised"])
def test_itk_reads_the_same_millimetres_of_film_and_edit(
    name: str, make_dataset: Any, make_edit: Any, tmp_path: Path
):
    source = make_dataset(**FILMS[name])
    source.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    make_edit(read_film(source))[1].sc.save_as(tmp_path / "sc.dcm", enforce_file_format=True)
    before, after = (itk.imread(str(tmp_path / name)) for name in ("film.dcm", "sc.dcm"))
    assert list(before.GetSpacing())[:2] == list(after.GetSpacing())[:2] != [1, 1]


def test_an_edit_repeats_each_size_of_a_pixel_by_what_it_means(make_dataset: Any, make_edit: Any):
    calibrated = {
        "PixelSpacing": [0.18, 0.18],
        "PixelSpacingCalibrationType": "GEOMETRY",
        "PixelSpacingCalibrationDescription": "SID",
    }
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"ImagerPixelSpacing": [0.2, 0.2]}, {"PixelSpacing": [0.2, 0.2]}),
        ({"ImagerPixelSpacing": [0.2, 0.2], **calibrated}, calibrated),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], **calibrated, "PixelSpacing": [0, 0]},
            {"PixelSpacing": [0.2, 0.2], "PixelSpacingCalibrationType": None},
        ),
        ({"PixelAspectRatio": [4, 3]}, {"PixelAspectRatio": [4, 3], "PixelSpacing": None}),
        ({"PixelAspectRatio": [4, 3], "PixelSpacing": [0.4, 0.3]}, {"PixelAspectRatio": None}),
        (DIGITISED, {"NominalScannedPixelSpacing": [0.21, 0.17], "PixelSpacing": None}),
        ({"NominalScannedPixelSpacing": [0.2, 0.2]}, {"NominalScannedPixelSpacing": None}),
    ]
    for given, wanted in cases:
        edited = make_edit(read_film(make_dataset(**given)))[1].sc
        assert {name: edited.get(name) for name in wanted} == wanted, given
