"""Variation of square films in training, by batches: pose, exposure, and sharpness.

Sharpness matters here: what an autoencoder redrew is smoother than the film around it, and a
judge that learned to see this would call every edit a finding. So parts of films and whole
films are smoothed at random, whatever they show.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional


def pose(
    x: torch.Tensor, rng: np.random.Generator, reach: float = 1.0, still: float = 0.0
) -> torch.Tensor:
    """Rotate, zoom and shift films a little, the same for all channels of one.

    Parameters
    ----------
    x : float32 [N, C, S, S]
    reach : 1 for up to 0.1 rad, 12 % of size and 6 % of the side; 0 for nothing
    still : share of films left as they are; moving also smooths, and no film is moved later
    """
    n = x.shape[0]
    moved = np.full(n, reach) if still == 0 else reach * (rng.random(n) >= still)
    angle = rng.uniform(-0.10, 0.10, n) * moved
    zoom = 1 + rng.uniform(-0.12, 0.12, n) * moved
    shift = rng.uniform(-0.12, 0.12, (n, 2)) * moved[:, None]  # the side is 2 in these coordinates
    c, s = np.cos(angle) * zoom, np.sin(angle) * zoom
    theta = np.stack([np.stack([c, -s, shift[:, 0]], 1), np.stack([s, c, shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(
        torch.from_numpy(theta.astype("f4")), list(x.shape), align_corners=False
    )
    return functional.grid_sample(x, grid, align_corners=False)


def expose(x: torch.Tensor, rng: np.random.Generator, reach: float = 1.0) -> torch.Tensor:
    """Give each film another look-up: gamma, and the ends of its range.

    Parameters
    ----------
    x : float32 [N, 1, S, S], 0 to 1
    reach : 1 for gamma up to 1.3 either way; 0 for nothing
    """
    n = x.shape[0]
    gamma = _column(1.3 ** rng.uniform(-reach, reach, n))
    low, high = (
        _column(reach * rng.uniform(0, 0.06, n)),
        _column(1 - reach * rng.uniform(0, 0.06, n)),
    )
    return low + (high - low) * x.clamp(0, 1) ** gamma


def soften(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Smooth a third of the films whole and a third in an ellipse, and add noise to all.

    Parameters
    ----------
    x : float32 [N, 1, S, S], 0 to 1
    """
    n, side = x.shape[0], x.shape[-1]
    coarse = functional.interpolate(
        functional.avg_pool2d(x, 2), (side, side), mode="bilinear", align_corners=False
    )
    fine = functional.avg_pool2d(functional.pad(x, (1, 1, 1, 1), "replicate"), 3, 1)
    smooth = torch.where(_column(rng.random(n)) < 0.5, coarse, fine)
    kind = _column(rng.integers(3, size=n))
    weight = torch.where(kind == 0, torch.zeros(n, 1, side, side), _ellipses(rng, n, side))
    weight = torch.where(kind == 1, torch.ones(()), weight) * _column(rng.uniform(0.4, 1, n))
    noise = np.asarray(rng.standard_normal(x.shape, "f4"))
    return x + weight * (smooth - x) + torch.from_numpy(noise) * _column(rng.uniform(0, 0.02, n))


def _ellipses(rng: np.random.Generator, count: int, side: int) -> torch.Tensor:
    """One soft-edged ellipse a film, float32 [N, 1, S, S], 0 to 1."""
    at = torch.linspace(-1, 1, side)
    cx, cy = _column(rng.uniform(-0.7, 0.7, count)), _column(rng.uniform(-0.7, 0.7, count))
    rx, ry = _column(rng.uniform(0.15, 0.6, count)), _column(rng.uniform(0.15, 0.7, count))
    r = ((at[None, :] - cx) / rx) ** 2 + ((at[:, None] - cy) / ry) ** 2
    return (4 * (1 - r)).clamp(0, 1)


def _column(values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(values, "f4"))[:, None, None, None]
