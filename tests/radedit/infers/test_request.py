"""What a request dict may hold, and what is refused before anything runs."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st
from PIL import Image

from radedit.lib.errors import MaskError, NotFoundError, ParameterError
from radedit.lib.infers import request as requests
from radedit.lib.parameters import PARAMETERS
from radedit_dicom.pixels import Film, read_film


@pytest.fixture(scope="module")
def film(rg1: Path) -> Film:
    return read_film(rg1)


def encoded(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_a_combo_box_sends_its_list_back_and_the_first_is_the_choice() -> None:
    assert requests.text({"support": ["free", "band"]}, "support") == "free"
    assert requests.given({"support": ["free", "band"]}, PARAMETERS) == {"support": "free"}


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_empty_field_means_not_given(nothing: str | None) -> None:
    assert requests.text({"prompt": nothing}, "prompt") is None
    assert requests.given({"steps": nothing}, PARAMETERS) == {}


@drawn(st.integers(0, 2**62))
def test_a_number_spelt_as_text_is_the_number(value: int) -> None:
    assert requests.given({"seed": str(value)}, PARAMETERS) == {"seed": value}
    assert requests.given({"seed": value}, PARAMETERS) == {"seed": value}


def test_a_word_for_a_number_is_left_for_the_range_to_refuse() -> None:
    assert requests.given({"steps": "many"}, PARAMETERS) == {"steps": "many"}


def test_a_misspelt_parameter_is_refused_and_the_servers_own_keys_are_not() -> None:
    requests.refuse_unknown({"model": "radedit", "client_id": None, "prompt": "x"}, ("prompt",))
    with pytest.raises(ParameterError, match=r"no parameter 'prompt_'; known .* are prompt\."):
        requests.refuse_unknown({"prompt_": "x"}, ("prompt",))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_encoded_mask_is_true_where_it_is_not_zero(film: Film, dtype: type) -> None:
    pixels = np.zeros(film.shape, dtype)
    pixels[1, 2] = 1
    found = requests.uploaded_masks({"masks": {"a": encoded(pixels)}}, film)
    np.testing.assert_array_equal(found["a"], pixels != 0)


def test_a_mask_with_an_alpha_channel_is_read_by_its_colours(film: Film) -> None:
    pixels = np.zeros((*film.shape, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[0, 1, 0] = 9
    found = requests.uploaded_masks({"masks": {"a": encoded(pixels)}}, film)
    assert np.argwhere(found["a"]).tolist() == [[0, 1]]


@pytest.mark.parametrize("value", ["", "!", 7, None, base64.b64encode(b"no image").decode()])
def test_what_is_no_png_is_refused_by_its_name(film: Film, value: object) -> None:
    with pytest.raises(
        MaskError, match=r"the mask 'lesion' (is no PNG file in base64|cannot be read as a PNG)"
    ):
        requests.uploaded_masks({"masks": {"lesion": value}}, film)


def test_a_truncated_png_is_refused(film: Film) -> None:
    noise = np.random.default_rng(0).integers(0, 255, film.shape, np.uint8)
    whole = base64.b64decode(encoded(noise))
    with pytest.raises(MaskError, match="cannot be read as a PNG"):
        requests.uploaded_masks({"masks": {"a": base64.b64encode(whole[:200]).decode()}}, film)


def test_paths_of_the_server_are_no_masks_over_rest(film: Film) -> None:
    with pytest.raises(MaskError, match="refused over REST"):
        requests.UploadSources(film).mask("file", "mask.png")


@pytest.mark.parametrize("image", [None, "", 3, "no-such-film.dcm"])
def test_a_film_that_is_not_there_is_not_found(image: object) -> None:
    with pytest.raises(NotFoundError):
        requests.film_path({"image": image})
