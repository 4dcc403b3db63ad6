"""The display function, its inverse, and two independent oracles (pydicom, dcmtk)."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.pixels import apply_display_delta, presentation_table, read_film, to_display

RAMP = np.arange(4096).reshape(64, 64)
SMOOTH = [round(65535 * (i / 4095) ** 0.6) for i in range(4096)]

CASES = {
    "window": {"WindowCenter": 1800, "WindowWidth": 2500},
    "two windows": {"WindowCenter": [1800, 40], "WindowWidth": [2500, 400]},
    "exact": {"WindowCenter": 1800, "WindowWidth": 2500, "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"},
    "rescale": {
        "WindowCenter": 0,
        "WindowWidth": 900,
        "RescaleSlope": "0.5",
        "RescaleIntercept": "-1000",
        "RescaleType": "US",
    },
    "falling rescale": {
        "WindowCenter": -1000,
        "WindowWidth": 1500,
        "RescaleSlope": "-0.5",
        "RescaleIntercept": "0",
        "RescaleType": "US",
    },
    "monochrome1": {
        "WindowCenter": 1800,
        "WindowWidth": 2500,
        "PhotometricInterpretation": "MONOCHROME1",
    },
    "inverse shape": {
        "WindowCenter": 1800,
        "WindowWidth": 2500,
        "PhotometricInterpretation": "MONOCHROME1",
        "PresentationLUTShape": "INVERSE",
    },
}


@pytest.fixture(params=[*CASES, "voi lut", "voi lut monochrome1", "modality lut", "nothing"])
def case(request, make_dataset, lut_item) -> Dataset:
    attributes = dict(CASES.get(request.param, {}))
    if "voi lut" in request.param:
        attributes["VOILUTSequence"] = [lut_item(SMOOTH, 0, 16)]
    if request.param == "voi lut monochrome1":
        attributes["PhotometricInterpretation"] = "MONOCHROME1"
    if request.param == "modality lut":
        table = lut_item([i * 2 for i in range(4096)], 0, 16)
        table.ModalityLUTType = "US"
        attributes |= {"ModalityLUTSequence": [table], "WindowCenter": 4000, "WindowWidth": 5000}
    return make_dataset(RAMP, **attributes)


def by_pydicom(dataset: Dataset) -> np.ndarray:
    """Display in [0, 1] by pydicom's own functions."""
    modality = apply_modality_lut(dataset.pixel_array, dataset)
    shown = np.asarray(apply_voi_lut(modality, dataset), dtype=np.float64)
    if "VOILUTSequence" in dataset:
        low, high = 0.0, 65535.0
    elif "WindowCenter" in dataset:
        # pydicom stretches a window over the range the modality values can take
        low, high = window_range(dataset)
    else:
        low, high = shown.min(), shown.max()
    shown = (shown - low) / (high - low)
    return 1 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown


def window_range(dataset: Dataset) -> tuple[float, float]:
    if "ModalityLUTSequence" in dataset:
        return 0.0, 65535.0
    slope = float(dataset.get("RescaleSlope", 1))
    intercept = float(dataset.get("RescaleIntercept", 0))
    if slope == 1:
        return 0.0, 4095.0
    return intercept, slope * 4095 + intercept  # pydicom does not sort them


def test_display_agrees_with_pydicom(case):
    np.testing.assert_allclose(to_display(read_film(case)), by_pydicom(case), atol=2e-3)


def rendered(tool: str, dataset: Dataset, folder: Path, option: list[str]) -> np.ndarray:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(folder / "in.dcm", enforce_file_format=True)
    return rendered_file(tool, folder / "in.dcm", folder, option)


def rendered_file(tool: str, path: Path, folder: Path, option: list[str]) -> np.ndarray:
    out = folder / f"{path.stem}.pgm"
    subprocess.run([tool, "--write-raw-pnm", *option, str(path), str(out)], check=True)
    with Image.open(out) as image:
        return np.asarray(image).astype(int)


