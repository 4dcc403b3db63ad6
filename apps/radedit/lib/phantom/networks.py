"""The small networks of the phantom's victims and judge, and their files.

A folder holds `model.safetensors` (fp16) and `config.json`, which says what the network is and
pins the weights by sha256.
"""

from __future__ import annotations

import hashlib
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_of
from torch import nn
from torch.nn import functional

from radedit.lib.errors import CheckpointError, FilmError
from radedit.lib.geometry import SquareGrid, stretched
from radedit.lib.whole_files import write_file

Config = dict[str, Any]


class Classifier(nn.Module):
    """A convolutional classifier that knows where on the film it looks.

    Two channels of coordinates go in beside the film, and what was found is read out on a
    coarse grid, since left and right decide here.

    Parameters
    ----------
    channels : of each scale; the first is at half of the film's resolution
    outputs : logits
    detail : how much the film's detail is enlarged in a channel of its own, so that thin lines
        count from the first step; what was found is then also read out of the whole film. 0 for
        neither
    """

    grid = 4

    def __init__(self, channels: list[int], outputs: int, detail: float = 0.0) -> None:
        super().__init__()
        self.detail, self.sides = detail, (1, self.grid) if detail else (self.grid,)
        layers: list[nn.Module] = [_layer(4 if detail else 3, channels[0], 5, 2)]
        layers.append(Block(channels[0]))
        for before, after in pairwise(channels):
            layers += [_layer(before, after, 3, 2), Block(after)]
        self.features = nn.Sequential(*layers)
        self.drop = nn.Dropout(0.2)
        self.read = nn.Linear(2 * channels[-1] * sum(n**2 for n in self.sides), outputs)
        nn.init.normal_(self.read.weight, std=0.01)  # begin undecided: many inputs add up

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Films [N, 1, S, S], 0 to 1, to logits [N, outputs]."""
        n, _, rows, cols = x.shape
        y_at = torch.linspace(-1, 1, rows)[None, None, :, None].expand(n, 1, rows, cols)
        x_at = torch.linspace(-1, 1, cols)[None, None, None, :].expand(n, 1, rows, cols)
        inputs = [x * 2 - 1, y_at, x_at]
        if self.detail:
            usual = functional.avg_pool2d(x, 7, 1, 3, count_include_pad=False)
            inputs.insert(1, self.detail * (x - usual))
        # The order of a CPU's convolutions: a fifth to a third less time.
        seen = torch.cat(inputs, 1).contiguous(memory_format=torch.channels_last)
        found = self.features(seen)
        pools = (functional.adaptive_max_pool2d, functional.adaptive_avg_pool2d)
        read = [pool(found, side).flatten(1) for side in self.sides for pool in pools]
        return torch.as_tensor(self.read(self.drop(torch.cat(read, 1))))


class Block(nn.Module):
    """Two 3 x 3 convolutions added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _layer(channels, channels, 3, 1)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] to the same."""
        return functional.relu(x + self.second(self.first(x)))


def _layer(before: int, after: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(),
    )


def build(config: Config) -> nn.Module:
    """Build the network of a config: "classifier", or "segmenter", a MONAI U-Net.

    Raises
    ------
    CheckpointError
        The config names another network.
    """
    if config["network"] == "classifier":
        detail = config.get("detail", 0.0)  # older files do not name it
        return Classifier(config["channels"], len(config["labels"]), detail)
    if config["network"] == "segmenter":
        from monai.networks.nets.unet import UNet  # slow to import

        return UNet(
            spatial_dims=2,
            in_channels=1,
            out_channels=1,
            channels=config["channels"],
            strides=[2] * (len(config["channels"]) - 1),
            num_res_units=1,
            norm="batch",
        )
    raise CheckpointError(
        "an embedded network's config.json names a kind that this version does not know; "
        "reinstall the package."
    )


def save(network: nn.Module, config: Config, folder: Path) -> None:
    """Write weights (fp16) and config, the weights' sha256 and size in it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    tensors = network.state_dict().items()
    content = safetensors_of(
        {k: (v.half() if v.is_floating_point() else v).contiguous() for k, v in tensors}
    )
    write_file(path, content)
    full = {**_rounded(config), "bytes": path.stat().st_size, "sha256": _sha256(path)}
    write_file(folder / "config.json", json.dumps(full, indent=2) + "\n")


def load(folder: Path) -> tuple[nn.Module, Config]:
    """Read a network in evaluation mode, and its config.

    Raises
    ------
    CheckpointError
        Files are missing, unreadable, or other weights than the config's.
    """
    path, what = folder / "model.safetensors", f"the embedded network {folder.name}"
    if not path.exists() or not (folder / "config.json").exists():
        raise CheckpointError(f"{what} is missing from the installation; reinstall the package.")
    try:
        config = json.loads((folder / "config.json").read_text())
        expected = config["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{what} has an unreadable config.json; reinstall.") from error
    if _sha256(path) != expected:
        raise CheckpointError(f"the weights of {what} are not those of its config; reinstall.")
    network = build(config)
    tensors = {k: (v.float() if v.is_floating_point() else v) for k, v in load_file(path).items()}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"the weights of {what} are for a network of another shape; reinstall the package."
        ) from error
    return network.eval(), config


def to_input(
    display: NDArray[np.float32], valid: NDArray[np.bool_] | None, size: int
) -> tuple[NDArray[np.float32], SquareGrid]:
    """Stretch and square a film as every model of the app sees it.

    Parameters
    ----------
    display : float32 [rows, cols], 0 to 1, 1 = white (dense)
    valid : bool [rows, cols], True = a measured pixel (not padding); all if None
    size : pixels a side of the network's input

    Returns
    -------
    float32 [size, size], 0 to 1, and the grid to come back by

    Raises
    ------
    FilmError
        The film is not one grey picture of finite values.
    """
    if display.ndim != 2 or not np.isfinite(display).all():
        raise FilmError(
            "expected one grey film of finite values, [rows, cols], 0 to 1; "
            "give the display of a single frontal film."
        )
    grid = SquareGrid(display.shape[0], display.shape[1], size)
    return grid.down(stretched(display, valid)[0]), grid


def _rounded(value: Any) -> Any:
    """Figures to six decimals, however deep they lie."""
    if isinstance(value, dict):
        return {key: _rounded(v) for key, v in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
