"""Reading a film, and every refusal."""

from __future__ import annotations

import os
import struct
import tracemalloc
from io import BytesIO
from pathlib import Path
from typing import Any

import faulty_films
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from radedit_dicom.errors import (
    AlreadySyntheticError,
    DicomError,
    NotDicomError,
    UnsupportedImageError,
)
from radedit_dicom.pixels import read_film


def as_bytes(dataset: Dataset) -> bytes:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_the_real_film_is_read_exactly(rg1: Path):
    film = read_film(rg1)
    assert film.shape == (1955, 1841)
    assert (film.photometric, film.bits_stored, film.signed) == ("MONOCHROME1", 15, False)
    assert film.spacing_mm is None, "a spacing of 0.000 is no spacing"
    assert film.stored.dtype == np.uint16
    np.testing.assert_array_equal(film.stored, pydicom.dcmread(rg1).pixel_array)
    assert "PixelData" not in film.header
    assert not film.padding.any()


def test_the_real_film_reads_alike_from_jpeg_2000(sample, rg1_film):
    np.testing.assert_array_equal(read_film(sample("RG1_J2KR.dcm")).stored, rg1_film.stored)


def test_path_bytes_and_dataset_give_the_same_film(make_dataset, tmp_path):
    dataset = make_dataset()
    data = as_bytes(make_dataset())
    (tmp_path / "a.dcm").write_bytes(data)
    for source in (dataset, data, tmp_path / "a.dcm"):
        np.testing.assert_array_equal(read_film(source).stored, dataset.pixel_array)
    assert "PixelData" in dataset, "the caller's dataset is not changed"


@pytest.mark.parametrize("bits", range(8, 17))
@pytest.mark.parametrize("signed", [0, 1])
def test_every_depth_and_sign_is_read_exactly(make_dataset, bits, signed):
    low = -(1 << (bits - 1)) if signed else 0
    pixels = np.random.default_rng(bits).integers(low, low + (1 << bits), (9, 7))
    pixels[0, :2] = low, low + (1 << bits) - 1
    film = read_film(make_dataset(pixels, bits, PixelRepresentation=signed))
    np.testing.assert_array_equal(film.stored, pixels)
    assert film.stored.dtype == (np.int32 if signed else np.uint16)
    assert film.stored_range == (low, low + (1 << bits) - 1)


def test_bits_above_the_high_bit_are_cleared(make_dataset):
    pixels = np.full((4, 4), 0xF123)
    assert (read_film(make_dataset(pixels, 12)).stored == 0x123).all()


def test_a_few_bytes_behind_the_pixels_are_left_out(make_dataset):
    pixels = np.random.default_rng(1).integers(0, 4096, (24, 20))
    for surplus in (b"\0\0", b"\1" * 38):  # less than a row of 40
        dataset = make_dataset(pixels)
        dataset.PixelData += surplus
        np.testing.assert_array_equal(read_film(as_bytes(dataset)).stored, pixels)
    odd = make_dataset(np.arange(35).reshape(7, 5), 8)
    np.testing.assert_array_equal(read_film(as_bytes(odd)).stored, np.arange(35).reshape(7, 5))


def test_samples_per_pixel_may_be_absent_of_a_grey_film(make_dataset):
    for syntax in (None, RLELossless, JPEG2000Lossless):
        dataset = make_dataset(np.random.default_rng(1).integers(0, 4096, (64, 48)))
        wanted = dataset.pixel_array.copy()
        if syntax is not None:
            dataset.compress(syntax, generate_instance_uid=False)
        del dataset.SamplesPerPixel
        np.testing.assert_array_equal(read_film(as_bytes(dataset)).stored, wanted)


def test_a_jpeg_whose_scan_says_that_it_ends_with_coefficient_0_reads_as_the_whole_one(
    make_dataset, tmp_path, peer
):
    pixels = np.random.default_rng(1).integers(0, 4096, (64, 48))
    film = faulty_films.jpeg_extended(make_dataset(pixels), tmp_path, peer("dcmcjpeg"))
    wanted = read_film(film)
    found = read_film(faulty_films.with_scan_to_0(film))
    np.testing.assert_array_equal(found.stored, wanted.stored)


