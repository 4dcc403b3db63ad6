"""Where masks come from: files of every kind that is read, and the segmenter as a task."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import itk
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from radedit.lib.errors import MaskError, NotFoundError
from radedit.lib.mask_files import label_numbers, read_labels, read_mask
from radedit.lib.sources import FilmSources, embedded_lungs
from radedit.lib.victims.answers import usable_segments
from radedit_dicom.film import Film, read_film
from radedit_dicom.objects import EditObjects

Mask = NDArray[np.bool_]


@pytest.fixture(scope="module")
def film(make_dataset: Callable[..., Dataset]) -> Film:
    """Give a small film that is higher than wide, so that a transposed mask cannot pass."""
    return read_film(make_dataset(np.random.default_rng(5).integers(0, 4096, (24, 20))))


@pytest.fixture(scope="module")
def drawn(film: Film) -> Mask:
    """Draw a mask without any symmetry, touching one corner."""
    mask = np.zeros(film.shape, bool)
    mask[3:11, 5:17] = True
    mask[8:20, 4:7] = True
    mask[-1, -1] = True
    return mask


def coloured(mask: Mask, mode: str) -> Image.Image:
    """Draw the mask in one of PNG's kinds of pixel; what is outside is opaque black."""
    grey = mask.astype(np.uint8) * 3
    opaque, dark = np.full_like(grey, 255), np.zeros_like(grey)
    channels = {
        "L": grey,
        "LA": np.stack([grey, opaque], axis=-1),
        "RGB": np.stack([dark, dark, grey], axis=-1),
        "RGBA": np.stack([dark, grey, dark, opaque], axis=-1),
        "1": mask,
        "I;16": mask.astype(np.uint16) * 256,  # its low byte is 0
    }
    if mode != "P":
        return Image.fromarray(channels[mode])
    # Colour 0 of the palette is white and colour 7 black: what counts is the colour.
    image = Image.fromarray(np.where(mask, 0, 7).astype(np.uint8))
    image.putpalette([255, 255, 255] + [0, 0, 0] * 255)
    return image


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA", "P", "1", "I;16"])
def test_a_png_of_any_kind_of_pixel_is_the_mask_that_was_drawn(
    film: Film, drawn: Mask, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "mask.png"
    image = coloured(drawn, mode)
    assert image.mode == mode
    image.save(path)
    np.testing.assert_array_equal(read_mask(str(path), film), drawn)


def test_opaque_black_is_outside_and_transparent_colour_is_inside(
    film: Film, drawn: Mask, tmp_path: Path
) -> None:
    path = tmp_path / "mask.png"
    pixels = np.zeros((*film.shape, 4), np.uint8)
    pixels[drawn, 0] = 255
    pixels[~drawn, 3] = 255
    Image.fromarray(pixels).save(path)
    np.testing.assert_array_equal(read_mask(str(path), film), drawn)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("slices", [0, 1])
def test_a_volume_file_is_the_mask_that_was_drawn(
    film: Film, drawn: Mask, tmp_path: Path, suffix: str, kind: Any, slices: int
) -> None:
    path = tmp_path / f"mask{suffix}"
    labels = drawn.astype(kind) * 2
    itk.imwrite(itk.image_from_array(labels[np.newaxis] if slices else labels), str(path))
    np.testing.assert_array_equal(read_mask(str(path), film), drawn)


@pytest.fixture(scope="module")
def written(film: Film, make_edit: Callable[..., tuple[Any, EditObjects]]) -> EditObjects:
    return make_edit(film)[1]


def test_our_own_segmentation_gives_each_mask_by_its_label(
    film: Film, written: EditObjects, tmp_path: Path
) -> None:
    path = tmp_path / "seg.dcm"
    written.seg.save_as(path, enforce_file_format=True)
    edit, keep = np.zeros((2, *film.shape), bool)
    edit[6:12, 5:10] = True
    keep[12:15, :] = True
    for label, mask in {"edit mask": edit, "keep mask": keep, "left lung": ~keep}.items():
        np.testing.assert_array_equal(read_mask(f"{path}#{label}", film), mask)
    for name in (str(path), f"{path}#spleen"):
        with pytest.raises(MaskError, match="edit mask, keep mask, left lung"):
            read_mask(name, film)


def test_a_segmentation_of_another_film_is_refused(
    film: Film, written: EditObjects, tmp_path: Path
) -> None:
    path = tmp_path / "seg.dcm"
    written.seg.save_as(path, enforce_file_format=True)
    header = pydicom.Dataset()
    header.update(film.header)
    header.SOPInstanceUID = "1.2.3.99"
    with pytest.raises(MaskError, match="does not refer to this film"):
        read_mask(f"{path}#edit mask", replace(film, header=header))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header_only(path: Path, rows: int, cols: int) -> None:
    """Write a file whose header is sound and whose pixels cannot be decoded."""
    if path.suffix == ".png":
        header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", cols, rows, 8, 0, 0, 0, 0))
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"junk") + png_chunk(b"IEND", b"")
        )
    elif path.suffix == ".nrrd":
        path.write_text(
            f"NRRD0004\ntype: uint8\ndimension: 2\nsizes: {cols} {rows}\nencoding: raw\n\n"
        )
    else:
        itk.imwrite(itk.image_from_array(np.zeros((8, 8), np.uint8)), str(path))
        sound = bytearray(path.read_bytes()[:352])  # the header and its empty extension
        struct.pack_into("<2h", sound, 42, cols, rows)  # NIfTI-1's dim[1] and dim[2]
        path.write_bytes(sound)


