"""BioViL-T as a scorer: its image encoder and the head of its text encoder, no remote code.

Layout of the released file: `encoder.encoder.*` a ResNet-50, `encoder.backbone_to_vit` a 1x1
convolution to 256 channels, `encoder.missing_previous_emb` what stands for a previous film
that is not there, `projector.model.*` two 1x1 convolutions. `encoder.vit_pooler` compares two
films and `encoder.encoder.fc` classifies photographs: neither runs here, both are left out.
Widths and depths are read off the tensors, so that a small file in the same layout loads too.

Source: arXiv 2301.04558, section 3; the layout is that of `biovil_t_image_model_proj_size_128.pt`
at the revision pinned in configs/models.toml.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from radedit.lib.errors import CheckpointError

WEIGHTS_FILE: Final = "biovil_t_image_model_proj_size_128.pt"
HEAD_PREFIX: Final = "cls_projection_head."
RESIZE, CROP = 512, 448
_STAGES: Final = 4
_UNUSED: Final = ("encoder.vit_pooler.", "encoder.encoder.fc.", "classifier.")


class _Bottleneck(nn.Module):
    """A ResNet block: 1x1, 3x3 (which strides), 1x1 to four times the width, plus its input."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class _ResNet(nn.Module):
    """Four stages of bottlenecks behind a strided 7x7; [N, 3, H, W] to [N, 32 w, H/32, W/32]."""

    def __init__(self, width: int, depths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for stage, depth in enumerate(depths):
            blocks = []
            for number in range(depth):
                stride = 2 if stage and not number else 1
                blocks.append(_Bottleneck(inputs, width * 2**stage, stride))
                inputs = 4 * width * 2**stage
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = functional.max_pool2d(x, 3, 2, 1)
        for stage in range(_STAGES):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return x


class _Trunk(nn.Module):
    """Features of a film, beside those of the previous film that it does not have."""

    def __init__(self, width: int, depths: tuple[int, ...], features: int) -> None:
        super().__init__()
        self.encoder = _ResNet(width, depths)
        self.backbone_to_vit = nn.Conv2d(32 * width, features, 1, bias=False)
        self.missing_previous_emb = nn.Parameter(torch.zeros(1, features, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        now = self.backbone_to_vit(self.encoder(x))
        return torch.cat([now, self.missing_previous_emb.expand_as(now)], dim=1)


class _Projector(nn.Module):
    def __init__(self, features: int, joint: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Conv2d(2 * features, joint, 1, bias=False),
            nn.BatchNorm2d(joint),
            nn.ReLU(),
            nn.Conv2d(joint, joint, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.model(x))


class ImageNetwork(nn.Module):
    """The image half; the names of its tensors are those of the released file."""

    def __init__(self, width: int, depths: tuple[int, ...], features: int, joint: int) -> None:
        super().__init__()
        self.encoder = _Trunk(width, depths, features)
        self.projector = _Projector(features, joint)

    def forward(self, x: Tensor) -> Tensor:
        """Embed float [N, 3, H, W], 0 to 1; float [N, D], not normalised."""
        return torch.as_tensor(self.projector(self.encoder(x)).mean(dim=(2, 3)))


class TextHead(nn.Module):
    """From the first token's hidden state [N, H] to the joint space [N, D], not normalised."""

    def __init__(self, hidden: int, joint: int) -> None:
        super().__init__()
        self.dense_to_hidden = nn.Linear(hidden, joint)
        self.LayerNorm = nn.LayerNorm(joint, eps=1e-12)
        self.dense_to_output = nn.Linear(joint, joint)

    def forward(self, state: Tensor) -> Tensor:
        """Project float [N, H]; float [N, D]."""
        hidden = self.LayerNorm(functional.gelu(self.dense_to_hidden(state)))
        return torch.as_tensor(self.dense_to_output(hidden))


@dataclass(frozen=True, eq=False)
class BioViLT:
    """Both halves as a `DualEncoder`.

    Attributes
    ----------
    image : from `load_image_network`
    head : from `load_text_head`
    first_state : a sentence to the text encoder's state of its first token, float [1, H];
        raises PromptError for what it cannot read
    """

    image: nn.Module
    head: nn.Module
    first_state: Callable[[str], Tensor]

    @torch.inference_mode()
    def embed_image(self, film: NDArray[np.float32]) -> NDArray[np.float32]:
        """Embed a film of any size: float32 [H, W], 0 to 1, without padding; float32 [D]."""
        device = next(self.image.parameters()).device
        x = torch.from_numpy(released_view(film)).to(device).expand(1, 3, -1, -1)
        return np.asarray(functional.normalize(self.image(x))[0].float().cpu().numpy())

    @torch.inference_mode()
    def embed_text(self, text: str) -> NDArray[np.float32]:
        """Embed a sentence; closing punctuation does not count, as in the released code."""
        state = self.first_state(text.rstrip("!?."))
        return np.asarray(functional.normalize(self.head(state))[0].float().cpu().numpy())


def released_view(film: NDArray[np.float32]) -> NDArray[np.float32]:
    """Prepare a film as the released encoder wants it.

    Its darkest and brightest pixel become 0 and 255, the short side 512, the middle 448 x 448
    is cut out and divided by 255. So the film's border is not seen, and cannot be scored.

    Parameters
    ----------
    film : float32 [H, W]

    Returns
    -------
    float32 [448, 448], 0 to 1
    """
    low, high = float(film.min()), float(film.max())
    grey = ((film - low) / max(high - low, 1e-12) * 255).astype(np.uint8)
    rows, cols = film.shape
    short = min(rows, cols)
    size = (int(RESIZE * cols / short), int(RESIZE * rows / short))
    image = Image.fromarray(grey).resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - CROP) / 2) for side in size)
    cut = image.crop((left, top, left + CROP, top + CROP))
    return np.asarray(cut, np.float32) / np.float32(255)


def load_image_network(path: Path, model: str) -> ImageNetwork:
    """Load the released file of the image half, in single precision.

    It is a pickle. It is read with torch's weights-only reader, which builds tensors and calls
    nothing else; the caller has checked its sha256 before.

    Raises
    ------
    CheckpointError
        Not a file of that layout.
    """
    refusal = CheckpointError(
        f"Model '{model}': {path.name} is not the image encoder of BioViL-T; get the file that "
        "configs/models.toml names."
    )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        kept = {key: value for key, value in state.items() if not key.startswith(_UNUSED)}
        with torch.device("meta"):
            network = _laid_out(kept)
        network.load_state_dict(kept, assign=True)
    except Exception as error:  # unpickling fails in many ways, all of which mean this
        raise refusal from error
    return network.float().requires_grad_(False).eval()


def _laid_out(state: Mapping[str, Tensor]) -> ImageNetwork:
    """Lay out the network whose weights these are."""
    depths = tuple(
        sum(re.fullmatch(rf"encoder\.encoder\.layer{n}\.\d+\.conv1\.weight", k) is not None
            for k in state)
        for n in range(1, _STAGES + 1)
    )  # fmt: skip
    width = len(state["encoder.encoder.conv1.weight"])
    features = len(state["encoder.backbone_to_vit.weight"])
    return ImageNetwork(width, depths, features, len(state["projector.model.3.weight"]))


def load_text_head(weights: Mapping[str, Tensor], model: str) -> TextHead:
    """Load the head from the text encoder's tensors whose names begin with HEAD_PREFIX.

    Raises
    ------
    CheckpointError
        The text encoder has no such head, so it is not BioViL-T's.
    """
    kept = {
        key.removeprefix(HEAD_PREFIX): value
        for key, value in weights.items()
        if key.startswith(HEAD_PREFIX)
    }
    try:
        joint, hidden = kept["dense_to_hidden.weight"].shape
        head = TextHead(hidden, joint)
        head.load_state_dict(kept)
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"Model '{model}': its text encoder has no projection into the space of the scorer's "
            "image encoder; use the text encoder of BioViL-T that configs/models.toml names."
        ) from error
    return head.requires_grad_(False).eval()
