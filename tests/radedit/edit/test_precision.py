"""Precisions: what this processor does fast and right, and what is refused."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from radedit.lib.edit import precision
from radedit.lib.edit.precision import (
    REFUSED,
    SLOW,
    Speed,
    describe,
    has_bfloat16_units,
    measure,
    resolve,
    usable,
)
from radedit.lib.errors import ParameterError
from radedit.lib.pipeline import Editor
from radedit.lib.settings import load_settings


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, float]]:
    """A processor whose half precisions are as slow as the test says."""
    times = {"bfloat16": 1.0, "float16": 1.0}
    monkeypatch.setattr(precision, "measure", lambda name, device="cpu": Speed(times[name], 0.003))
    return times


def test_each_precision_is_right_on_this_processor() -> None:
    for name in ("float32", "bfloat16", "float16"):
        speed = measure(name)
        assert speed.right, name
        assert speed.times_float32 > 0


def test_auto_takes_bfloat16_only_where_there_are_units_for_it_and_they_are_not_slow() -> None:
    chosen = resolve("auto")
    assert chosen in ("float32", "bfloat16")
    if chosen == "bfloat16":
        assert has_bfloat16_units("cpu")
        assert measure("bfloat16").times_float32 < SLOW


def test_without_units_for_bfloat16_auto_takes_float32_and_measures_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    monkeypatch.setattr(precision, "measure", lambda *_: pytest.fail("measured"))
    assert resolve("auto") == "float32"


@pytest.mark.parametrize(("times", "taken"), [(0.5, "bfloat16"), (1.2, "bfloat16"), (3, "float32")])
def test_the_units_decide_and_load_does_not_unless_they_are_slow(
    slow: dict[str, float], monkeypatch: pytest.MonkeyPatch, times: float, taken: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    slow["bfloat16"] = times
    assert resolve("auto") == taken


def test_a_wrong_precision_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(precision, "measure", lambda *_: Speed(0.4, 0.3))
    assert resolve("auto") == "float32"


def test_an_emulated_precision_is_refused_with_its_factor_and_a_slow_one_warned_of(
    slow: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    slow |= {"bfloat16": 218.0, "float16": SLOW}
    with pytest.raises(ParameterError, match=r"takes 218 times as long.*RADEDIT_DTYPE=auto"):
        resolve("bfloat16")
    assert not usable("bfloat16")
    with caplog.at_level(logging.WARNING):
        assert resolve("float16") == "float16"
    assert "1.5 times as long" in caplog.text
    slow["float16"] = REFUSED
    with pytest.raises(ParameterError, match="float16"):
        resolve("float16")


def test_the_default_is_auto_and_the_record_names_what_it_came_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("RADEDIT_DTYPE")
    settings = load_settings()
    assert settings.dtype == "auto"
    editor = Editor(settings)
    assert editor.dtype == resolve("auto")
    assert editor.run_of(None).dtype == editor.dtype
    assert str(editor.backbone().dtype) == f"torch.{editor.dtype}"


def test_an_editor_in_another_precision_leaves_the_first_as_it_is() -> None:
    editor = Editor(replace(load_settings(), dtype="float32"))
    other = editor.in_precision("bfloat16")
    assert (editor.dtype, other.dtype) == ("float32", "bfloat16")
    assert editor.in_precision("float32") is editor


def test_a_processor_that_has_avx2_alone_runs_in_float32_and_is_told_why() -> None:
    """OneDNN and ATen are held to AVX2, as on a server of 2018."""
    held = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    code = """
import json
from radedit.lib.edit.precision import describe, measure, resolve, usable
print(json.dumps([measure("bfloat16").times_float32, usable("bfloat16"), describe()]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=held, capture_output=True, text=True, check=True
    )
    times, may_be_used, told = json.loads(done.stdout)
    assert times > SLOW
    assert not may_be_used
    assert told.endswith("auto takes float32.")


def test_verify_says_what_each_precision_does_here() -> None:
    told = describe()
    assert "bfloat16 takes" in told
    assert "float16 takes" in told
    assert told.endswith(f"auto takes {resolve('auto')}.")