@pytest.mark.parametrize("suffix", [".png", ".nrrd", ".nii"])
def test_another_size_is_refused_before_a_pixel_is_decoded(
    film: Film, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"mask{suffix}"
    rows, cols = film.shape
    header_only(path, rows, cols)
    with pytest.raises(MaskError, match="cannot be read as"):
        read_mask(str(path), film)
    # The same file of the film's width and height exchanged: nobody gets as far as its pixels.
    header_only(path, cols, rows)
    with pytest.raises(MaskError, match=rf"{cols} x {rows} pixels and the film {rows} x {cols}"):
        read_mask(str(path), film)


@pytest.mark.parametrize("suffix", [".png", ".nii", ".nii.gz", ".nrrd", ".dcm", ".jpg", ""])
@pytest.mark.parametrize("garbage", [b"", b"\0" * 400, b"no image at all, only words " * 20])
def test_garbage_is_refused_and_named_by_its_file_only(
    film: Film, tmp_path: Path, suffix: str, garbage: bytes
) -> None:
    path = tmp_path / f"mask{suffix}"
    path.write_bytes(garbage)
    with pytest.raises(MaskError) as caught:
        read_mask(str(path), film)
    assert str(tmp_path) not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0.2, 0.7])
@pytest.mark.parametrize("suffix", [".png", ".nii", ".nii.gz", ".nrrd"])
def test_a_file_that_was_cut_off_is_refused(
    film: Film, drawn: Mask, tmp_path: Path, suffix: str, kept: float
) -> None:
    path = tmp_path / f"mask{suffix}"
    if suffix == ".png":
        Image.fromarray(drawn.astype(np.uint8)).save(path)
    else:
        itk.imwrite(itk.image_from_array(drawn.astype(np.uint8)), str(path))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(MaskError):
        read_mask(str(path), film)


@pytest.mark.parametrize("suffix", [".nii", ".nrrd"])
def test_what_is_not_a_number_is_outside_a_mask(
    film: Film, drawn: Mask, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"mask{suffix}"
    pixels = np.where(drawn, np.float32(1), np.float32(np.nan))
    itk.imwrite(itk.image_from_array(pixels), str(path))
    np.testing.assert_array_equal(read_mask(str(path), film), drawn)
    np.testing.assert_array_equal(read_labels(path, {"lung": 1}, film)["lung"], drawn)
    segments = usable_segments({"lung": pixels}, film.shape)
    np.testing.assert_array_equal(segments["lung"], drawn)


@pytest.mark.parametrize("outside", [0.001, -1, np.inf, -1024])
def test_a_background_that_is_not_0_is_refused_and_is_not_inside(
    film: Film, drawn: Mask, tmp_path: Path, outside: float
) -> None:
    path = tmp_path / "probabilities.nrrd"
    pixels = np.where(drawn, np.float32(1), np.float32(outside))
    itk.imwrite(itk.image_from_array(pixels), str(path))
    with pytest.raises(MaskError, match=r"holds (fractions|numbers that are not finite)"):
        read_mask(str(path), film)


def test_several_slices_and_colours_are_no_mask(film: Film, drawn: Mask, tmp_path: Path) -> None:
    for number, shape in enumerate([(2, *film.shape), (*film.shape, 3)]):
        path = tmp_path / f"{number}.nrrd"
        volume = np.broadcast_to(drawn if number == 0 else drawn[..., None], shape)
        itk.imwrite(itk.image_from_array(volume.astype(np.uint8), is_vector=number == 1), str(path))
        with pytest.raises(MaskError, match="not one grey image"):
            read_mask(str(path), film)


def test_a_missing_file_is_named_without_its_folder(film: Film, tmp_path: Path) -> None:
    with pytest.raises(MaskError, match=r"^the mask file 'none\.png' does not exist"):
        read_mask(str(tmp_path / "none.png"), film)


@pytest.fixture(scope="module")
def mirrored(rg1: Path) -> Film:
    """Give the real film as stored by somebody who looks at the patient from behind."""
    dataset = pydicom.dcmread(rg1)
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[:, ::-1]).tobytes()
    dataset.PatientOrientation = ["R", "F"]
    return read_film(dataset)


