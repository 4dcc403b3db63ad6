"""What a person reads when a checkpoint's files are missing, wrong or out of reach."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from radedit.lib.edit.backbone import load_backbone
from radedit.lib.edit.backbone.files import file_sha256, locate
from radedit.lib.errors import CheckpointError
from radedit.lib.settings import load_settings

torch.set_num_threads(1)
UNET = "diffusion_pytorch_model.safetensors"


def sentence(caught: pytest.ExceptionInfo[CheckpointError]) -> str:
    """Check that the error is one sentence with a licence, and return it."""
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert text.count(". ") == 0
    assert "licence: " in text
    return text


def test_missing_file_names_what_to_get_from_where_and_where_to_put_it(radedit_model: Any) -> None:
    (radedit_model.sources["unet"] / UNET).unlink()
    with pytest.raises(CheckpointError) as caught:
        locate(radedit_model.spec)
    text = sentence(caught)
    revision = radedit_model.spec.components["unet"].revision
    assert f"unet/{UNET} of microsoft/radedit at revision {revision}" in text
    assert str(radedit_model.root / "models" / "small" / "unet" / UNET) in text
    assert "RADEDIT_ALLOW_DOWNLOAD" in text


def test_the_packaged_radedit_entry_says_what_to_get_on_a_bare_machine(tmp_path: Path) -> None:
    environ = {"RADEDIT_MODELS_DIR": str(tmp_path / "m"), "RADEDIT_HUB_CACHE": str(tmp_path / "h")}
    with pytest.raises(CheckpointError) as caught:
        load_backbone(load_settings(environ).model("radedit"))
    text = sentence(caught)
    assert "unet/config.json of microsoft/radedit at revision e8ebd31" in text
    assert "Microsoft research licence" in text
    assert not (tmp_path / "h").exists()


def test_pickle_only_checkpoint_is_refused_by_name_in_the_hub_cache(radedit_model: Any) -> None:
    folder = radedit_model.sources["text_encoder"]
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError) as caught:
        locate(radedit_model.spec)
    text = sentence(caught)
    assert "only as pytorch_model.bin, a pickle file" in text
    assert "expected model.safetensors" in text


def test_pickle_only_checkpoint_is_refused_by_name_in_a_folder(
    phantom: Path, tmp_path: Path, spec_for: Any
) -> None:
    (phantom / "vae" / UNET).rename(phantom / "vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError) as caught:
        locate(spec_for(tmp_path, folder=phantom))
    assert "only as diffusion_pytorch_model.bin, a pickle file" in sentence(caught)


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_component_of_a_folder_is_named(
    phantom: Path, tmp_path: Path, spec_for: Any, part: str
) -> None:
    (phantom / part).rename(phantom / "elsewhere")
    with pytest.raises(CheckpointError) as caught:
        locate(spec_for(tmp_path, folder=phantom))
    assert f"{part}/" in sentence(caught)
    assert str(phantom / part) in str(caught.value)


@pytest.mark.parametrize("verify", ["pinned", "on-first-use"])
def test_wrong_hash_names_file_and_both_hashes(radedit_model: Any, verify: str) -> None:
    digests = locate(radedit_model.spec).sha256
    wrong = {**digests, f"unet/{UNET}": "0" * 64}
    with pytest.raises(CheckpointError) as caught:
        locate(replace(radedit_model.spec, verify=verify, sha256=wrong))
    text = sentence(caught)
    assert f"unet/{UNET} has the sha256 {digests[f'unet/{UNET}']}, expected {'0' * 64}" in text
    assert locate(replace(radedit_model.spec, verify=verify, sha256=digests)).sha256 == digests


def test_a_pinned_model_refuses_a_file_without_a_hash(
    phantom: Path, tmp_path: Path, spec_for: Any
) -> None:
    with pytest.raises(CheckpointError, match=r"unet/config\.json has no sha256"):
        locate(spec_for(tmp_path, folder=phantom, verify="pinned"))


def test_first_use_records_hashes_and_a_later_change_is_refused(radedit_model: Any) -> None:
    locate(radedit_model.spec)
    lock = radedit_model.root / "models" / "small.sha256.json"
    recorded = json.loads(lock.read_text())
    assert len(recorded) == 9
    locate(radedit_model.spec)
    assert json.loads(lock.read_text()) == recorded
    config = radedit_model.sources["unet"] / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(CheckpointError) as caught:
        locate(radedit_model.spec)
    text = sentence(caught)
    assert "unet/config.json has changed since it was first loaded" in text
    assert str(lock) in text
    lock.unlink()
    locate(radedit_model.spec)


def test_an_unwritable_record_is_an_error_and_not_a_silent_skip(radedit_model: Any) -> None:
    (radedit_model.root / "models").write_text("a file where the folder should be")
    with pytest.raises(CheckpointError, match=r"record of its hashes .* cannot be read or written"):
        locate(radedit_model.spec)


def test_only_listed_files_of_the_pinned_revision_are_read(radedit_model: Any) -> None:
    files = locate(radedit_model.spec)
    names = {f"{part}/{name}" for part, found in files.paths.items() for name in found}
    assert "text_encoder/modeling_cxrbert.py" not in names
    assert (radedit_model.sources["text_encoder"] / "modeling_cxrbert.py").exists()
    for part, found in files.paths.items():
        revision = radedit_model.spec.components[part].revision
        assert all(revision in str(path) for path in found.values())


# ---------------------------------------------------------------- a Hub on this machine


class Hub(BaseHTTPRequestHandler):
    """Answers as the Hub does: resolves files of a folder, or says why not."""

    root: Path
    refusal: tuple[int, str] | None = None
    breaks_off: bool = False
    asked: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        owner, repo, _, revision, *rest = self.path.strip("/").split("/")
        type(self).asked.append("/".join(rest))
        path = self.root / f"models--{owner}--{repo}" / "snapshots" / revision / Path(*rest)
        if type(self).refusal is not None:
            status, code = type(self).refusal
            return self.reply(status, {"X-Error-Code": code, "X-Error-Message": code})
        if not path.is_file():
            return self.reply(404, {"X-Error-Code": "EntryNotFound"})
        content = path.read_bytes()
        headers = {"ETag": f'"{file_sha256(path)}"', "X-Repo-Commit": revision}
        return self.reply(200, headers, content, body)

    def reply(
        self, status: int, headers: dict[str, str], content: bytes = b"", body: bool = False
    ) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: len(content) // 2] if self.breaks_off else content)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet."""


