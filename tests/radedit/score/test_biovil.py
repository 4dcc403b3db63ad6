"""BioViL-T from its released layout: the same numbers as other code, and no code of its own."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from biovil_layout import small_biovil_t
from torch import Tensor
from torch.nn import functional

from radedit.lib.errors import CheckpointError
from radedit.lib.score.biovil import (
    WEIGHTS_FILE,
    BioViLT,
    ImageNetwork,
    load_image_network,
    load_text_head,
    released_view,
)

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def biovil_state() -> State:
    return small_biovil_t()


@pytest.fixture
def released(biovil_state: State, tmp_path: Path) -> Path:
    torch.save(biovil_state, tmp_path / WEIGHTS_FILE)
    return tmp_path / WEIGHTS_FILE


def by_transformers(state: State, x: Tensor) -> Tensor:
    """The trunk's features from another implementation of ResNet, keys mapped by rule."""
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(
        embedding_size=8,
        hidden_sizes=[32, 64, 128, 256],
        depths=[1, 2, 1, 1],
        layer_type="bottleneck",
        hidden_act="relu",
    )
    rules = (
        (r"^conv1\.", "embedder.embedder.convolution."),
        (r"^bn1\.", "embedder.embedder.normalization."),
        (r"^layer(\d)\.(\d)\.conv(\d)\.", r"stage<\1>.layers.\2.layer.<\3>.convolution."),
        (r"^layer(\d)\.(\d)\.bn(\d)\.", r"stage<\1>.layers.\2.layer.<\3>.normalization."),
        (r"^layer(\d)\.(\d)\.downsample\.0\.", r"stage<\1>.layers.\2.shortcut.convolution."),
        (r"^layer(\d)\.(\d)\.downsample\.1\.", r"stage<\1>.layers.\2.shortcut.normalization."),
    )
    mapped = {}
    for key, value in state.items():
        name = key.removeprefix("encoder.encoder.")
        if name == key or name.startswith("fc."):
            continue
        for pattern, other in rules:
            name = re.sub(pattern, other, name)
        name = re.sub(r"^stage<(\d)>", lambda m: f"encoder.stages.{int(m[1]) - 1}", name)
        mapped[re.sub(r"<(\d)>", lambda m: str(int(m[1]) - 1), name)] = value
    network = ResNetModel(config).eval()
    network.load_state_dict(mapped)
    with torch.inference_mode():
        return network(x).last_hidden_state


def test_the_image_half_is_a_resnet_an_absent_film_and_two_projections(
    biovil_state: State, released: Path
) -> None:
    x = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    s = biovil_state
    with torch.inference_mode():
        now = functional.conv2d(by_transformers(s, x), s["encoder.backbone_to_vit.weight"])
        both = torch.cat([now, s["encoder.missing_previous_emb"].expand_as(now)], 1)
        y = functional.conv2d(both, s["projector.model.0.weight"])
        norm = [
            s[f"projector.model.1.{n}"] for n in ("running_mean", "running_var", "weight", "bias")
        ]
        y = functional.relu(functional.batch_norm(y, *norm))
        y = functional.conv2d(y, s["projector.model.3.weight"], s["projector.model.3.bias"])
        found = load_image_network(released, "small")(x)
    torch.testing.assert_close(found, y.mean((2, 3)), rtol=1e-4, atol=1e-4)


def test_the_published_size_has_a_resnet50s_tensors() -> None:
    with torch.device("meta"):
        network = ImageNetwork(64, (3, 4, 6, 3), 256, 128)
    names = [n for n in network.state_dict() if n.startswith("encoder.encoder.")]
    # 53 convolutions, each with five tensors of a batch norm: a ResNet-50 without its classifier.
    assert len(names) == 53 * 6
    trunk = sum(p.numel() for p in network.encoder.encoder.parameters())
    assert trunk == 25_557_032 - 1000 * 2049


def test_the_view_is_that_of_pillow_and_the_border_is_not_in_it() -> None:
    film = np.random.default_rng(0).random((600, 500), np.float32) * 0.5 + 0.2
    film[300, 240:242] = 0.1, 0.9  # the darkest and the brightest stay
    view = released_view(film)
    assert view.shape == (448, 448)
    assert view.dtype == np.float32
    assert view.min() >= 0
    assert view.max() <= 1
    changed = film.copy()
    changed[:70] = 0.3
    np.testing.assert_array_equal(released_view(changed), view)
    changed[300, 250] = 0.85
    assert (released_view(changed) != view).any()