def test_display_agrees_with_dcmtk_within_one_grey_level(case, peer, tmp_path):
    program = peer("dcmj2pnm")
    option = ["+Wm"]
    if "VOILUTSequence" in case:
        option = ["+Wl", "1"]
    elif "WindowCenter" in case:
        option = ["+Wi", "1"]
        option += ["+Wfs"] if case.get("VOILUTFunction") == "SIGMOID" else []
    wanted = rendered(program, case, tmp_path, option)
    shown = to_display(read_film(case)) * 255.0
    # dcmtk rounds modality values to whole numbers when the slope is none.
    rounding = 255.0 * 0.5 / 900.0 if abs(float(case.get("RescaleSlope", 1))) < 1 else 0.0
    assert np.abs(shown - wanted).max() <= 1.0 + rounding + 1e-6


def test_the_real_film_agrees_with_dcmtk_within_one_grey_level(rg1, rg1_film, peer, tmp_path):
    wanted = rendered_file(peer("dcmj2pnm"), rg1, tmp_path, ["+Wi", "1"])
    assert np.abs(to_display(rg1_film) * 255.0 - wanted).max() <= 1.0 + 1e-4


def test_lungs_are_dark_and_the_heart_bright_on_the_real_film(rg1_film):
    shown = to_display(rg1_film)
    assert shown[700:900, 500:600].mean() < shown[1100:1300, 900:1000].mean()


def test_a_delta_of_zero_changes_nothing(case):
    film = read_film(case)
    np.testing.assert_array_equal(
        apply_display_delta(film, np.zeros(film.shape, np.float32)), film.stored
    )


