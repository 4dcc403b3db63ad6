"""What a small network is worth: operating points, AUROC, sensitivity, Dice."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]


def logits_of(network: torch.nn.Module, x: torch.Tensor, batch: int = 64) -> NDArray[np.float32]:
    """Run a network over many films in batches, without gradients, in float32."""
    with torch.inference_mode():
        starts = range(0, len(x), batch)
        return np.concatenate([network(x[i : i + batch]).numpy() for i in starts])


def operating_point(scores: Scores, truth: Truth) -> float:
    """Give the threshold of the highest sensitivity + specificity, mid-way in its widest gap.

    Parameters
    ----------
    scores : [n], 0 to 1, higher is more likely
    truth : bool [n]

    Returns
    -------
    0 to 1; 0.5 where one of the classes is missing
    """
    if truth.all() or not truth.any():
        return 0.5
    order = np.sort(np.unique(scores))
    edges = np.concatenate([[0.0], order, [1.0]])
    between = (edges[:-1] + edges[1:]) / 2
    positive, negative = np.sort(scores[truth]), np.sort(scores[~truth])
    sensitivity = 1 - np.searchsorted(positive, between) / positive.size
    specificity = np.searchsorted(negative, between) / negative.size
    youden = sensitivity + specificity
    best = youden >= youden.max() - 1e-9
    widest = np.argmax(np.where(best, np.diff(edges), -1))
    return float(between[widest])


def auroc(scores: Scores, truth: Truth) -> float:
    """Area under the ROC curve, of both classes."""
    from monai.metrics.rocauc import compute_roc_auc  # slow to import

    area = compute_roc_auc(torch.from_numpy(scores), torch.from_numpy(truth.astype(int)))
    return float(np.asarray(area))


def confusion(scores: Scores, truth: Truth, threshold: float) -> dict[str, float]:
    """AUROC, and accuracy, sensitivity, specificity at a threshold, as far as they are defined."""
    called = scores >= threshold
    found = {"accuracy": float((called == truth).mean())}
    if truth.any():
        found["sensitivity"] = float(called[truth].mean())
    if not truth.all():
        found["specificity"] = float((~called[~truth]).mean())
    if len(found) == 3:
        found["auroc"] = auroc(scores, truth)
    return found


def dice(found: Truth, truth: Truth) -> float:
    """Mean Dice of masks bool [n, H, W]; 1 where both of a pair are empty."""
    overlap = 2.0 * (found & truth).sum((1, 2))
    total = found.sum((1, 2)) + truth.sum((1, 2))
    return float(np.mean(np.where(total > 0, overlap / np.maximum(total, 1), 1.0)))
