"""How good the edited films are, as the field's benchmarks measure it, on an encoder of our own.

Context preservation is MedEBench's: SSIM outside the edit mask. Fidelity is CheXGenBench's, with
the unbiased kernel distance (KID, arXiv 1801.01401) instead of FID, whose bias hides small sets;
precision and recall are those of arXiv 1904.06991. Privacy asks whether an edited film lies
nearer to a film that the editor was trained on than its own source already does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from radedit.lib.stress.subjects import Image, Mask

Features = NDArray[np.float64]


def ssim_outside(before: Image, after: Image, edit: Mask) -> float | None:
    """Mean structural similarity of two films outside the edit mask; None if that is all.

    Parameters
    ----------
    before, after : float32 [rows, cols], 0 to 1
    edit : bool [rows, cols]
    """
    from skimage.metrics import structural_similarity  # slow to import

    if edit.all():
        return None
    measure: Callable[..., tuple[float, Image]] = structural_similarity
    _, similarity = measure(before, after, data_range=1.0, full=True)
    return float(similarity[~edit].mean())


def kid(real: Features, edited: Features) -> float | None:
    """Unbiased squared maximum mean discrepancy, polynomial kernel of degree 3; 0 = alike.

    Parameters
    ----------
    real, edited : float [n, D] and [m, D]; None comes back if either has fewer than two
    """
    n, m = len(real), len(edited)
    if min(n, m) < 2:
        return None
    width = real.shape[1]

    def kernel(x: Features, y: Features) -> Features:
        return np.asarray((x @ y.T / width + 1) ** 3)

    xx, yy, xy = kernel(real, real), kernel(edited, edited), kernel(real, edited)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


@dataclass(frozen=True)
class Coverage:
    """How far two sets of films overlap.

    Attributes
    ----------
    precision : part of the edited films that lie among the real ones
    recall : part of the real films that lie among the edited ones
    """

    precision: float
    recall: float


def coverage(real: Features, edited: Features, neighbours: int = 3) -> Coverage | None:
    """Measure how far edited films lie among real ones, and the other way round.

    A film lies among a set if it is nearer to one of its films than that film's k-th neighbour
    within the set. None where a set has no more than `neighbours` films.
    """
    if min(len(real), len(edited)) <= neighbours:
        return None

    def among(points: Features, others: Features) -> float:
        reach = np.sort(cdist(others, others), axis=1)[:, neighbours]
        return float((cdist(points, others) <= reach).any(axis=1).mean())

    return Coverage(among(edited, real), among(real, edited))


def nearer_than_source(source: Features, edited: Features, trained: Features) -> float:
    """Part of the edits that came nearer to a film of the training than their source was.

    Parameters
    ----------
    source, edited : float [n, D], row by row
    trained : float [m, D], films that the editor learned from

    Returns
    -------
    0 to 1; one half is what chance gives
    """
    before, after = cdist(source, trained).min(axis=1), cdist(edited, trained).min(axis=1)
    return float((after < before).mean())
