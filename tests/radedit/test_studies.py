"""The folder datastore: ids are file names, and what the server writes is no study."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st

from radedit.lib.studies import FilmFolder


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """Give a folder far enough down that what is written above it is found too."""
    made = tmp_path / "above" / "studies"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def folder(studies: Path, rg1: Path) -> FilmFolder:
    for name in ("a.dcm", "a.DCM", "a.dicom", "b.dcm.dcm", "1.2.840.dcm"):
        shutil.copyfile(rg1, studies / name)
    for name in ("notes.txt", "a.png", "notes.dcm"):
        (studies / name).write_bytes(b"no film")
    (studies / "edited").mkdir()
    shutil.copyfile(rg1, studies / "edited" / "result.dcm")
    return FilmFolder(studies, auto_reload=False)


def test_every_film_has_an_id_of_its_own_and_nothing_else_is_listed(folder: FilmFolder) -> None:
    films = {"a.dcm", "a.DCM", "a.dicom", "b.dcm.dcm", "1.2.840.dcm"}
    assert set(folder.list_images()) == films


def test_every_id_leads_to_its_own_file(folder: FilmFolder) -> None:
    for image in folder.list_images():
        path = Path(folder.get_image_uri(image))
        assert path.name == image
        assert path.is_file()


def test_a_label_is_found_again_after_a_restart(folder: FilmFolder, studies: Path) -> None:
    label = studies / "x.nii.gz"
    label.write_bytes(b"label")
    folder.save_label("a.dcm", str(label), "final", {})
    again = FilmFolder(studies, auto_reload=False)
    assert Path(again.get_label_uri("a.dcm", "final")).name == "a.dcm.nii.gz"
    assert Path(again.get_label_uri("a.dcm", "final")).read_bytes() == b"label"


def test_an_uploaded_film_keeps_its_suffix(folder: FilmFolder, rg1: Path) -> None:
    assert folder.add_image("new", str(rg1), {}) == "new.dcm"
    assert Path(folder.get_image_uri("new.dcm")).read_bytes() == rg1.read_bytes()


BAD_NAMES = ["../../evil", "/evil", "a/../../evil", "a\\evil", ".hidden", "a..b", "a b", "a\n", "é"]


def tree(studies: Path) -> dict[Path, bytes]:
    return {
        p: p.read_bytes()
        for p in studies.parents[1].rglob("*")
        if p.is_file() and p.suffix != ".json" and p.name != ".lock"
    }


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_upload_and_no_label_is_written_outside_its_folder(
    folder: FilmFolder, studies: Path, rg1: Path, name: str
) -> None:
    before = tree(studies)
    calls: list[Callable[[], object]] = [
        lambda: folder.add_image(name + ".dcm", str(rg1), {}),
        lambda: folder.save_label("a.dcm", str(rg1), name, {}),
        lambda: folder.remove_label("a.dcm", name),
        lambda: folder.update_label_info("a.dcm", name, {}),
    ]
    for call in calls:
        with pytest.raises(HTTPException, match="no plain name") as refused:
            call()
        assert refused.value.status_code == 400
    with pytest.raises(HTTPException, match="There is no image") as refused:
        folder.save_label(name, str(rg1), "final", {})
    assert refused.value.status_code == 404
    assert tree(studies) == before


def test_a_film_is_neither_replaced_nor_removed(
    folder: FilmFolder, studies: Path, rg1: Path, rg3: Path
) -> None:
    shutil.copyfile(rg1, studies / "unseen.dcm")
    before = tree(studies)
    for image in ("a.dcm", "a", "unseen"):
        with pytest.raises(HTTPException, match="already") as refused:
            folder.add_image(image, str(rg3), {})
        assert refused.value.status_code == 409
    for image in ("a.dcm", "none"):
        with pytest.raises(HTTPException, match="not removed") as refused:
            folder.remove_image(image)
        assert refused.value.status_code == 403
    assert tree(studies) == before


def test_an_upload_that_is_named_as_no_film_is_refused(folder: FilmFolder, studies: Path) -> None:
    with pytest.raises(HTTPException, match="no film"):
        folder.add_image("new", str(studies / "a.png"), {})
    assert not list(studies.glob("new*"))


def test_what_is_not_there_is_said_to_be_missing(folder: FilmFolder) -> None:
    calls: list[Callable[[], object]] = [
        lambda: folder.remove_label("a.dcm", "final"),
        lambda: folder.update_label_info("a.dcm", "final", {}),
        lambda: folder.update_image_info("none", {}),
    ]
    for call in calls:
        with pytest.raises(HTTPException, match="There is no") as refused:
            call()
        assert refused.value.status_code == 404


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8))
def test_id_and_extension_make_up_the_file_name(stem: str) -> None:
    for suffix in (".dcm", ".dcm.png", ".dcm.nii.gz", ".DICOM"):
        image, extension = FilmFolder._to_id(None, stem + suffix)  # type: ignore[arg-type]
        assert image + extension == stem + suffix
