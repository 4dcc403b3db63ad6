"""Victims in this process, each loaded from a file or module that the test makes."""

from __future__ import annotations

import hashlib
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from radedit.lib.errors import FilmError, NotFoundError, ParameterError, VictimError
from radedit.lib.victims.about import About, Input, read_about
from radedit.lib.victims.locate import KINDS, open_victim
from radedit.lib.victims.preprocessing import described, to_film, to_input

Display = NDArray[np.float32]

CLASSIFIER = """
name = "Brightness"
version = "3.1"
threshold = 0.4
labels = ["bright", "dark"]
activation = "sigmoid"
[thresholds]
dark = 0.7
[input]
size = [8, 8]
channels = 3
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
"""
SEGMENTER = """
task = "segment"
labels = ["white"]
threshold = 0.5
"""


class Brightness(torch.nn.Module):
    """The mean of the input as a logit for bright, and its negative for dark."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(dim=(1, 2, 3))
        return torch.stack([mean, -mean], dim=1)


class Itself(torch.nn.Module):
    """Segments what is white: the input is the map."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 1.0


def half_white(rows: int = 40, cols: int = 30) -> Display:
    display = np.zeros((rows, cols), dtype=np.float32)
    display[: rows // 2] = 1
    return display


def write_torchscript(path: Path, module: torch.nn.Module, shape: tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of TorchScript as a whole
        torch.jit.trace(module, torch.zeros(shape)).save(str(path))  # type: ignore[no-untyped-call]


def write_exported(path: Path, module: torch.nn.Module, shape: tuple[int, ...]) -> None:
    torch.export.save(torch.export.export(module, (torch.zeros(shape),)), path)


def write_onnx_brightness(path: Path, channels: int = 3) -> None:
    """Write ReduceMean -> [mean, -mean] by hand, as no exporter would make it simpler."""
    nodes = [
        helper.make_node("ReduceMean", ["film"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Neg", ["mean"], ["minus"]),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["a"]),
        helper.make_node("Unsqueeze", ["minus", "axis"], ["b"]),
        helper.make_node("Concat", ["a", "b"], ["logits"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("film", TensorProto.FLOAT, [1, channels, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def sigmoid(logit: float) -> float:
    return 1 / (1 + float(np.exp(-logit)))


@pytest.mark.parametrize("kind", ["onnx", "torchscript", "exported"])
def test_a_networks_file_answers_with_its_own_scores_and_its_card_says_which(
    kind: str, tmp_path: Path
) -> None:
    path = tmp_path / {"onnx": "m.onnx", "torchscript": "m.ts", "exported": "m.pt2"}[kind]
    shape = (1, 3, 8, 8)
    if kind == "onnx":
        write_onnx_brightness(path)
    elif kind == "torchscript":
        write_torchscript(path, Brightness(), shape)
    else:
        write_exported(path, Brightness(), shape)
    path.with_name(path.name + ".toml").write_text(CLASSIFIER)
    victim = open_victim(f"{'onnx' if kind == 'onnx' else 'torchscript'}:{path}")
    white = victim.answer(np.ones((40, 30), dtype=np.float32))
    half = victim.answer(half_white())
    assert white.scores == pytest.approx({"bright": sigmoid(2), "dark": sigmoid(-2)}, abs=1e-6)
    assert half.scores == pytest.approx({"bright": 0.5, "dark": 0.5}, abs=1e-6)
    assert white.segments is None
    card = victim.card
    assert (card.name, card.version, card.threshold_of("bright")) == ("Brightness", "3.1", 0.4)
    assert card.threshold_of("dark") == 0.7
    assert card.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "8 x 8" in card.preprocessing


def test_a_segmenters_mask_lies_on_the_films_own_pixels(tmp_path: Path) -> None:
    path = tmp_path / "white.ts"
    write_torchscript(path, Itself(), (1, 1, 16, 16))
    pad = SEGMENTER + "[input]\nsize = [16, 16]\npad = true\n"
    path.with_name("white.ts.toml").write_text(pad)
    answer = open_victim(f"torchscript:{path}").answer(half_white(48, 30))
    assert answer.scores == {}
    assert answer.segments is not None
    mask = answer.segments["white"]
    assert mask.shape == (48, 30)
    wrong = mask != (half_white(48, 30) > 0.5)
    assert not np.delete(wrong, range(21, 27), axis=0).any()  # the edge is as sharp as 16 allow


def test_with_softmax_every_pixel_has_one_label_and_the_background_is_not_told(
    tmp_path: Path,
) -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([0.5 - x, x - 0.5], dim=1)

    path = tmp_path / "two.ts"
    write_torchscript(path, Two(), (1, 1, 40, 30))
    about = 'task = "segment"\nlabels = ["", "white"]\nactivation = "softmax"\n'
    path.with_name("two.ts.toml").write_text(about)
    answer = open_victim(f"torchscript:{path}").answer(half_white())
    assert answer.segments is not None
    assert set(answer.segments) == {"white"}
    np.testing.assert_array_equal(answer.segments["white"], half_white() > 0.5)


def test_a_python_function_is_a_victim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        "def scores(display, valid):\n"
        "    if display.mean() > 0.9: raise OSError('licence')\n"
        "    return {'Weiss': float(display.mean()) * (2 if display.max() < 1 else 1)}\n"
    )
    (tmp_path / "vendors_model.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    about = tmp_path / "about.toml"
    about.write_text('victim = "python:vendors_model:scores"\n[rename]\nWeiss = "white"\n')
    victim = open_victim(str(about))
    assert victim.answer(half_white()).scores == {"white": 0.5}
    with pytest.raises(VictimError, match=r"failed on a film \(OSError\)"):
        victim.answer(np.ones((4, 4), dtype=np.float32))
    with pytest.raises(VictimError, match="no number from 0 to 1"):
        victim.answer(np.full((4, 4), 0.8, dtype=np.float32))
    sys.modules.pop("vendors_model")


def test_a_function_may_segment_on_the_films_pixels_and_on_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = (
        "from radedit.lib.victims.protocol import Answer\n"
        "def whole(display, valid): return Answer({}, {'white': (display > 0.5) * 1})\n"
        "def half(display, valid): return Answer({}, {'white': display[::2] > 0.5})\n"
    )
    (tmp_path / "vendors_masks.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    segments = open_victim("python:vendors_masks:whole").answer(half_white()).segments
    assert segments is not None
    assert segments["white"].dtype == np.bool_
    np.testing.assert_array_equal(segments["white"], half_white() > 0.5)
    with pytest.raises(VictimError, match="another size"):
        open_victim("python:vendors_masks:half").answer(half_white())
    sys.modules.pop("vendors_masks")


def test_every_file_that_the_documentation_shows_can_be_read(tmp_path: Path) -> None:
    documented = (Path(__file__).parents[3] / "docs" / "victims.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", documented, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        path = tmp_path / "shown.toml"
        path.write_text(block)
        victim, _ = read_about(path)
        assert victim.partition(":")[0] in KINDS
    shown = set(re.findall(r"^\| `(\w+):", documented, re.MULTILINE))
    assert shown == set(KINDS)


def test_an_embedded_victim_is_opened_by_its_name() -> None:
    victim = open_victim("embedded:pneumothorax-robust")
    assert victim.card.name == "pneumothorax-robust"
    assert victim.card.sha256 is not None
    assert set(victim.answer(half_white(64, 64)).scores) == {"pneumothorax"}
    segments = open_victim("embedded:lungs-strong").answer(half_white(64, 64)).segments
    assert segments is not None
    assert segments["lungs"].shape == (64, 64)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", ParameterError, "KIND:WHERE"),
        ("onnx", ParameterError, "KIND:WHERE"),
        ("vendor:x", ParameterError, "KIND:WHERE"),
        ("onnx:/nowhere/model.onnx", ParameterError, "no file 'model.onnx'"),
        ("csv:/nowhere/scores.csv", ParameterError, "cannot be read as CSV"),
        ("bundle:/nowhere/bundle", ParameterError, "lacks configs"),
        ("python:json:nothing", NotFoundError, "no function"),
        ("python:no_such_module:f", NotFoundError, "no function"),
        ("embedded:nobody", NotFoundError, "no victim of that name"),
        ("monailabel:localhost", ParameterError, "monailabel:http"),
        ("monailabel:http://host/a:b", ParameterError, "without a label"),
        ("http:ftp://host/x", ParameterError, "http"),
        ("https://user:secret@host/x", ParameterError, "http"),
        ("dicom:host:104", ParameterError, "dicom:AE@HOST:PORT"),
        ("dicom:VENDOR@host:99999", ParameterError, "no TCP port"),
        ("/nowhere/about.toml", ParameterError, "cannot be read as TOML"),
    ],
)
def test_a_text_that_names_no_victim_is_refused(
    text: str, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        open_victim(text)


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("treshold = 0.5", "no use for the key 'treshold'"),
        ("threshold = 2", "outside of 0 to 1"),
        ('threshold = "high"', "expected float"),
        ('task = "detect"', "expected one of classify, segment"),
        ("[thresholds]\ndark = -1", "outside of 0 to 1"),
        ("[input]\nsize = [8]", "two numbers"),
        ("[input]\nsize = [8, 9]\npad = true", "the same"),
        ("[input]\nmean = [0.5, 0.5]", "for each channel"),
        ("[input]\nstd = [0]", "is 0"),
        ("[input]\nsise = [8, 8]", "no use for the key 'sise'"),
        ("[limits]\ntimeout_s = 0", "not above 0"),
        ('[dicom]\nresults = ["pdf"]', "expected one of sr, seg, sc"),
        ('[http]\nbody = "xml"', "expected one of json, multipart"),
        ("threshold = ", "cannot be read as TOML"),
    ],
)
def test_what_a_file_says_of_a_victim_is_checked(toml: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "about.toml"
    path.write_text(toml)
    with pytest.raises(ParameterError, match=said):
        read_about(path)


def test_a_network_without_labels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_onnx_brightness(path)
    with pytest.raises(ParameterError, match=r"write labels = .* into 'm.onnx.toml'"):
        open_victim(f"onnx:{path}")


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (TensorProto.FLOAT16, r"takes tensor\(float16\); export it with an input of float32"),
        (TensorProto.BFLOAT16, "computes in bfloat16, which ONNX Runtime does not on a CPU"),
    ],
)
def test_a_model_in_another_precision_is_refused_by_the_name_of_its_type(
    tmp_path: Path, kind: int, said: str
) -> None:
    nodes = [helper.make_node("GlobalAveragePool", ["film"], ["a"])]
    ends = [helper.make_tensor_value_info(name, kind, [1, 1, None, None]) for name in ("film", "a")]
    graph = helper.make_graph(nodes, "mean", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    path.with_name("m.onnx.toml").write_text('labels = ["mass"]\n[input]\nsize = [8, 8]\n')
    with pytest.raises(ParameterError, match=said):
        open_victim(f"onnx:{path}")


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    for kind in ("onnx", "torchscript"):
        path = tmp_path / "model"
        path.write_bytes(b"PDF of the model")
        with pytest.raises(ParameterError, match="cannot be loaded"):
            open_victim(f"{kind}:{path}")


def test_an_output_of_another_size_is_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "m.ts"
    write_torchscript(path, Brightness(), (1, 1, 8, 8))
    path.with_name("m.ts.toml").write_text('labels = ["a", "b", "c"]\n[input]\nsize = [8, 8]\n')
    with pytest.raises(VictimError, match=r"output is \[1, 2\]; expected \[1, 3\]"):
        open_victim(f"torchscript:{path}").answer(half_white())


def test_logits_that_nobody_called_logits_are_no_scores(tmp_path: Path) -> None:
    path = tmp_path / "m.ts"
    write_torchscript(path, Brightness(), (1, 1, 8, 8))
    path.with_name("m.ts.toml").write_text(
        'labels = ["a", "b"]\n[input]\nsize = [8, 8]\nlow = -9\nhigh = 9\n'
    )
    with pytest.raises(VictimError, match="no number from 0 to 1"):
        open_victim(f"torchscript:{path}").answer(np.ones((9, 9), dtype=np.float32))


@pytest.mark.parametrize("pad", [True, False])
def test_a_map_comes_back_to_where_it_was_on_the_film(pad: bool) -> None:
    wanted = Input(size=(32, 32), pad=pad)
    display = np.zeros((96, 60), dtype=np.float32)
    display[30:60, 12:36] = 1
    back = to_film(to_input(display, None, wanted)[0, 0], (96, 60), wanted)
    assert back.shape == (96, 60)
    assert ((back > 0.5) & (display > 0.5)).sum() / ((back > 0.5) | (display > 0.5)).sum() > 0.85


def test_percentiles_are_those_of_measured_pixels() -> None:
    display = np.full((10, 10), 0.5, dtype=np.float32)
    display[:5] = np.linspace(0.2, 0.4, 50, dtype=np.float32).reshape(5, 10)
    valid = np.zeros((10, 10), dtype=bool)
    valid[:5] = True
    given = to_input(display, valid, Input(percentiles=(0, 100)))
    assert given[0, 0, 0, 0] == 0
    assert given[0, 0, 4, 9] == pytest.approx(1)
    assert "percentiles 0 and 100" in described(Input(percentiles=(0, 100)))


@pytest.mark.parametrize(
    "display",
    [
        np.zeros((2, 3, 4), np.float32),
        np.full((3, 3), np.nan, np.float32),
        np.zeros((0, 4), np.float32),
    ],
)
def test_what_is_no_film_is_refused(display: Display) -> None:
    with pytest.raises(FilmError, match="one grey film"):
        to_input(display, None, About().input)


def test_opening_one_kind_loads_nothing_of_the_others(
    run_python: Callable[[str], str], tmp_path: Path
) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("sop_instance_uid,a\n1.2.3,0.5\n")
    loaded = run_python(
        "import sys\n"
        "from radedit.lib.victims.locate import KINDS, open_victim\n"
        f"open_victim('csv:{path}')\n"
        "print(sorted(m for m in ('torch', 'onnxruntime', 'monai', 'pynetdicom', 'itk') "
        "if m in sys.modules))"
    )
    assert loaded.strip() == "[]"
