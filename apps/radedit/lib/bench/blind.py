"""Models that see nothing of a finding, to be named as `python:radedit.lib.bench.blind:NAME`.

They are for trying a suite on: none of them may hold it.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

Display = NDArray[np.float32]
Valid = NDArray[np.bool_] | None
LABELS = ("pneumothorax", "opacity", "consolidation", "effusion", "cardiomegaly")


def never(display: Display, valid: Valid) -> dict[str, float]:
    """Call nothing."""
    return dict.fromkeys(LABELS, 0.1)


def coin(display: Display, valid: Valid) -> dict[str, float]:
    """Throw a coin for each film; the same film falls on the same side again."""
    seed = zlib.crc32(np.ascontiguousarray(display).tobytes())
    return dict.fromkeys(LABELS, float(np.random.default_rng(seed).random()))


def brightness(display: Display, valid: Valid) -> dict[str, float]:
    """Look at how bright the film is on the whole."""
    grey = display if valid is None else display[valid]
    return dict.fromkeys(LABELS, float(np.clip(grey.mean(), 0, 1)))
