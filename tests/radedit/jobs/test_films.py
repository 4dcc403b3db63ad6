"""Where the films of jobs come from and results go: a folder, and a real Orthanc."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from radedit.lib.errors import MaskError, NotFoundError
from radedit.lib.jobs.batch import Batches
from radedit.lib.jobs.films import Films
from radedit.lib.jobs.model import JobRequest
from radedit.lib.jobs.queue import JobQueue
from radedit.lib.jobs.tables import jobs
from radedit.lib.jobs.turns import Turn
from radedit.lib.pipeline import Editor
from radedit.lib.settings import load_settings
from radedit_dicom.archive import Query
from radedit_dicom.locate import open_archive
from radedit_dicom.pixels import read_film
from radedit_dicom.readback import part10

Ask = Callable[..., JobRequest]
UID = "1.2.826.0.1.3680043.10.1.7.5"


@pytest.fixture
def orthanc(start_orthanc: Callable[..., Any], make_dataset: Callable[..., Dataset]) -> Any:
    server = start_orthanc()
    pixels = np.random.default_rng(5).integers(0, 4096, (240, 200))
    film = make_dataset(
        pixels, SOPInstanceUID=UID, SeriesInstanceUID=f"{UID}.1", StudyInstanceUID=f"{UID}.2"
    )
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID
    server.upload(part10(film))
    return server


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_jobs_on_an_archive_store_there_once_however_often_they_are_delivered(
    queue: JobQueue, ask: Ask, orthanc: Any, tmp_path: Path
) -> None:
    editor = Editor()
    conf = {"cache": str(tmp_path / "cache")}
    films = Films.open(orthanc.dicom_web, conf, editor.settings)
    wanted = [ask(image=UID), ask(image=UID, study_mode="same")]
    ids = [queue.submit(request)[0].id for request in wanted]
    with queue.engine.connect() as connection:
        ticket = str(
            connection.execute(sa.select(jobs.c.ticket).where(jobs.c.id == ids[0])).scalar()
        )
    turn = Turn(queue.engine, ticket)
    Batches(editor, films, 4).run(turn, turn.take(ids[0], 4))
    assert [queue.get(job).state for job in ids] == ["done", "done"]
    held = sorted(orthanc.held())
    assert len(held) == 1 + 6

    # As if the worker had been killed between the storing and the note that it was done.
    for request in wanted:
        case = films.case(request)
        edited = editor.edit_batch([case, case])[0]
        again = films.told(films.outbox(request.study_mode).deliver(edited))
        result = queue.get(request.id).result
        assert result is not None
        assert again["uids"] == result["uids"]
    assert sorted(orthanc.held()) == held

    results = [queue.get(job).result for job in ids]
    assert all(result is not None for result in results)
    studies = [result["uids"]["study"] for result in results if result is not None]
    assert studies[0] != studies[1] == f"{UID}.2"
    archive = open_archive(orthanc.dicom_web)
    for result in results:
        assert result is not None
        (found,) = archive.find(Query(sop_instance_uid=result["uids"]["sc"]))
        assert found.sop_class_uid in ("", SecondaryCaptureImageStorage)
        assert found.series_instance_uid == result["series"]["sc"]


def test_a_film_the_archive_does_not_list_is_not_found(
    orthanc: Any, tmp_path: Path, ask: Ask
) -> None:
    films = Films.open(orthanc.dicom_web, {"cache": str(tmp_path)}, load_settings())
    with pytest.raises(NotFoundError, match="no such image"):
        films.case(ask(image="1.2.3"))


@pytest.mark.parametrize(
    "image", ["../secret.dcm", "/etc/passwd", "sub/film.dcm", "film", "film.png", "..", "a\0.dcm"]
)
def test_only_films_of_the_folder_are_found(studies: Path, image: str, ask: Ask) -> None:
    (studies.parent / "secret.dcm").write_bytes((studies / "film.dcm").read_bytes())
    for name in ("film.png", "film"):
        (studies / name).write_bytes(b"no film")
    (studies / "sub").mkdir()
    (studies / "sub" / "film.dcm").write_bytes(b"")
    films = Films.open(str(studies), {}, load_settings())
    with pytest.raises(NotFoundError, match="no such image"):
        films.case(ask(image=image))


def test_masks_of_a_job_are_uploads_shapes_and_tasks_but_no_files_of_the_server(
    studies: Path, ask: Ask
) -> None:
    films = Films.open(str(studies), {}, load_settings())
    case = films.case(ask())
    assert case.film.shape == read_film(studies / "film.dcm").shape
    with pytest.raises(MaskError, match="refused over REST"):
        case.sources.mask("file", "/etc/passwd")
    with pytest.raises(NotFoundError, match="no mask named 'a'"):
        case.sources.mask("uploaded", "a")
    with pytest.raises(NotFoundError, match="heart_segmentation, lung_segmentation"):
        case.sources.mask("task", "none")
