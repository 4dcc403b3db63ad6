"""Masks that any network drew, held to what lungs and hearts can be before they steer an edit.

The embedded segmenter checks what it draws by itself. Every other network - a MONAI bundle, a task
of the server, a task of another server - answers for every picture, too, and its labels say what
the mask should be. Masks that a person drew, and those of an archive, are not checked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from radedit.lib.errors import FilmError
from radedit.lib.lungs import check_upright, largest_region, segment_lungs
from radedit.lib.plausibility import check_drawn, check_heart, check_lungs, check_pair, check_whole
from radedit_dicom.film import Film
from radedit_dicom.pixels import to_display
from radedit_dicom.vocabulary import plain_label

Mask = NDArray[np.bool_]
Pixel = TypeVar("Pixel", bound=np.generic)

LEFT, RIGHT, LUNGS, HEART = "left lung", "right lung", "lungs", "heart"
#: What a pair of the patient's is called, where the task does not say of what.
_PAIR: Final = {"left": "left", "right": "right", "l": "left", "r": "right"}
_OPPOSITE: Final = {"left": "right", "right": "left", "l": "r", "r": "l"}
_LUNG: Final = frozenset({"lung", "lungs", "pulmo"})
_HEART: Final = frozenset({"heart", "cardiac", "cor"})
_FILLER: Final = frozenset(
    {"area", "both", "contour", "field", "fields", "mask", "region", "segmentation", "shadow"}
    | {"silhouette", "whole"}
)
_LONGEST_SIDE: Final = 512  # pixels of the grid on which sizes and places are measured


def organ_of(label: str, lungs: bool = False) -> str | None:
    """Say which lung, or the heart, a label names; a finding in a lung, or a lobe, is neither.

    Parameters
    ----------
    label : in any spelling, such as ``Left_Lung``, ``lungR``, ``cardiac silhouette``
    lungs : whether the task draws lungs, so that a bare left is the left lung

    Returns
    -------
    "left lung", "right lung", "lungs", "heart", or None
    """
    words = _words(label)
    sides = {_PAIR[word] for word in words if word in _PAIR}
    named = {word for word in words if word not in _PAIR and word not in _FILLER}
    if named and named <= _HEART and not sides:
        return HEART
    if len(sides) > 1 or not (named <= _LUNG if named else lungs and sides):
        return None
    return f"{sides.pop()} lung" if sides else LUNGS


def check_network_masks(
    task: str, masks: Mapping[str, Mask], film: Film, wanted: Collection[str]
) -> None:
    """Refuse what cannot be the lungs or the heart that labels of a task name.

    Parameters
    ----------
    task : the task's name, for the refusal
    masks : label to bool [rows, cols] on the film's grid; all that the task drew
    film : the film they were drawn on
    wanted : the labels that are used; others are looked at only as the other one of a pair

    Raises
    ------
    FilmError
        In one sentence with task, label and what was found.
    """
    draws_lungs = bool(_LUNG & set(_words(task))) or any(map(organ_of, masks))
    organs = {label: organ_of(label, draws_lungs) for label in masks}
    drawn = _Drawn(film, {organ: masks[label] for label, organ in organs.items() if organ})
    for label in wanted:
        try:
            if organ := organs[label]:
                drawn.check(organ, masks[label])
            else:
                _check_sides(label, masks, film)
        except FilmError as error:
            found = str(error)
            raise FilmError(
                f"The label '{label}' of the task {task} cannot be used: "
                f"{found[0].lower()}{found[1:]}"
            ) from error


def check_steering(task: str, label: str, mask: Mask, film: Film) -> None:
    """Refuse a mask of a network that marks nothing, everything, or a speck.

    Parameters
    ----------
    task, label : for the refusal; "" = all labels together
    mask : bool [rows, cols] on the film's grid
    film : padding does not count

    Raises
    ------
    FilmError
    """
    what = f"label '{label}'" if label else "mask"
    check_drawn(mask & ~film.padding, int((~film.padding).sum()), f"{what} of the task {task}")


class _Drawn:
    """The lungs and the heart that one task drew, as the patient stands, on a small grid."""

    def __init__(self, film: Film, masks: Mapping[str, Mask]) -> None:
        self._film = film
        self._step = max(1, -(-max(film.shape) // _LONGEST_SIDE))
        self._masks = {organ: self._small(mask) for organ, mask in masks.items()}
        self._is_upright = False

    def check(self, organ: str, drawn: Mask) -> None:
        """Hold one of them to the limits; what the task lacks is taken from the embedded ones."""
        mask = self._masks[organ] = self._small(drawn)
        check_drawn(mask, mask.size, organ)
        if not self._is_upright:
            check_upright(*_as_the_patient_stands(self._film))
            self._is_upright = True
        if organ == LUNGS:
            check_lungs(*_halves(mask))
            return
        check_whole(largest_region(mask), mask, organ)
        left, right = self._lung(LEFT), self._lung(RIGHT)
        check_lungs(left, right)
        if organ == HEART:
            check_heart(mask, left, right)

    def _lung(self, side: str) -> Mask:
        if side not in self._masks:
            found = segment_lungs(*_as_the_patient_stands(self._film))
            for organ, mask in ((LEFT, found["left"]), (RIGHT, found["right"])):
                self._masks.setdefault(organ, mask[:: self._step, :: self._step])
        check_drawn(self._masks[side], self._masks[side].size, side)
        return self._masks[side]

    def _small(self, mask: Mask) -> Mask:
        return _stood(mask, self._film)[:: self._step, :: self._step]


def _check_sides(label: str, masks: Mapping[str, Mask], film: Film) -> None:
    """Hold the left or right of whatever a task draws to the other side's."""
    words = _words(label)
    sides = {_PAIR[word] for word in words if word in _PAIR}
    opposite = [_OPPOSITE.get(word, word) for word in words]
    for other, mask in masks.items():
        if len(sides) == 1 and _words(other) == opposite:
            pair = _stood(masks[label], film), _stood(mask, film)
            check_pair(*(pair if sides == {"left"} else pair[::-1]))


def _words(label: str) -> list[str]:
    apart = re.sub(r"(lungs?)", r" \1 ", plain_label(label))
    return re.findall(r"[a-z]+", apart)


def _halves(lungs: Mask) -> tuple[Mask, Mask]:
    """Take both lungs apart at their middle: the patient's left one, and the right one."""
    middle = round(float(np.nonzero(lungs)[1].mean()))
    left, right = lungs.copy(), lungs.copy()
    left[:, :middle], right[:, middle:] = False, False
    return left, right


def _stood(picture: NDArray[Pixel], film: Film) -> NDArray[Pixel]:
    """Turn a picture of a film that is stored mirrored to how the patient stands."""
    return np.ascontiguousarray(picture[:, ::-1]) if film.is_mirrored else picture


def _as_the_patient_stands(film: Film) -> tuple[NDArray[np.float32], Mask]:
    """What the embedded segmenter takes: the display, and which pixels are measured."""
    return _stood(to_display(film), film), _stood(~film.padding, film)
