"""Masks from segmentations in an archive: dcmqi's and our own, chosen, placed and refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from orthanc import Orthanc
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from radedit.lib import masks
from radedit.lib.errors import MaskError, NotFoundError
from radedit.lib.mask_grammar import parse as parse_expression
from radedit.lib.sources import FilmSources
from radedit_dicom.access import Access
from radedit_dicom.errors import ArchiveError, UnsupportedImageError
from radedit_dicom.film import Film, read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.objects import EditObjects
from radedit_dicom.web import WebArchive
from radedit_dicom.web_session import WebAddress

Labels = NDArray[np.uint8]
SPACING_MM = (0.2, 0.1)  # rows, columns
PLACE = (10.0, 20.0, 5.0)
SCT = {
    1: ("Right lung", "39607008", "Lung"),
    2: ("the heart", "80891009", "Heart"),
    3: ("Left lung", "39607008", "Lung"),
}
Write = Callable[..., Dataset]


@pytest.fixture(scope="module")
def source(make_dataset: Callable[..., Dataset]) -> Dataset:
    """Make a film that states where it lies, without which dcmqi writes no reference to it."""
    return make_dataset(
        np.random.default_rng(5).integers(0, 4096, (24, 20)),
        SOPInstanceUID=generate_uid(),
        SeriesInstanceUID=generate_uid(),
        StudyInstanceUID=generate_uid(),
        PixelSpacing=list(SPACING_MM),
        ImagePositionPatient=list(PLACE),
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        FrameOfReferenceUID=generate_uid(),
    )


@pytest.fixture(scope="module")
def film(source: Dataset) -> Film:
    return read_film(source)


@pytest.fixture(scope="module")
def drawn(film: Film) -> Labels:
    """Draw labels that no flip, transpose or shift leaves as they are, on pairs of pixels."""
    labels = np.zeros(film.shape, np.uint8)
    labels[2:10, 4:16] = 1
    labels[14:20, 2:8] = 2
    labels[20:22, 8:18] = 3
    return labels


@pytest.fixture(scope="module")
def dcmqi(source: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Write a SEG with dcmqi's itkimage2segimage from labels, placed as ITK places an image."""
    folder = tmp_path_factory.mktemp("dcmqi")
    program = Path(sys.executable).with_name("itkimage2segimage")
    numbers = iter(range(1000))

    def write(
        labels: Labels,
        spacing_mm: tuple[float, float] = SPACING_MM,
        origin: tuple[float, ...] = PLACE,
        direction: Any = None,
        *,
        kind: str = "binary",
        image: Dataset = source,
    ) -> Dataset:
        stem = folder / str(next(numbers))
        volume = itk.image_from_array(np.ascontiguousarray(labels.reshape(-1, *labels.shape[-2:])))
        volume.SetSpacing([spacing_mm[1], spacing_mm[0], 1.0])
        volume.SetOrigin(origin)
        volume.SetDirection(np.eye(3) if direction is None else np.asarray(direction, float))
        itk.imwrite(volume, f"{stem}.nrrd")
        image.save_as(f"{stem}-film.dcm", enforce_file_format=True)
        stem.with_suffix(".json").write_text(json.dumps(about(labels)))
        files = {
            "--inputImageList": f"{stem}.nrrd",
            "--inputDICOMList": f"{stem}-film.dcm",
            "--inputMetadata": f"{stem}.json",
            "--outputDICOM": f"{stem}-seg.dcm",
        }
        arguments = [text for pair in files.items() for text in pair]
        done = subprocess.run(
            [str(program), *arguments, "--segmentationType", kind, "--skip", "0"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return pydicom.dcmread(f"{stem}-seg.dcm")

    return write


def about(labels: Labels) -> dict[str, Any]:
    """Describe the segments for dcmqi."""
    category = ("123037004", "Anatomical Structure")
    items = [
        {
            "labelID": number,
            "SegmentLabel": SCT[number][0],
            "SegmentDescription": SCT[number][0],
            "SegmentAlgorithmType": "MANUAL",
            "SegmentedPropertyCategoryCodeSequence": coded(*category),
            "SegmentedPropertyTypeCodeSequence": coded(*SCT[number][1:]),
        }
        for number in sorted(set(labels.ravel().tolist()) - {0})
    ]
    return {"SeriesDescription": "Masks", "SeriesNumber": "300", "segmentAttributes": [items]}


def coded(value: str, meaning: str) -> dict[str, str]:
    return {"CodeValue": value, "CodingSchemeDesignator": "SCT", "CodeMeaning": meaning}


@pytest.fixture
def archive(tmp_path: Path) -> FolderArchive:
    return FolderArchive(tmp_path / "archive")


def seg(name: str, film: Film, archive: Any) -> NDArray[np.bool_]:
    """Draw `seg:NAME` as a request would."""
    frame = masks.Frame(*film.shape, film.spacing_mm)
    node = parse_expression(f'seg:"{name}"')
    return masks.evaluate(node, frame, FilmSources(film, archive=archive))


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_dcmqis_segments_are_found_by_label_code_and_meaning(
    film: Film, drawn: Labels, dcmqi: Write, archive: FolderArchive, kind: str
) -> None:
    archive.store([dcmqi(drawn, kind=kind)])
    lungs = (drawn == 1) | (drawn == 3)
    for name, mask in {
        "Right lung": drawn == 1,
        "the HEART": drawn == 2,
        "80891009": drawn == 2,
        "heart": drawn == 2,
        "39607008": lungs,
        "lung": lungs,
    }.items():
        np.testing.assert_array_equal(seg(name, film, archive), mask, err_msg=name)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_segmentation_on_a_coarser_grid_is_brought_back_to_the_films_pixels(
    film: Film, drawn: Labels, dcmqi: Write, archive: FolderArchive, kind: str
) -> None:
    # Two by two pixels become one, whose centre lies half a pixel further in.
    origin = (PLACE[0] + SPACING_MM[1] / 2, PLACE[1] + SPACING_MM[0] / 2, PLACE[2])
    coarse = dcmqi(drawn[::2, ::2], (0.4, 0.2), origin, kind=kind)
    assert (coarse.Rows, coarse.Columns) == (12, 10)
    archive.store([coarse])
    for number, (label, _, _) in SCT.items():
        np.testing.assert_array_equal(seg(label, film, archive), drawn == number)
    # The same on a film that states no place: what both cover is the same, so it is known too.
    np.testing.assert_array_equal(seg("heart", nowhere(film), archive), drawn == 2)


def nowhere(film: Film) -> Film:
    """Take the film's place in space away, as CR films come."""
    header = Dataset()
    header.update(film.header)
    header.file_meta = film.header.file_meta
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"):
        del header[name]
    return replace(film, header=header)


@pytest.mark.parametrize(
    ("direction", "back"),
    [
        (np.diag([-1, 1, -1]), lambda labels: labels[:, ::-1]),
        (np.diag([1, -1, -1]), lambda labels: labels[::-1]),
        ([[0, 1, 0], [1, 0, 0], [0, 0, -1]], lambda labels: labels.T),
    ],
    ids=["mirrored", "upside down", "transposed"],
)
def test_a_turned_segmentation_is_turned_back(
    film: Film,
    drawn: Labels,
    dcmqi: Write,
    archive: FolderArchive,
    direction: Any,
    back: Callable[[Labels], Labels],
) -> None:
    stored = back(drawn)
    is_transposed = stored.shape != drawn.shape
    spacing = SPACING_MM[::-1] if is_transposed else SPACING_MM
    origin = np.array(PLACE)
    if not is_transposed:  # the first stored pixel lies at the other end of a flipped axis
        last = np.array([(20 - 1) * SPACING_MM[1], (24 - 1) * SPACING_MM[0], 0])
        origin = origin + np.where(np.diag(direction) < 0, last, 0)
    archive.store([dcmqi(stored, spacing, tuple(origin), direction)])
    for where in (film, nowhere(film)):
        np.testing.assert_array_equal(seg("heart", where, archive), drawn == 2)


def test_a_cut_out_is_put_where_it_lies_and_nowhere_without_a_place(
    film: Film, drawn: Labels, dcmqi: Write, archive: FolderArchive
) -> None:
    written = dcmqi(drawn[12:20, 2:12])
    for frame in written.PerFrameFunctionalGroupsSequence:  # dcmqi takes it for another plane's
        x, y = PLACE[0] + 2 * SPACING_MM[1], PLACE[1] + 12 * SPACING_MM[0]
        frame.PlanePositionSequence[0].ImagePositionPatient = [x, y, PLACE[2]]
    archive.store([written])
    np.testing.assert_array_equal(seg("heart", film, archive), drawn == 2)
    with pytest.raises(UnsupportedImageError, match=r"8 x 10, the film 24 x 20, .* extents"):
        seg("heart", nowhere(film), archive)
    with pytest.raises(UnsupportedImageError, match="not both state their pixel spacing"):
        seg("heart", replace(nowhere(film), spacing_mm=None), archive)


def test_another_frame_slices_and_oblique_grids_are_refused(
    film: Film, drawn: Labels, dcmqi: Write, tmp_path: Path
) -> None:
    tilted = [[np.cos(0.1), -np.sin(0.1), 0], [np.sin(0.1), np.cos(0.1), 0], [0, 0, 1]]
    slices = np.stack([drawn, drawn])
    elsewhere = nowhere(film)
    elsewhere.header.FrameOfReferenceUID = generate_uid()
    for number, (where, written, says) in enumerate(
        [
            (elsewhere, dcmqi(drawn), "frame of reference is another one"),
            (film, dcmqi(slices), "slices at several positions"),
            (nowhere(film), obliquely(dcmqi(drawn), tilted), "turned obliquely"),
        ]
    ):
        archive = FolderArchive(tmp_path / str(number))
        archive.store([written])
        with pytest.raises(UnsupportedImageError, match=says):
            seg("heart", where, archive)


def obliquely(written: Dataset, direction: Any) -> Dataset:
    """Turn a SEG that dcmqi would not write, as it finds no film in that plane."""
    orientation = written.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    cosines = np.transpose(direction)[:2].ravel()
    orientation.ImageOrientationPatient = [round(float(cosine), 6) for cosine in cosines]
    return written


def test_a_segmentation_of_another_image_is_refused(
    film: Film, source: Dataset, drawn: Labels, dcmqi: Write, archive: FolderArchive
) -> None:
    other = deepcopy(source)
    other.SOPInstanceUID = generate_uid()
    written = dcmqi(drawn, image=other)
    assert written.StudyInstanceUID == film.header.StudyInstanceUID
    archive.store([written])
    for name in ("heart", f"heart@{written.SeriesInstanceUID}"):
        with pytest.raises(MaskError, match="refer to other images, not to this film"):
            seg(name, film, archive)


def test_of_several_that_match_one_is_named_by_its_series_or_none_is_taken(
    film: Film, drawn: Labels, dcmqi: Write, archive: FolderArchive
) -> None:
    first, second = dcmqi(drawn), dcmqi(np.roll(drawn, 1, axis=0))
    alone = dcmqi(np.where(drawn == 1, drawn, 0))
    archive.store([first, second, alone])
    with pytest.raises(MaskError, match="in 2 segmentations of this film") as caught:
        seg("heart", film, archive)
    for written, mask in ((first, drawn == 2), (second, np.roll(drawn, 1, axis=0) == 2)):
        assert written.SeriesInstanceUID in str(caught.value)
        for uid in (written.SeriesInstanceUID, written.SOPInstanceUID):
            np.testing.assert_array_equal(seg(f"heart@{uid}", film, archive), mask)
    assert alone.SeriesInstanceUID not in str(caught.value)


def test_a_label_that_is_not_there_is_answered_with_those_that_are(
    film: Film, drawn: Labels, dcmqi: Write, archive: FolderArchive
) -> None:
    with pytest.raises(NotFoundError, match="no segmentation in the film's study"):
        seg("spleen", film, archive)
    archive.store([dcmqi(drawn)])
    with pytest.raises(NotFoundError, match="'spleen'; there are Left lung, Right lung, the heart"):
        seg("spleen", film, archive)
    with pytest.raises(NotFoundError, match=r"no segmentation with the UID 1\.2\.3;"):
        seg("heart@1.2.3", film, archive)
    with pytest.raises(MaskError, match="names no label"):
        seg("@1.2.3", film, archive)


def test_our_own_segmentation_of_an_edit_is_one_of_the_film_too(
    make_dataset: Callable[..., Dataset],
    make_edit: Callable[..., tuple[Any, EditObjects]],
    archive: FolderArchive,
) -> None:
    film = read_film(make_dataset())
    _, objects = make_edit(film, "same")
    archive.store([objects.sc, objects.seg])
    keep = np.zeros(film.shape, bool)
    keep[12:15] = True
    np.testing.assert_array_equal(seg("keep mask", film, archive), keep)


def test_the_masks_of_an_edit_in_a_study_of_its_own_are_found_by_their_uid(
    make_dataset: Callable[..., Dataset],
    make_edit: Callable[..., tuple[Any, EditObjects]],
    archive: FolderArchive,
) -> None:
    film = read_film(make_dataset())
    _, objects = make_edit(film, "new")
    archive.store([objects.sc, objects.seg])
    keep = np.zeros(film.shape, bool)
    keep[12:15] = True
    found = seg(f"keep mask@{objects.seg.SOPInstanceUID}", film, archive)
    np.testing.assert_array_equal(found, keep)
    another = read_film(make_dataset(SOPInstanceUID=generate_uid(), StudyInstanceUID="1.9"))
    with pytest.raises(MaskError, match="refer to other images"):
        seg(f"keep mask@{objects.seg.SOPInstanceUID}", another, archive)


@pytest.fixture(scope="module")
def orthanc(start_orthanc: Callable[..., Orthanc]) -> Orthanc:
    return start_orthanc()


def test_a_segmentation_comes_out_of_a_real_archive_over_dicomweb(
    film: Film, source: Dataset, drawn: Labels, dcmqi: Write, orthanc: Orthanc
) -> None:
    for dataset in (source, dcmqi(drawn)):
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        orthanc.upload(buffer.getvalue())
    archive = WebArchive(WebAddress(orthanc.dicom_web))
    np.testing.assert_array_equal(seg("80891009", film, archive), drawn == 2)


def test_an_archive_that_cannot_be_reached_is_one_sentence(
    film: Film, free_port: int, tmp_path: Path
) -> None:
    gone = WebAddress(f"http://127.0.0.1:{free_port}/dicom-web", Access(attempts=1))
    (tmp_path / "file").write_text("no folder")
    for archive in (WebArchive(gone), FolderArchive(tmp_path / "file")):
        with pytest.raises(ArchiveError) as caught:
            seg("heart", film, archive)
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)
        assert str(tmp_path) not in str(caught.value)


def test_without_an_archive_seg_says_what_to_use_instead(film: Film) -> None:
    with pytest.raises(MaskError, match=r"this call has none; name the file with file:PATH"):
        seg("heart", film, None)
