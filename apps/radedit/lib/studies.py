"""A folder of films as MONAI Label's datastore.

MONAI Label's endpoints hand over names from the network as they came, and answer any
exception but HTTPException with a bare 500; so names are checked and refusals raised here.
"""

from __future__ import annotations

import os
import re
import threading
import time
from pathlib import Path, PurePath
from typing import Any, Final

from fastapi import HTTPException
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore

from radedit.lib.folder_films import FolderFilms, is_film
from radedit_dicom.archive import instance_of
from radedit_dicom.errors import DicomError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.parsing import SUFFIXES, parse

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class FilmFolder(LocalDatastore):
    """The films of a folder and of the folders in it, by the ids that `FolderFilms` gives them.

    LocalDatastore goes by file names and drops their suffix; then a.dcm and a.dicom, or a film
    and a picture of it, would be one image, and IM000001 none.

    The films are originals: over the network, none is replaced or removed, and nothing is
    written outside the folder.

    Parameters
    ----------
    folder : the studies; made when missing
    auto_reload : watch the folder for new films
    read_only : leave MONAI Label's own list of the folder as it is
    films : of the folder, where somebody has looked for them already
    """

    def __init__(
        self,
        folder: Path,
        *,
        auto_reload: bool = True,
        read_only: bool = False,
        films: FolderFilms | None = None,
    ) -> None:
        self._adding, self._listing = threading.Lock(), threading.RLock()
        self._is_read_only = read_only
        self._folder = films or FolderFilms(FolderArchive(folder))
        self._films = self._folder.films()  # when last looked
        super().__init__(
            str(folder), extensions=["*"], auto_reload=auto_reload, read_only=read_only
        )

    def list_images(self) -> list[str]:
        """List the ids of the films, as the folder is now.

        Raises
        ------
        ArchiveError
            The folder cannot be read.
        """
        if not self._is_read_only:
            with self._listing:
                self._films = self._folder.films()
                if self._films.keys() != self._datastore.objects.keys():
                    super().refresh()
        listed: list[str] = super().list_images()
        return listed

    def refresh(self) -> None:
        """Take up what has changed in the folder."""
        with self._listing:
            self._films = self._folder.films()
            super().refresh()

    def json(self) -> dict[str, Any]:
        """Describe the films and their labels as MONAI Label's clients are shown them."""
        self.list_images()
        shown: dict[str, Any] = super().json()
        return shown

    def get_image_uri(self, image_id: str) -> str:
        """Give the path of a film, "" if there is none of that id."""
        self.list_images()
        path: str = super().get_image_uri(image_id)
        return path

    def _add_non_existing_images(self) -> int:
        """Put the films on the list that are not on it."""
        self._init_from_datastore_file()
        new = [image for image in self._films if image not in self._datastore.objects]
        for image in new:
            about = {"ts": int(time.time()), "name": self._filename(image, "")}
            film = ImageLabelModel(image=DataModel(info=about, ext=""))
            self._datastore.objects[image] = film
        return len(new)

    def _filename(self, image: str, extension: str) -> str:
        """Say where a film (which has no extension here) or a label lies, from its folder on."""
        path = None if extension else self._films.get(image)
        return image + extension if path is None else str(path.relative_to(self._folder.folder))

    def _remove_non_existing(self) -> int:
        """Take off the list what is no film, whether there is a file of its name or not."""
        removed: int = super()._remove_non_existing()
        gone = [image for image in self._datastore.objects if image not in self._films]
        for image in gone:
            del self._datastore.objects[image]
        return removed + len(gone)

    def _to_id(self, file: str) -> tuple[str, str]:
        """Split a file name into id and extension; that of a film is its id, whole.

        A label's name is its film's id with its own suffix behind: film.dcm.nii.gz.
        """
        name = PurePath(file)
        if name.suffix.lower() in SUFFIXES:
            return file, ""
        extension = ".nii.gz" if file.endswith(".nii.gz") else name.suffix
        return file.removesuffix(extension), extension

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Store an uploaded film; an id without a film's suffix gets `.dcm`.

        Raises
        ------
        fastapi.HTTPException
            400: the id is no plain name, or the upload no film; 409: there is such a film.
        """
        image_id = image_id or PurePath(image_filename).name
        if PurePath(image_id).suffix.lower() not in SUFFIXES:
            image_id += ".dcm"
        check_name("image", image_id)
        if self._to_id(PurePath(image_filename).name)[1]:
            raise HTTPException(400, "The upload is no film; send a DICOM file named *.dcm.")
        _check_upload(Path(image_filename))
        with self._adding, self._listing:
            place = os.path.join(self._datastore.image_path(), image_id)
            if image_id in self.list_images() or os.path.lexists(place):
                raise HTTPException(
                    409, f"There is a film '{image_id}' already; originals are not overwritten."
                )
            stored: str = super().add_image(image_id, image_filename, image_info)
        return stored

    def remove_image(self, image_id: str) -> None:
        """Refuse to remove a film.

        Raises
        ------
        fastapi.HTTPException
            403, always.
        """
        raise HTTPException(
            403, "Films are originals and are not removed over the network; use the folder itself."
        )

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Store a label of a film.

        Raises
        ------
        fastapi.HTTPException
            400: the tag is no plain name; 404: there is no such film.
        """
        check_name("label_tag", label_tag)
        self._check_film(image_id)
        stored: str = super().save_label(image_id, label_filename, label_tag, label_info)
        return stored

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Remove a label of a film.

        Raises
        ------
        fastapi.HTTPException
            400: the tag is no plain name; 404: there is no such label.
        """
        self._check_label(label_id, label_tag)
        super().remove_label(label_id, label_tag)
        self.refresh()  # and not when the folder's watcher gets to it

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Add to what is noted of a film.

        Raises
        ------
        fastapi.HTTPException
            404: there is no such film.
        """
        self._check_film(image_id)
        super().update_image_info(image_id, info)

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Add to what is noted of a label.

        Raises
        ------
        fastapi.HTTPException
            400: the tag is no plain name; 404: there is no such label.
        """
        self._check_label(label_id, label_tag)
        super().update_label_info(label_id, label_tag, info)

    def _check_film(self, image_id: str) -> None:
        if image_id not in self.list_images():
            raise HTTPException(404, f"There is no image '{image_id}'.")

    def _check_label(self, label_id: str, label_tag: str) -> None:
        check_name("label_tag", label_tag)
        if self._datastore.label(label_id, label_tag) is None:
            raise HTTPException(404, f"There is no label '{label_tag}' of '{label_id}'.")


def _check_upload(path: Path) -> None:
    """Let only what is listed as a film, once it lies in the folder, come into it."""
    try:
        if is_film(instance_of(parse(path, pixels=False)), path):
            return
    except DicomError as error:
        raise HTTPException(400, str(error)) from error
    raise HTTPException(
        400, "The upload is no CR or DX film, or is an edit of one; send the film itself."
    )


def check_name(what: str, name: object) -> None:
    """Let only a plain file name pass: no folders, nothing hidden.

    Parameters
    ----------
    what : name of the field, for the sentence
    name : from the network

    Raises
    ------
    fastapi.HTTPException
        400: anything but letters, digits, dots, hyphens and underscores (200 at most), a
        letter or digit first, without two dots in a row.
    """
    text = str(getattr(name, "value", name))  # MONAI Label's own tags are an enumeration
    if not _NAME.fullmatch(text) or ".." in text:
        raise HTTPException(
            400,
            f"{what} is no plain name; use letters, digits, '.', '-' and '_', with a letter or "
            "digit first.",
        )
