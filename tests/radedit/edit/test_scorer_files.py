"""BioViL-T beside a released editor: found at its revision, checked, loaded, or refused."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from biovil_layout import small_biovil_t
from safetensors.torch import load_file, save_file

from radedit.lib.edit.backbone.files import file_sha256, locate
from radedit.lib.edit.backbone.pin import sha256_table
from radedit.lib.errors import CheckpointError
from radedit.lib.score.biovil import WEIGHTS_FILE
from radedit.lib.score.directional import score
from radedit.lib.scoring import load_scorer, scorer_or_reason
from radedit.lib.settings import ComponentSpec, load_settings

torch.set_num_threads(1)
KEY = f"scorer/{WEIGHTS_FILE}"
FILMS = np.random.default_rng(0).random((2, 80, 64), np.float32)


@pytest.fixture
def released(radedit_model: Any) -> Any:
    """Give the small RadEdit in the Hub cache its BioViL-T image encoder, pinned."""
    path = radedit_model.sources["text_encoder"] / WEIGHTS_FILE
    torch.save(small_biovil_t(), path)
    text = radedit_model.spec.components["text_encoder"]
    scorer = ComponentSpec(text.repo, text.revision, files=(WEIGHTS_FILE,))
    radedit_model.spec = replace(
        radedit_model.spec,
        components={**radedit_model.spec.components, "scorer": scorer},
        sha256={KEY: file_sha256(path)},
    )
    return radedit_model


def test_the_released_layout_scores_an_edit(released: Any) -> None:
    path = released.sources["text_encoder"] / "model.safetensors"
    weights = load_file(path)
    for name, value in weights.items():  # as they are drawn, all sentences read much the same
        if name.startswith("bert.encoder") and value.ndim == 2:
            weights[name] = value * 10
    save_file(weights, path, metadata={"format": "pt"})
    scorer = load_scorer(released.spec, released.load())
    assert scorer.name == f"BioViL-T {released.spec.sha256[KEY][:12]}"
    texts = ("left mass", "no acute cardiopulmonary process.")
    found = score(scorer.encoder, (FILMS[0], FILMS[1]), texts)
    assert found.directional is not None
    assert -1 <= found.directional <= 1
    again = load_scorer(released.spec, released.load())
    assert score(again.encoder, (FILMS[0], FILMS[1]), texts) == found
    unknown = score(scorer.encoder, (FILMS[0], FILMS[1]), ("zebra", texts[1]))
    assert unknown.reason.startswith("not scorable: The text to score holds what")


def test_a_sentence_is_read_by_the_plain_bert_without_padding(released: Any) -> None:
    from transformers import BertModel

    backbone = released.load()
    network = BertModel.from_pretrained(released.plain_bert, add_pooling_layer=False).eval()
    ids = backbone.text.token_ids(["no acute pleural effusion"])
    with torch.inference_mode():
        mask = (ids != backbone.text.pad_id).long()
        masked = network(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]
    state = backbone.text.first_state("no acute pleural effusion")
    torch.testing.assert_close(state, masked, rtol=1e-4, atol=1e-5)
    attended = backbone.encode_text(["no acute pleural effusion"])[:, 0]
    assert (state - attended).abs().max() > 1e-3  # what conditions the editor is another state


def test_the_scorer_does_not_change_what_the_editor_is_called(released: Any) -> None:
    without = {k: v for k, v in released.spec.components.items() if k != "scorer"}
    plain = replace(released.spec, components=without, sha256={})
    sha256 = released.load().sha256
    released.spec = plain
    assert released.load().sha256 == sha256


def test_missing_files_are_one_sentence_that_says_what_to_get(released: Any) -> None:
    backbone = released.load()
    (released.sources["text_encoder"] / WEIGHTS_FILE).unlink()
    with pytest.raises(CheckpointError) as caught:
        load_scorer(released.spec, backbone)
    text = str(caught.value)
    assert "\n" not in text
    assert f"{WEIGHTS_FILE} of microsoft/BiomedVLP-BioViL-T at revision {'3' * 40}" in text
    assert str(released.root / "models" / "small" / "scorer" / WEIGHTS_FILE) in text
    assert "licence: " in text


def test_the_packaged_entry_names_the_file_and_pins_it(tmp_path: Path) -> None:
    environ = {"RADEDIT_MODELS_DIR": str(tmp_path / "m"), "RADEDIT_HUB_CACHE": str(tmp_path / "h")}
    spec = load_settings(environ).model("radedit")
    assert KEY in spec.sha256
    with pytest.raises(CheckpointError, match=f"get {WEIGHTS_FILE} of microsoft/BiomedVLP-BioViL"):
        locate(spec, ["scorer"])


def test_a_users_own_copy_is_found_beside_the_other_parts(released: Any) -> None:
    backbone = released.load()
    own = released.root / "models" / "small" / "scorer"
    own.mkdir(parents=True)
    (released.sources["text_encoder"] / WEIGHTS_FILE).rename(own / WEIGHTS_FILE)
    assert load_scorer(released.spec, backbone).encoder is not None


def test_another_file_than_the_pinned_one_is_refused(released: Any) -> None:
    backbone = released.load()
    path = released.sources["text_encoder"] / WEIGHTS_FILE
    state = small_biovil_t()
    torch.save({k: v + 1 for k, v in state.items()}, path)
    with pytest.raises(CheckpointError, match=rf"{KEY} has the sha256 .*, expected "):
        load_scorer(released.spec, backbone)


def test_a_pickle_without_a_pin_is_refused_also_on_first_use(released: Any) -> None:
    assert released.spec.verify == "on-first-use"
    with pytest.raises(CheckpointError, match=rf"{KEY} has no sha256 in the registry"):
        load_scorer(replace(released.spec, sha256={}), released.load())


def test_a_text_encoder_without_the_joint_space_scores_nothing(released: Any) -> None:
    path = released.sources["text_encoder"] / "model.safetensors"
    headless = {k: v for k, v in load_file(path).items() if not k.startswith("cls_projection")}
    save_file(headless, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="no projection into the space of the scorer"):
        load_scorer(released.spec, released.load())


def test_what_cannot_be_loaded_is_a_reason_and_a_line_in_the_log(
    released: Any, caplog: pytest.LogCaptureFixture
) -> None:
    backbone = released.load()
    (released.sources["text_encoder"] / WEIGHTS_FILE).unlink()
    with caplog.at_level(logging.WARNING, "radedit.lib.scoring"):
        scorer = scorer_or_reason(released.spec, backbone)
    assert scorer.encoder is None
    assert scorer.reason.startswith("not scored: ")
    assert str(released.root) not in scorer.reason
    assert WEIGHTS_FILE in caplog.text
    unnamed = {k: v for k, v in released.spec.components.items() if k != "scorer"}
    none = scorer_or_reason(replace(released.spec, components=unnamed), backbone)
    assert none.reason == "not scored: the model's entry in the registry names no scorer"


def test_the_pins_of_a_scorers_folder_are_printed_like_any_others(tmp_path: Path) -> None:
    (tmp_path / "scorer").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "scorer" / name).write_text(name)
    assert set(sha256_table(tmp_path)) == {"scorer/config.json", "scorer/model.safetensors"}
