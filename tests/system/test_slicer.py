"""The Slicer extension on Slicer's own Python package, alone and against the running server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
from orthanc import Orthanc
from radedit_server import RadEditServer, radedit_server

REPOSITORY = Path(__file__).resolve().parents[2]
EXTENSION = REPOSITORY / "viewers" / "slicer"
TESTS = EXTENSION / "RadEdit" / "Testing" / "Python"
TOKEN = "a-token-for-this-test-0123456789"
RAN = re.compile(r"^Ran (\d+) tests? in [\d.]+s\n\nOK$", re.MULTILINE)


def run_unittests(python: str, name: str, **environment: str) -> int:
    """Run one file of unit tests as Slicer does; give how many passed, none of them skipped."""
    done = subprocess.run(
        [python, str(TESTS / name)],
        capture_output=True,
        text=True,
        timeout=1500,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )
    ran = RAN.search(done.stderr)
    if done.returncode != 0 or ran is None:
        pytest.fail(f"{name}\n{done.stdout}{done.stderr[-8000:]}", pytrace=False)
    return int(ran[1])


@pytest.fixture(scope="module")
def served(
    rg1: Path,
    start_orthanc: Callable[..., Orthanc],
    tmp_path_factory: pytest.TempPathFactory,
    new_port: Callable[[], int],
) -> Iterator[RadEditServer]:
    """Serve a real archive with one real film, by one worker; ended by its own process."""
    archive = start_orthanc()
    archive.upload(rg1.read_bytes())
    folder = tmp_path_factory.mktemp("slicer")
    with radedit_server(folder, new_port(), studies=archive.dicom_web, token=TOKEN) as server:
        yield server


def test_the_logic_brings_masks_and_films_through_a_real_scene(slicer_python: str) -> None:
    assert run_unittests(slicer_python, "RadEditLogicTest.py") >= 20


def test_the_window_works_with_stand_ins_for_qt_made_from_its_ui_file(slicer_python: str) -> None:
    assert run_unittests(slicer_python, "RadEditPanelTest.py") >= 14


def test_a_user_of_slicer_edits_a_film_on_the_running_server(
    slicer_python: str, served: RadEditServer, rg1: Path
) -> None:
    header = pydicom.dcmread(rg1, stop_before_pixels=True)
    passed = run_unittests(
        slicer_python,
        "RadEditServerTest.py",
        RADEDIT_TEST_SERVER=served.url,
        RADEDIT_TEST_FILM=str(header.SOPInstanceUID),
        RADEDIT_SERVER_TOKEN=TOKEN,
    )
    assert passed >= 7
    log = served.log.read_text()
    assert TOKEN not in log
    assert str(header.PatientName) not in log


def test_every_file_of_the_extension_is_named_to_its_build() -> None:
    module = EXTENSION / "RadEdit"
    said = (module / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "RadEdit")
    files = [p for p in module.rglob("*") if p.suffix in {".py", ".ui", ".png"}]
    assert len(files) > 10
    assert [p for p in files if p.relative_to(module).as_posix() not in said] == []
    named = re.findall(r"[\w/]+\.(?:py|ui|png)", said)
    assert [name for name in named if not (module / name).is_file()] == []


def test_the_entry_for_the_extensions_index_keeps_to_its_schema() -> None:
    entry = json.loads((EXTENSION / "RadEdit.json").read_text())
    texts = {"$schema", "category", "scm_url", "scm_revision", "scm_type", "build_subdirectory"}
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.2.json#")
    assert set(entry) <= texts | {"build_dependencies", "dicom_support_rule", "enabled", "tier"}
    assert {"$schema", "category", "scm_url"} <= set(entry)
    assert all(isinstance(entry[name], str) for name in texts & set(entry))
    assert entry["scm_type"] in ("git", "local")
    assert entry["build_dependencies"] == []
    assert 1 <= entry["tier"] <= 5
    cmake = (EXTENSION / "CMakeLists.txt").read_text()
    assert f"project({EXTENSION.joinpath('RadEdit.json').stem})" in cmake
    for name in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "DEPENDS"):
        assert f"set(EXTENSION_{name} " in cmake
    assert f'EXTENSION_CATEGORY "{entry["category"]}"' in cmake


def test_the_extension_needs_nothing_that_slicer_does_not_bring() -> None:
    allowed = {"numpy", "vtk", "pydicom", "slicer", "qt", "RadEditLib", *sys.stdlib_module_names}
    imported = set()
    for path in (EXTENSION / "RadEdit" / "RadEditLib").glob("*.py"):
        found = re.findall(r"^\s*(?:from|import) ([A-Za-z_]\w*)", path.read_text(), re.MULTILINE)
        imported |= set(found)
    assert imported - allowed == set()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert not any("slicer" in d for d in project["dependencies"])
