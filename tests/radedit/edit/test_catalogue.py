"""`radedit models`: added with every file pinned, listed with what is missing, proved or not."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import radedit.lib.settings as settings_module
from radedit.lib.catalogue import Addition, add, entries
from radedit.lib.cli import app
from radedit.lib.edit.backbone import load_backbone
from radedit.lib.edit.backbone.files import REQUIRED, file_sha256
from radedit.lib.errors import CheckpointError, OutputError
from radedit.lib.proof import MAX_UNEXPLAINED, MIN_PSNR_DB
from radedit.lib.settings import load_settings

torch.set_num_threads(1)
EMBEDDED = Path(settings_module.__file__).parent.parent / "model" / "phantom"
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the command line here; settings of its own, and nothing is downloaded."""

    def call(*words: object, **environment: str) -> Any:
        mine = {"RADEDIT_MODELS_DIR": str(tmp_path / "models")} | environment
        return CliRunner().invoke(app, ["models", *map(str, words)], env=mine)

    return call


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    """Give a copy of the embedded model, which is trained, to be spoiled."""
    return Path(shutil.copytree(EMBEDDED, tmp_path / "copy"))


def registered(folder: Path, config: Path, **more: Any) -> dict[str, str]:
    add(Addition("mine", folder, "Mine", "CC0", **more), config)
    return {"RADEDIT_CONFIG": str(config)}


# ---------------------------------------------------------------- add


def test_a_folder_is_added_with_every_file_pinned_and_loads(
    stable_diffusion: Path, tmp_path: Path, run: Run
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text('default_model = "phantom"\n\n[defaults]\nsteps = 7')
    done = run("add", "roentgen", stable_diffusion, "--licence", "asked for", "--config", config)
    assert done.exit_code == 0, done.stderr
    assert "added 'roentgen' with 11 files pinned" in done.stdout
    assert f"RADEDIT_CONFIG={config}" in done.stdout
    settings = load_settings({"RADEDIT_CONFIG": str(config)})
    assert settings.defaults.steps == 7
    spec = settings.model("roentgen")
    assert (spec.title, spec.licence, spec.verify) == ("roentgen", "asked for", "pinned")
    assert load_backbone(spec).max_tokens == 77
    path = stable_diffusion / "unet" / "config.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(CheckpointError, match=r"unet/config\.json has the sha256 .*, expected"):
        load_backbone(spec)
    assert [p.name for p in tmp_path.glob("*.toml")] == ["settings.toml"]


def test_a_settings_file_keeps_its_mode_its_owner_and_the_link_that_leads_to_it(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    """Made by root and read by a service, as 0640 root:radedit; or a link into a repository."""
    real, link = tmp_path / "real.toml", tmp_path / "settings.toml"
    real.write_text("[defaults]\nsteps = 7\n")
    real.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(real, 1234, 4321)
    link.symlink_to(real)
    before = real.stat()
    registered(stable_diffusion, link)
    after = real.stat()
    assert link.is_symlink()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode, before.st_uid, before.st_gid,
    )  # fmt: skip
    assert load_settings({"RADEDIT_CONFIG": str(link)}).model("mine").title == "Mine"
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [real.name, link.name]


def test_a_settings_file_that_cannot_be_written_is_as_it_was(
    stable_diffusion: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "settings.toml"
    config.write_text("[defaults]\nsteps = 7\n")

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        registered(stable_diffusion, config)
    assert config.read_text() == "[defaults]\nsteps = 7\n"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [config.name]


def test_the_record_of_first_seen_hashes_can_be_read_by_a_service(
    stable_diffusion: Path, tmp_path: Path, spec_for: Any
) -> None:
    spec = spec_for(tmp_path, folder=stable_diffusion)
    load_backbone(spec)
    (record,) = (tmp_path / "models").glob("*.sha256.json")
    plain = tmp_path / "plain"
    plain.touch()
    assert record.stat().st_mode == plain.stat().st_mode


def test_size_and_attention_mask_are_written_with_it(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    environ = registered(
        stable_diffusion, tmp_path / "new" / "s.toml", image_size=32, mask_padding=True
    )
    backbone = load_backbone(load_settings(environ).model("mine"))
    assert backbone.image_size == 32
    assert backbone.text.mask_padding is True


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mine", "{sd}"), "--licence is missing"),
        (("phantom", "{sd}", "--licence", "x"), "'phantom' comes with the program"),
        (("mine", "{sd}/vae", "--licence", "x"), "unet/config.json is missing"),
        (("mine", "{sd}/nowhere", "--licence", "x"), "there is no file or folder"),
        (("Mine!", "{sd}", "--licence", "x"), "is no name of a model; use a-z"),
        (("radedit", "{sd}"), "radedit"),
    ],
)
def test_what_cannot_be_added_is_one_sentence_and_writes_nothing(
    stable_diffusion: Path, tmp_path: Path, run: Run, words: tuple[str, ...], said: str
) -> None:
    config = tmp_path / "settings.toml"
    given = [word.format(sd=stable_diffusion) for word in words]
    done = run("add", *given, "--config", config)
    assert done.exit_code == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.glob("*.toml")) == []