def test_left_is_the_patients_left_on_a_film_stored_mirrored(rg1: Path, mirrored: Film) -> None:
    upright = embedded_lungs(read_film(rg1))
    found = FilmSources(mirrored)
    for label, mask in upright.items():
        np.testing.assert_array_equal(
            found.mask("task", f"lung_segmentation:{label}"), mask[:, ::-1]
        )
    left, right = (found.mask("task", f"lung_segmentation:{x}") for x in ("left", "right"))
    # Seen from behind, the patient's left is on the left of the picture.
    assert np.argwhere(left)[:, 1].mean() < np.argwhere(right)[:, 1].mean()
    np.testing.assert_array_equal(found.mask("task", "lung_segmentation"), left | right)


def test_a_source_that_is_not_there_names_those_that_are(film: Film) -> None:
    sources = FilmSources(film, uploaded={"a": np.ones(film.shape, bool)})
    assert sources.mask("uploaded", "a").all()
    with pytest.raises(NotFoundError, match="no mask named 'b'"):
        sources.mask("uploaded", "b")
    with pytest.raises(
        NotFoundError, match="known tasks are heart_segmentation, lung_segmentation"
    ):
        sources.mask("task", "heart")


def test_a_label_that_a_task_has_not_names_those_it_has(rg1: Path) -> None:
    with pytest.raises(NotFoundError, match="its labels are left, lungs, right"):
        FilmSources(read_film(rg1)).mask("task", "lung_segmentation:spleen")


def test_a_label_of_a_task_is_known_in_any_spelling_of_it(film: Film, drawn: Mask) -> None:
    def task(_: Film) -> dict[str, Mask]:
        return {"Chest_Tube": drawn, "rib": ~drawn, "Rib": drawn}

    sources = FilmSources(film, tasks={"some": task})
    for label in ("Chest_Tube", "chest tube", "CHEST-TUBE", "chestTube", "Rib"):
        np.testing.assert_array_equal(sources.mask("task", f"some:{label}"), drawn)
    with pytest.raises(NotFoundError, match="has no label 'RIB'"):
        sources.mask("task", "some:RIB")  # one of two


def test_padding_does_not_change_the_contrast_the_lungs_are_found_at(rg1: Path) -> None:
    film = read_film(rg1)
    stored, padding = film.stored.copy(), film.padding.copy()
    stored[1700:], padding[1700:] = 0, True  # white on this MONOCHROME1 film, and no patient
    stored[:120], padding[:120] = 2**15 - 1, True  # black
    padded = replace(film, stored=stored, padding=padding)
    plain = embedded_lungs(film)["lungs"][120:1700]
    found = embedded_lungs(padded)["lungs"][120:1700]
    assert 2 * (found & plain).sum() / (found.sum() + plain.sum()) > 0.95


# How a file of columns x rows says that it lies, and what its pixels then are.
TURNED: dict[str, tuple[Any, Callable[[Mask], Mask]]] = {
    "mirrored": (np.diag([-1.0, 1.0]), lambda mask: mask[:, ::-1]),
    "upside down": (np.diag([1.0, -1.0]), lambda mask: mask[::-1]),
    "turned half round": (np.diag([-1.0, -1.0]), lambda mask: mask[::-1, ::-1]),
    "transposed": ([[0.0, 1.0], [1.0, 0.0]], lambda mask: mask.T),
    "a quarter round": ([[0.0, 1.0], [-1.0, 0.0]], lambda mask: mask[::-1].T),
    "another quarter round": ([[0.0, -1.0], [1.0, 0.0]], lambda mask: mask[:, ::-1].T),
}


