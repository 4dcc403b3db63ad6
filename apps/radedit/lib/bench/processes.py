"""Whole processes: what a command costs from its start to its end, cold, and in memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping, Sequence
from importlib.metadata import files
from pathlib import Path
from typing import Final

from radedit.lib.bench.turns import Quantities, Way
from radedit.lib.errors import NotFoundError, RadEditError

RADEDIT: Final = (sys.executable, "-m", "radedit.lib.cli")
IMPORTS: Final = (
    "import torch, highdicom, pydicom, "
    "diffusers.models.unets.unet_2d_condition, diffusers.models.autoencoders.autoencoder_kl, "
    "transformers.models.bert.modeling_bert"
)
#: A process's peak memory counts from that of the one it was forked from, so a small one does it.
_LAUNCHER: Final = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
took = time.perf_counter() - begun
print(json.dumps([process.returncode, took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""
INTERPRETER, LIBRARIES = "an interpreter alone", "imports only"
EDIT: Final = (
    "--prompt", "No acute cardiopulmonary process", "--edit-mask", "ellipse:1470,862,125,140",
    "--keep-mask", "box:1270,600,1440,820", "--json",
)  # fmt: skip


def real_film() -> Path:
    """Give the real chest film of pydicom-data: CR, 1841 x 1955, 15 bits.

    Raises
    ------
    NotFoundError
        pydicom-data is not installed whole.
    """
    for file in files("pydicom-data") or []:
        if file.name == "RG1_UNCR.dcm":
            return Path(str(file.locate()))
    raise NotFoundError("pydicom-data is installed without RG1_UNCR.dcm; install it again.")


def run(command: Sequence[str | Path], codes: Collection[int] = (0,)) -> Quantities:
    """Run a process that must succeed: its wall and CPU seconds and its peak memory.

    Parameters
    ----------
    codes : exit codes that count as success

    Raises
    ------
    RadEditError
        It did not succeed.
    """
    launched = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, *(str(word) for word in command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    code, wall, cpu, peak_kib = json.loads(launched.stdout)
    if code not in codes:
        raise RadEditError(
            f"a process of the bench ended with {code}; run it by hand: "
            f"{' '.join(str(word) for word in command[:4])} ..."
        )
    return {"wall s": wall, "CPU s": cpu, "peak MiB": peak_kib / 1024}


def cold_ways(film: Path) -> dict[str, Way]:
    """Light commands and one edit, each a process of its own."""
    return {
        INTERPRETER: lambda: run([sys.executable, "-c", "pass"]),
        "radedit --help": lambda: run([*RADEDIT, "--help"]),
        "radedit check FILM": lambda: run([*RADEDIT, "check", film], (0, 1)),  # 1: it has faults
        "radedit find FOLDER": lambda: run([*RADEDIT, "find", film.parent]),
        LIBRARIES: lambda: run([sys.executable, "-c", IMPORTS]),
        "radedit edit FILM": lambda: edited(film),
    }


def edited(film: Path, *more: str) -> Quantities:
    """Edit one film in a process of its own; with `more`, other masks and so on."""
    with tempfile.TemporaryDirectory(prefix="radedit-bench-") as out:
        return run([*RADEDIT, "edit", film, *(more or EDIT), "--output", out])


def memory_ways(films: Mapping[str, Path]) -> dict[str, Way]:
    """Peak memory of one edit by the size of its film, beside that of the libraries alone."""

    def peak(found: Quantities) -> Quantities:
        return {"peak MiB": found["peak MiB"], "wall s": found["wall s"]}

    ways: dict[str, Way] = {LIBRARIES: lambda: peak(run([sys.executable, "-c", IMPORTS]))}
    whole = ("--prompt", "Left lung consolidation", "--edit-mask", "task:lung_segmentation:left")
    for name, film in films.items():
        ways[f"radedit edit, {name}"] = lambda film=film: peak(edited(film, *whole))  # type: ignore[misc]
    return ways