def test_a_name_is_added_once_and_a_settings_file_must_be_named(
    stable_diffusion: Path, tmp_path: Path, run: Run
) -> None:
    registered(stable_diffusion, tmp_path / "s.toml")
    words = ("add", "mine", stable_diffusion, "--licence", "x")
    again = run(*words, "--config", tmp_path / "s.toml")
    assert "has a model 'mine' already" in again.stderr
    assert "no settings file to write to" in run(*words, RADEDIT_CONFIG="").stderr


def test_files_of_a_known_entry_are_held_to_its_pins(
    stable_diffusion: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The packaged pins are of files that cannot be here, so the registry is another one."""
    vae = "vae/diffusion_pytorch_model.safetensors"
    published = {vae: file_sha256(stable_diffusion / vae)}
    monkeypatch.setattr(settings_module, "PACKAGED", registry(tmp_path, published))
    done = run("add", "known", stable_diffusion, "--config", tmp_path / "mine.toml")
    assert done.exit_code == 0, done.stderr
    spec = load_settings({"RADEDIT_CONFIG": str(tmp_path / "mine.toml")}).model("known")
    assert (spec.title, spec.licence) == ("Known", "asked for")
    assert spec.verify == "pinned"
    assert len(spec.sha256) == 10, "the scheduler is in the entry"
    assert load_backbone(spec).final_alpha_bar == 1.0
    other = load_file(stable_diffusion / vae)
    save_file({k: v + 1 for k, v in other.items()}, stable_diffusion / vae)
    with pytest.raises(
        CheckpointError, match=rf"{vae} has the sha256 .*, expected {published[vae]}"
    ):
        add(Addition("known", stable_diffusion), tmp_path / "another.toml")


def registry(folder: Path, pins: Mapping[str, str]) -> Path:
    """Write a registry with one entry whose files are not shipped."""
    lines = [
        'default_model = "known"',
        "[models.known]",
        'title = "Known"',
        'licence = "asked for"',
    ]
    lines += ['verify = "on-first-use"', "[models.known.sha256]"]
    lines += [f'"{key}" = "{digest}"' for key, digest in pins.items()]
    for part in ("unet", "vae", "text_encoder", "tokenizer"):
        lines += [f"[models.known.components.{part}]", 'repo = "a/b"', f'revision = "{"0" * 40}"']
    lines += ["[models.known.components.scheduler.config]", "set_alpha_to_one = true"]
    path = folder / "registry" / "models.toml"
    path.parent.mkdir()
    path.write_text("\n".join(lines))
    return path


# ---------------------------------------------------------------- list


def test_the_list_says_what_is_here_and_what_to_get_under_which_licence(
    run: Run, tmp_path: Path
) -> None:
    nowhere = {"RADEDIT_HUB_CACHE": str(tmp_path / "hub"), "RADEDIT_ALLOW_DOWNLOAD": "1"}
    listed = run("list", RADEDIT_HUB_ENDPOINT="http://127.0.0.1:9", **nowhere)
    assert listed.exit_code == 0, listed.stderr
    assert "phantom (default, ready)" in listed.stdout
    assert "radedit (not here)" in listed.stdout
    found = {m["name"]: m for m in json.loads(run("list", "--json", **nowhere).stdout)["models"]}
    assert found["phantom"]["ready"] is True
    radedit = found["radedit"]
    assert radedit["ready"] is False
    assert radedit["parts"]["scheduler"] == "registry"
    missing = [part for part, where in radedit["parts"].items() if not where]
    assert missing == ["unet", "vae", "text_encoder", "tokenizer", "scorer"]
    for sentence in radedit["needs"]:
        assert "at revision" in sentence
        assert "licence: " in sentence
        assert str(tmp_path / "models" / "radedit") in sentence


def test_a_model_without_its_scorer_is_ready(stable_diffusion: Path, tmp_path: Path) -> None:
    environ = registered(stable_diffusion, tmp_path / "s.toml")
    [mine] = [e for e in entries(load_settings(environ)) if e.name == "mine"]
    assert mine.is_ready
    assert mine.parts["unet"] == str(stable_diffusion / "unet")


# ---------------------------------------------------------------- verify


def test_the_embedded_model_is_proved_by_hash_shape_and_figures(run: Run) -> None:
    done = run("verify", "--json")
    assert done.exit_code == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    [proof] = told["models"]
    assert told["passed"] is proof["passed"] is True
    assert proof["unpinned"] == []
    assert len(proof["files"]) == 12
    assert proof["shape"]["image_size"] == 256
    assert proof["figures"]["reconstruction_psnr_db"] > MIN_PSNR_DB + 5
    noise = [v for k, v in proof["figures"].items() if k.startswith("noise_")]
    assert len(noise) == 4
    assert max(noise[:3]) < MAX_UNEXPLAINED / 3
    assert proof["faults"] == []
    assert proof["notes"] == []
    assert proof["precision"].startswith("Its U-Net runs in float32. On this device (cpu) bfloat16")


def test_random_weights_load_and_are_found_out_by_both_figures(
    stable_diffusion: Path, tmp_path: Path, run: Run
) -> None:
    environ = registered(stable_diffusion, tmp_path / "s.toml")
    done = run("verify", "mine", **environ)
    assert done.exit_code == 1
    assert "FAILED mine" in done.stdout
    assert "the VAE gives a film back with" in done.stdout
    assert "the U-Net does not recognise" in done.stdout
    assert "its edits are not scored" in done.stdout


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("scheduler/scheduler_config.json", {"prediction_type": "v_prediction"}, "prediction_type"),
        ("vae/config.json", {"scaling_factor": 0.05}, "scaling_factor"),
    ],
    ids=["kind-of-prediction", "vae-scaling"],
)
def test_a_configuration_that_is_anothers_is_found_out_by_the_figures(
    embedded: Path, tmp_path: Path, run: Run, file: str, change: dict[str, Any], said: str
) -> None:
    path = embedded / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    done = run("verify", "mine", **registered(embedded, tmp_path / "s.toml"))
    assert done.exit_code == 1
    assert said in done.stdout
    assert "FAILED mine" in done.stdout


def test_a_decoder_that_was_damaged_is_found_out_by_the_reconstruction(
    embedded: Path, tmp_path: Path, run: Run
) -> None:
    path = embedded / "vae" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["decoder.conv_in.weight"] = torch.zeros_like(weights["decoder.conv_in.weight"])
    save_file(weights, path)
    done = run("verify", "mine", **registered(embedded, tmp_path / "s.toml"))
    assert done.exit_code == 1
    assert "the VAE gives a film back with" in done.stdout


def test_a_file_that_was_changed_behind_its_pin_is_the_fault(
    embedded: Path, tmp_path: Path, run: Run
) -> None:
    environ = registered(embedded, tmp_path / "s.toml")
    path = embedded / "text_encoder" / "config.json"
    path.write_text(path.read_text() + "\n")
    done = run("verify", "mine", "--json", **environ)
    assert done.exit_code == 1
    [proof] = json.loads(done.stdout)["models"]
    assert "text_encoder/config.json has the sha256" in proof["faults"][0]
    assert proof["figures"] == {}


def test_another_film_may_be_named_and_an_unknown_model_is_refused(
    run: Run, tmp_path: Path, make_dataset: Callable[..., Any]
) -> None:
    film = tmp_path / "film.dcm"
    noise = np.random.default_rng(1).integers(0, 4096, (64, 64))
    dataset = make_dataset(noise)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(film, enforce_file_format=True)
    done = run("verify", "--film", film)
    assert done.exit_code == 1, "noise is no film: the VAE cannot give it back"
    assert run("verify", "nobody").exit_code == 1
    assert "There is no model 'nobody'" in run("verify", "nobody").stderr


# ---------------------------------------------------------------- the page for hospitals


def test_the_page_names_every_file_repository_and_revision_of_the_registry() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "models.md").read_text("utf-8")
    for spec in load_settings({}).models.values():
        assert f"| `{spec.name}` |" in page
        for part, component in spec.components.items():
            if component.repo:
                assert f"hf download {component.repo}" in page or f'"{component.repo} ' in page
                assert component.revision in page
                [row] = [line for line in page.splitlines() if line.startswith(f"| `{part}/` |")]
                for name in component.files or REQUIRED[part]:
                    assert f"`{name}`" in row
