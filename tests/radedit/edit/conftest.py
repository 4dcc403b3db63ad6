"""Denoisers whose behaviour is known, and small checkpoints in the released layouts."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from radedit.lib.settings import Access, ComponentSpec, ModelSpec

torch.set_num_threads(1)


def linear_alphas_cumprod() -> np.ndarray:
    return np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


@dataclass
class Gaussian:
    """The exact eps of data ~ N(mu(c), s^2): context [R, 1, 1] holds mu(c) itself."""

    alphas_cumprod: np.ndarray
    s: float = 0.5
    rows: list[int] | None = None
    seen: list[int] | None = None

    def __call__(self, x_t: Tensor, t: int, context: Tensor) -> Tensor:
        if self.rows is not None:
            self.rows.append(len(x_t))
        if self.seen is not None:
            self.seen.append(t)
        ab = float(self.alphas_cumprod[t])
        variance = ab * self.s**2 + 1 - ab
        mu = context[:, 0, 0].double().reshape(-1, 1, 1, 1)
        eps = math.sqrt(1 - ab) * (x_t.double() - math.sqrt(ab) * mu) / variance
        return eps.to(x_t.dtype)


@pytest.fixture(scope="session")
def alphas_cumprod() -> np.ndarray:
    return linear_alphas_cumprod()


@pytest.fixture(scope="session")
def gaussian(alphas_cumprod: np.ndarray):
    def make(s: float = 0.5, **kwargs: object) -> Gaussian:
        return Gaussian(alphas_cumprod, s, **kwargs)

    return make


@pytest.fixture(scope="session")
def make_unet():
    """A small U-Net of the published kind, the same random weights each time."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    def make() -> UNet2DConditionModel:
        torch.manual_seed(0)
        return UNet2DConditionModel(
            sample_size=8,
            in_channels=2,
            out_channels=2,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            block_out_channels=(16, 32),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=8,
            norm_num_groups=8,
        ).eval()

    return make


@pytest.fixture(scope="session")
def unets(make_unet):
    """Small random U-Nets, one per dtype, as Denoise callables."""

    def make(dtype: torch.dtype):
        net = make_unet().to(dtype)

        def denoise(x_t: Tensor, t: int, context: Tensor) -> Tensor:
            with torch.no_grad():
                eps = net(x_t.to(dtype), t, context.to(dtype), return_dict=False)[0]
            return eps.to(x_t.dtype)

        return denoise

    return {d: make(d) for d in (torch.float32, torch.bfloat16, torch.float16)}


# ---------------------------------------------------------------- small checkpoints

SENTENCE = "no acute cardiopulmonary process pleural effusion a mass left right . ,"
WORDS = SENTENCE.split()
REVISIONS = {
    "microsoft/radedit": "1" * 40,
    "stabilityai/sdxl-vae": "2" * 40,
    "microsoft/BiomedVLP-BioViL-T": "3" * 40,
}
LINEAR = {
    "num_train_timesteps": 1000,
    "beta_schedule": "linear",
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "prediction_type": "epsilon",
    "set_alpha_to_one": True,
    "clip_sample": False,
}


def model_spec(root: Path, name: str = "small", **change: Any) -> ModelSpec:
    access = Access(models_dir=root / "models", hub_cache=root / "hub")
    spec = ModelSpec(name, "small random model", "MIT", access, verify="on-first-use")
    return replace(spec, **change)


@pytest.fixture(scope="session")
def spec_for() -> Any:
    return model_spec


def save_unet(folder: Path, channels: tuple[int, ...], width: int) -> None:
    """RadEdit's shape: one DownBlock2D, then blocks with cross attention."""
    from diffusers import UNet2DConditionModel

    crossed = len(channels) - 1
    UNet2DConditionModel(
        sample_size=8 if len(channels) < 4 else 16,
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * crossed),
        up_block_types=(*["CrossAttnUpBlock2D"] * crossed, "UpBlock2D"),
        block_out_channels=channels,
        layers_per_block=1,
        cross_attention_dim=width,
        attention_head_dim=8,
        norm_num_groups=8,
    ).save_pretrained(folder)


