"""Released checkpoints: narrow copies with random weights, every tensor under its own name.

The published sizes are laid out without memory, to count them and to hold the narrow copies to
exactly their names; the copies are loaded from local folders and compared with other code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from biovil_layout import released_layout
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from radedit.lib.edit.backbone import load_backbone
from radedit.lib.edit.backbone.files import file_sha256
from radedit.lib.errors import CheckpointError
from radedit.lib.score.biovil import WEIGHTS_FILE
from radedit.lib.scoring import load_scorer
from radedit.lib.settings import ComponentSpec, load_settings

torch.set_num_threads(1)

# arXiv 2312.12865, appendix A: five resolutions, attention at 32 x 32 and below, heads of 32.
RADEDIT_UNET: dict[str, Any] = {
    "sample_size": 64,
    "down_block_types": ["DownBlock2D", *["CrossAttnDownBlock2D"] * 4],
    "up_block_types": [*["CrossAttnUpBlock2D"] * 4, "UpBlock2D"],
    "block_out_channels": [128, 256, 512, 768, 1024],
    "layers_per_block": 2,
    "attention_head_dim": [4, 8, 16, 24, 32],  # diffusers' name for how many heads
    "cross_attention_dim": 768,
}
# Stable Diffusion 1.x, which RoentGen was trained from.
SD_UNET: dict[str, Any] = {
    "sample_size": 64,
    "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
    "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
    "block_out_channels": [320, 640, 1280, 1280],
    "layers_per_block": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 768,
}
VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [128, 256, 512, 512],
    "layers_per_block": 2,
    "latent_channels": 4,
}
BERT: dict[str, Any] = {"vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12}
CLIP: dict[str, Any] = {
    "vocab_size": 49408,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 77,
}
HEADS = 4
NARROW_BERT = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48}
NARROW_CLIP = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": HEADS}
NARROW_UNET = {"sample_size": 8, "cross_attention_dim": 32, "norm_num_groups": 4}
NARROW_VAE = {"block_out_channels": [8, 16, 32, 32], "norm_num_groups": 4}
PARTS = ("unet", "vae", "text_encoder", "tokenizer")
TEXTS = ["no acute process", "a mass", ""]


def unet(config: Mapping[str, Any]) -> torch.nn.Module:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(**config)


def vae(config: Mapping[str, Any]) -> torch.nn.Module:
    from diffusers import AutoencoderKL

    return AutoencoderKL(**config)


def bert(config: Mapping[str, Any]) -> torch.nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    return BertForMaskedLM(BertConfig(**config)).eval()


def clip(config: Mapping[str, Any]) -> torch.nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(CLIPTextConfig(**config)).eval()


def narrow_radedit_unet() -> dict[str, Any]:
    return RADEDIT_UNET | NARROW_UNET | {"block_out_channels": [4, 8, 16, 24, 32],
                                         "attention_head_dim": [1, 2, 4, 6, 8]}  # fmt: skip


def narrow_sd_unet() -> dict[str, Any]:
    return SD_UNET | NARROW_UNET | {"block_out_channels": [8, 16, 32, 32], "attention_head_dim": 4}


def published(build: Callable[[Mapping[str, Any]], torch.nn.Module], config: Any) -> Any:
    """Lay out a network of the published size, without memory for its weights."""
    with torch.device("meta"):
        return build(config)


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def names(path: Path) -> set[str]:
    with safe_open(str(path), framework="pt") as file:
        return set(file.keys())


# ---------------------------------------------------------------- the published sizes


def test_the_published_sizes_have_the_published_numbers_of_parameters() -> None:
    assert count(published(unet, SD_UNET)) == 859_520_964
    assert count(published(vae, VAE)) == 83_653_863
    assert count(published(clip, CLIP)) == 123_060_480
    assert 545e6 < count(published(unet, RADEDIT_UNET)) < 560e6
    text = published(bert, BERT)
    assert count(text.bert) == 108_891_648  # BERT base without its pooler


@pytest.mark.parametrize(
    ("build", "wide", "narrow"),
    [
        (unet, RADEDIT_UNET, narrow_radedit_unet()),
        (unet, SD_UNET, narrow_sd_unet()),
        (vae, VAE, VAE | NARROW_VAE),
        (bert, BERT, BERT | NARROW_BERT | {"num_attention_heads": HEADS}),
        (clip, CLIP, CLIP | NARROW_CLIP),
    ],
    ids=["radedit-unet", "sd-unet", "vae", "biovil-t-text", "clip"],
)
def test_the_narrow_copies_have_exactly_the_published_tensors_names(
    build: Any, wide: Any, narrow: Any
) -> None:
    assert set(published(build, narrow).state_dict()) == set(published(build, wide).state_dict())


# ---------------------------------------------------------------- RadEdit's three repositories


@dataclass
class Released:
    """A folder as a hospital puts it together from the three repositories."""

    folder: Path
    text: dict[str, Tensor]
    spec: Any


def write_tokenizer(folder: Path, words: list[str]) -> None:
    """vocab.txt and two JSON files, which name remote code that must not run."""
    folder.mkdir(parents=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *words]) + "\n")
    tokens = {t.strip("[]").lower() + "_token": t for t in special}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    auto = {"AutoTokenizer": ["configuration_cxrbert.CXRBertTokenizer", None]}
    config = {**tokens, "do_lower_case": True, "model_max_length": 512, "auto_map": auto}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_text_encoder(folder: Path) -> dict[str, Tensor]:
    """BertForMaskedLM's tensors and the projection head, beside code that must not run."""
    model = bert(BERT | NARROW_BERT | {"num_attention_heads": HEADS, "hidden_dropout_prob": 0.25})
    state = {k: v.clone() for k, v in model.state_dict().items() if "decoder.weight" not in k}
    for key in state:  # as they are drawn, all sentences read much the same
        if key.startswith("bert.encoder") and state[key].ndim == 2:
            state[key] *= 8
    for name, shape in (
        ("dense_to_hidden.weight", (8, 32)), ("dense_to_hidden.bias", (8,)),
        ("LayerNorm.weight", (8,)), ("LayerNorm.bias", (8,)),
        ("dense_to_output.weight", (8, 8)), ("dense_to_output.bias", (8,)),
    ):  # fmt: skip
        state[f"cls_projection_head.{name}"] = torch.randn(shape)
    folder.mkdir(parents=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    remote = {"AutoModel": "modeling_cxrbert.CXRBertModel"}
    config = {**model.config.to_dict(), "model_type": "cxr-bert", "auto_map": remote}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "modeling_cxrbert.py").write_text("raise RuntimeError('remote code was run')\n")
    return state


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    torch.manual_seed(11)
    folder = tmp_path_factory.mktemp("released")
    unet(narrow_radedit_unet()).save_pretrained(folder / "unet")
    vae(VAE | NARROW_VAE | {"scaling_factor": 0.13025}).save_pretrained(folder / "vae")
    text = write_text_encoder(folder / "text_encoder")
    write_tokenizer(folder / "tokenizer", ["no", "acute", "process", "a", "mass"])
    (folder / "scorer").mkdir()
    torch.save(released_layout(8, (3, 4, 6, 3), 16, 8), folder / "scorer" / WEIGHTS_FILE)
    pins = {f"scorer/{WEIGHTS_FILE}": file_sha256(folder / "scorer" / WEIGHTS_FILE)}
    packaged = load_settings({"RADEDIT_MODELS_DIR": str(folder / "records")}).model("radedit")
    spec = replace(packaged, folder=folder, sha256=pins, image_size=64, max_tokens=12)
    return Released(folder, text, spec)


