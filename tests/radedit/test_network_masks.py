"""What any network draws must be what its label says, or steers no edit; what people draw may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from radedit.lib.errors import FilmError
from radedit.lib.network_masks import check_network_masks, organ_of
from radedit.lib.plausibility import NEARLY_ALL, SPECK
from radedit.lib.sources import FilmSources, embedded_heart, embedded_lungs
from radedit_dicom.film import Film, read_film

Mask = NDArray[np.bool_]


@pytest.fixture(scope="module")
def film(rg1: Path) -> Film:
    return read_film(rg1)


@pytest.fixture(scope="module")
def chest(film: Film) -> dict[str, Mask]:
    found = {**embedded_lungs(film), **embedded_heart(film)}
    return {"left": found["left"], "right": found["right"], "heart": found["heart"]}


def refusal(film: Film, masks: dict[str, Mask], label: str, task: str = "some") -> str:
    sources = FilmSources(film, tasks={task: lambda _: masks})
    with pytest.raises(FilmError) as caught:
        sources.mask("task", f"{task}:{label}" if label else task)
    said = str(caught.value)
    assert said.endswith(".")
    assert said[0].isupper()
    assert task in said
    assert label in said
    return said


@pytest.mark.parametrize(
    ("label", "organ"),
    [
        ("Left_Lung", "left lung"),
        ("lung-right", "right lung"),
        ("lungL", "left lung"),
        ("LEFTLUNG", "left lung"),
        ("Lung, right", "right lung"),
        ("Lung Fields", "lungs"),
        ("both lungs", "lungs"),
        ("Heart", "heart"),
        ("cardiac_silhouette", "heart"),
        ("heartShadow", "heart"),
        ("lung nodule", None),
        ("left lung opacity", None),
        ("lung_upper_lobe_left", None),
        ("left heart", None),
        ("left", None),
        ("1", None),
        ("mask", None),
    ],
)
def test_a_label_names_a_lung_or_a_heart_in_any_spelling_and_a_finding_in_it_does_not(
    label: str, organ: str | None
) -> None:
    assert organ_of(label) == organ


def test_a_bare_side_is_a_lung_where_the_task_draws_lungs() -> None:
    assert organ_of("Left", lungs=True) == "left lung"
    assert organ_of("lesion", lungs=True) is None


def test_another_networks_lungs_and_heart_in_their_places_are_masks(
    film: Film, chest: dict[str, Mask]
) -> None:
    masks = {"Left Lung": chest["left"], "lungR": chest["right"], "Heart": chest["heart"]}
    sources = FilmSources(film, tasks={"some": lambda _: masks})
    for label, mask in masks.items():
        np.testing.assert_array_equal(sources.mask("task", f"some:{label}"), mask)
    np.testing.assert_array_equal(
        sources.mask("task", "some"), np.logical_or.reduce(list(masks.values()))
    )
    both = {"lungs": chest["left"] | chest["right"]}
    assert FilmSources(film, tasks={"some": lambda _: both}).mask("task", "some:lungs").any()


def test_one_lung_or_a_heart_alone_is_held_to_the_embedded_ones(
    film: Film, chest: dict[str, Mask]
) -> None:
    for label, mask in (("left lung", chest["left"]), ("heart", chest["heart"])):
        assert (
            FilmSources(film, tasks={"some": lambda _, n=label, m=mask: {n: m}})
            .mask("task", f"some:{label}")
            .any()
        )
    assert "drawn as the other, too" in refusal(film, {"left lung": chest["right"]}, "left lung")
    aside = np.roll(chest["heart"], -film.shape[1] // 3, axis=1)
    assert "place between the lungs' centres" in refusal(film, {"Heart": aside}, "Heart")


def sliver(mask: Mask) -> Mask:
    rows = np.flatnonzero(mask.any(axis=1))
    cut = mask.copy()
    cut[rows[0] + len(rows) // 20 :] = False
    return cut


def test_swapped_lungs_a_sliver_and_one_lung_for_both_are_refused_with_task_and_label(
    film: Film, chest: dict[str, Mask]
) -> None:
    left, right = chest["left"], chest["right"]
    swapped = {"Left Lung": right, "Right Lung": left}
    for label in swapped:
        said = refusal(film, swapped, label)
        assert f"The label '{label}' of the task some cannot be used: the pair of lungs" in said
    assert "part of the film is 0.0" in refusal(
        film, {"left lung": sliver(left), "right lung": right}, "left lung"
    )
    # The other one of the pair is what is wrong, so neither side is sure.
    assert "left lung" in refusal(
        film, {"left lung": sliver(left), "right lung": right}, "right lung"
    )
    assert "cannot be right" in refusal(film, {"lungs": left}, "lungs")
    assert "marks nothing" in refusal(film, {"lungs": left & ~left}, "lungs")
    bare = {"left": right, "right": left}
    assert "cannot be used" in refusal(film, bare, "left", task="lung_fields")


def test_the_sides_of_whatever_a_network_draws_are_the_patients(
    film: Film, chest: dict[str, Mask]
) -> None:
    swapped = {"clavicle left": chest["right"], "clavicle right": chest["left"]}
    assert "right one's place" in refusal(film, swapped, "clavicle left")
    assert "right one's place" in refusal(film, {"L": chest["right"], "R": chest["left"]}, "R")
    sound = {"clavicle left": chest["left"], "clavicle right": chest["right"]}
    check_network_masks("some", sound, film, list(sound))


def test_lungs_that_lie_right_on_a_film_that_lies_wrong_are_refused(
    film: Film, chest: dict[str, Mask]
) -> None:
    # A network that goes by places draws lungs where lungs lie on other films.
    turned = replace(film, stored=np.ascontiguousarray(film.stored[::-1, ::-1]))
    masks = {"left lung": chest["left"], "right lung": chest["right"]}
    assert "lie upside down" in refusal(turned, masks, "left lung")


def test_on_a_film_stored_mirrored_the_sides_are_the_patients_too(
    film: Film, chest: dict[str, Mask]
) -> None:
    header = Dataset()
    header.update(film.header)
    header.PatientOrientation = ["R", "F"]
    flipped = np.ascontiguousarray(film.stored[:, ::-1])
    mirrored = replace(film, header=header, stored=flipped, padding=film.padding[:, ::-1])
    masks = {"left lung": chest["left"][:, ::-1], "right lung": chest["right"][:, ::-1]}
    check_network_masks("some", masks, mirrored, list(masks))
    swapped = {"left lung": masks["right lung"], "right lung": masks["left lung"]}
    with pytest.raises(FilmError, match="distance of the lungs' centres"):
        check_network_masks("some", swapped, mirrored, list(swapped))


def test_nothing_a_speck_and_the_whole_film_steer_no_edit_whatever_the_label(
    make_dataset: Callable[..., Dataset],
) -> None:
    film = read_film(make_dataset(np.random.default_rng(5).integers(0, 4096, (200, 150))))
    marks = np.zeros(film.shape, bool)
    assert "marks nothing" in refusal(film, {"nodule": marks}, "nodule")
    assert "The mask of the task some marks nothing" in refusal(film, {"nodule": marks}, "")
    marks.ravel()[: int(SPECK * marks.size)] = True
    assert "marks a speck (3 pixels" in refusal(film, {"nodule": marks}, "nodule")
    marks.ravel()[: int(NEARLY_ALL * marks.size) + 1] = True
    assert "marks the whole film" in refusal(film, {"nodule": marks}, "nodule")
    marks.ravel()[: marks.size // 2] = False
    sources = FilmSources(film, tasks={"some": lambda _: {"nodule": marks}})
    np.testing.assert_array_equal(sources.mask("task", "some:nodule"), marks)


def test_what_a_person_drew_is_not_held_to_anything(
    film: Film, chest: dict[str, Mask], tmp_path: Path
) -> None:
    drawn = sliver(chest["right"])
    Image.fromarray(drawn).save(tmp_path / "left lung.png")
    sources = FilmSources(film, uploaded={"left lung": drawn})
    np.testing.assert_array_equal(sources.mask("file", str(tmp_path / "left lung.png")), drawn)
    np.testing.assert_array_equal(sources.mask("uploaded", "left lung"), drawn)
