"""The folder datastore: ids are file names, and what the server writes is no study."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from radedit.lib.studies import FilmFolder


@pytest.fixture
def folder(tmp_path: Path, rg1: Path) -> FilmFolder:
    for name in ("a.dcm", "a.DCM", "a.dicom", "b.dcm.dcm", "1.2.840.dcm", "notes.txt", "a.png"):
        shutil.copyfile(rg1, tmp_path / name)
    (tmp_path / "edited").mkdir()
    shutil.copyfile(rg1, tmp_path / "edited" / "result.dcm")
    return FilmFolder(tmp_path, auto_reload=False)


def test_every_film_has_an_id_of_its_own_and_nothing_else_is_listed(folder: FilmFolder) -> None:
    films = {"a.dcm", "a.DCM", "a.dicom", "b.dcm.dcm", "1.2.840.dcm"}
    assert set(folder.list_images()) == films


def test_every_id_leads_to_its_own_file(folder: FilmFolder) -> None:
    for image in folder.list_images():
        path = Path(folder.get_image_uri(image))
        assert path.name == image
        assert path.is_file()


def test_a_label_is_found_again_after_a_restart(folder: FilmFolder, tmp_path: Path) -> None:
    label = tmp_path / "x.nii.gz"
    label.write_bytes(b"label")
    folder.save_label("a.dcm", str(label), "final", {})
    again = FilmFolder(tmp_path, auto_reload=False)
    assert Path(again.get_label_uri("a.dcm", "final")).name == "a.dcm.nii.gz"
    assert Path(again.get_label_uri("a.dcm", "final")).read_bytes() == b"label"


def test_an_uploaded_film_keeps_its_suffix(folder: FilmFolder, rg1: Path) -> None:
    assert folder.add_image("new", str(rg1), {}) == "new.dcm"
    assert Path(folder.get_image_uri("new.dcm")).read_bytes() == rg1.read_bytes()


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8))
def test_id_and_extension_make_up_the_file_name(stem: str) -> None:
    for suffix in (".dcm", ".dcm.png", ".dcm.nii.gz", ".DICOM"):
        image, extension = FilmFolder._to_id(None, stem + suffix)  # type: ignore[arg-type]
        assert image + extension == stem + suffix