def hidden_by_hand(state: Mapping[str, Tensor], ids: Tensor, mask: Tensor | None) -> Tensor:
    """BERT's forward pass, written down from its paper (arXiv 1810.04805, arXiv 1706.03762)."""

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def norm(x: Tensor, name: str) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        spread = centred.pow(2).mean(-1, keepdim=True).add(1e-12).sqrt()
        return centred / spread * state[f"{name}.weight"] + state[f"{name}.bias"]

    def heads(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], HEADS, -1).transpose(1, 2)

    at = "bert.embeddings"
    x = state[f"{at}.word_embeddings.weight"][ids]
    x = x + state[f"{at}.position_embeddings.weight"][: ids.shape[1]]
    x = norm(x + state[f"{at}.token_type_embeddings.weight"][0], f"{at}.LayerNorm")
    for number in range(12):
        layer = f"bert.encoder.layer.{number}"
        own = f"{layer}.attention.self"
        q, k, v = (heads(linear(x, f"{own}.{name}")) for name in ("query", "key", "value"))
        scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        if mask is not None:
            scores = scores.masked_fill(mask[:, None, None] == 0, -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape)
        out = linear(mixed, f"{layer}.attention.output.dense")
        x = norm(x + out, f"{layer}.attention.output.LayerNorm")
        inner = functional.gelu(linear(x, f"{layer}.intermediate.dense"))
        out = linear(inner, f"{layer}.output.dense")
        x = norm(x + out, f"{layer}.output.LayerNorm")
    return x