def test_a_comment_behind_the_last_tile_part_of_a_jpeg_2000_is_passed_over(make_dataset):
    pixels = np.random.default_rng(1).integers(0, 4096, (64, 48))
    film = faulty_films.with_late_comment(make_dataset(pixels))
    np.testing.assert_array_equal(read_film(film).stored, pixels)


@pytest.mark.parametrize(("start", "lacking"), [(132, "the preamble"), (None, "file meta")])
def test_a_bare_object_is_told_what_it_lacks(make_dataset, start, lacking):
    data = as_bytes(make_dataset())
    at = start or data.index(struct.pack("<HH2s", 0x0008, 0x0016, b"UI")) - 0
    bare = data[at:] if start else struct.pack("<HH2sHH", 8, 5, b"CS", 2, 0x2020) + data[at:]
    with pytest.raises(NotDicomError, match=f"without {lacking}"):
        read_film(bare)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_compression_gives_the_same_values(make_dataset, syntax):
    dataset = make_dataset(np.random.default_rng(1).integers(0, 4096, (64, 48)))
    plain = read_film(dataset).stored
    dataset.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(read_film(dataset).stored, plain)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_native_syntaxes_are_read(make_dataset, syntax):
    dataset = make_dataset()
    wanted = read_film(dataset).stored
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    np.testing.assert_array_equal(read_film(as_bytes(dataset)).stored, wanted)


def test_padding_value_and_range_are_found(make_dataset):
    pixels = np.arange(16).reshape(4, 4)
    film = read_film(make_dataset(pixels, PixelPaddingValue=3, PixelPaddingRangeLimit=1))
    np.testing.assert_array_equal(film.padding, (pixels >= 1) & (pixels <= 3))


@pytest.mark.parametrize(
    ("bits", "vr", "written"),
    [
        (16, "SS", -2000),
        (16, "US", 65536 - 2000),
        (12, "SS", -2000),
        (12, "US", 65536 - 2000),
        (12, "US", 4096 - 2000),
        (16, "UN", struct.pack("<h", -2000)),
    ],
)
def test_padding_of_a_signed_film_is_found_however_it_was_written(make_dataset, bits, vr, written):
    pixels = np.array([[-2000, -1], [0, 2000]])
    dataset = make_dataset(pixels, bits, PixelRepresentation=1)
    dataset.add_new("PixelPaddingValue", vr, written)
    film = read_film(as_bytes(dataset))
    np.testing.assert_array_equal(film.padding, pixels == -2000)
    assert film.padding_range == (-2000, -2000)


def test_padding_of_an_unsigned_film_may_be_written_as_a_signed_number(make_dataset):
    dataset = make_dataset(np.array([[65535, 0], [1, 2]]), 16)
    dataset.add_new("PixelPaddingValue", "SS", -1)
    np.testing.assert_array_equal(
        read_film(as_bytes(dataset)).padding, [[True, False], [False] * 2]
    )


def test_a_film_that_is_all_padding_is_refused(make_dataset):
    blank = make_dataset(np.full((24, 20), 3), PixelPaddingValue=3)
    with pytest.raises(UnsupportedImageError, match="Every pixel of the film is padding"):
        read_film(blank)