@settings(max_examples=60, deadline=None)
@given(
    bits=st.integers(8, 16),
    signed=st.booleans(),
    mono1=st.booleans(),
    delta=st.floats(-0.3, 0.3),
    slope=st.sampled_from([0.25, 1.0, 3.0, -2.0]),
)
def test_inside_a_linear_window_the_change_is_delta_times_width_over_slope(
    make_dataset, bits, signed, mono1, delta, slope
):
    delta = float(np.float32(delta))
    low = -(1 << (bits - 1)) if signed else 0
    span = 1 << bits
    pixels = np.array([[low + span // 2, low + span // 2 + span // 16]])
    center, width = slope * (low + span / 2), abs(slope) * span
    film = read_film(
        make_dataset(
            pixels,
            bits,
            PixelRepresentation=int(signed),
            PhotometricInterpretation="MONOCHROME1" if mono1 else "MONOCHROME2",
            WindowCenter=center,
            WindowWidth=width,
            VOILUTFunction="LINEAR_EXACT",
            RescaleSlope=slope,
            RescaleIntercept=0,
            RescaleType="US",
        )
    )
    after = apply_display_delta(film, np.full(film.shape, delta, np.float32)).astype(int)
    wanted = delta * width / slope * (-1 if mono1 else 1)
    assert np.abs(after - pixels - wanted).max() <= 0.5 + 1e-6 * span


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    size=st.floats(0.001, 5.0),
    sigmoid=st.booleans(),
    signed=st.booleans(),
)
def test_results_stay_legal_and_are_monotone_in_delta(make_dataset, seed, size, sigmoid, signed):
    rng = np.random.default_rng(seed)
    low = -2048 if signed else 0
    pixels = rng.integers(low, low + 4096, (16, 16))
    film = read_film(
        make_dataset(
            pixels,
            PixelRepresentation=int(signed),
            WindowCenter=low + 2000,
            WindowWidth=1500,
            VOILUTFunction="SIGMOID" if sigmoid else "LINEAR",
            PixelPaddingValue=low,
        )
    )
    small = rng.normal(0, size, film.shape).astype(np.float32)
    large = small + np.abs(rng.normal(0, size, film.shape)).astype(np.float32)
    below, above = apply_display_delta(film, small), apply_display_delta(film, large)
    assert (below.astype(int) <= above.astype(int)).all()
    assert below.dtype == film.stored.dtype
    for result in (below, above):
        assert result.min() >= film.stored_range[0]
        assert result.max() <= film.stored_range[1]
        np.testing.assert_array_equal(result == low, film.padding)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_monochrome1_and_its_complement_give_complementary_results(make_dataset, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 4096, (8, 8))
    delta = rng.normal(0, 0.2, (8, 8)).astype(np.float32)
    window = {"WindowCenter": 2047.5, "WindowWidth": 3000.0, "VOILUTFunction": "LINEAR_EXACT"}
    one = read_film(make_dataset(pixels, PhotometricInterpretation="MONOCHROME1", **window))
    two = read_film(make_dataset(4095 - pixels, **window))
    np.testing.assert_allclose(to_display(one), to_display(two), atol=1e-6)
    results = apply_display_delta(one, delta).astype(int), apply_display_delta(two, delta)
    assert np.abs(results[0] + results[1] - 4095).max() <= 1, "rounding of a half"
    assert (results[0] + results[1] == 4095).mean() > 0.9


def test_the_new_film_shows_the_wanted_change(case):
    film = read_film(case)
    shown = to_display(film)
    delta = np.full(film.shape, 0.05, np.float32)
    after = apply_display_delta(film, delta)
    table = presentation_table(film)
    got = table.table[after.astype(int) - table.first]
    inside = (shown > 0.1) & (shown < 0.85)
    step = np.abs(np.diff(table.table)).max()
    assert inside.any()
    assert np.abs(got - shown - 0.05)[inside].max() <= step + 1e-6


def test_padding_pixels_never_change(make_dataset):
    pixels = np.arange(16).reshape(4, 4) + 100
    film = read_film(
        make_dataset(
            pixels,
            PixelPaddingValue=104,
            PixelPaddingRangeLimit=107,
            WindowCenter=108,
            WindowWidth=20,
        )
    )
    for delta in (0.2, -0.2):
        after = apply_display_delta(film, np.full((4, 4), delta, np.float32)).astype(int)
        np.testing.assert_array_equal(after[1], pixels[1])
        assert not ((after >= 104) & (after <= 107))[[0, 2, 3]].any()


def test_padding_does_not_widen_the_range_of_a_film_without_window(make_dataset):
    pixels = np.array([[0, 1000], [1500, 2000]])
    shown = to_display(read_film(make_dataset(pixels, PixelPaddingValue=0)))
    np.testing.assert_allclose(shown, [[0, 0], [0.5, 1]], atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("padding", [0, 4095])
def test_padding_is_black_whatever_its_value_and_the_polarity(make_dataset, photometric, padding):
    pixels = np.array([[padding, 1000], [1500, 2000]])
    film = read_film(
        make_dataset(pixels, PhotometricInterpretation=photometric, PixelPaddingValue=padding)
    )
    shown = to_display(film)
    assert shown[0, 0] == 0.0
    assert shown[1, 0] == pytest.approx(0.5)
    change = np.full((2, 2), 0.1, np.float32)
    assert apply_display_delta(film, change)[0, 0] == padding


def test_contradictory_polarity_is_refused(make_dataset):
    for photometric, shape in (("MONOCHROME1", "IDENTITY"), ("MONOCHROME2", "INVERSE")):
        dataset = make_dataset(PhotometricInterpretation=photometric, PresentationLUTShape=shape)
        with pytest.raises(UnsupportedImageError, match="contradicts"):
            presentation_table(read_film(dataset))


@pytest.mark.parametrize(
    ("entries", "bits", "sentence"),
    [
        ([0, 100, 50, 255], 8, "up and down"),
        ([7, 7, 7, 7], 8, "one grey"),
        ([0, 300], 8, "above its declared"),
        ([0, 255], 4, "declares"),
    ],
)
def test_an_unusable_voi_lut_is_refused(make_dataset, lut_item, entries, bits, sentence):
    film = read_film(make_dataset(VOILUTSequence=[lut_item(entries, 0, bits)]))
    with pytest.raises(UnsupportedImageError, match=sentence):
        presentation_table(film)


@pytest.mark.parametrize(
    "attributes",
    [
        {"WindowCenter": 10, "WindowWidth": 0},
        {"WindowCenter": 10, "WindowWidth": 10, "VOILUTFunction": "CURVED"},
        {"RescaleSlope": 0, "RescaleIntercept": 0},
    ],
)
def test_an_unusable_window_is_refused(make_dataset, attributes):
    with pytest.raises(UnsupportedImageError, match="grey scale is not usable"):
        presentation_table(read_film(make_dataset(**attributes)))


def test_a_delta_of_another_shape_or_not_finite_is_an_error(make_dataset):
    film = read_film(make_dataset())
    with pytest.raises(ValueError, match="delta is"):
        apply_display_delta(film, np.zeros((3, 3), np.float32))
    with pytest.raises(ValueError, match="not finite"):
        apply_display_delta(film, np.full(film.shape, np.nan, np.float32))
