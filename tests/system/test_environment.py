"""No surrounding makes a command call itself defective: each is told in one sentence.

Accounts without a home, a read-only home, state, films or output, a temporary folder that is not
there, files that may not be read: what services, containers and shared drives bring along.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from radedit.lib import user_folders
from radedit.lib.errors import ParameterError

RADEDIT = Path(sys.executable).with_name("radedit")
NOWHERE = "/proc/nowhere"  # nobody can make anything there, root neither
EDIT = ("--prompt", "Consolidation", "--edit-mask", "box:600,600,900,900", "--steps", "2")


def run(
    words: list[str], cwd: Path, environment: dict[str, str], unset: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command; as root, without root's right to write what is read-only."""
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    may = drop if os.getuid() == 0 and shutil.which("setpriv") else []
    return subprocess.run(
        [*may, str(RADEDIT), *words],
        cwd=cwd,
        env={**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "300", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, rg1: Path) -> Path:
    """Folders that may be read and not written, a film in one, and a film that may not be read."""
    folder = tmp_path_factory.mktemp("place")
    for name in ("films", "secret", "home", "empty"):
        (folder / name).mkdir()
    shutil.copy(rg1, folder / "films" / "film.dcm")
    shutil.copy(rg1, folder / "secret" / "film.dcm")
    (folder / "secret" / "film.dcm").chmod(0)
    for name in ("films", "home", "empty"):
        (folder / name).chmod(0o555)
    return folder


SERVE = ["serve", "--port", "0"]
READ_ONLY = {"HOME": "home", "XDG_STATE_HOME": "", "XDG_CACHE_HOME": ""}
NO_HOME = {"HOME": NOWHERE, "XDG_STATE_HOME": "", "XDG_CACHE_HOME": ""}


@pytest.mark.parametrize(
    ("words", "environment", "said"),
    [
        ([*SERVE, "--studies", "new"], NO_HOME, ("/proc/nowhere", "--state", "XDG_STATE_HOME")),
        ([*SERVE, "--studies", "new"], READ_ONLY, ("--state",)),
        ([*SERVE, "--studies", "new", "--state", "empty/x"], {}, ("empty/x", "--state")),
        ([*SERVE, "--studies", "films"], {}, ("films", "--studies")),
        ([*SERVE, "--studies", f"{NOWHERE}/films"], {}, (NOWHERE, "--studies")),
        (["worker", "--studies", "films"], NO_HOME, ("jobs", "--database")),
        (["jobs", "list", "--studies", "films"], READ_ONLY, ("jobs", "--database")),
        (["edit", "films/film.dcm", *EDIT, "--output", "films"], {}, ("films", "output")),
        (["edit", "films/film.dcm", *EDIT, "--output", f"{NOWHERE}/x"], {}, ("output",)),
        (["edit", "secret/film.dcm", *EDIT, "--output", "new"], {}, ("cannot be opened",)),
        (["batch", "films", *EDIT, "--output", "new", "--work", "empty/w"], {}, ("--work",)),
        (["stress", "manifestation", "--count", "1", "--out", "empty/run"], {}, ("--out",)),
        (["stress", "manifestation", "--archive", "films", "--labels", "empty", "--out", "new"],
         {}, ("table of labels",)),
        (["phantom", "--out", "empty/x", "--size", "96"], {}, ("cannot be written",)),
        (["find", "~nobody-of-that-name/films"], {}, ("~",)),
        (["route", "empty"], {}, ("cannot be read",)),
    ],
)  # fmt: skip
def test_a_surrounding_is_told_in_one_sentence_that_says_what_to_do(
    words: list[str],
    environment: dict[str, str],
    said: tuple[str, ...],
    place: Path,
    tmp_path: Path,
) -> None:
    for name in ("films", "secret", "home", "empty"):
        (tmp_path / name).symlink_to(place / name)
    given = {k: str(tmp_path / v) if v == "home" else v for k, v in environment.items()}
    done = run(words, tmp_path, given)
    sentences = [line for line in done.stderr.splitlines() if line.startswith("radedit: ")]
    assert done.returncode == 1, done.stderr
    assert len(sentences) == 1
    assert "defect" not in done.stderr
    assert "Traceback" not in done.stderr
    for word in said:
        assert word in sentences[0]


def test_commands_that_need_no_home_run_without_one(place: Path, tmp_path: Path) -> None:
    for environment in (NO_HOME, {"TMPDIR": "/nowhere"}):
        done = run(["models", "list"], tmp_path, environment, ("XDG_CACHE_HOME",))
        assert done.returncode == 0, done.stderr
        done = run(["find", str(place / "films")], tmp_path, environment)
        assert done.returncode == 0, done.stderr


def test_an_account_that_no_table_of_users_knows_has_a_cache_and_is_asked_for_its_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(uid: int) -> NoReturn:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert str(os.getuid()) in user_folders.cache_folder().name
    with pytest.raises(ParameterError, match=r"no home folder .* --state"):
        user_folders.state_folder()