def test_the_view_does_not_depend_on_the_films_grey_level() -> None:
    film = np.random.default_rng(0).integers(0, 256, (512, 512)).astype(np.float32)
    np.testing.assert_allclose(
        released_view(film), released_view(film / 512 + 0.25), atol=1.01 / 255
    )
    assert (released_view(np.full((40, 40), 0.5, np.float32)) == 0).all()


def test_its_embeddings_are_unit_vectors_and_closing_punctuation_does_not_count(
    released: Path,
) -> None:
    torch.manual_seed(1)
    asked: list[str] = []

    def first_state(text: str) -> Tensor:
        asked.append(text)
        return torch.ones(1, 6)

    head = load_text_head(text_head(6, 8), "small")
    encoder = BioViLT(load_image_network(released, "small"), head, first_state)
    film = np.random.default_rng(2).random((60, 50), np.float32)
    assert np.linalg.norm(encoder.embed_image(film)) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(encoder.embed_text("No effusion?!.")) == pytest.approx(1, abs=1e-5)
    assert asked == ["No effusion"]


def text_head(hidden: int, joint: int) -> State:
    shapes = {
        "dense_to_hidden.weight": (joint, hidden),
        "dense_to_hidden.bias": (joint,),
        "LayerNorm.weight": (joint,),
        "LayerNorm.bias": (joint,),
        "dense_to_output.weight": (joint, joint),
        "dense_to_output.bias": (joint,),
    }
    head = {f"cls_projection_head.{name}": torch.randn(shape) for name, shape in shapes.items()}
    return head | {"bert.embeddings.position_ids": torch.arange(4)}


def test_the_text_head_is_two_layers_with_gelu_and_a_layer_norm() -> None:
    torch.manual_seed(4)
    weights = text_head(6, 8)
    w = {k.removeprefix("cls_projection_head."): v for k, v in weights.items()}
    x = torch.randn(3, 6)
    y = functional.gelu(x @ w["dense_to_hidden.weight"].T + w["dense_to_hidden.bias"])
    y = (y - y.mean(1, keepdim=True)) / y.var(1, correction=0, keepdim=True).sqrt()
    y = y * w["LayerNorm.weight"] + w["LayerNorm.bias"]
    y = y @ w["dense_to_output.weight"].T + w["dense_to_output.bias"]
    torch.testing.assert_close(load_text_head(weights, "small")(x), y, rtol=1e-4, atol=1e-4)


def test_a_text_encoder_without_the_head_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"^Model 'small': its text encoder has no proj.*\.$"):
        load_text_head({"bert.embeddings.position_ids": torch.arange(4)}, "small")


@pytest.mark.parametrize("lost", ["encoder.encoder.bn1.weight", "projector.model.3.weight"])
def test_a_file_of_another_layout_is_refused(
    biovil_state: State, tmp_path: Path, lost: str
) -> None:
    torch.save({k: v for k, v in biovil_state.items() if k != lost}, tmp_path / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match="is not the image encoder of BioViL-T") as caught:
        load_image_network(tmp_path / WEIGHTS_FILE, "small")
    assert str(tmp_path) not in str(caught.value)


class Intruder:
    """Runs code when it is unpickled by anything less careful."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch.__get__(self.target), ())  # type: ignore[return-value]


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    target = tmp_path / "intruder-was-here"
    (tmp_path / WEIGHTS_FILE).write_bytes(pickle.dumps(Intruder(target)))
    torch.save({"encoder.encoder.conv1.weight": Intruder(target)}, tmp_path / "zipped.pt")
    for name in (WEIGHTS_FILE, "zipped.pt"):
        with pytest.raises(CheckpointError, match="is not the image encoder"):
            load_image_network(tmp_path / name, "small")
    assert not target.exists()
    pickle.loads((tmp_path / WEIGHTS_FILE).read_bytes())
    assert target.exists()  # so the check above could have failed
