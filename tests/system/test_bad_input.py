"""Bad films and bad requests, each through both edges: one sentence, nothing written or lost.

The command line runs in this process, with one loaded model; the server is one real process.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
import requests
import torch
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import HEVCMP51, RLELossless
from typer.testing import CliRunner

import radedit.lib.pipeline
from radedit.lib.cli import app
from radedit.lib.pipeline import Editor

if TYPE_CHECKING:
    from tests.system.conftest import Serve, Server

PATIENT = "Geheim"
PROMPT = "No acute cardiopulmonary process"
SOUND = "sound.dcm"
SHAPE = (489, 461)  # of the sound film: every fourth pixel of a real one
MakeDataset = Callable[..., Dataset]


def as_bytes(dataset: Dataset) -> bytes:
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def edited(dataset: Dataset, **attributes: Any) -> bytes:
    """Write a dataset with some attributes replaced (None: left out)."""
    for name, value in attributes.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return as_bytes(dataset)


def compressed(dataset: Dataset, syntax: str) -> bytes:
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([b"\0" * 64])
    dataset["PixelData"].VR = "OB"
    return as_bytes(dataset)


def extremity(path: Path) -> bytes:
    """Read the real extremity, a little smaller, with this module's patient."""
    dataset = pydicom.dcmread(path)
    dataset.PixelData = np.ascontiguousarray(dataset.pixel_array[: SHAPE[0]]).tobytes()
    return edited(dataset, Rows=SHAPE[0], PatientName=f"{PATIENT}^Name")


def colour(dataset: Dataset) -> bytes:
    samples = np.zeros((*SHAPE, 3), np.uint8)
    return edited(
        dataset, PixelData=samples.tobytes(), SamplesPerPixel=3, PlanarConfiguration=0,
        PhotometricInterpretation="RGB", BitsAllocated=8, BitsStored=8, HighBit=7,
    )  # fmt: skip


@dataclass(frozen=True)
class BadFilm:
    """A film that must not be edited.

    Attributes
    ----------
    make : a sound dataset and the path of the real extremity, to the file's bytes
    status : what REST answers
    says : expression that the sentence matches
    """

    make: Callable[[Dataset, Path], bytes]
    status: int
    says: str


