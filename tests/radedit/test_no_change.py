"""An edit of which nothing can be seen is told as that, however it was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import tiny_model
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from radedit.lib.cases import Case, EditRequest
from radedit.lib.cli import app
from radedit.lib.errors import FilmError, NoChangeError
from radedit.lib.jobs.batch import Batches
from radedit.lib.jobs.films import Films
from radedit.lib.jobs.model import JobRequest
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.tables import jobs
from radedit.lib.jobs.turns import Turn
from radedit.lib.pipeline import Editor
from radedit.lib.routing.edits import FINAL
from radedit.lib.sources import FilmSources
from radedit_dicom.film import read_film

MakeDataset = Callable[..., Dataset]
SHAPE = (240, 200)
BOX = "box:60,40,160,140"
NOTHING: dict[str, Any] = {"steps": 2, "guidance": 0.0}  # no prompt is heard
SAID = "no change can be seen"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def editor(root: Path) -> Editor:
    return tiny_model.editor(root)


def film(make_dataset: MakeDataset, pixels: np.ndarray | None = None, **about: Any) -> Dataset:
    if pixels is None:
        y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
        pixels = 300 + 2 * y + x
    return make_dataset(pixels, **about)


@pytest.fixture
def studies(make_dataset: MakeDataset, tmp_path: Path) -> Path:
    folder = tmp_path / "studies"
    folder.mkdir()
    film(make_dataset).save_as(folder / "film.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def config(root: Path, editor: Editor, tmp_path: Path) -> Path:
    path = tmp_path / "radedit.toml"
    path.write_text(
        f'default_model = "{tiny_model.NAME}"\nmodels_dir = "{tmp_path}"\n\n'
        f'[models.{tiny_model.NAME}]\ntitle = "random"\nlicence = "none"\n'
        f'folder = "{root / tiny_model.NAME}"\nverify = "on-first-use"\n'
    )
    return path


@pytest.mark.parametrize("many", [False, True], ids=["film", "folder"])
def test_the_command_fails_with_one_sentence_and_stores_nothing(
    config: Path, studies: Path, tmp_path: Path, many: bool
) -> None:
    source, output = studies if many else studies / "film.dcm", tmp_path / "out"
    asked = [
        "edit", str(source), "--prompt", tiny_model.PROMPT, "--edit-mask", BOX, "--steps", "2",
        "--guidance", "0", "--output", str(output), "--json",
    ]  # fmt: skip
    done = CliRunner().invoke(app, asked, env={"RADEDIT_CONFIG": str(config)})
    assert done.exit_code == 1
    told = json.loads(done.stdout)
    (row,) = told["files"] if many else [told]
    assert SAID in row["failed"]
    if not many:
        assert SAID in done.stderr
        assert "Traceback" not in done.stderr
        assert (row["score"]["changed_pixels"], row["score"]["visible_pixels"]) == (0, 0)
    assert not list(output.rglob("*.dcm"))


def test_a_job_fails_with_the_sentence_and_stores_nothing(
    editor: Editor, studies: Path, tmp_path: Path
) -> None:
    queue = JobQueue(str(tmp_path / "jobs.sqlite"))
    queue.start()
    request = JobRequest("film.dcm", tiny_model.PROMPT, BOX, parameters=NOTHING)
    job = queue.submit(request)[0].id
    with queue.engine.connect() as connection:
        ticket = str(connection.execute(sa.select(jobs.c.ticket).where(jobs.c.id == job)).scalar())
    turn = Turn(queue.engine, ticket)
    Batches(editor, Films.open(str(studies), {}, editor.settings), 1).run(turn, turn.take(job, 1))
    found = queue.get(job)
    queue.stop()
    assert (found.state, found.result) == ("failed", None)
    assert SAID in str(found.error)
    assert not list(studies.rglob("edited/**/*.dcm"))


def test_a_routing_node_never_tries_such_an_edit_again() -> None:
    assert issubclass(NoChangeError, FINAL)


BESIDE = {
    "a window above all values": {"WindowCenter": 3000, "WindowWidth": 500},
    "a window below all values": {"WindowCenter": 100, "WindowWidth": 100},
    "a window of a film that is shown inverted": {
        "WindowCenter": 3000, "WindowWidth": 500, "PhotometricInterpretation": "MONOCHROME1",
    },
    "a sigmoid far away": {
        "WindowCenter": 4000, "WindowWidth": 100, "VOILUTFunction": "SIGMOID",
    },
    "a rescale that the window forgot": {
        "RescaleSlope": 1, "RescaleIntercept": -2000, "WindowCenter": 500, "WindowWidth": 800,
    },
}  # fmt: skip


@pytest.mark.parametrize("about", BESIDE.values(), ids=BESIDE)
def test_a_film_that_is_shown_in_one_grey_is_refused_before_the_edit(
    editor: Editor, make_dataset: MakeDataset, about: dict[str, Any]
) -> None:
    given = read_film(film(make_dataset, **about))
    request = EditRequest(tiny_model.PROMPT, BOX, parameters={"steps": 2})
    with pytest.raises(FilmError, match="in one grey"):
        editor.prepare(Case(given, request, FilmSources(given)))


def test_an_edit_where_the_window_shows_nothing_is_made_and_seen_by_nobody(
    editor: Editor, make_dataset: MakeDataset
) -> None:
    """The film is shown, but what lies under the mask is far beyond the window's black end."""
    pixels = np.full(SHAPE, 10)
    pixels[150:] = 3000 + np.arange(200)
    given = read_film(film(make_dataset, pixels, WindowCenter=3100, WindowWidth=400))
    request = EditRequest(tiny_model.PROMPT, "box:60,20,140,80", parameters={"steps": 4})
    edited = editor.edit(given, request)
    assert edited.fidelity.changed_pixels > 0
    assert not edited.is_visible


def test_an_edit_that_is_seen_counts_the_pixels_that_are(
    editor: Editor, make_dataset: MakeDataset
) -> None:
    given = read_film(film(make_dataset))
    edited = editor.edit(given, EditRequest(tiny_model.PROMPT, BOX, parameters={"steps": 4}))
    assert 0 < edited.fidelity.visible_pixels <= edited.fidelity.changed_pixels
    assert edited.scores["visible_pixels"] == edited.fidelity.visible_pixels
