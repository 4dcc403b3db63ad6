"""Corruptions of a whole film with severity 1 to 5, after ImageNet-C and MedMNIST-C.

The edits ask what a victim reads. These ask how much it takes to shake it at all: an edit's
effect that a little noise has too says nothing about the finding. Values follow ImageNet-C
(arXiv 1903.12261) where grey films have the same corruption; widths are of a film of 512 a side.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom

Image = NDArray[np.float32]
SEVERITIES: Final = (1, 2, 3, 4, 5)


def corrupted(image: Image, name: str, severity: int, seed: int = 0) -> Image:
    """Corrupt a film.

    Parameters
    ----------
    image : float32 [rows, cols], 0 to 1
    name : a key of CORRUPTIONS
    severity : 1 (mild) to 5
    seed : of the noise

    Returns
    -------
    float32 [rows, cols], 0 to 1
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        raise ValueError(f"no corruption {name!r} of severity {severity}")
    rng = np.random.default_rng([seed, severity])
    return np.clip(CORRUPTIONS[name](image, severity - 1, rng), 0, 1).astype(np.float32)


def _gaussian_noise(image: Image, level: int, rng: np.random.Generator) -> Image:
    noise = rng.standard_normal(image.shape, np.float32)
    return image + np.float32((0.02, 0.04, 0.06, 0.09, 0.13)[level]) * noise


def _shot_noise(image: Image, level: int, rng: np.random.Generator) -> Image:
    quanta = (1000, 400, 200, 100, 50)[level]
    return np.asarray(rng.poisson(image * quanta) / quanta, np.float32)


def _gaussian_blur(image: Image, level: int, rng: np.random.Generator) -> Image:
    width = (1.0, 1.5, 2.0, 3.0, 4.0)[level] * max(image.shape) / 512
    return np.asarray(gaussian_filter(image, width))


def _pixelate(image: Image, level: int, rng: np.random.Generator) -> Image:
    small = zoom(image, (0.5, 0.4, 0.3, 0.25, 0.2)[level], order=1)
    factors = [whole / part for whole, part in zip(image.shape, small.shape, strict=True)]
    return np.asarray(zoom(small, factors, order=0), np.float32)


def _jpeg(image: Image, level: int, rng: np.random.Generator) -> Image:
    from PIL import Image as Pillow

    content = io.BytesIO()
    grey = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    Pillow.fromarray(grey).save(content, "JPEG", quality=(50, 35, 25, 15, 8)[level])
    return np.asarray(Pillow.open(content), np.float32) / np.float32(255)


def _low_contrast(image: Image, level: int, rng: np.random.Generator) -> Image:
    usual = np.float32(image.mean())
    return (image - usual) * np.float32((0.8, 0.65, 0.5, 0.35, 0.25)[level]) + usual


def _brighter(image: Image, level: int, rng: np.random.Generator) -> Image:
    return image + np.float32((0.05, 0.1, 0.15, 0.2, 0.3)[level])


def _gamma(image: Image, level: int, rng: np.random.Generator) -> Image:
    return np.asarray(np.clip(image, 0, 1) ** (1.15, 1.3, 1.5, 1.75, 2.0)[level], np.float32)


Corruption = Callable[[Image, int, np.random.Generator], Image]
CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "gaussian noise": _gaussian_noise,
        "shot noise": _shot_noise,
        "gaussian blur": _gaussian_blur,
        "pixelate": _pixelate,
        "jpeg": _jpeg,
        "low contrast": _low_contrast,
        "brighter": _brighter,
        "gamma": _gamma,
    }
)