@pytest.mark.parametrize("how", TURNED)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd"])
@pytest.mark.parametrize("axes", [2, 3])
def test_a_volume_file_is_turned_as_its_directions_say(
    film: Film, drawn: Mask, tmp_path: Path, how: str, suffix: str, axes: int
) -> None:
    direction, turn = TURNED[how]
    stored = np.ascontiguousarray(turn(drawn)).astype(np.uint8)
    if axes == 3:
        matrix = np.eye(3)
        matrix[:2, :2] = direction
        matrix[2, 2] = np.linalg.det(np.asarray(direction))  # NIfTI keeps right-handed ones
        stored, direction = stored[np.newaxis], matrix
    image = itk.image_from_array(stored)
    image.SetDirection(np.asarray(direction))
    path = tmp_path / f"mask{suffix}"
    itk.imwrite(image, str(path))
    np.testing.assert_array_equal(read_mask(str(path), film), drawn)


def test_the_pixel_that_itk_places_at_a_point_is_the_films_pixel_there(
    film: Film, tmp_path: Path
) -> None:
    """An oracle of its own: ITK's physical points, no table of flips."""
    rng = np.random.default_rng(1)
    for number, (direction, turn) in enumerate(TURNED.values()):
        row, column = int(rng.integers(24)), int(rng.integers(20))
        stored = np.zeros(turn(np.zeros(film.shape, bool)).shape, np.uint8)
        image = itk.image_from_array(stored)
        image.SetDirection(np.asarray(direction))
        corners = [[i, j] for i in (0, stored.shape[1] - 1) for j in (0, stored.shape[0] - 1)]
        points = [list(image.TransformIndexToPhysicalPoint(corner)) for corner in corners]
        image.SetOrigin((-np.min(points, axis=0)).tolist())  # lies on the film's own pixels
        index = image.TransformPhysicalPointToIndex([float(column), float(row)])
        image.SetPixel(index, 1)
        path = tmp_path / f"{number}.nrrd"
        itk.imwrite(image, str(path))
        assert np.argwhere(read_mask(str(path), film)).tolist() == [[row, column]]


@pytest.mark.parametrize("suffix", [".nii", ".nrrd"])
def test_an_oblique_mask_and_one_of_another_plane_are_refused(
    film: Film, drawn: Mask, tmp_path: Path, suffix: str
) -> None:
    tilted = [[np.cos(0.05), -np.sin(0.05), 0], [np.sin(0.05), np.cos(0.05), 0], [0, 0, 1]]
    coronal = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    for number, direction in enumerate((tilted, coronal)):
        image = itk.image_from_array(drawn.astype(np.uint8)[np.newaxis])
        image.SetDirection(np.asarray(direction, float))
        path = tmp_path / f"{number}{suffix}"
        itk.imwrite(image, str(path))
        with pytest.raises(MaskError, match="out of the film's plane or obliquely in it"):
            read_mask(str(path), film)


def labels_of(drawn: Mask) -> NDArray[np.uint8]:
    labels = drawn.astype(np.uint8) * 2
    labels[0, :5] = 5
    return labels


@pytest.mark.parametrize("suffix", [".png", ".nii.gz", ".nrrd"])
def test_a_label_image_gives_each_name_its_number_and_other_numbers_themselves(
    film: Film, drawn: Mask, tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"labels{suffix}"
    labels = labels_of(drawn)
    if suffix == ".png":
        Image.fromarray(labels).save(path)
    else:
        itk.imwrite(itk.image_from_array(labels), str(path))
    found = read_labels(path, {"lung": 2, "heart": 7}, film)
    assert set(found) == {"lung", "heart", "5"}
    np.testing.assert_array_equal(found["lung"], labels == 2)
    np.testing.assert_array_equal(found["5"], labels == 5)
    assert not found["heart"].any()


def test_a_picture_is_no_label_image(film: Film, tmp_path: Path) -> None:
    values = np.linspace(0, 1, film.stored.size, dtype=np.float32).reshape(film.shape)
    for name, pixels in {"a.nrrd": values, "b.nrrd": np.round(values * 480)}.items():
        itk.imwrite(itk.image_from_array(pixels), str(tmp_path / name))
        with pytest.raises(MaskError, match="is no label image"):
            read_labels(tmp_path / name, {}, film)
    Image.new("RGB", film.shape[::-1]).save(tmp_path / "c.png")
    with pytest.raises(MaskError, match="is no label image"):
        read_labels(tmp_path / "c.png", {}, film)


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ({"background": 0, "Lung": 1, "heart": "3"}, {"Lung": 1, "heart": 3}),
        (["background", "lung", "heart"], {"lung": 1, "heart": 2}),
        (("lung", "heart"), {"lung": 1, "heart": 2}),
        ({"a": [1], "b": None, "c": -1}, {}),
        (None, {}),
        ("lung", {}),
    ],
)
def test_every_way_to_state_labels_means_numbers(said: object, means: dict[str, int]) -> None:
    assert label_numbers(said) == means
