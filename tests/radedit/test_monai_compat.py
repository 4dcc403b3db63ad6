"""MONAI Label's server module imports beside pydicom 3, and only one name is supplied."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from pydicom.uid import SegmentationStorage

from radedit.lib.monai_compat import MISSING_MODULE, supply_missing_names


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter, where nothing has been imported yet."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


def test_pydicom_still_lacks_the_module() -> None:
    # The day this fails the compatibility module can go.
    code = f"import {MISSING_MODULE}"
    assert f"No module named '{MISSING_MODULE}'" in python(code).stderr


def test_torch_runs_the_hook_when_it_is_imported() -> None:
    (hook,) = entry_points(group="torch.backends", name="radedit_monai_compat")
    assert hook.load() is supply_missing_names
    done = python(f"import torch, {MISSING_MODULE} as m; print(m.SegmentationStorage)")
    assert done.stdout.strip() == SegmentationStorage, done.stderr


def test_the_server_command_imports_its_server_module() -> None:
    done = python("import monailabel.main, monailabel.app; print('served')")
    assert done.stdout.splitlines()[-1:] == ["served"], done.stderr


def test_supplying_twice_adds_one_finder() -> None:
    supply_missing_names()
    before = list(sys.meta_path)
    supply_missing_names()
    assert sys.meta_path == before


def test_no_other_missing_module_is_supplied() -> None:
    supply_missing_names()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("pydicom._no_such_module")
