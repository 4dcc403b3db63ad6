"""What light commands import: a list of modules, since a time would depend on the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch", "diffusers", "transformers", "tokenizers", "safetensors", "monai", "monailabel",
    "highdicom", "itk", "scipy", "skimage", "sklearn", "statsmodels", "matplotlib", "onnxruntime",
    "fastapi", "starlette", "uvicorn", "dbos", "sqlalchemy", "psycopg", "huggingface_hub",
}  # fmt: skip
DICOM = {"pydicom", "pynetdicom", "dicomweb_client", "numpy", "requests", "PIL"}
REPORT = (
    "import sys, atexit; sys.argv[0] = 'radedit'; "
    "atexit.register(lambda: print(*sorted({m.partition('.')[0] for m in sys.modules}), "
    "file=sys.stderr)); from radedit.lib.cli import main; main()"
)


def imported(*words: str | Path) -> tuple[subprocess.CompletedProcess[str], set[str]]:
    """Run a command in a process of its own; give the top modules that it had at its end."""
    done = subprocess.run(
        [sys.executable, "-c", REPORT, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done, set(done.stderr.strip().splitlines()[-1].split())


@pytest.mark.parametrize(
    "words", [("--help",), ("edit", "--help"), ("models", "--help"), ("serve", "--help")]
)
def test_help_imports_neither_dicom_nor_anything_heavy(words: tuple[str, ...]) -> None:
    done, modules = imported(*words)
    assert done.returncode == 0
    assert "Usage" in done.stdout
    assert modules & (HEAVY | DICOM) == set()


def test_check_imports_nothing_heavy(rg1: Path) -> None:
    done, modules = imported("check", rg1)
    assert str(rg1) in done.stdout
    assert "pydicom" in modules
    assert modules & HEAVY == set()


def test_find_imports_nothing_heavy(tmp_path: Path) -> None:
    done, modules = imported("find", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pydicom" in modules
    assert modules & HEAVY == set()


def test_a_heavy_command_is_seen_by_these_tests() -> None:
    done, modules = imported("models", "list")
    assert done.returncode == 0, done.stderr
    assert "torch" in modules
