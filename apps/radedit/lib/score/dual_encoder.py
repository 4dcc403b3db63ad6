"""The embedded scorer: a small image-text dual encoder of the phantom world.

It shares a vocabulary with the embedded editor and nothing else, neither weights nor training
seeds, so that its score says something which the editor does not know of itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from radedit.lib.errors import CheckpointError, PromptError
from radedit.lib.geometry import SquareGrid
from radedit.lib.whole_files import write_file

CONFIG_FILE: Final = "config.json"
WEIGHTS_FILE: Final = "model.safetensors"
_PAD: Final = "[PAD]"


@dataclass(frozen=True)
class Shape:
    """What the network looks like; the content of config.json.

    Attributes
    ----------
    vocabulary : the words it reads, in the order of their embeddings; holds [PAD]
    image_size : pixels a side of the image it sees
    channels : of its convolution blocks, each of which halves the grid
    head_channels : kept of each cell of the last grid
    width : of both embeddings
    tokens : the longest text
    """

    vocabulary: tuple[str, ...]
    image_size: int = 128
    channels: tuple[int, ...] = (16, 32, 64, 128)
    head_channels: int = 32
    width: int = 64
    tokens: int = 48

    def token_ids(self, text: str) -> list[int]:
        """Turn a text into words of the vocabulary.

        Raises
        ------
        PromptError
            It is empty, too long, or holds words that the scorer never learned.
        """
        words = re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())
        unknown = [word for word in dict.fromkeys(words) if word not in self.vocabulary]
        if unknown:
            raise PromptError(f"the scorer does not know the words: {', '.join(unknown)}.")
        if not 0 < len(words) <= self.tokens:
            raise PromptError(
                f"a text has {len(words)} words; the scorer reads 1 to {self.tokens}."
            )
        return [self.vocabulary.index(word) for word in words]


class _Block(nn.Module):
    """Halve the grid, then look again."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.again = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norms = nn.ModuleList([nn.GroupNorm(8, outputs) for _ in range(2)])

    def forward(self, x: Tensor) -> Tensor:
        x = functional.silu(self.norms[0](self.down(x)))
        return x + functional.silu(self.norms[1](self.again(x)))


class ImageTextNetwork(nn.Module):
    """Both halves; embeddings are on the unit sphere.

    The image half keeps the place of what it sees, since left and right, upper and lower are
    part of the text. The text half is two layers of attention, since "left mass and right
    effusion" is not "right mass and left effusion".
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        channels = (1, *shape.channels)
        self.blocks = nn.Sequential(*[_Block(a, b) for a, b in pairwise(channels)])
        cells = (shape.image_size // 2 ** len(shape.channels)) ** 2
        self.squeeze = nn.Conv2d(channels[-1], shape.head_channels, 1)
        self.image_head = nn.Linear(cells * shape.head_channels, shape.width)
        self.words = nn.Embedding(len(shape.vocabulary), shape.width)
        self.places = nn.Parameter(torch.randn(shape.tokens, shape.width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                shape.width, 4, 2 * shape.width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(2)
        )
        self.text_head = nn.Linear(shape.width, shape.width)
        self.pad_id = shape.vocabulary.index(_PAD)

    def image(self, films: Tensor) -> Tensor:
        """Embed float [N, 1, S, S], 0 to 1; float [N, D]."""
        cells = functional.silu(self.squeeze(self.blocks(films * 2 - 1)))
        return functional.normalize(self.image_head(cells.flatten(1)).float(), dim=1)

    def text(self, ids: Tensor) -> Tensor:
        """Embed long [N, L], padded with `pad_id`; float [N, D]."""
        padding = ids == self.pad_id
        x = self.words(ids) + self.places[: ids.shape[1]]
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padding)
        said = (~padding)[..., None].to(x.dtype)
        mean = (x * said).sum(1) / said.sum(1)
        return functional.normalize(self.text_head(mean).float(), dim=1)

    def padded(self, texts: Sequence[str]) -> Tensor:
        """Token ids of several texts, long [N, L]; PromptError as `Shape.token_ids`."""
        rows = [self.shape.token_ids(text) for text in texts]
        longest = max(len(row) for row in rows)
        return torch.tensor([row + [self.pad_id] * (longest - len(row)) for row in rows])


@dataclass(frozen=True, eq=False)
class EmbeddedEncoder:
    """The trained network as a `DualEncoder`."""

    network: ImageTextNetwork

    @torch.inference_mode()
    def embed_image(self, film: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed a film of any size: float32 [H, W], 0 to 1; float32 [D]."""
        grid = SquareGrid(film.shape[0], film.shape[1], self.network.shape.image_size)
        square = torch.from_numpy(grid.down(film))[None, None]
        return np.asarray(self.network.image(square)[0].numpy())

    @torch.inference_mode()
    def embed_text(self, text: str) -> NDArray[np.float32]:
        """Embed a sentence; PromptError as `Shape.token_ids`."""
        return np.asarray(self.network.text(self.network.padded([text]))[0].numpy())


def save(network: ImageTextNetwork, folder: Path) -> None:
    """Write config.json and model.safetensors (half precision)."""
    from safetensors.torch import save as safetensors_of

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    write_file(folder / WEIGHTS_FILE, safetensors_of(weights))
    write_file(folder / CONFIG_FILE, json.dumps(asdict(network.shape), indent=2) + "\n")


def load(files: Mapping[str, Path]) -> EmbeddedEncoder:
    """Load what `save` wrote, in single precision.

    Parameters
    ----------
    files : "config.json" and "model.safetensors" to where they lie

    Raises
    ------
    CheckpointError
        The files do not fit together.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        network = ImageTextNetwork(_shape(json.loads(files[CONFIG_FILE].read_text())))
        weights = {k: v.float() for k, v in load_file(files[WEIGHTS_FILE]).items()}
        network.load_state_dict(weights)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            "The embedded scorer's config.json and model.safetensors do not fit this version; "
            "reinstall the package, or train the scorer again."
        ) from error
    return EmbeddedEncoder(network.requires_grad_(False).eval())


def _shape(config: Mapping[str, Any]) -> Shape:
    lists = {key: tuple(config[key]) for key in ("vocabulary", "channels")}
    return Shape(**{**config, **lists})
