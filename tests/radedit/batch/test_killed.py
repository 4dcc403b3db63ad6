"""A process of a batch that dies in the middle of an edit: the next one makes the film anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tiny_model

from radedit.lib.cases import EditRequest
from radedit.lib.parameters import PARAMETERS, STOCHASTIC
from radedit.lib.pipeline import Editor
from radedit_dicom.folder import FolderArchive

REQUEST = EditRequest(tiny_model.PROMPT, "box:100,40,170,120")
WAYS = [
    (method, solver)
    for method in PARAMETERS["method"].choices
    for solver in PARAMETERS["solver"].choices
    if solver == "ddpm" or method in STOCHASTIC
]


class KilledError(BaseException):
    """What no code of a process sees coming."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    return tiny_model.editor(tmp_path_factory.mktemp("model"), inversion_cache_mb=0)


@contextmanager
def calls(editor: Editor, last: int = 0) -> Any:
    """Count the calls of the network, and end the process after the last of them."""
    made: list[int] = []

    def note(*_: Any) -> None:
        made.append(1)
        if len(made) == last:
            raise KilledError

    hook = editor.backbone().unet.register_forward_hook(note)
    try:
        yield made
    finally:
        hook.remove()


@pytest.mark.parametrize(("method", "solver"), WAYS)
def test_a_film_whose_process_died_behind_any_call_is_stored_once_with_the_same_pixels(
    run_line: Callable[..., Any],
    write_films: Callable[..., Path],
    tmp_path: Path,
    tiny: Editor,
    method: str,
    solver: str,
) -> None:
    source = write_films(tmp_path / "films", 1)
    parameters = {"steps": 4, "skip": 0.3, "method": method, "solver": solver}
    request = replace(REQUEST, parameters=parameters)

    def run() -> Any:
        output = FolderArchive(tmp_path / "out")
        return run_line(source, output, editor=tiny, request=request)[0]

    with calls(tiny) as made:
        (undisturbed,) = run()
    shutil.rmtree(tmp_path / "out")
    often = len(made)
    # Of the many calls that learn an empty prompt, the first and the last stand for all.
    for last in range(1, often + 1) if often < 12 else (1, often):
        with calls(tiny, last), pytest.raises(KilledError):
            run()
        assert not list((tmp_path / "out").rglob("*.dcm"))
        (row,) = run()
        assert row["state"] == "edited"
        assert row["pixel_sha256"] == undisturbed["pixel_sha256"]
        assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3
        shutil.rmtree(tmp_path / "out")


def test_an_edit_that_nobody_can_see_is_booked_with_its_reason_and_not_stored(
    run_line: Callable[..., Any], write_films: Callable[..., Path], tmp_path: Path, tiny: Editor
) -> None:
    source, output = write_films(tmp_path / "films", 2), FolderArchive(tmp_path / "out")
    request = replace(REQUEST, parameters={"steps": 2, "guidance": 0.0})
    rows, _ = run_line(source, output, editor=tiny, request=request)
    assert [row["state"] for row in rows] == ["unchanged", "unchanged"]
    assert all("no change can be seen" in row["why"] for row in rows)
    assert not list(output.folder.rglob("*.dcm"))
