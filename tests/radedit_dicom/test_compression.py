"""Lossless syntaxes, in and out: the stored values are the same in each."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from radedit_dicom.compression import SYNTAXES, compress
from radedit_dicom.conformance import check_dataset, passes, run_dciodvfy
from radedit_dicom.errors import ConformanceError, UnsupportedImageError
from radedit_dicom.film import Film, read_film
from radedit_dicom.provenance import read_private
from radedit_dicom.readback import difference, part10

FILMS: list[dict[str, Any]] = [
    {"bits": 8},
    {"bits": 10, "PhotometricInterpretation": "MONOCHROME1"},
    {"bits": 12},
    {"bits": 15, "PhotometricInterpretation": "MONOCHROME1"},
    {"bits": 16},
    {"bits": 12, "PixelRepresentation": 1},
    {"bits": 16, "PixelRepresentation": 1},
]
COMPRESSED = [name for name, syntax in SYNTAXES.items() if syntax is not None]


def name_of(film: dict[str, Any]) -> str:
    sign = "signed" if film.get("PixelRepresentation") else "unsigned"
    return f"{film['bits']}-{sign}-{film.get('PhotometricInterpretation', 'MONOCHROME2')[-1]}"


@pytest.fixture(params=FILMS, ids=name_of)
def dataset(make_dataset, request):
    bits = request.param["bits"]
    low = -(1 << (bits - 1)) if request.param.get("PixelRepresentation") else 0
    pixels = np.random.default_rng(3).integers(low, low + (1 << bits), (33, 27))
    return make_dataset(pixels, **request.param)


@pytest.fixture
def film(dataset) -> Film:
    return read_film(dataset)


@pytest.mark.parametrize("choice", COMPRESSED)
def test_a_compressed_result_is_the_same_image(film, make_edit, choice) -> None:
    edited, objects = make_edit(film)
    _, plain = make_edit(film)
    compress(objects.sc, choice)
    assert objects.sc.file_meta.TransferSyntaxUID == SYNTAXES[choice]
    assert np.array_equal(read_film(objects.sc, allow_synthetic=True).stored, edited)
    assert difference(plain.sc, part10(objects.sc)) is None
    assert check_dataset(objects.sc) == []
    assert read_private(objects.sc) == read_private(plain.sc)


@pytest.mark.parametrize("choice", COMPRESSED)
def test_a_compressed_result_of_the_real_film_is_smaller_and_conforms(
    rg1_film, make_edit, choice, tmp_path, peer
) -> None:
    peer("dciodvfy")
    edited, objects = make_edit(rg1_film)
    plain = len(objects.sc.PixelData)
    compress(objects.sc, choice)
    path = tmp_path / "sc.dcm"
    path.write_bytes(part10(objects.sc))
    assert len(objects.sc.PixelData) < plain
    assert passes(run_dciodvfy(path)), run_dciodvfy(path)
    assert np.array_equal(read_film(path, allow_synthetic=True).stored, edited)


def test_no_compression_changes_nothing(film, make_edit) -> None:
    _, objects = make_edit(film)
    before = part10(objects.sc)
    compress(objects.sc, "none")
    assert part10(objects.sc) == before
    assert objects.sc.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian


def test_an_unknown_compression_is_refused(film, make_edit) -> None:
    _, objects = make_edit(film)
    with pytest.raises(ConformanceError, match="none, jpegls, rle"):
        compress(objects.sc, "jpeg")


#: What dcmtk's encoders write, and with which program and options.
WRITERS = {
    "JPEG lossless SV1": (JPEGLosslessSV1, ("dcmcjpeg", "+e1")),
    "JPEG lossless": (JPEGLossless, ("dcmcjpeg", "+el")),
    "JPEG-LS": (JPEGLSLossless, ("dcmcjpls",)),
    "RLE": (RLELossless, ("dcmcrle",)),
    "implicit VR": (ImplicitVRLittleEndian, ("dcmconv", "+ti")),
    "explicit VR": (ExplicitVRLittleEndian, ("dcmconv", "+te")),
    "big endian": (ExplicitVRBigEndian, ("dcmconv", "+tb")),
}


@pytest.fixture
def written(peer: Callable[[str], str], tmp_path: Path) -> Callable[[Path, str], Path]:
    """Write a film anew with one of dcmtk's programs."""

    def write(source: Path, kind: str) -> Path:
        program, *options = WRITERS[kind][1]
        target = tmp_path / "written.dcm"
        subprocess.run([peer(program), *options, str(source), str(target)], check=True)
        assert pydicom.dcmread(target).file_meta.TransferSyntaxUID == WRITERS[kind][0]
        return target

    return write


@pytest.mark.parametrize("kind", WRITERS)
def test_a_film_gives_the_same_values_from_every_writer(
    dataset, film, written, kind, tmp_path
) -> None:
    source = tmp_path / "source.dcm"
    source.write_bytes(part10(dataset))
    found = read_film(written(source, kind))
    assert np.array_equal(found.stored, film.stored)
    assert found.stored.dtype == film.stored.dtype
    assert (found.photometric, found.bits_stored) == (film.photometric, film.bits_stored)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_real_film_gives_the_same_values_from_every_writer(rg1, rg1_film, written, kind):
    assert np.array_equal(read_film(written(rg1, kind)).stored, rg1_film.stored)


def test_a_deflated_film_is_refused_with_what_to_do(rg1, peer, tmp_path) -> None:
    target = tmp_path / "deflated.dcm"
    subprocess.run([peer("dcmconv"), "+td", str(rg1), str(target)], check=True)
    with pytest.raises(UnsupportedImageError, match="send the film uncompressed or losslessly"):
        read_film(target)