def test_a_file_over_the_limit_is_refused_before_it_is_read(make_dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("radedit_dicom.film.MAX_HEADER_BYTES", 2**20)
    over = tmp_path / "over.dcm"
    over.write_bytes(as_bytes(make_dataset()))
    os.truncate(over, 3 * 2**20)  # sparse: it takes no room
    tracemalloc.start()
    try:
        with pytest.raises(UnsupportedImageError, match=f"has {3 * 2**20} bytes"):
            read_film(over, max_pixels=480)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    small = as_bytes(make_dataset())
    assert read_film(small, max_pixels=480).shape == (24, 20)
    with pytest.raises(UnsupportedImageError, match="at most"):
        read_film(small + b"\0" * 2**20, max_pixels=480)


def test_spacing_falls_back_to_the_imagers(make_dataset):
    both = {"PixelSpacing": [0.2, 0.3], "ImagerPixelSpacing": [0.1, 0.1]}
    assert read_film(make_dataset(**both)).spacing_mm == (0.2, 0.3)
    both["PixelSpacing"] = [0, 0]
    assert read_film(make_dataset(**both)).spacing_mm == (0.1, 0.1)
    assert read_film(make_dataset()).spacing_mm is None


@pytest.mark.parametrize("text", ["StudyDescription", "SeriesDescription", "ProtocolName"])
def test_a_description_may_say_chest_when_no_body_part_does(make_dataset, text):
    read_film(make_dataset(BodyPartExamined=None, **{text: "XR Thorax p.a."}))


def region(value: str, scheme: str) -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "x"
    return Sequence([item])


def test_a_region_code_may_say_chest_when_no_body_part_does(make_dataset):
    chest = {"BodyPartExamined": None, "SOPClassUID": DigitalXRayImageStorageForPresentation}
    chest["Modality"] = "DX"
    read_film(make_dataset(**chest, AnatomicRegionSequence=region("51185008", "SCT")))
    with pytest.raises(UnsupportedImageError, match="not known as the chest"):
        read_film(make_dataset(**chest, AnatomicRegionSequence=region("69536005", "SCT")))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"BodyPartExamined": "EXTREMITY"}, "not known as the chest"),
    ({"BodyPartExamined": "HAND", "StudyDescription": "CHEST"}, "not known as the chest"),
    ({"BodyPartExamined": None}, "known that the film shows a chest"),
    ({"BodyPartExamined": None, "StudyDescription": "Thorax spine"}, "shows a chest"),
    ({"ViewPosition": "LL"}, "lateral"),
    ({"ViewPosition": "RL"}, "lateral"),
    ({"ViewPosition": "LLD"}, "lateral"),
    ({"ViewPosition": "AP LATERAL"}, "lateral"),
    ({"ViewPosition": None, "PatientOrientation": ["A", "F"]}, "lateral"),
    (
        {"ViewPosition": None, "PatientOrientation": None, "SeriesDescription": "Chest LAT"},
        "lateral",
    ),
    ({"ViewCodeSequence": region("399067008", "SCT")}, "lateral"),
    ({"ViewPosition": None, "ViewCodeSequence": region("399173006", "SCT")}, "lateral"),
    ({"ViewPosition": None, "ViewCodeSequence": region("399312000", "SCT")}, "oblique"),
    ({"ViewPosition": None, "SeriesDescription": "Thorax seitlich"}, "lateral"),
    ({"ViewPosition": None, "PatientOrientation": None}, "known that the film is frontal"),
    (
        {"ViewPosition": None, "PatientOrientation": None, "SeriesDescription": "Chest 2 views"},
        "known that the film is frontal",
    ),
    ({"PatientOrientation": ["F", "R"]}, "rotated"),
    ({"PatientOrientation": ["L", "H"]}, "upside down"),
    ({"PatientOrientation": ["P", "F"]}, "lateral"),
    ({"PatientOrientation": "L"}, "rotated"),
    ({"Modality": "CT"}, "modality is CT"),
    ({"SOPClassUID": EnhancedCTImageStorage}, "SOP class"),
    ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "3 samples"),
    ({"PhotometricInterpretation": "PALETTE COLOR"}, "greyscale"),
    ({"NumberOfFrames": 2}, "2 frames"),
    ({"Rows": None}, "0 x 20"),
    ({"Rows": 25}, "truncated"),
    ({"Rows": 23}, "hold 960 bytes, but 920 .* another image"),
    ({"BitsStored": 17, "HighBit": 16}, "17 stored"),
    ({"HighBit": 15}, "high bit 15"),
    ({"BitsStored": 7, "HighBit": 6}, "7 stored"),
    ({"PixelRepresentation": None}, "representation -1"),
    ({"SOPInstanceUID": "../../../x"}, "SOPInstanceUID"),
]


