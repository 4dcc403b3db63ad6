"""What came from a victim, checked before anybody counts with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from radedit.lib.errors import VictimError
from radedit.lib.victims.protocol import Answer, Mask

SAME: Final = 1e-3  # score, or share of pixels, that another run of one model may differ by


def usable_segments(found: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Mask]:
    """Check segments that came from outside; numbers other than 0 are inside, NaN is outside.

    Raises
    ------
    VictimError
        One is of another size than the film.
    """
    segments = {
        str(label): np.asarray(np.nan_to_num(np.asarray(mask)) != 0)
        for label, mask in found.items()
    }
    if any(mask.shape != shape for mask in segments.values()):
        raise VictimError("The model gave a segment of another size than the film.")
    return segments


def same_answer(one: Answer, other: Answer) -> bool:
    """Say whether two answers about one film are those of one model, but for rounding."""
    pairs = (one.segments or {}, other.segments or {})
    if set(one.scores) != set(other.scores) or set(pairs[0]) != set(pairs[1]):
        return False
    near = (abs(value - other.scores[label]) <= SAME for label, value in one.scores.items())
    alike = (np.mean(mask != pairs[1][label]) <= SAME for label, mask in pairs[0].items())
    return all(near) and all(alike)


def sha256_of(path: Path) -> str:
    """Hash a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
