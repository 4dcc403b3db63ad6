"""The embedded lung segmenter: left and right lung field, and the heart, of a frontal film.

A lung field here is what the reviewed masks it learned from call lung: most of the heart's
shadow and the lung behind the diaphragm are inside.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radedit.lib.errors import CheckpointError, FilmError
from radedit.lib.geometry import SquareGrid, stretched
from radedit.lib.plausibility import (
    certainty,
    check_heart,
    check_lungs,
    check_shape,
    check_sure,
    check_turn,
    check_whole,
)

CONFIG: dict[str, Any] = {
    "network": "monai.networks.nets.UNet",
    "image_size": 128,
    "channels": [24, 40, 64, 96, 128, 160],
    "strides": [2, 2, 2, 2, 2],
    "num_res_units": 1,
    "labels": ["left", "right", "heart"],
}
LABELS = ("left", "right", "lungs", "heart")
SWAPPED = [1, 0]  # the lungs of a film in a mirror
_FOLDER = Path(__file__).parents[1] / "model" / "lungs"
WEIGHTS = _FOLDER / "model.safetensors"


def build_network() -> torch.nn.Module:
    """A MONAI U-Net: [N, 1, S, S] in -1..1 to logits [N, 3, S, S], one per label."""
    from monai.networks.nets.unet import UNet  # slow to import, so only when a mask asks for it

    return UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=len(CONFIG["labels"]),
        channels=CONFIG["channels"],
        strides=CONFIG["strides"],
        num_res_units=CONFIG["num_res_units"],
        norm="batch",
    )


def segment_lungs(
    display: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Segment the lung fields and the heart of a frontal film.

    Parameters
    ----------
    display : float32 [rows, cols], 0 to 1, 1 = white (dense), the patient's left on the right
    valid : bool [rows, cols], True = a measured pixel (not padding); all unless told

    Returns
    -------
    "left", "right" (the patient's), "lungs" and "heart": each bool [rows, cols]; the lung
    fields have most of the heart's shadow inside, as reviewers draw them

    Raises
    ------
    CheckpointError
        The weights are missing.
    FilmError
        No lung was found, the film lies turned, or what was found cannot be lungs
        (`plausibility`).
    """
    check_shape(*display.shape)
    grid = SquareGrid(display.shape[0], display.shape[1], int(CONFIG["image_size"]))
    image = grid.down(stretched(display, valid)[0])
    drawn = _of_each_turn(image)
    small = {
        label: largest_region(channel > 0)
        for label, channel in zip(CONFIG["labels"], drawn[0], strict=True)
    }
    if not small["left"].any() or not small["right"].any():
        raise FilmError("lung_segmentation found no lung on one side of this film; draw the mask.")
    certainties = [certainty(logits[:2]) for logits in drawn]
    check_turn(certainties)
    check_sure(certainties[0])
    for index, side in enumerate(("left", "right")):
        check_whole(small[side], drawn[0][index] > 0, f"{side} lung")
    check_lungs(_on_film(small["left"], grid), _on_film(small["right"], grid))
    left, right, heart = (largest_region(grid.up(channel) > 0) for channel in drawn[0])
    return {"left": left, "right": right, "lungs": left | right, "heart": heart}


def segment_chest(
    display: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
) -> dict[str, NDArray[np.bool_]]:
    """Segment as `segment_lungs`, and hold the heart, too, to what it can be.

    Raises
    ------
    CheckpointError
        The weights are missing.
    FilmError
        Also: no heart was found between the lungs.
    """
    found = segment_lungs(display, valid)
    if not found["heart"].any():
        raise FilmError("heart_segmentation found no heart on this film; draw the mask.")
    check_heart(found["heart"], found["left"], found["right"])
    return found


def segment_heart(
    display: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Segment the heart of a frontal film, bool [rows, cols]; errors as of `segment_chest`."""
    return segment_chest(display, valid)["heart"]


def check_upright(display: NDArray[np.float32], valid: NDArray[np.bool_] | None = None) -> None:
    """Refuse a film that shows lungs as surely when it is turned; parameters as `segment_lungs`.

    Raises
    ------
    CheckpointError
        The weights are missing.
    FilmError
    """
    check_shape(*display.shape)
    grid = SquareGrid(display.shape[0], display.shape[1], int(CONFIG["image_size"]))
    image = grid.down(stretched(display, valid)[0])
    check_turn([certainty(logits[:2]) for logits in _of_each_turn(image)])


def _of_each_turn(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Logits of an image, and of the image turned by one to three quarters."""
    return [logits_of(_network(), np.rot90(image, quarters)) for quarters in range(4)]


def _on_film(mask: NDArray[np.bool_], grid: SquareGrid) -> NDArray[np.bool_]:
    """What lies on the film of a mask on the network's square, without what pads it."""
    rows, cols = np.nonzero(grid.mask_down(np.ones((grid.rows, grid.cols), bool)))
    return mask[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]


def logits_of(network: torch.nn.Module, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ask the network twice about the lungs, of a film and of its mirror image; the mean.

    The heart is that of the film alone, since no heart lies as in a mirror.

    Parameters
    ----------
    image : float32 [S, S], 0 to 1, stretched

    Returns
    -------
    float32 [3, S, S], logits of left lung, right lung, heart
    """
    both = torch.from_numpy(np.stack([image, image[:, ::-1]]))[:, None] * 2 - 1
    with torch.inference_mode():
        own, turned = network(both).numpy()
    own[SWAPPED] = (own[SWAPPED] + turned[:2, :, ::-1]) / 2
    return np.asarray(own)


@cache
def _network() -> torch.nn.Module:
    from safetensors.torch import load_file

    path = WEIGHTS
    if not path.exists():
        raise CheckpointError(
            "the lung segmenter's weights are missing from the installation: "
            "expected lungs/model.safetensors in the package's model folder; reinstall it."
        )
    if json.loads((_FOLDER / "config.json").read_text()) != CONFIG:
        raise CheckpointError("the lung segmenter's weights are for another network; reinstall.")
    network = build_network()
    network.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    return network.eval()


def largest_region(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected region, so that stray islands are no lung and no heart."""
    from scipy.ndimage import label

    regions, count = label(mask)
    if count <= 1:
        return mask
    return np.asarray(regions == 1 + np.argmax(np.bincount(regions.ravel())[1:]))
