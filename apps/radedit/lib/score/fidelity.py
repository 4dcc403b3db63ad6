"""How much an edit changed, where it might and where it must not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]

VISIBLE: Final = 1 / 255
"""The least change of display intensity that can be seen: one grey level of an 8-bit display."""


@dataclass(frozen=True)
class Fidelity:
    """Counts are of film pixels; changes are of display intensity, 0 to 1.

    Attributes
    ----------
    changed_pixels : stored values that differ, in all
    visible_pixels : those that are shown otherwise, by `VISIBLE` or more; 0 = no edit, whatever
        the stored values are
    changed_in_keep : those on the keep mask; where values are kept, anything but 0 is a defect
    changed_outside_support : those where nothing may change; anything but 0 is a defect
    mean_change_in_edit : mean absolute change inside the edit mask
    max_change_in_edit : largest absolute change inside the edit mask
    mean_shift_in_edit : mean signed change inside the edit mask; > 0 is whiter (denser)
    """

    changed_pixels: int
    visible_pixels: int
    changed_in_keep: int
    changed_outside_support: int
    mean_change_in_edit: float
    max_change_in_edit: float
    mean_shift_in_edit: float

    def as_scores(self) -> dict[str, float]:
        """Every figure by name, as numbers for the report."""
        return {name: float(value) for name, value in asdict(self).items()}


def fidelity(
    stored: tuple[NDArray[np.integer], NDArray[np.integer]],
    display: tuple[NDArray[np.float32], NDArray[np.float32]],
    edit: Mask,
    keep: Mask,
    support: Mask,
) -> Fidelity:
    """Compare a film before and after an edit.

    Parameters
    ----------
    stored : before and after, each [rows, cols]
    display : before and after, each float32 [rows, cols], 0 to 1
    edit, keep : bool [rows, cols], the masks of the edit; `edit` is not empty
    support : bool [rows, cols], True = where the edit could change a pixel
    """
    changed = stored[0] != stored[1]
    difference = display[1] - display[0]
    shift = difference[edit]
    return Fidelity(
        changed_pixels=int(changed.sum()),
        # A little less than a level: float32 does not hold the difference of two exactly.
        visible_pixels=int((np.abs(difference) >= VISIBLE - 1e-6).sum()),
        changed_in_keep=int((changed & keep).sum()),
        changed_outside_support=int((changed & ~support).sum()),
        mean_change_in_edit=float(np.abs(shift).mean()),
        max_change_in_edit=float(np.abs(shift).max()),
        mean_shift_in_edit=float(shift.mean()),
    )