def save_vae(folder: Path, channels: int, scaling: float, **change: Any) -> None:
    """SDXL's shape: f = 8, four latent channels, attention in the middle block."""
    from diffusers import AutoencoderKL

    AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 8, 16),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        scaling_factor=scaling,
        **change,
    ).save_pretrained(folder)


def save_bert_tokenizer(folder: Path, max_length: int) -> None:
    """As BioViL-T publishes it: vocab.txt and two JSON files, no tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    (folder / "vocab.txt").write_text("\n".join([*special, *WORDS]) + "\n")
    tokens = {t.strip("[]").lower() + "_token": t for t in special}
    (folder / "special_tokens_map.json").write_text(json.dumps(tokens))
    config = {
        **tokens,
        "do_lower_case": True,
        "model_max_length": max_length,
        "tokenizer_class": "CXRBertTokenizer",
        "auto_map": {"AutoTokenizer": ["configuration_cxrbert.CXRBertTokenizer", None]},
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def bert(width: int, positions: int) -> Any:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=5 + len(WORDS),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=positions,
        hidden_dropout_prob=0.25,
        attention_probs_dropout_prob=0.25,
    )
    return BertForMaskedLM(config).eval()


def save_biovil_t(folder: Path, plain: Path, width: int) -> None:
    """BertForMaskedLM keys, a projection head, remote code; and the plain BERT beside it."""
    model = bert(width, 16)
    model.bert.save_pretrained(plain)
    save_bert_tokenizer(plain, 16)
    tokenizer = json.loads((plain / "tokenizer_config.json").read_text())
    del tokenizer["auto_map"], tokenizer["tokenizer_class"]
    (plain / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    save_bert_tokenizer(folder, 512)
    state = {k: v.clone() for k, v in model.state_dict().items() if "decoder.weight" not in k}
    state["bert.embeddings.position_ids"] = torch.arange(16)[None]
    for name, shape in (
        ("dense_to_hidden.weight", (8, width)),
        ("dense_to_hidden.bias", (8,)),
        ("LayerNorm.weight", (8,)),
        ("LayerNorm.bias", (8,)),
        ("dense_to_output.weight", (8, 8)),
        ("dense_to_output.bias", (8,)),
    ):
        state[f"cls_projection_head.{name}"] = torch.randn(shape)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        **model.config.to_dict(),
        "architectures": ["CXRBertModel"],
        "model_type": "cxr-bert",
        "auto_map": {
            "AutoConfig": "configuration_cxrbert.CXRBertConfig",
            "AutoModel": "modeling_cxrbert.CXRBertModel",
        },
        "projection_size": 8,
        "gradient_checkpointing": False,
        "position_embedding_type": "absolute",
        "torch_dtype": "float32",
    }
    (folder / "config.json").write_text(json.dumps(config))
    code = "raise RuntimeError('remote code was run')\n"
    for name in ("modeling_cxrbert.py", "configuration_cxrbert.py"):
        (folder / name).write_text(code)


@dataclass
class SmallRadEdit:
    """A Hub cache with the three repositories of RadEdit, small and random."""

    root: Path
    sources: dict[str, Path]
    plain_bert: Path
    spec: ModelSpec

    def load(self, **kwargs: Any) -> Any:
        from radedit.lib.edit.backbone import load_backbone

        return load_backbone(self.spec, **kwargs)


@pytest.fixture(scope="session")
def radedit_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("radedit")
    torch.manual_seed(1)
    for repo, revision in REVISIONS.items():
        snapshot = root / "hub" / ("models--" + repo.replace("/", "--")) / "snapshots" / revision
        if repo == "microsoft/radedit":
            save_unet(snapshot / "unet", (8, 16, 16, 24, 32), 32)
        elif repo == "stabilityai/sdxl-vae":
            save_vae(snapshot, 3, 0.13025, force_upcast=True)
        else:
            snapshot.mkdir(parents=True)
            save_biovil_t(snapshot, root / "plain", 32)
    return root


@pytest.fixture
def radedit_model(radedit_template: Path, tmp_path: Path) -> SmallRadEdit:
    root = tmp_path / "radedit"
    shutil.copytree(radedit_template, root)
    text = ComponentSpec("microsoft/BiomedVLP-BioViL-T", REVISIONS["microsoft/BiomedVLP-BioViL-T"])
    listed = ("vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
    components = {
        "unet": ComponentSpec("microsoft/radedit", REVISIONS["microsoft/radedit"], "unet"),
        "vae": ComponentSpec("stabilityai/sdxl-vae", REVISIONS["stabilityai/sdxl-vae"]),
        "text_encoder": text,
        "tokenizer": replace(text, files=listed),
        "scheduler": ComponentSpec(config=LINEAR),
    }
    spec = model_spec(root, components=components, image_size=64, max_tokens=12)
    sources = {}
    for part, component in components.items():
        if component.repo:
            repo = "models--" + component.repo.replace("/", "--")
            snapshot = root / "hub" / repo / "snapshots" / component.revision
            sources[part] = snapshot / component.subfolder
    return SmallRadEdit(root, sources, root / "plain", spec)


def byte_symbols() -> list[str]:
    """List the 256 printable stand-ins of byte-level BPE."""
    from tokenizers.pre_tokenizers import ByteLevel

    return sorted(ByteLevel.alphabet())


@pytest.fixture(scope="session")
def stable_diffusion_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a Stable Diffusion 1.x folder (RoentGen's layout), small and random."""
    from diffusers import PNDMScheduler
    from transformers import CLIPTextConfig, CLIPTextModel

    root = tmp_path_factory.mktemp("sd")
    torch.manual_seed(2)
    save_unet(root / "unet", (8, 16), 24)
    save_vae(root / "vae", 3, 0.18215)
    PNDMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        set_alpha_to_one=False,
        skip_prk_steps=True,
        steps_offset=1,
    ).save_pretrained(root / "scheduler")
    tokenizer = root / "tokenizer"
    tokenizer.mkdir()
    symbols = byte_symbols()
    tokens = [*symbols, *(s + "</w>" for s in symbols), "lo", "low</w>"]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (tokenizer / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (tokenizer / "merges.txt").write_text("#version: 0.2\nl o\nlo w</w>\n")
    options = {"model_max_length": 77, "pad_token": "<|endoftext|>", "do_lower_case": True}
    (tokenizer / "tokenizer_config.json").write_text(
        json.dumps({**options, "tokenizer_class": "CLIPTokenizer"})
    )
    end = {"content": "<|endoftext|>", "normalized": True, "single_word": False}
    (tokenizer / "special_tokens_map.json").write_text(json.dumps({"unk_token": end}))
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokens),
            hidden_size=24,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            bos_token_id=len(tokens) - 2,
            eos_token_id=len(tokens) - 1,
        )
    ).save_pretrained(root / "text_encoder")
    path = root / "text_encoder" / "model.safetensors"
    released = {
        f"text_model.{k.removeprefix('text_model.')}": v for k, v in load_file(path).items()
    }
    released["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(released, path, metadata={"format": "pt"})
    index = {
        "_class_name": "StableDiffusionImg2ImgPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "CLIPTextModel"],
    }
    (root / "model_index.json").write_text(json.dumps(index))
    return root


@pytest.fixture
def stable_diffusion(stable_diffusion_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stable_diffusion_template, tmp_path / "sd"))


@pytest.fixture(scope="session")
def phantom_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save the embedded model's layout: one image channel, a small BERT, DDIM; half precision."""
    from diffusers import DDIMScheduler
    from transformers import BertTokenizerFast

    root = tmp_path_factory.mktemp("embedded") / "phantom"
    torch.manual_seed(3)
    save_unet(root / "unet", (8, 16), 16)
    save_vae(root / "vae", 1, 0.5)
    bert(16, 64).bert.save_pretrained(root / "text_encoder")
    save_bert_tokenizer(root / "tokenizer", 64)
    plain = BertTokenizerFast.from_pretrained(root / "tokenizer", model_max_length=64)
    plain.backend_tokenizer.enable_padding(length=64)
    plain.backend_tokenizer.enable_truncation(64)
    plain.backend_tokenizer.save(str(root / "tokenizer" / "tokenizer.json"))
    (root / "tokenizer" / "special_tokens_map.json").unlink()
    DDIMScheduler(timestep_spacing="trailing", clip_sample=False).save_pretrained(
        root / "scheduler"
    )
    path = root / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({k: v.half() for k, v in load_file(path).items()}, path)
    return root


@pytest.fixture
def phantom(phantom_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantom_template, tmp_path / "phantom"))
