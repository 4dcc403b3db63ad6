"""Small random checkpoints in exactly the released layouts, loaded and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from radedit.lib.edit.backbone import Backbone, load_backbone
from radedit.lib.edit.backbone.noise import noise_schedule
from radedit.lib.edit.backbone.pin import main as pin
from radedit.lib.edit.backbone.pin import sha256_table
from radedit.lib.edit.inversion import draw_noise_batch
from radedit.lib.edit.radedit import Conditioning, EditMasks, Plan, radedit
from radedit.lib.edit.schedule import make_schedule
from radedit.lib.errors import CheckpointError, PromptError
from radedit.lib.settings import ComponentSpec

torch.set_num_threads(1)


# ---------------------------------------------------------------- RadEdit's layout


def test_radedit_layout_loads_from_three_repositories(radedit_model: Any) -> None:
    backbone = radedit_model.load()
    assert backbone.image_size == 64
    assert backbone.latent_shape == (4, 8, 8)
    assert backbone.max_tokens == 12
    assert backbone.final_alpha_bar == 1.0
    assert len(backbone.sha256) == 64
    assert [type(m).__name__ for m in backbone.unet.down_blocks] == [
        "DownBlock2D",
        *["CrossAttnDownBlock2D"] * 4,
    ]
    for network in (backbone.unet, backbone.vae, backbone.text.network):
        assert not network.training
        assert not any(p.requires_grad or p.is_meta for p in network.parameters())


def test_biovil_t_hidden_states_are_those_of_transformers_own_bert(radedit_model: Any) -> None:
    from transformers import BertModel, BertTokenizerFast

    reference = BertModel.from_pretrained(radedit_model.plain_bert, add_pooling_layer=False).eval()
    tokenizer = BertTokenizerFast.from_pretrained(radedit_model.plain_bert)
    texts = ["No acute cardiopulmonary process", "pleural effusion", ""]
    tokens = tokenizer(texts, padding="max_length", max_length=12, return_tensors="pt")
    with torch.no_grad():
        expected = reference(input_ids=tokens.input_ids).last_hidden_state
    assert torch.equal(radedit_model.load().encode_text(texts), expected)


def test_padding_is_attended_to_as_in_the_released_call(radedit_model: Any) -> None:
    from transformers import BertModel

    backbone = radedit_model.load()
    reference = BertModel.from_pretrained(radedit_model.plain_bert, add_pooling_layer=False).eval()
    ids = backbone.text.token_ids(["pleural effusion"])
    with torch.no_grad():
        masked = reference(input_ids=ids, attention_mask=(ids != backbone.text.pad_id).long())
    assert not torch.allclose(
        backbone.encode_text(["pleural effusion"]), masked.last_hidden_state, atol=1e-3
    )


def test_vae_takes_the_mode_and_its_own_scaling(radedit_model: Any) -> None:
    from diffusers import AutoencoderKL

    backbone = radedit_model.load()
    vae = AutoencoderKL.from_pretrained(radedit_model.sources["vae"]).eval()
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.no_grad():
        mode = vae.encode(images.expand(-1, 3, -1, -1)).latent_dist.mode()
        scaled = mode * vae.config.scaling_factor
        torch.testing.assert_close(backbone.encode(images), scaled, rtol=1e-4, atol=1e-5)
        decoded = vae.decode(mode).sample.mean(dim=1, keepdim=True)
    assert vae.config.scaling_factor == 0.13025
    assert torch.allclose(backbone.decode(mode * vae.config.scaling_factor), decoded, atol=1e-5)
    assert torch.equal(backbone.encode(images), backbone.encode(images))


def test_denoise_is_the_unet_with_one_timestep_or_one_each(radedit_model: Any) -> None:
    from diffusers import UNet2DConditionModel

    backbone = radedit_model.load()
    unet = UNet2DConditionModel.from_pretrained(radedit_model.sources["unet"]).eval()
    x, context = torch.randn(2, 4, 8, 8), backbone.encode_text(["a mass", ""])
    with torch.no_grad():
        expected = unet(x, torch.tensor([7, 900]), encoder_hidden_states=context).sample
        same = unet(x, 7, encoder_hidden_states=context).sample
    found = backbone.denoise(x, torch.tensor([7, 900]), context)
    # Not to the last bit: convolutions run in another order of memory here.
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(backbone.denoise(x, 7, context), same, rtol=1e-4, atol=1e-5)


def test_an_edit_runs_through_the_whole_model(radedit_model: Any) -> None:
    backbone = radedit_model.load()
    images = torch.zeros(1, 1, 64, 64)
    x0 = backbone.encode(images)
    schedule = make_schedule(backbone.alphas_cumprod, 7, 0.3, backbone.final_alpha_bar)
    empty = backbone.encode_text([""])
    keep = torch.zeros(1, 1, 8, 8)
    keep[..., :4] = 1
    delta = radedit(
        backbone.denoise,
        x0,
        Conditioning(backbone.encode_text(["a mass"]), empty, empty),
        EditMasks(torch.ones(1, 1, 8, 8), keep),
        Plan(schedule, draw_noise_batch(backbone.latent_shape, len(schedule), [5])),
    )
    assert not delta[..., :4].any()
    assert delta[..., 4:].any()
    assert backbone.decode(x0 + delta).shape == (1, 1, 64, 64)


def test_half_precision_on_disk_is_loaded_in_float32(radedit_model: Any) -> None:
    path = radedit_model.sources["unet"] / "diffusion_pytorch_model.safetensors"
    half = {k: v.half() for k, v in load_file(path).items()}
    save_file(half, path)
    backbone = radedit_model.load()
    assert backbone.dtype is torch.float32
    for key, value in backbone.unet.state_dict().items():
        assert torch.equal(value, half[key].float())
    eps = backbone.denoise(torch.randn(1, 4, 8, 8), 500, backbone.encode_text([""]))
    assert torch.isfinite(eps).all()


def test_bfloat16_is_used_by_the_unet_only_and_returns_the_callers_dtype(
    radedit_model: Any,
) -> None:
    backbone = radedit_model.load(dtype=torch.bfloat16)
    assert backbone.dtype is torch.bfloat16
    assert next(backbone.vae.parameters()).dtype is torch.float32
    eps = backbone.denoise(torch.randn(1, 4, 8, 8), 500, backbone.encode_text([""]))
    assert eps.dtype is torch.float32


def test_model_hash_changes_with_any_file(radedit_model: Any) -> None:
    before = radedit_model.load().sha256
    assert radedit_model.load().sha256 == before
    path = radedit_model.sources["vae"] / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "scaling_factor": 0.2}))
    (radedit_model.root / "models" / "small.sha256.json").unlink()
    assert radedit_model.load().sha256 != before


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 1, 32, 64), (64, 64)])
def test_images_of_another_shape_are_refused(radedit_model: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        radedit_model.load().encode(torch.zeros(shape))


# ---------------------------------------------------------------- prompts


def test_empty_prompt_is_refused_and_empty_text_still_encodes(radedit_model: Any) -> None:
    backbone = radedit_model.load()
    for text in ("", "  \n", "\u200b"):
        with pytest.raises(PromptError, match="prompt is empty"):
            backbone.check_prompt(text)
    assert backbone.encode_text([""]).shape == (1, 12, 32)


def test_long_prompt_names_exactly_what_would_be_cut(radedit_model: Any) -> None:
    backbone = radedit_model.load()
    fits = "No acute cardiopulmonary process no acute process a mass no"
    backbone.check_prompt(fits)
    with pytest.raises(PromptError, match=r"lost: 'pleural Effusion'") as caught:
        backbone.check_prompt(fits + " pleural Effusion")
    assert "12 tokens long and the text encoder takes 10" in str(caught.value)
    with pytest.raises(PromptError):
        backbone.encode_text([fits + " pleural Effusion"])


def test_word_that_bert_cannot_spell_is_refused_by_name(radedit_model: Any) -> None:
    backbone = radedit_model.load()
    with pytest.raises(PromptError, match=r"The prompt holds .* does not know: pacemaker, 🫁;"):
        backbone.check_prompt("no pacemaker left 🫁 pacemaker")
    with pytest.raises(PromptError, match="does not know: pacemaker;"):
        backbone.encode_text(["a pacemaker"])


@pytest.mark.parametrize("text", ["", "pacemaker", "mass " * 30])
def test_refusal_says_which_prompt_it_is_about(radedit_model: Any, text: str) -> None:
    with pytest.raises(PromptError, match=r"^The inversion prompt (is|holds) "):
        radedit_model.load().check_prompt(text, "inversion prompt")


@pytest.mark.parametrize("device", ["cuda:63", "gpu", "hpu", "meta"])
def test_device_that_is_not_here_is_refused_in_one_sentence(
    radedit_model: Any, device: str
) -> None:
    with pytest.raises(CheckpointError) as caught:
        radedit_model.load(device=device)
    assert str(caught.value) == (
        f"The device '{device}' is not available here; set RADEDIT_DEVICE=cpu."
    )


# ---------------------------------------------------------------- Stable Diffusion's layout


def test_stable_diffusion_layout_gives_the_pipelines_own_prompt_embeddings(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any
) -> None:
    from transformers import CLIPTextModel, CLIPTokenizer

    backbone = load_backbone(spec_for(tmp_path, folder=stable_diffusion))
    tokenizer = CLIPTokenizer.from_pretrained(stable_diffusion / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(stable_diffusion / "text_encoder").eval()
    texts = ["Big Right-sided pleural effusion", "", "low"]
    tokens = tokenizer(
        texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    )
    assert torch.equal(backbone.text.token_ids(texts), tokens.input_ids)
    with torch.no_grad():
        expected = encoder(tokens.input_ids)[0]
    assert backbone.max_tokens == 77
    assert torch.equal(backbone.encode_text(texts), expected)


def test_clip_spells_what_no_vocabulary_foresaw(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any
) -> None:
    backbone = load_backbone(spec_for(tmp_path, folder=stable_diffusion))
    backbone.check_prompt("pacemaker 🫁 Ω 肺")
    start_and_end = 2
    assert len(backbone.text.tokenizer.encode("🫁").ids) == len("🫁".encode()) + start_and_end


def test_stable_diffusion_scheduler_values_are_those_of_diffusers(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any
) -> None:
    from diffusers import PNDMScheduler

    backbone = load_backbone(spec_for(tmp_path, folder=stable_diffusion))
    reference = PNDMScheduler.from_pretrained(stable_diffusion / "scheduler")
    assert np.array_equal(backbone.alphas_cumprod, reference.alphas_cumprod.double().numpy())
    assert backbone.final_alpha_bar == float(reference.final_alpha_cumprod)
    assert backbone.latent_shape == (4, 8, 8)


def test_old_attention_names_of_a_vae_are_understood(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any
) -> None:
    new = load_backbone(spec_for(tmp_path, folder=stable_diffusion))
    path = stable_diffusion / "vae" / "diffusion_pytorch_model.safetensors"
    old_names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = {}
    for key, value in load_file(path).items():
        for now, before in old_names.items():
            key = key.replace(f".{now}.", f".{before}.") if "attentions" in key else key
        weights[key] = value
    assert any(".proj_attn." in key for key in weights)
    save_file(weights, path)
    (tmp_path / "models" / "small.sha256.json").unlink()
    old = load_backbone(spec_for(tmp_path, folder=stable_diffusion))
    image = torch.rand(1, 1, 64, 64)
    assert torch.equal(old.encode(image), new.encode(image))


def test_v_prediction_is_converted_to_the_noise(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any
) -> None:
    path = stable_diffusion / "scheduler" / "scheduler_config.json"
    plain = load_backbone(spec_for(tmp_path, folder=stable_diffusion))
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "v_prediction"}))
    (tmp_path / "models" / "small.sha256.json").unlink()
    backbone = load_backbone(spec_for(tmp_path, folder=stable_diffusion))
    x_t, context = torch.randn(1, 4, 8, 8), backbone.encode_text([""])
    v = plain.denoise(x_t, 600, context)
    eps = backbone.denoise(x_t, 600, context)
    ab = backbone.alphas_cumprod[600]
    # v = sqrt(ab) eps - sqrt(1 - ab) x0 and x_t = sqrt(ab) x0 + sqrt(1 - ab) eps
    x0 = (x_t - (1 - ab) ** 0.5 * eps) / ab**0.5
    assert torch.allclose(v, ab**0.5 * eps - (1 - ab) ** 0.5 * x0, atol=1e-4)


# ---------------------------------------------------------------- schedulers


@pytest.mark.parametrize("kind", ["linear", "scaled_linear"])
@pytest.mark.parametrize("to_one", [True, False])
def test_alpha_bars_are_those_of_the_ddim_scheduler(kind: str, to_one: bool) -> None:
    from diffusers import DDIMScheduler

    reference = DDIMScheduler(beta_schedule=kind, set_alpha_to_one=to_one)
    config = {"beta_schedule": kind, "set_alpha_to_one": to_one}
    noise = noise_schedule(config, "small")
    assert np.array_equal(noise.alphas_cumprod, reference.alphas_cumprod.double().numpy())
    assert noise.final_alpha_bar == float(reference.final_alpha_cumprod)


@pytest.mark.parametrize(
    "config",
    [
        {"beta_schedule": "squaredcos_cap_v2"},
        {"prediction_type": "sample"},
        {"clip_sample": True},
        {"thresholding": True},
        {"rescale_betas_zero_snr": True},
        {"trained_betas": [0.1]},
    ],
)
def test_schedulers_that_edits_do_not_follow_are_refused_by_name(config: dict) -> None:
    key, value = next(iter(config.items()))
    with pytest.raises(CheckpointError) as caught:
        noise_schedule(config, "small")
    assert str(value) in str(caught.value)
    assert "expected" in str(caught.value)
    assert key.split("_")[0] in str(caught.value) or "predicts" in str(caught.value)


# ---------------------------------------------------------------- misfits


def rewrite(folder: Path, change: Any) -> None:
    weights = load_file(folder / "diffusion_pytorch_model.safetensors")
    change(weights)
    save_file(weights, folder / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda w: w.pop("conv_in.weight"), "lacks conv_in.weight"),
        (lambda w: w.update(extra=torch.zeros(1)), "has the unknown extra"),
        (lambda w: w.update({"conv_in.bias": torch.zeros(3)}), "misfits conv_in.bias"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_named(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any, change: Any, said: str
) -> None:
    rewrite(stable_diffusion / "unet", change)
    with pytest.raises(CheckpointError, match=said):
        load_backbone(spec_for(tmp_path, folder=stable_diffusion))


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("unet", {"_class_name": "UNet2DModel"}, "expected UNet2DConditionModel"),
        ("vae", {"_class_name": "VQModel"}, "expected AutoencoderKL"),
        (
            "text_encoder",
            {"architectures": ["T5EncoderModel"], "model_type": "t5"},
            "expected BERT",
        ),
        ("scheduler", {"beta_schedule": "cosine"}, "expected linear"),
    ],
)
def test_parts_of_another_kind_are_refused_by_name(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any, part: str, change: dict, said: str
) -> None:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    path = stable_diffusion / part / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=said):
        load_backbone(spec_for(tmp_path, folder=stable_diffusion))


def test_more_tokens_than_the_encoder_has_positions_are_refused(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any
) -> None:
    with pytest.raises(CheckpointError, match="max_tokens is 128, its text encoder takes 77"):
        load_backbone(spec_for(tmp_path, folder=stable_diffusion, max_tokens=128))


def test_a_truncated_weights_file_is_refused(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any
) -> None:
    path = stable_diffusion / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a complete safetensors file"):
        load_backbone(spec_for(tmp_path, folder=stable_diffusion))


# ---------------------------------------------------------------- the embedded layout and pins


def test_embedded_layout_loads_with_the_hashes_that_pin_prints(
    phantom: Path, tmp_path: Path, spec_for: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    import tomllib

    assert pin([str(phantom)]) == 0
    table = tomllib.loads(capsys.readouterr().out)["models"]["phantom"]["sha256"]
    assert table == sha256_table(phantom)
    assert len(table) == 10
    spec = spec_for(tmp_path, folder=phantom, verify="pinned", sha256=table)
    backbone = load_backbone(spec)
    assert isinstance(backbone, Backbone)
    assert backbone.latent_shape == (4, 8, 8)
    assert backbone.max_tokens == 64
    image = torch.rand(1, 1, 64, 64)
    assert backbone.decode(backbone.encode(image)).shape == image.shape
    assert not (tmp_path / "models").exists()


def test_pin_refuses_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pin([]) == 2
    assert pin([str(tmp_path)]) == 1
    assert "no component" in capsys.readouterr().err


def test_embedded_fast_tokenizer_file_equals_its_vocabulary(
    phantom: Path, tmp_path: Path, spec_for: Any
) -> None:
    texts = ["Pleural effusion, left.", "no acute process", ""]
    fast = load_backbone(spec_for(tmp_path, folder=phantom)).text.token_ids(texts)
    (phantom / "tokenizer" / "tokenizer.json").unlink()
    plain = load_backbone(spec_for(tmp_path / "other", folder=phantom)).text.token_ids(texts)
    assert torch.equal(fast, plain)


def test_files_in_the_users_models_folder_are_used_before_the_hub(
    phantom: Path, tmp_path: Path, spec_for: Any
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    phantom.rename(models / "small")
    repo = ComponentSpec(repo="nobody/nothing", revision="0" * 40)
    parts = dict.fromkeys(("unet", "vae", "text_encoder", "tokenizer", "scheduler"), repo)
    assert load_backbone(spec_for(tmp_path, components=parts)).max_tokens == 64