BAD_FILMS = {
    "no-dicom": BadFilm(lambda *_: b"GIF89a, no film at all\n" * 40, 400, "no readable DICOM"),
    "empty-file": BadFilm(lambda *_: b"", 400, "no readable DICOM"),
    "no-pixels": BadFilm(lambda d, _: edited(d, PixelData=None), 422, "no pixel data"),
    "no-chest": BadFilm(lambda _, rg3: extremity(rg3), 422, "not known as the chest"),
    "lateral": BadFilm(lambda d, _: edited(d, ViewPosition="LL"), 422, "lateral"),
    "lateral-by-orientation": BadFilm(
        lambda d, _: edited(d, PatientOrientation=["A", "F"]), 422, "lateral"
    ),
    "colour": BadFilm(lambda d, _: colour(d), 422, "3 samples per pixel"),
    "two-frames": BadFilm(
        lambda d, _: edited(d, NumberOfFrames=2, PixelData=d.PixelData * 2), 422, "2 frames"
    ),
    # Behind this header lie a few bytes only: whoever decodes first says something else.
    "too-large": BadFilm(
        lambda d, _: edited(d, Rows=40_000, Columns=40_000), 422, "40000 x 40000 pixels, but at"
    ),
    "no-decoder": BadFilm(lambda d, _: compressed(d, HEVCMP51), 422, "no decoder is installed"),
    "truncated-pixels": BadFilm(
        lambda d, _: edited(d, PixelData=d.PixelData[: len(d.PixelData) // 4 * 2]),
        422,
        "truncated or damaged",
    ),
    "truncated-codestream": BadFilm(
        lambda d, _: compressed(d, RLELossless), 422, "truncated or damaged"
    ),
    "truncated-file": BadFilm(lambda d, _: as_bytes(d)[:-10_000], 422, "truncated or damaged"),
    "synthetic": BadFilm(lambda d, _: edited(d, SyntheticData="YES"), 409, "synthetic"),
}


@dataclass(frozen=True)
class BadRequest:
    """What must not be done with a sound film.

    Attributes
    ----------
    wrong : what differs from a sound request, by REST's names; "{NAME}" in a mask is a file
        for the command line and an upload for REST
    says : expression that the sentence matches
    uploads : PNG files by name
    """

    wrong: dict[str, Any]
    says: str
    status: int = 400
    uploads: dict[str, bytes] = field(default_factory=dict)


def png(rows: int, cols: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((rows, cols), 255, np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


# One film pixel in the midst of what is kept: no cell of the model is so small.
BESIDE_KEEP = {
    "edit_mask": "box:100,100,101,101",
    "keep_mask": "box:80,80,121,121 - box:100,100,101,101",
}
OTHER_SIZE = r"has 461 x 489 pixels and the film 489 x 461"
BAD_REQUESTS = {
    "mask-of-another-size": BadRequest(
        {"edit_mask": "{small}"},
        OTHER_SIZE,
        uploads={"small": png(461, 489)},
    ),
    "mask-that-is-no-image": BadRequest(
        {"edit_mask": "{junk}"}, "cannot be read as a PNG", uploads={"junk": b"no image"}
    ),
    "mask-nowhere": BadRequest({"edit_mask": "box:5000,5000,5010,5010"}, "edit mask is empty"),
    "mask-empty-file": BadRequest(
        {"edit_mask": "{small} - box:0,0,999,999"},
        "edit mask is empty",
        uploads={"small": png(*SHAPE)},
    ),
    "edit-inside-keep": BadRequest(
        {"edit_mask": "box:10,10,20,20", "keep_mask": "box:0,0,30,30"}, "wholly inside the keep"
    ),
    "edit-beside-keep": BadRequest(BESIDE_KEEP, r"so close to the keep mask .* none left to edit"),
    "keep-empty": BadRequest({"keep_mask": "box:5000,5000,5010,5010"}, "keep mask is empty"),
    "mask-no-expression": BadRequest({"edit_mask": "box:1,2,3"}, "four numbers"),
    "unknown-label": BadRequest(
        {"edit_mask": "task:lung_segmentation:spleen"}, "no label 'spleen'", 404
    ),
    "unknown-task": BadRequest({"edit_mask": "task:heart"}, "no mask task 'heart'", 404),
    "unknown-model": BadRequest({"edit_model": "nope"}, "no model 'nope'", 404),
    "unknown-method": BadRequest({"method": "paint"}, "method is paint"),
    "unknown-support": BadRequest({"support": "all"}, "support is all"),
    "steps-0": BadRequest({"steps": 0}, "steps is 0; expected 1 to 1000"),
    "steps-1001": BadRequest({"steps": 1001}, "steps is 1001"),
    "skip-below": BadRequest({"skip": -0.1}, r"skip is -0\.1"),
    "skip-all": BadRequest({"skip": 1.0}, r"skip is 1\.0; expected 0\.0 or more and less than"),
    "guidance-below": BadRequest({"guidance": -1.0}, r"guidance is -1\.0"),
    "guidance-above": BadRequest({"guidance": 30.5}, r"guidance is 30\.5; expected 0\.0 to 30"),
    "guidance-nan": BadRequest({"guidance": math.nan}, "guidance is nan"),
    "seed-below": BadRequest({"seed": -1}, "seed is -1"),
    "seed-above": BadRequest({"seed": 2**63}, f"seed is {2**63}"),
    "prompt-empty": BadRequest({"prompt": ""}, "prompt is empty|no prompt"),
    "prompt-blank": BadRequest({"prompt": " \t"}, "prompt is empty"),
    "prompt-unknown-word": BadRequest({"prompt": "Large left zebra"}, "not know: zebra;"),
    "prompt-too-long": BadRequest({"prompt": "effusion mass " * 200}, "this would be lost: '"),
    "inversion-too-long": BadRequest({"invert_prompt": "effusion mass " * 200}, "would be lost"),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def films(make_dataset: MakeDataset, rg1: Path, rg3: Path) -> dict[str, bytes]:
    """Give the sound film and every bad one by file name."""
    pixels = pydicom.dcmread(rg1).pixel_array[::4, ::4]
    assert pixels.shape == SHAPE
    attributes = {
        "PatientName": f"{PATIENT}^Name",
        "StudyDescription": f"Thorax {PATIENT}",
        "PhotometricInterpretation": "MONOCHROME1",
    }

    def sound() -> Dataset:
        return make_dataset(pixels, bits=15, **attributes)

    bad = {f"{name}.dcm": film.make(sound(), rg3) for name, film in BAD_FILMS.items()}
    return {SOUND: as_bytes(sound()), **bad}


@pytest.fixture(scope="module")
def server(serve: Serve, films: dict[str, bytes]) -> Iterator[Server]:
    with serve(films, "radedit") as started:
        yield started


@pytest.fixture
def command_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, editor: Editor
) -> Callable[..., Any]:
    """Run `radedit edit` on a film's bytes with options given by REST's names."""
    monkeypatch.setattr(radedit.lib.pipeline, "Editor", lambda: editor)

    def run(content: bytes, options: dict[str, Any], uploads: dict[str, bytes]) -> Any:
        source = tmp_path / "film.dcm"
        source.write_bytes(content)
        for name, data in uploads.items():
            (tmp_path / f"{name}.png").write_bytes(data)
        paths = {name: f"file:{tmp_path / f'{name}.png'}" for name in uploads}
        words = ["edit", str(source), "--output", str(tmp_path / "out"), "--json"]
        words += [f"{option(k)}={placed(k, v, paths)}" for k, v in options.items()]
        result = CliRunner().invoke(app, words)
        assert source.read_bytes() == content
        return result

    return run


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor()


def option(name: str) -> str:
    return {"edit_model": "--model"}.get(name, f"--{name.replace('_', '-')}")


def placed(name: str, value: Any, places: dict[str, str]) -> Any:
    """Put the places of uploads into a mask expression."""
    return value.format(**places) if name.endswith("_mask") else value


def written(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def check_sentence(text: str, says: str) -> None:
    """One sentence in one line, of nobody's name and without a place in the code."""
    assert re.search(says, text), text
    assert len(text.splitlines()) == 1, text
    assert text.endswith("."), text
    assert not re.search(r"[.!?] +[A-Z]", text), f"more than one sentence: {text}"
    for word in ("Traceback", "unexpected", "defect of", ".py", PATIENT):
        assert word not in text


def check_refused_by_command_line(result: Any, says: str, folder: Path) -> None:
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("radedit: ")
    check_sentence(result.stderr.removeprefix("radedit: ").removesuffix("\n"), says)
    assert not (folder / "out").exists()


def state(server: Server) -> tuple[dict[Path, str], list[str]]:
    """Hash the films and the results; name the uploads: what a refusal must not change."""
    paths = {*server.studies.glob("*.dcm"), *written(server.edited)}
    assert len(paths) > len(BAD_FILMS)
    hashes = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return hashes, sorted(server.uploads())


def check_refused_by_server(
    server: Server, send: Callable[[], requests.Response], status: int, says: str
) -> str:
    """Send a request that must be refused; give back the sentence."""
    before = state(server)
    answer = send()
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"detail"}
    sentence: str = answer.json()["detail"]
    check_sentence(sentence, says)
    for place in (server.temporary, server.studies, server.studies.parent):
        assert str(place) not in sentence
    assert state(server) == before
    assert requests.get(f"{server.url}/info/", timeout=30).ok
    return sentence


def check_log(server: Server, *texts: str) -> None:
    log = server.log.read_text()
    assert "Uvicorn running" in log, "this is not the log of the server"
    assert not re.search(r"(?<!\d)4711(?!\d)", log)  # a port may hold these digits
    for secret in (PATIENT, *(text.strip() for text in texts)):
        assert not secret or secret not in log


def sent(server: Server, bad: BadRequest, image: str = SOUND) -> requests.Response:
    places = {name: f"uploaded:{name}" for name in bad.uploads}
    params = {
        "prompt": PROMPT,
        "steps": 1,
        **{name: placed(name, value, places) for name, value in bad.wrong.items()},
        "masks": {name: base64.b64encode(data).decode() for name, data in bad.uploads.items()},
    }
    return server.infer(params, image=image)


def test_the_sound_film_and_request_are_edited_by_both(
    server: Server, command_line: Callable[..., Any], films: dict[str, bytes]
) -> None:
    result = command_line(films[SOUND], {"prompt": PROMPT, "steps": 1}, {})
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["changed_outside_support"] == 0
    answer = sent(server, BadRequest({}, ""))
    assert answer.status_code == 200, answer.text
    assert len(written(server.edited)) >= 3
    assert answer.json()["edit_id"] in server.log.read_text(), "the log is written at once"
    check_log(server, PROMPT)


@pytest.mark.parametrize("name", BAD_FILMS)
def test_a_bad_film_is_refused_by_the_command_line(
    command_line: Callable[..., Any], films: dict[str, bytes], name: str, tmp_path: Path
) -> None:
    result = command_line(films[f"{name}.dcm"], {"prompt": PROMPT, "steps": 1}, {})
    check_refused_by_command_line(result, BAD_FILMS[name].says, tmp_path)


@pytest.mark.parametrize("name", BAD_FILMS)
def test_a_bad_film_is_refused_by_the_server(server: Server, name: str) -> None:
    film = BAD_FILMS[name]
    check_refused_by_server(
        server,
        lambda: sent(server, BadRequest({}, ""), image=f"{name}.dcm"),
        film.status,
        film.says,
    )
    check_log(server, PROMPT)


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_refused_by_the_command_line(
    command_line: Callable[..., Any], films: dict[str, bytes], name: str, tmp_path: Path
) -> None:
    bad = BAD_REQUESTS[name]
    wanted = {"prompt": PROMPT, "steps": 1, **bad.wrong}
    result = command_line(films[SOUND], wanted, bad.uploads)
    check_refused_by_command_line(result, bad.says, tmp_path)


@pytest.mark.parametrize("name", BAD_REQUESTS)
def test_a_bad_request_is_refused_by_the_server(server: Server, name: str) -> None:
    bad = BAD_REQUESTS[name]
    check_refused_by_server(server, lambda: sent(server, bad), bad.status, bad.says)
    check_log(server, PROMPT, bad.wrong.get("prompt", ""), bad.wrong.get("invert_prompt", ""))


def test_what_would_be_cut_from_a_prompt_is_said_to_the_word(
    server: Server, command_line: Callable[..., Any], films: dict[str, bytes]
) -> None:
    words = ["effusion", "mass"] * 200
    wrong = {"prompt": " ".join(words), "steps": 1}
    sentences = [
        command_line(films[SOUND], wrong, {}).stderr.removeprefix("radedit: ").strip(),
        sent(server, BadRequest(wrong, "")).json()["detail"],
    ]
    assert sentences[0] == sentences[1]
    found = re.search(r"is 400 tokens long and .* takes (\d+); .* lost: '(.*)'\.$", sentences[0])
    assert found is not None, sentences[0]
    assert 10 < int(found[1]) < 400
    assert found[2].split() == words[int(found[1]) :]


def test_a_parameter_nobody_knows_is_refused_by_both(
    server: Server, command_line: Callable[..., Any], films: dict[str, bytes], tmp_path: Path
) -> None:
    wrong = {"stepz": 3}
    check_refused_by_server(
        server, lambda: sent(server, BadRequest(wrong, "")), 400, "no parameter 'stepz'"
    )
    result = command_line(films[SOUND], {"prompt": PROMPT, **wrong}, {})
    assert result.exit_code == 2, "wrong usage"
    assert "--stepz" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_task_nobody_knows_is_refused_by_the_server(server: Server) -> None:
    check_refused_by_server(
        server,
        lambda: server.infer({"prompt": PROMPT}, "nope", image=SOUND),
        404,
        "no model 'nope' here; there are radedit",
    )
    check_log(server, PROMPT)


@pytest.mark.parametrize(
    ("data", "says"),
    [(png(461, 489), OTHER_SIZE), (b"junk", "cannot be read")],
)
def test_a_bad_mask_in_the_forms_label_field_is_refused(
    server: Server, data: bytes, says: str
) -> None:
    check_refused_by_server(
        server,
        lambda: requests.post(
            f"{server.url}/infer/radedit",
            params={"image": SOUND, "output": "json"},
            data={"params": json.dumps({"prompt": PROMPT, "steps": 1})},
            files={"label": ("mask.png", data)},
            timeout=60,
        ),
        400,
        says,
    )
    check_log(server, PROMPT)


def test_a_bad_film_in_the_forms_file_field_is_refused(
    server: Server, films: dict[str, bytes]
) -> None:
    for name in ("lateral", "no-dicom"):
        film, content = BAD_FILMS[name], films[f"{name}.dcm"]

        def send(content: bytes = content) -> requests.Response:
            return requests.post(
                f"{server.url}/infer/radedit",
                data={"params": json.dumps({"prompt": PROMPT, "steps": 1})},
                files={"file": ("film.dcm", content)},
                timeout=60,
            )

        check_refused_by_server(server, send, film.status, film.says)
    check_log(server, PROMPT)


def test_an_output_folder_that_cannot_be_written_is_refused_by_both(
    server: Server, command_line: Callable[..., Any], films: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("in the way")
    result = command_line(films[SOUND], {"prompt": PROMPT, "steps": 1}, {})
    assert result.exit_code == 1
    check_sentence(result.stderr.removeprefix("radedit: ").strip(), "cannot be written")
    assert (tmp_path / "out").read_text() == "in the way"

    aside = server.studies / "edited-aside"
    if server.edited.exists():
        server.edited.rename(aside)
    server.edited.write_text("in the way")
    try:
        check_refused_by_server(
            server, lambda: sent(server, BadRequest({}, "")), 409, "cannot be written"
        )
        assert server.edited.read_text() == "in the way"
    finally:
        server.edited.unlink()
        if aside.exists():
            aside.rename(server.edited)


def test_the_program_itself_refuses_with_one_line(
    films: dict[str, bytes], tmp_path: Path, environment: Callable[[Path], dict[str, str]]
) -> None:
    source = tmp_path / "film.dcm"
    source.write_bytes(films["lateral.dcm"])
    done = subprocess.run(
        [str(Path(sys.executable).with_name("radedit")), "edit", str(source), "--prompt", PROMPT,
         "--output", str(tmp_path / "out")],
        env=environment(tmp_path), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    check_sentence(done.stderr.removeprefix("radedit: ").removesuffix("\n"), "lateral")
    assert source.read_bytes() == films["lateral.dcm"]
    assert not (tmp_path / "out").exists()
