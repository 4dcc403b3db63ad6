"""Did each edit do what it says? Asked of what the editor has no part in.

In this order, whichever there is first:

    truth    the phantom's true counterfactual, of a removal: how much of the true change was
             made, and how much was changed besides (what is added has no one true place)
    reader   an independent reader that shares neither weights nor patients nor seeds with the
             editor: it sees no more what should be gone, and sees what was added
    dose     the mean change inside the edit mask against that of the sham, which asks for nothing
             new; it tells an edit that did nothing, but not one that did something else

An edit that did not do what it says counts for nothing but the share of those that did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from scipy.ndimage import gaussian_filter

from radedit.lib.stress.subjects import Image

Row = Mapping[str, Any]
MEASURES: Final = ("truth", "reader", "dose")
OBJECTION: Final = "the independent reader"
NO_CHANGE: Final = "made, no change"  # why an edit does not count that nobody can see
LEAST_DONE, MOST_DONE = 0.7, 1.75  # parts of the true change
MOST_BESIDE: Final = 1.0  # change besides, in units of the true one
TIMES_THE_SHAM: Final = 1.1
_BLUR: Final = 6 / 512  # of the longer side: texture, which no two draws share, is no change


def against_truth(before: Image, after: Image, truth: Image) -> dict[str, float] | None:
    """Compare the change of an edit with the true one; None where the truth is no change.

    Parameters
    ----------
    before, after, truth : float32 [rows, cols], display intensity 0 to 1

    Returns
    -------
    `done`, the part of the true change that was made (1 = all of it), and `beside`, the size of
    what was changed otherwise, in units of the true change
    """
    width = _BLUR * max(before.shape)
    made, true = (gaussian_filter(np.asarray(x - before, float), width) for x in (after, truth))
    size = float((true**2).sum())
    if size < 1e-9 * true.size:
        return None
    done = float((made * true).sum()) / size
    beside = float(np.sqrt(((made - done * true) ** 2).sum() / size))
    return {"done": round(done, 4), "beside": round(beside, 4)}


def did(row: Row, shams: Sequence[Row], asks_reader: bool) -> tuple[str, bool | None]:
    """Say by what an edit was measured, and whether it did what it says; None = nothing says it.

    Parameters
    ----------
    row, shams : of the edit, and of the shams of the same film
    asks_reader : whether the suite's filter asks an independent reader
    """
    if NO_CHANGE in row["reasons"]:
        return "dose", False
    truth = row.get("truth")
    if truth:
        right = LEAST_DONE <= truth["done"] <= MOST_DONE and truth["beside"] <= MOST_BESIDE
        return "truth", right
    if asks_reader and row.get("read", True):
        return "reader", not any(why.startswith(OBJECTION) for why in row["reasons"])
    doses = [sham["dose"] for sham in shams if sham.get("dose") is not None]
    if not doses or row.get("dose") is None:
        return "", None
    return "dose", bool(row["dose"] > TIMES_THE_SHAM * sum(doses) / len(doses))