@pytest.mark.parametrize(("attributes", "sentence"), REFUSED)
def test_what_is_no_frontal_grey_chest_film_is_refused(make_dataset, attributes, sentence):
    pixels = np.zeros((24, 20), dtype=np.uint16)
    with pytest.raises(UnsupportedImageError, match=sentence) as caught:
        read_film(make_dataset_unchecked(make_dataset, pixels, attributes))
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert not any(secret in text for secret in ("Geheim", "4711", "1950"))


FRONTAL: list[dict[str, Any]] = [
    {"ViewPosition": "AP", "PatientOrientation": ["R", "F"]},
    {"ViewPosition": "PA", "PatientOrientation": ["LH", "FP"]},
    {"ViewPosition": "PA", "PatientOrientation": None, "StudyDescription": "Chest PA and LAT"},
    {"ViewPosition": None},
    {"ViewPosition": None, "PatientOrientation": None, "SeriesDescription": "Thorax p.a."},
    {"ViewPosition": None, "PatientOrientation": None, "ProtocolName": "CHEST A-P"},
    {"ViewPosition": None, "ViewCodeSequence": region("399348003", "SCT")},
    {
        "ViewPosition": None,
        "PatientOrientation": None,
        "ViewCodeSequence": region("R-10214", "SRT"),
        "StudyDescription": "Thorax PA / LAT",
    },
]


@pytest.mark.parametrize("attributes", FRONTAL)
def test_a_film_that_says_it_is_frontal_is_read(make_dataset, attributes):
    assert read_film(make_dataset(**attributes)).shape == (24, 20)


def make_dataset_unchecked(make_dataset, pixels, attributes) -> Dataset:
    with pydicom.config.disable_value_validation():
        representation = attributes.get("PixelRepresentation", 0) or 0
        dataset = make_dataset(pixels, PixelRepresentation=representation)
        for name, value in attributes.items():
            if value is None:
                delattr(dataset, name)
            else:
                setattr(dataset, name, value)
    return dataset


def test_the_extremity_of_the_samples_is_refused(rg3):
    with pytest.raises(UnsupportedImageError, match="not known as the chest"):
        read_film(rg3)


def test_synthetic_films_are_refused_unless_asked_for(make_dataset):
    synthetic = make_dataset(SyntheticData="YES", SOPClassUID=SecondaryCaptureImageStorage)
    with pytest.raises(AlreadySyntheticError):
        read_film(synthetic)
    assert read_film(synthetic, allow_synthetic=True).shape == (24, 20)


def test_a_phantom_is_synthetic_and_may_be_edited_but_an_edit_of_one_may_not(make_dataset):
    marks = {"SyntheticData": "YES", "QualityControlSubject": "YES"}
    assert read_film(make_dataset(**marks)).shape == (24, 20)
    with pytest.raises(AlreadySyntheticError):
        read_film(make_dataset(**marks, ConversionType="SYN"))
    with pytest.raises(AlreadySyntheticError):
        read_film(make_dataset(SyntheticData="YES", QualityControlSubject="NO"))


def test_no_pixel_data_is_refused(make_dataset):
    dataset = make_dataset()
    del dataset.PixelData
    with pytest.raises(UnsupportedImageError, match="no pixel data"):
        read_film(dataset)


def test_a_file_cut_short_is_refused(make_dataset):
    data = as_bytes(make_dataset())
    with pytest.raises(UnsupportedImageError, match=r"truncated|no pixel data"):
        read_film(data[:-40])


def test_a_syntax_without_decoder_is_named(make_dataset):
    dataset = make_dataset()
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    with pytest.raises(UnsupportedImageError, match=r"1\.2\.840\.10008\.1\.2\.4\.100"):
        read_film(dataset)


