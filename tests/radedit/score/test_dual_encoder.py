"""The embedded scorer's network: what it reads, what it refuses, and its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from radedit.lib.errors import CheckpointError, PromptError
from radedit.lib.phantom.sentences import vocabulary
from radedit.lib.score.dual_encoder import EmbeddedEncoder, ImageTextNetwork, Shape, load, save


@pytest.fixture(scope="module")
def encoder() -> EmbeddedEncoder:
    torch.manual_seed(0)
    return EmbeddedEncoder(ImageTextNetwork(Shape(tuple(vocabulary()))).eval())


def files(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in ("config.json", "model.safetensors")}


def test_both_halves_give_unit_vectors_of_one_length(encoder: EmbeddedEncoder) -> None:
    film = np.random.default_rng(0).random((90, 120), np.float32)
    seen, said = encoder.embed_image(film), encoder.embed_text("Left lower lobe consolidation")
    assert seen.shape == said.shape == (64,)
    assert np.linalg.norm(seen) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(said) == pytest.approx(1, abs=1e-5)


def test_left_and_right_differ_in_films_and_in_sentences(encoder: EmbeddedEncoder) -> None:
    film = np.zeros((128, 128), np.float32)
    film[40:60, 80:100] = 1
    assert not np.allclose(encoder.embed_image(film), encoder.embed_image(film[:, ::-1].copy()))
    two = "left mass and right effusion", "right mass and left effusion"
    assert not np.allclose(encoder.embed_text(two[0]), encoder.embed_text(two[1]), atol=1e-4)


def test_case_and_padding_do_not_change_a_sentence(encoder: EmbeddedEncoder) -> None:
    alone = encoder.embed_text("left mass")
    np.testing.assert_array_equal(alone, encoder.embed_text(" LEFT  Mass "))
    network = encoder.network
    with torch.inference_mode():
        beside = network.text(network.padded(["left mass", "moderate right pleural effusion"]))[0]
    np.testing.assert_allclose(beside.numpy(), alone, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "says"),
    [("left zebra and okapi", "zebra, okapi"), ("[PAD]", r"\["), (" ", "0 words"),
     ("left mass " * 25, "50 words")],
)  # fmt: skip
def test_what_it_cannot_read_is_refused_by_name(
    encoder: EmbeddedEncoder, text: str, says: str
) -> None:
    with pytest.raises(PromptError, match=says):
        encoder.embed_text(text)


def test_files_are_small_and_give_the_same_embeddings_to_half_precision(
    encoder: EmbeddedEncoder, tmp_path: Path
) -> None:
    save(encoder.network, tmp_path)
    assert sum(path.stat().st_size for path in files(tmp_path).values()) < 1.5e6
    again = load(files(tmp_path))
    film = np.random.default_rng(1).random((128, 128), np.float32)
    assert encoder.embed_image(film) @ again.embed_image(film) > 0.999
    assert encoder.embed_text("no finding") @ again.embed_text("no finding") > 0.999
    assert not any(p.requires_grad for p in again.network.parameters())


@pytest.mark.parametrize("damage", ["truncated", "other words", "unknown key", "no json"])
def test_files_that_do_not_fit_are_refused_with_one_sentence(
    encoder: EmbeddedEncoder, tmp_path: Path, damage: str
) -> None:
    save(encoder.network, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    if damage == "truncated":
        whole = (tmp_path / "model.safetensors").read_bytes()
        (tmp_path / "model.safetensors").write_bytes(whole[:1000])
    elif damage == "other words":
        config["vocabulary"].append("zebra")
    elif damage == "unknown key":
        config["colour"] = 1
    (tmp_path / "config.json").write_text("{" if damage == "no json" else json.dumps(config))
    with pytest.raises(CheckpointError, match="do not fit this version; reinstall") as caught:
        load(files(tmp_path))
    assert "\n" not in str(caught.value)
