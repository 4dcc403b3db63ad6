"""Whether what a network drew can be lungs and a heart, before it may steer an edit.

A segmenter answers for every picture: of a film that lies upside down or on its side it draws the
wrong lung or a sliver, and says nothing. A wrong mask that looks right is the worst that can
happen to a test, so what is drawn must have the sizes and places that lungs and hearts have, and
the film must not make as much sense the other way up. Of 887 real films of two collections the
limits refuse 18, none of the 31 with reviewed outlines among them (docs/benchmarks.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from radedit.lib.errors import FilmError

Mask = NDArray[np.bool_]

ADVICE = "have the film stored upright and whole, or draw the mask"
TURNS = ("upright", "on its side", "upside down", "on its side")
#: Mean certainty, 0 to 1, of the pixels that may be lung (a tenth or more).
LEAST_CERTAIN = 0.72
#: By how much more certain the lungs must be on the film than on the film turned.
MARGIN = 0.02
_MAY_BE = 0.1
#: Of the film's measured area: the least and the most that a mask of any network marks. A
#: ten-thousandth of a film is a spot of 4 mm.
SPECK, NEARLY_ALL = 1e-4, 0.98
SPECK_PX = 4
#: Height by width: one that has lost 40 % of its length is outside.
FILM_SHAPE = 0.62, 1.6


@dataclass(frozen=True)
class Limits:
    """What a quantity may be, both ends included; `what` is said of it in a refusal."""

    what: str
    low: float
    high: float

    def check(self, value: float, whose: str) -> None:
        """Refuse a value outside.

        Raises
        ------
        FilmError
        """
        if not self.low <= value <= self.high:
            raise FilmError(
                f"The {whose} that was found on this film cannot be right: {self.what} is "
                f"{value:.2f}, and {self.low:g} to {self.high:g} are seen; {ADVICE}."
            )


# Of the film's area; of each other; in sides of a square of the film's area.
LUNG_AREA = Limits("its part of the film", 0.03, 0.4)
LUNG_RATIO = Limits("the smaller lung's part of the larger", 0.4, 1.0)
LEVEL = Limits("the distance of the lungs' centres, down,", -0.15, 0.15)
APART = Limits("the distance of the lungs' centres, to the patient's left,", 0.2, 0.65)
ABREAST = Limits("the part of their height in which both lungs lie", 0.5, 1.0)
OVERLAP = Limits("the part of one lung that is drawn as the other, too,", 0.0, 0.1)
WHOLE = Limits("the largest piece's part of it", 0.6, 1.0)
HEART_SHARE = Limits("its part of the lungs", 0.1, 1.0)
HEART_ACROSS = Limits("its place between the lungs' centres, 0 = in the middle,", -0.25, 0.65)
HEART_DOWN = Limits("its depth below the lungs' centres", 0.0, 0.55)


def certainty(logits: NDArray[np.float32]) -> float:
    """How sure a network is of what it draws.

    Parameters
    ----------
    logits : float32 [N, S, S]

    Returns
    -------
    float
        0 to 1: the mean of ``|2 p - 1|`` over the pixels that may be inside; 0 without any.
    """
    probability = 1.0 / (1.0 + np.exp(-logits.astype(np.float64)))
    sure = np.abs(2 * probability - 1)[probability > _MAY_BE]
    return float(sure.mean()) if sure.size else 0.0


def check_turn(certainties: list[float]) -> None:
    """Refuse a film that shows lungs as surely when it is turned.

    Parameters
    ----------
    certainties : four floats
        Of the lungs, on the film and on the film turned by one to three quarters.

    Raises
    ------
    FilmError
    """
    turn = 1 + int(np.argmax(certainties[1:]))
    if certainties[0] < certainties[turn]:
        raise FilmError(
            f"The film seems to lie {TURNS[turn]}: its lungs are seen more surely when it is "
            f"turned; {ADVICE}."
        )
    if certainties[0] < certainties[turn] + MARGIN:
        raise FilmError(
            f"The film may lie {TURNS[turn]}: its lungs are seen about as surely when it is "
            f"turned, so that left and right cannot be told; {ADVICE}."
        )


def check_sure(certain: float) -> None:
    """Refuse a film whose lungs the network is not sure of.

    Raises
    ------
    FilmError
    """
    if certain < LEAST_CERTAIN:
        raise FilmError(
            f"The lungs of this film are not seen surely enough (certainty {certain:.2f}, "
            f"{LEAST_CERTAIN:g} is needed); {ADVICE}."
        )


def check_drawn(mask: Mask, film_area: float, name: str) -> None:
    """Refuse a mask that marks nothing, all of the film, or a speck.

    Parameters
    ----------
    mask : bool [rows, cols]
    film_area : float
        Pixels of the film on this grid.
    name : str
        Of the mask, for the refusal.

    Raises
    ------
    FilmError
    """
    count = int(mask.sum())
    share = count / film_area
    if count < SPECK_PX or not SPECK <= share <= NEARLY_ALL:
        found = "nothing" if not count else "the whole film" if share > NEARLY_ALL else "a speck"
        raise FilmError(
            f"The {name} marks {found} ({count} pixels, {100 * share:.2g} % of the film), so it "
            "steers no edit; draw the mask, or have the network looked at."
        )


def check_pair(left: Mask, right: Mask) -> None:
    """Refuse a pair of the patient's left and right that lie in each other's place.

    Parameters
    ----------
    left, right : bool [rows, cols]
        As in `check_lungs`, of whatever a body has two of; an empty one says nothing.

    Raises
    ------
    FilmError
    """
    if left.any() and right.any() and _centre(left)[1] <= _centre(right)[1]:
        raise FilmError(
            "The left one lies at the right one's place on this film, whose left is the "
            f"patient's right; {ADVICE}."
        )


def check_shape(rows: int, cols: int) -> None:
    """Refuse a film of a shape that says that much of a chest is cut off.

    Raises
    ------
    FilmError
    """
    low, high = FILM_SHAPE
    if not low <= rows / cols <= high:
        raise FilmError(
            f"The film is {rows / cols:.2f} times as high as it is wide, and films of a whole "
            f"chest {low:g} to {high:g} times: it seems to be cut off; {ADVICE}."
        )


def check_lungs(left: Mask, right: Mask) -> None:
    """Refuse lungs whose sizes or places no patient has.

    Parameters
    ----------
    left, right : bool [rows, cols]
        The patient's, the left one on the right of the image, on a grid that the film fills.

    Raises
    ------
    FilmError
    """
    for name, mask in (("left lung", left), ("right lung", right)):
        LUNG_AREA.check(mask.mean(), name)
    smaller, larger = sorted((left.sum(), right.sum()))
    LUNG_RATIO.check(smaller / larger, "pair of lungs")
    OVERLAP.check((left & right).sum() / smaller, "pair of lungs")
    down, across = np.subtract(_centre(left), _centre(right)) / np.sqrt(left.size)
    APART.check(across, "pair of lungs")
    (top_l, end_l), (top_r, end_r) = _rows(left), _rows(right)
    common = min(end_l, end_r) - max(top_l, top_r)
    ABREAST.check(common / max(end_l - top_l, end_r - top_r), "pair of lungs")
    LEVEL.check(down, "pair of lungs")


def check_heart(heart: Mask, left: Mask, right: Mask) -> None:
    """Refuse a heart that does not lie between the lungs' lower halves, or not in their size.

    Parameters
    ----------
    heart, left, right : bool [rows, cols]
        As in `check_lungs`; lungs that passed it.

    Raises
    ------
    FilmError
    """
    HEART_SHARE.check(heart.sum() / (left | right).sum(), "heart")
    (row, col), (row_l, col_l), (row_r, col_r) = _centre(heart), _centre(left), _centre(right)
    HEART_ACROSS.check((col - (col_l + col_r) / 2) / (col_l - col_r), "heart")
    HEART_DOWN.check((row - (row_l + row_r) / 2) / np.sqrt(heart.size), "heart")


def check_whole(mask: Mask, drawn: Mask, name: str) -> None:
    """Refuse a largest region that is only a piece of what was drawn.

    Raises
    ------
    FilmError
    """
    WHOLE.check(mask.sum() / max(int(drawn.sum()), 1), name)


def _centre(mask: Mask) -> tuple[float, float]:
    rows, cols = np.nonzero(mask)
    return float(rows.mean()), float(cols.mean())


def _rows(mask: Mask) -> tuple[int, int]:
    """First row, and the one behind the last."""
    rows = np.nonzero(mask.any(axis=1))[0]
    return int(rows[0]), int(rows[-1]) + 1