@pytest.fixture
def hub(radedit_model: Any) -> Iterator[tuple[type[Hub], Any]]:
    """Serve the small RadEdit as the Hub does; give a spec that may download from it."""
    handler = type("ThisHub", (Hub,), {"root": radedit_model.root / "hub", "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    access = replace(
        radedit_model.spec.access,
        allow_download=True,
        hub_cache=radedit_model.root / "fresh-cache",
        hub_endpoint=f"http://127.0.0.1:{server.server_port}",
    )
    yield handler, replace(radedit_model.spec, access=access)
    server.shutdown()
    server.server_close()
    thread.join()


def test_allowed_download_fetches_only_listed_files_and_then_works_offline(hub: Any) -> None:
    handler, spec = hub
    digests = locate(spec).sha256
    assert "modeling_cxrbert.py" not in handler.asked
    assert f"unet/{UNET}" in handler.asked
    handler.asked.clear()
    offline = replace(spec, access=replace(spec.access, allow_download=False))
    assert locate(offline).sha256 == digests
    assert handler.asked == []


def test_nothing_is_asked_of_the_hub_unless_allowed(hub: Any) -> None:
    handler, spec = hub
    with pytest.raises(CheckpointError, match="downloads are off"):
        locate(replace(spec, access=replace(spec.access, allow_download=False)))
    assert handler.asked == []


def test_offline_switch_of_the_hub_client_is_obeyed(
    hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, spec = hub
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError) as caught:
        locate(spec)
    assert "HF_HUB_OFFLINE is set" in sentence(caught)
    assert handler.asked == []


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "GatedRepo", "is gated; accept its terms"),
        (403, "GatedRepo", "is gated; accept its terms"),
        (401, "RepoNotFound", "is gated; accept its terms"),
        (404, "RepoNotFound", "the Hub has no microsoft/radedit"),
        (404, "RevisionNotFound", "at its pinned revision"),
        (404, "EntryNotFound", "has no config.json at its pinned revision"),
    ],
)
def test_refusals_of_the_hub_become_one_sentence(
    hub: Any, status: int, code: str, said: str
) -> None:
    handler, spec = hub
    handler.refusal = (status, code)
    with pytest.raises(CheckpointError) as caught:
        locate(spec)
    text = sentence(caught)
    assert said in text
    assert "microsoft/radedit" in text
    assert str(spec.access.models_dir / "small" / "unet" / "config.json") in text


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry at once: the Hub client waits about 20 s in all between its attempts."""
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


@pytest.mark.usefixtures("no_waiting")
def test_unreachable_hub_becomes_one_sentence(hub: Any) -> None:
    _, spec = hub
    nowhere = replace(spec.access, hub_endpoint="http://127.0.0.1:9")
    with pytest.raises(CheckpointError) as caught:
        locate(replace(spec, access=nowhere))
    assert "the Hub cannot be reached" in sentence(caught)


@pytest.mark.usefixtures("no_waiting")
def test_a_download_that_breaks_off_becomes_one_sentence_and_leaves_no_file(hub: Any) -> None:
    handler, spec = hub
    handler.breaks_off = True
    with pytest.raises(CheckpointError) as caught:
        locate(spec)
    assert "microsoft/radedit cannot be fetched" in sentence(caught)
    assert not list(spec.access.hub_cache.rglob("config.json"))


def test_a_download_with_another_hash_is_refused(hub: Any) -> None:
    _, spec = hub
    with pytest.raises(CheckpointError, match="expected " + "1" * 64):
        locate(replace(spec, sha256={f"unet/{UNET}": "1" * 64}))
