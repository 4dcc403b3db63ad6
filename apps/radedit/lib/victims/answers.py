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


def usable_scores(found: Mapping[str, Any]) -> dict[str, float]:
    """Check scores that came from outside.

    Raises
    ------
    VictimError
        One is no finite number from 0 to 1; none is guessed instead.
    """
    scores: dict[str, float] = {}
    for label, value in found.items():
        try:
            score = float(value)
        except (TypeError, ValueError):
            score = float("nan")
        if not 0 <= score <= 1 or isinstance(value, bool):
            raise VictimError(
                "the victim gave a score that is no number from 0 to 1; if it gives logits or "
                "per cent, say so in its TOML file."
            )
        scores[str(label)] = score
    return scores


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
        raise VictimError("the victim gave a segment of another size than the film.")
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