def test_three_repositories_in_one_folder_load_without_their_code(released: Released) -> None:
    backbone = load_backbone(released.spec)
    assert backbone.latent_shape == (4, 8, 8)
    assert backbone.max_tokens == 12
    assert backbone.noise.prediction_type == "epsilon"
    assert names(released.folder / "unet" / "diffusion_pytorch_model.safetensors") == set(
        backbone.unet.state_dict()
    )
    assert load_scorer(released.spec, backbone).name.startswith("BioViL-T ")


@pytest.mark.parametrize("masked", [False, True], ids=["padding-attended", "padding-masked"])
def test_prompts_are_encoded_as_the_paper_of_bert_says(released: Released, masked: bool) -> None:
    backbone = load_backbone(replace(released.spec, mask_padding=masked))
    ids = backbone.text.token_ids(TEXTS)
    mask = (ids != backbone.text.pad_id).long() if masked else None
    expected = hidden_by_hand(released.text, ids, mask)
    own = ids != backbone.text.pad_id  # what padding reads of itself nobody was trained on
    torch.testing.assert_close(
        backbone.encode_text(TEXTS)[own], expected[own], rtol=1e-4, atol=1e-4
    )
    other = hidden_by_hand(
        released.text, ids, None if masked else (ids != backbone.text.pad_id).long()
    )
    assert (other - expected)[own].abs().max() > 0.05, "the two behaviours differ"


def test_the_mask_is_part_of_the_models_hash_and_its_absence_is_not(released: Released) -> None:
    plain = load_backbone(released.spec).sha256
    assert load_backbone(replace(released.spec, mask_padding=False)).sha256 == plain
    assert load_backbone(replace(released.spec, mask_padding=True)).sha256 != plain


