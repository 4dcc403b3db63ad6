"""The tree as a whole: style, types, import directions, and nothing of one machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sys.executable).parent


def run(*command: str) -> None:
    """Run a checker of this environment on the real tree; its report is the failure."""
    environment = {**os.environ, "NO_COLOR": "1"}
    done = subprocess.run(
        [str(SCRIPTS / command[0]), *command[1:]],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"{' '.join(command)}\n{done.stdout}{done.stderr}", pytrace=False)


def tracked_files() -> list[Path]:
    """List what git tracks; a source archive without git is listed whole."""
    if (REPOSITORY / ".git").exists():
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=True
        )
        return [REPOSITORY / name for name in listed.stdout.split("\0") if name]
    roots = ["apps", "dicom", "tests", "docs", "scripts", ".ci"]
    return [path for root in roots for path in (REPOSITORY / root).rglob("*") if path.is_file()]


def test_ruff_finds_no_fault() -> None:
    run("ruff", "check", ".")


def test_the_tree_is_formatted() -> None:
    run("ruff", "format", "--check", ".")


def test_both_packages_pass_mypy_strict() -> None:
    run("mypy")


def test_imports_run_one_way() -> None:
    run("lint-imports")


def test_no_path_of_a_machine_is_in_the_tree() -> None:
    # Put together here, so that this file does not find itself.
    homes = [
        "/" + "work/",
        "/" + "root/",
        "/" + "home/[a-z]",
        "/" + "Users/[A-Za-z]",
        "/tmp" + "/venv",
    ]
    pattern = re.compile("|".join(homes).encode())
    found = []
    for path in tracked_files():
        if path.suffix in {".safetensors", ".png", ".dcm", ".npz"} or not path.is_file():
            continue
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(REPOSITORY)}:{number}")
    assert found == []


def test_no_module_is_longer_than_a_sitting() -> None:
    modules = [p for root in ("apps", "dicom") for p in (REPOSITORY / root).rglob("*.py")]
    lengths = {str(p.relative_to(REPOSITORY)): len(p.read_text().splitlines()) for p in modules}
    assert {name: n for name, n in lengths.items() if n > 330} == {}


def test_every_finding_can_be_run_and_is_listed() -> None:
    folder = REPOSITORY / "findings"
    scripts = sorted(folder.glob("*.sh"))
    listed = re.findall(r"\]\(([a-z0-9-]+\.sh)\)", (folder / "README.md").read_text())
    assert [script.name for script in scripts] == sorted(listed)
    assert [script.name for script in scripts if not os.access(script, os.X_OK)] == []
    for script in scripts:
        text = script.read_text()
        assert "assert " in text, f"{script.name} cannot fail"
        assert "import radedit" not in text
        assert 'pip" install' in text or "npm install" in text or "apt-get" in text, script.name
