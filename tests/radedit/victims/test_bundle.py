"""A MONAI bundle as a victim, one that classifies and one that segments, written by the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from radedit.lib.errors import VictimError
from radedit.lib.victims.locate import open_victim

# MONAI makes every reader that it knows, the one for a GPU's decoder included.
pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning")

SIDE = 16
BEFORE = [
    {"_target_": "LoadImaged", "keys": "image", "reader": "ITKReader"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 65535,
     "b_min": 0.0, "b_max": 1.0},
]  # fmt: skip
RESIZED = {"_target_": "Resized", "keys": "image", "spatial_size": [SIDE, SIDE], "mode": "area"}


def write_bundle(folder: Path, output: dict[str, Any], config: dict[str, Any]) -> None:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    metadata = {
        "version": "0.4.2",
        "network_data_format": {
            "inputs": {"image": {"type": "image", "spatial_shape": [SIDE, SIDE]}},
            "outputs": {"pred": output},
        },
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    network = torch.nn.Conv2d(1, 2, 1)
    with torch.no_grad():  # dark is -x + 0.5, bright is x - 0.5
        network.weight[:] = torch.tensor([-8.0, 8.0]).reshape(2, 1, 1, 1)
        network.bias[:] = torch.tensor([4.0, -4.0])
    torch.save(network.state_dict(), folder / "models" / "model.pt")


def conv() -> dict[str, Any]:
    return {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": 1}


def transforms(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(steps)}


def half_white() -> np.ndarray:
    display = np.zeros((40, 24), dtype=np.float32)
    display[:10, :12] = 1  # upper left: a transposed or flipped answer would show
    return display


def test_a_bundle_that_classifies_gives_its_channels_as_scores(tmp_path: Path) -> None:
    mean = "$lambda x: __import__('torch').softmax(x.mean(dim=(1, 2)), 0)"
    config = {
        "network_def": conv(),
        "preprocessing": transforms(*BEFORE, RESIZED),
        "postprocessing": transforms({"_target_": "Lambdad", "keys": "pred", "func": mean}),
    }
    channels = {"0": "dark", "1": "bright"}
    folder = tmp_path / "brightness"
    write_bundle(folder, {"type": "probabilities", "channel_def": channels}, config)
    folder.with_name("brightness.toml").write_text("threshold = 0.3\n")
    victim = open_victim(f"bundle:{folder}")
    answer = victim.answer(np.full((40, 24), 0.75, dtype=np.float32))
    expected = 1 / (1 + np.exp(-2 * (8 * 0.75 - 4)))
    assert answer.scores == pytest.approx({"dark": 1 - expected, "bright": expected}, abs=1e-3)
    assert answer.segments is None
    assert (victim.card.version, victim.card.threshold) == ("0.4.2", 0.3)
    assert victim.card.sha256 is not None


def test_a_bundle_that_segments_gives_its_labels_on_the_films_pixels(tmp_path: Path) -> None:
    twice = {**RESIZED, "spatial_size": [48, 80], "mode": "nearest"}  # columns, rows
    config = {
        "network_def": conv(),
        "preprocessing": transforms(*BEFORE, twice),
        "postprocessing": transforms({"_target_": "AsDiscreted", "keys": "pred", "argmax": True}),
    }
    folder = tmp_path / "white"
    output = {"format": "segmentation", "channel_def": {"0": "background", "1": "White"}}
    write_bundle(folder, output, config)
    answer = open_victim(f"bundle:{folder}").answer(half_white())
    assert answer.scores == {}
    assert answer.segments is not None
    assert set(answer.segments) == {"white"}
    np.testing.assert_array_equal(answer.segments["white"], half_white() > 0.5)


@pytest.mark.parametrize(
    ("mode", "shift"), [("nearest", 1.0), ("nearest-exact", 0.0), ("area", 0.0), ("bilinear", 0.0)]
)
def test_a_bundle_that_resizes_by_nearest_is_warned_of_with_the_shift_on_the_film(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: str, shift: float
) -> None:
    label = "$lambda x: (x[1:] > x[:1]).to(x.dtype)"
    config = {
        "network_def": conv(),
        "preprocessing": transforms(*BEFORE, {**RESIZED, "mode": mode}),
        "postprocessing": transforms({"_target_": "Lambdad", "keys": "pred", "func": label}),
    }
    write_bundle(tmp_path / "b", {"type": "image", "channel_def": {"1": "bright"}}, config)
    victim = open_victim(f"bundle:{tmp_path / 'b'}")
    for _ in range(2):
        victim.answer(half_white())
    told = [record.getMessage() for record in caplog.records if "nearest" in record.getMessage()]
    assert len(told) == (1 if shift else 0)
    # 40 rows on 16 cells of 2.5: the first pixel of a cell lies 1 from its middle, on average.
    assert all("draws by 1.0 pixels" in text for text in told)


def test_a_bundle_that_fails_gives_no_answer(tmp_path: Path) -> None:
    config = {"network_def": conv(), "preprocessing": transforms(*BEFORE, RESIZED)}
    folder = tmp_path / "logits"
    write_bundle(folder, {"format": "classes", "channel_def": {"0": "a", "1": "b"}}, config)
    with pytest.raises(VictimError, match="512 numbers; expected one for each of the 2 channels"):
        open_victim(f"bundle:{folder}").answer(half_white())
    (folder / "configs" / "inference.json").write_text('{"network_def": {"_target_": "nothing"}}')
    with pytest.raises(VictimError, match="failed on a film"):
        open_victim(f"bundle:{folder}").answer(half_white())