def test_the_joint_embedding_of_a_sentence_is_the_papers(released: Released) -> None:
    backbone = load_backbone(released.spec)
    scorer = load_scorer(released.spec, backbone)
    assert scorer.encoder is not None
    ids = torch.tensor([backbone.text.tokenizer.encode("no acute process").ids])
    state = {k.removeprefix("cls_projection_head."): v for k, v in released.text.items()}
    x = hidden_by_hand(released.text, ids, None)[:, 0]
    x = functional.gelu(x @ state["dense_to_hidden.weight"].T + state["dense_to_hidden.bias"])
    x = functional.layer_norm(x, (8,), state["LayerNorm.weight"], state["LayerNorm.bias"], 1e-12)
    x = x @ state["dense_to_output.weight"].T + state["dense_to_output.bias"]
    expected = (x / x.norm())[0].numpy()
    found = scorer.encoder.embed_text("No acute process.")
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_unet_and_vae_answer_as_diffusers_loads_them(released: Released) -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    backbone = load_backbone(released.spec)
    reference = UNet2DConditionModel.from_pretrained(released.folder / "unet").eval()
    codec = AutoencoderKL.from_pretrained(released.folder / "vae").eval()
    x, context = torch.randn(2, 4, 8, 8), backbone.encode_text(["a mass", ""])
    image = torch.rand(1, 1, 64, 64) * 2 - 1
    with torch.no_grad():
        eps = reference(x, 500, encoder_hidden_states=context).sample
        latents = codec.encode(image.expand(-1, 3, -1, -1)).latent_dist.mode() * 0.13025
    torch.testing.assert_close(backbone.denoise(x, 500, context), eps, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backbone.encode(image), latents, rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- RoentGen's folder


@pytest.fixture
def roentgen(tmp_path: Path, stable_diffusion: Path) -> Path:
    """Stable Diffusion's img2img folder: tokenizer of the small one, networks as published."""
    folder = tmp_path / "roentgen"
    torch.manual_seed(12)
    (folder / "tokenizer").parent.mkdir()
    for part in ("tokenizer", "scheduler"):
        (stable_diffusion / part).rename(folder / part)
    (stable_diffusion / "model_index.json").rename(folder / "model_index.json")
    vocabulary = len(json.loads((folder / "tokenizer" / "vocab.json").read_text()))
    unet(narrow_sd_unet()).save_pretrained(folder / "unet")
    vae(VAE | NARROW_VAE | {"scaling_factor": 0.18215}).save_pretrained(folder / "vae")
    ends = {"bos_token_id": vocabulary - 2, "eos_token_id": vocabulary - 1}
    clip(CLIP | NARROW_CLIP | {"vocab_size": vocabulary} | ends).save_pretrained(
        folder / "text_encoder"
    )
    for unread in ("safety_checker", "feature_extractor"):
        (folder / unread).mkdir()
        (folder / unread / "pytorch_model.bin").write_bytes(b"a pickle that nobody opens")
    return folder


@pytest.mark.parametrize("masked", [False, True], ids=["padding-attended", "padding-masked"])
def test_roentgens_folder_loads_and_reads_prompts_as_transformers_does(
    roentgen: Path, tmp_path: Path, spec_for: Any, masked: bool
) -> None:
    from transformers import CLIPTextModel

    backbone = load_backbone(spec_for(tmp_path, folder=roentgen, mask_padding=masked))
    assert backbone.latent_shape == (4, 8, 8)
    assert backbone.final_alpha_bar < 1, "set_alpha_to_one is false in Stable Diffusion 1.x"
    encoder = CLIPTextModel.from_pretrained(roentgen / "text_encoder").eval()
    texts = ["a low effusion", ""]
    ids = backbone.text.token_ids(texts)
    lengths = torch.tensor([len(backbone.text.tokenizer.encode(text).ids) for text in texts])
    mask = (torch.arange(77) < lengths[:, None]).long() if masked else None
    with torch.no_grad():
        expected = encoder(input_ids=ids, attention_mask=mask)[0]
    torch.testing.assert_close(backbone.encode_text(texts), expected, rtol=1e-5, atol=1e-5)


def test_weights_in_a_pickle_only_are_refused_by_name(
    roentgen: Path, tmp_path: Path, spec_for: Any
) -> None:
    (roentgen / "unet" / "diffusion_pytorch_model.safetensors").rename(
        roentgen / "unet" / "diffusion_pytorch_model.bin"
    )
    with pytest.raises(CheckpointError, match=r"only as diffusion_pytorch_model\.bin, a pickle"):
        load_backbone(spec_for(tmp_path, folder=roentgen))


def test_parts_may_lie_in_folders_of_their_own(released: Released, tmp_path: Path) -> None:
    apart = {}
    for part in PARTS:
        apart[part] = replace(
            released.spec.components[part], folder=released.folder / part, repo="", revision=""
        )
    scheduler = released.spec.components["scheduler"]
    spec = replace(released.spec, folder=None, components={**apart, "scheduler": scheduler})
    assert isinstance(scheduler, ComponentSpec)
    record = replace(spec, access=replace(spec.access, models_dir=tmp_path))
    assert load_backbone(record).sha256 == load_backbone(released.spec).sha256


def test_older_names_in_the_released_text_encoder_are_left_out(released: Released) -> None:
    """Saved position ids and the language model's head are known and not needed."""
    path = released.folder / "text_encoder" / "model.safetensors"
    kept = load_file(path)
    assert any(name.startswith("cls.predictions") for name in kept)
    assert any(name.startswith("cls_projection_head.") for name in kept)
