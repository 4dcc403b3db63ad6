"""A folder of films as MONAI Label's datastore.

MONAI Label's endpoints hand over names from the network as they came, and answer any
exception but HTTPException with a bare 500; so names are checked and refusals raised here.
"""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path, PurePath
from typing import Any, Final

from fastapi import HTTPException
from monailabel.datastore.local import LocalDatastore

from radedit_dicom.parsing import SUFFIXES

# LocalDatastore matches names against patterns, and those tell upper from lower case.
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_PATTERNS = ("*.[dD][cC][mM]", "*.[dD][iI][cC][oO][mM]")


class FilmFolder(LocalDatastore):
    """The DICOM files at the top of a folder.

    An image's id is its file name with the suffix. LocalDatastore drops the suffix, and then
    a.dcm and a.dicom, or a film and a picture of it, would be one image.

    The films are originals: over the network, none is replaced or removed, and nothing is
    written outside the folder.

    Parameters
    ----------
    folder : the studies; made when missing
    auto_reload : watch the folder for new films
    read_only : leave MONAI Label's own list of the folder as it is
    """

    def __init__(self, folder: Path, *, auto_reload: bool = True, read_only: bool = False) -> None:
        self._adding = threading.Lock()
        super().__init__(
            str(folder), extensions=list(_PATTERNS), auto_reload=auto_reload, read_only=read_only
        )

    def _to_id(self, file: str) -> tuple[str, str]:
        """Split a file name into id and extension; a film's name is its id, whole.

        A label's name is its film's name with its own suffix behind: film.dcm.nii.gz.
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
        with self._adding:
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