@pytest.mark.parametrize(
    "data", [b"", b"not DICOM", b"\x89PNG" + b"\0" * 500, b"\0" * 128 + b"DICM"]
)
def test_what_is_not_dicom_is_refused(data, tmp_path):
    (tmp_path / "x").write_bytes(data)
    for source in (data, tmp_path / "x"):
        with pytest.raises(NotDicomError, match="no readable DICOM"):
            read_film(source)


def test_a_missing_file_and_a_folder_are_refused_in_a_sentence(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(NotDicomError, match="cannot be opened"):
            read_film(path)


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_more_pixels_than_are_decoded_are_refused_by_the_header_alone(make_dataset, syntax):
    dataset = make_dataset(np.zeros((16, 16)))
    if syntax is not None:
        dataset.compress(syntax, generate_instance_uid=False)
    assert read_film(as_bytes(dataset), max_pixels=256).shape == (16, 16)
    with pytest.raises(UnsupportedImageError, match="declares 1 x 16 x 16 pixels, but at most 255"):
        read_film(as_bytes(dataset), max_pixels=255)


def test_a_codestream_of_another_size_than_the_header_says_is_refused_before_decoding(
    make_dataset,
):
    for syntax in (JPEG2000Lossless, JPEGLSLossless):
        dataset = make_dataset(np.random.default_rng(0).integers(0, 4096, (40, 40)))
        dataset.compress(syntax, generate_instance_uid=False)
        dataset.Rows = 39
        with pytest.raises(UnsupportedImageError, match="40 x 40, but the header declares 39 x 40"):
            read_film(dataset)


@pytest.mark.parametrize("cut", [0, 3, 30])
def test_a_broken_codestream_is_refused(make_dataset, cut):
    for syntax in (JPEG2000Lossless, JPEGLSLossless, RLELossless):
        dataset = make_dataset(np.random.default_rng(0).integers(0, 4096, (40, 40)))
        dataset.compress(syntax, generate_instance_uid=False)
        frame = next(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1))
        dataset.PixelData = encapsulate([frame[:cut] or b"\0\0"])
        with pytest.raises(UnsupportedImageError):
            read_film(dataset)


def test_a_deflated_film_is_refused_before_inflating(make_dataset, monkeypatch):
    """Whatever a few kilobytes of it inflate to: nothing inflates them."""
    dataset = make_dataset()
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data = as_bytes(dataset)
    monkeypatch.setattr("zlib.decompress", lambda *_, **__: pytest.fail("inflated"))
    with pytest.raises(UnsupportedImageError, match="deflated"):
        read_film(data)


def nested(depth: int, defined: bool) -> bytes:
    """Bytes of sequences (0008,1140) inside each other, lengths defined or not."""
    inner = b""
    for _ in range(depth):
        if defined:
            item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
            inner = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, len(item)) + item
        else:
            item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner
            item += struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
            inner = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + item
    return inner


@pytest.mark.parametrize("defined", [True, False])
def test_sequences_nested_deeper_than_the_limit_are_refused(make_dataset, defined, monkeypatch):
    monkeypatch.setattr("radedit_dicom.parsing.MAX_DEPTH", 4)
    data = as_bytes(make_dataset())
    at = data.index(struct.pack("<HH2s", 0x0010, 0x0010, b"PN"))
    assert read_film(data[:at] + nested(4, defined) + data[at:]).stored.size
    with pytest.raises(NotDicomError, match="nested more than 4 deep"):
        read_film(data[:at] + nested(5, defined) + data[at:])


def test_any_single_damaged_byte_is_read_or_refused_with_our_own_error(make_dataset):
    data = as_bytes(make_dataset(WindowCenter=2000, WindowWidth=3000))
    rng = np.random.default_rng(3)
    for position in rng.integers(128, len(data) - 960, 300):
        damaged = bytearray(data)
        damaged[position] ^= int(rng.integers(1, 256))
        try:
            film = read_film(bytes(damaged))
        except DicomError:
            continue
        assert film.stored.size > 0
