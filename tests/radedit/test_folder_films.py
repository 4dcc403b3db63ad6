"""What of a folder can be edited is decided by content, whatever files are named and lie in."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from radedit.lib.errors import NotFoundError
from radedit.lib.folder_films import FolderFilms
from radedit.lib.jobs.films import Films
from radedit.lib.phantom.studies import Order, write_studies
from radedit.lib.served import served_place
from radedit.lib.settings import load_settings
from radedit.lib.studies import FilmFolder
from radedit_dicom.folder import FolderArchive
from radedit_dicom.readback import part10


@pytest.fixture
def put(tmp_path: Path, make_dataset: Callable[..., Dataset]) -> Callable[..., str]:
    """Write a film into the folder under a name; gives its UID."""

    def write(name: str, uid: str, **attributes: Any) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part10(make_dataset(SOPInstanceUID=uid, **attributes)))
        return uid

    return write


def films_of(folder: Path) -> dict[str, Path]:
    return FolderFilms(FolderArchive(folder)).films()


@pytest.mark.parametrize(
    "name", ["with.dcm", "IM000001", "CR.1.2.3", "film.ima", "a film", "1.2.9", "f\u00fcnf"]
)
def test_a_film_at_the_top_is_listed_and_served_by_its_name(
    tmp_path: Path, put: Callable[..., str], name: str
) -> None:
    uid = put(name, "1.2.9")
    place = served_place(str(tmp_path), {})
    assert place.folder is not None
    assert place.folder.image_of(uid) == name
    assert place.folder.path(name) == tmp_path / name
    datastore = FilmFolder(tmp_path, auto_reload=False)
    assert datastore.list_images() == [name]
    assert Path(datastore.get_image_uri(name)) == (tmp_path / name).resolve()


@pytest.mark.parametrize("name", ["sub/with.dcm", "CD/DICOM/IM000001", "a/b/c/d/1.2.840"])
def test_a_film_in_a_folder_of_the_folder_is_listed_and_served_by_its_uid(
    tmp_path: Path, put: Callable[..., str], name: str
) -> None:
    uid = put(name, "1.2.9")
    assert films_of(tmp_path) == {uid: tmp_path / name}
    datastore = FilmFolder(tmp_path, auto_reload=False)
    assert datastore.list_images() == [uid]
    assert Path(datastore.get_image_uri(uid)) == (tmp_path / name).resolve()
    label = tmp_path.parent / "label.nii.gz"
    label.write_bytes(b"label")
    datastore.save_label(uid, str(label), "final", {})
    again = FilmFolder(tmp_path, auto_reload=False)
    assert Path(again.get_label_uri(uid, "final")).read_bytes() == b"label"


def test_a_film_that_comes_or_goes_is_seen_at_once(tmp_path: Path, put: Callable[..., str]) -> None:
    datastore = FilmFolder(tmp_path, auto_reload=False)
    assert datastore.list_images() == []
    uid = put("later/IM1", "1.2.9")
    assert datastore.list_images() == [uid]
    shutil.rmtree(tmp_path / "later")
    assert datastore.list_images() == []
    assert datastore.get_image_uri(uid) == ""


def test_what_is_no_film_is_not_listed_whatever_its_name(
    tmp_path: Path, put: Callable[..., str]
) -> None:
    put("ct.dcm", "1.2.1", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    put("edit.dcm", "1.2.2", SyntheticData="YES", ConversionType="SYN")
    put("other.dcm", "1.2.3", Modality="MG")
    (tmp_path / "notes.dcm").write_text("no film")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert films_of(tmp_path) == {}
    assert FilmFolder(tmp_path, auto_reload=False).list_images() == []


def test_a_file_named_by_the_uid_of_another_film_is_not_taken_for_it(
    tmp_path: Path, put: Callable[..., str]
) -> None:
    put("1.2.9", "1.2.10")
    put("sub/film", "1.2.9")
    assert films_of(tmp_path) == {
        "1.2.10": tmp_path / "1.2.9",
        "1.2.9": tmp_path / "sub" / "film",
    }


def test_films_of_phantoms_are_films_in_the_folder_that_phantom_writes(tmp_path: Path) -> None:
    studies = list(write_studies(Order(first=0, count=2, size=128), tmp_path))
    films = films_of(tmp_path)
    written = {path.parent.name for path in films.values() if path.name == "film.dcm"}
    assert len(written) == len(studies) == 2
    served = Films.open(str(tmp_path), {}, load_settings())
    for image in films:
        assert served.place.folder is not None
        assert served.place.folder.path(image).is_file()


@pytest.mark.parametrize("image", ["", "..", "../film.dcm", "sub/film.dcm", "/etc/passwd"])
def test_a_path_is_no_id(tmp_path: Path, put: Callable[..., str], image: str) -> None:
    put("sub/film.dcm", "1.2.9")
    with pytest.raises(NotFoundError, match="no such image"):
        FolderFilms(FolderArchive(tmp_path)).path(image)
