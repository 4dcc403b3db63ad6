"""Every command line in README and docs: understood by the real command line, and run where it can.

What is run, is run as it stands, in the order of the documents, by a shell, in one folder that
holds what they speak of; `SMALLER` adds options where the documented size takes hours. What is
not run says why in `NOT_RUN`; a new line in the documents is run unless it is named there.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from pydicom import dcmread
from vendors import write_onnx

from radedit.lib.cli import app
from radedit.lib.phantom.studies import Order, write_studies
from radedit.lib.phantom.world import World

ROOT: Final = Path(__file__).parents[2]
BIN: Final = Path(sys.executable).parent
DOCUMENTS: Final = ("README.md", *sorted(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md")))
SMALLER: Final = {
    "radedit phantom --out": "--count 1 --size 96",
    "radedit stress acquisition manifestation": "--count 1",
}
NOT_RUN: Final = {
    "radedit edit http": "needs an archive; tests/radedit/test_archived_studies.py",
    "radedit find http": "needs an archive",
    "radedit retract": "needs an archive; tests/radedit/test_archived_studies.py",
    "radedit batch": "needs an archive, or stands for a form; tests/system/test_batch.py",
    "radedit route": "needs the hospital's nodes; tests/system/test_route.py",
    "radedit jobs show": "needs a job; tests/system/test_jobs_command.py",
    "radedit jobs cancel": "needs a job",
    "radedit jobs retry": "needs a job",
    "radedit jobs discard": "needs a job",
    "radedit jobs list --route": "needs a route",
    "radedit jobs list [": "stands for a form",
    "radedit serve": "runs until it is stopped; tests/system/test_serving.py",
    "radedit worker": "runs until it is stopped; tests/system/test_jobs.py",
    "radedit bench": "minutes to hours; tests/radedit/bench",
    "radedit models add": "needs weights that are gated; tests/radedit/edit/test_catalogue.py",
    "radedit models verify": "needs weights that are gated, or minutes",
    "radedit phantom --credibility": "minutes; tests/radedit/phantom/test_credibility.py",
    "radedit stress manifestation --archive STUDIES --out run --victim": "needs a vendor's table; "
    "tests/radedit/stress/test_asked_again.py",
    "radedit stress own-opacity": "needs a hospital's films; tests/radedit/stress/test_run.py",
    "radedit stress acquisition": "minutes; tests/radedit/stress/test_run.py",
    "radedit edit films/0-*": "the same as README's edit, of a phantom; tests/system/test_demo.py",
}


def documented(document: str) -> Iterator[tuple[str, bool]]:
    """Command lines of one document; True beside those that stand on a line of their own."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / document).read_text("utf-8"))
    for line in text.splitlines():
        found = re.match(r"^ {4}(?:\$ )?((?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?radedit .*)$", line)
        if found:
            yield found[1], True
    for inline in re.findall(r"`((?:[A-Z_]+=\S+\s)*radedit\s[^`]+)`", text):
        yield " ".join(inline.split()), False


def variants(line: str) -> list[str]:
    """The commands that a documented line stands for: `[...]` may be left out, `a|b` is either."""
    line = re.sub(r"\s+#\s.*$|(?<=\S) {3,}\S.*$| {2,}(?=on each further one)", "", line)
    line = re.sub(r"^(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?", "", line).replace("...", "")
    optional = re.split(r"\[([^\]]*)\]", line)
    choices: list[tuple[str, ...]] = []
    for number, part in enumerate(optional):
        if number % 2:
            choices.append(("", part.split("|")[0]))
            continue
        for at, piece in enumerate(re.split(r"(\b\w+(?: ?\| ?\w+)+)", part)):
            choices.append(tuple(re.split(r" ?\| ?", piece)) if at % 2 else (piece,))
    return [" ".join("".join(parts).split()) for parts in product(*choices)]


def all_documented() -> list[Any]:
    found: dict[str, tuple[str, bool]] = {}
    for document in DOCUMENTS:
        for line, own in documented(document):
            for command in variants(line):
                before = found.get(command, (document, False))
                found[command] = (before[0], before[1] or own)
    return [
        pytest.param(command, own, id=f"{document}: {command}")
        for command, (document, own) in found.items()
    ]


@pytest.mark.parametrize(("command", "is_whole"), all_documented())
def test_a_documented_command_is_one_that_the_command_line_takes(
    command: str, is_whole: bool
) -> None:
    here: Any = typer.main.get_command(app)
    name, *words = shlex.split(command)
    try:
        context = here.make_context(name, words)
        while hasattr(here, "resolve_command") and (left := _left(context)):
            name, here, words = here.resolve_command(context, left)
            context = here.make_context(name, words, parent=context)
    except typer.Exit:  # --help
        return
    except Exception as error:
        # Prose may name a command without its arguments; a line of its own is there to be typed.
        if is_whole or type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
            raise AssertionError(f"{command}: {error}") from error


def _left(context: Any) -> list[str]:
    return [*getattr(context, "_protected_args", ()), *context.args]


def test_a_command_that_is_not_there_would_be_noticed() -> None:
    for wrong in ("radedit stress manifestation --archve X --out run", "radedit strss"):
        with pytest.raises(AssertionError):
            test_a_documented_command_is_one_that_the_command_line_takes(wrong, True)


def to_run() -> list[str]:
    """Shell lines of README and docs that need no peer, as they stand, the smaller ones marked."""
    lines: dict[str, None] = {}
    for document in DOCUMENTS:
        for line, own in documented(document):
            plain = re.sub(r"\s+#\s.*$|(?<=\S) {3,}\S.*$", "", line).replace(".venv/bin/", "")
            if own and not any(plain.startswith(start) for start in NOT_RUN):
                lines[plain] = None
    return list(lines)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory, rg1: Path) -> Path:
    """A folder with what the documents name: film.dcm, STUDIES with labels.csv, model.onnx."""
    folder = tmp_path_factory.mktemp("documented")
    shutil.copy(rg1, folder / "film.dcm")
    write_onnx(folder / "model.onnx")
    (folder / "model.onnx.toml").write_text('labels = ["pneumothorax"]\n')
    world = World(normal=0.0, second=0.0, findings={"pneumothorax": 1.0},
                  drain_given_pneumothorax=1.0)  # fmt: skip
    table = ["sop_instance_uid,pneumothorax,chest drain,text"]
    for row in write_studies(Order(9_760_000, 2, 128, world), folder / "STUDIES"):
        for name in ("counterfactual.dcm", "counterfactual-masks.dcm"):
            (folder / "STUDIES" / row["folder"] / name).unlink()
        film = dcmread(folder / "STUDIES" / row["folder"] / "film.dcm", stop_before_pixels=True)
        table.append(f"{film.SOPInstanceUID},1,1,Pneumothorax")
    (folder / "STUDIES" / "labels.csv").write_text("\n".join(table) + "\n")
    return folder


def test_the_lines_that_need_no_peer_are_not_lost() -> None:
    started = {" ".join(line.split()[:2]) for line in to_run()}
    assert started >= {"radedit edit", "radedit check", "radedit replay", "radedit jobs",
                       "radedit stress", "radedit phantom", "radedit models"}  # fmt: skip


@pytest.mark.parametrize("line", to_run())
def test_a_documented_line_runs_as_it_stands(line: str, sandbox: Path) -> None:
    more = next((more for start, more in SMALLER.items() if line.startswith(start)), "")
    done = subprocess.run(
        ["bash", "-c", f"{line} {more}"],
        cwd=sandbox,
        env={
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "XDG_STATE_HOME": str(sandbox / "state"),
        },
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
