"""A folder of films as MONAI Label's datastore."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from monailabel.datastore.local import LocalDatastore

FILM_SUFFIXES = (".dcm", ".dicom")
# LocalDatastore matches names against patterns, and those tell upper from lower case.
_PATTERNS = ("*.[dD][cC][mM]", "*.[dD][iI][cC][oO][mM]")


class FilmFolder(LocalDatastore):
    """The DICOM files at the top of a folder.

    An image's id is its file name with the suffix. LocalDatastore drops the suffix, and then
    a.dcm and a.dicom, or a film and a picture of it, would be one image.

    Parameters
    ----------
    folder : the studies; made when missing
    auto_reload : watch the folder for new films
    read_only : leave MONAI Label's own list of the folder as it is
    """

    def __init__(self, folder: Path, *, auto_reload: bool = True, read_only: bool = False) -> None:
        super().__init__(
            str(folder), extensions=list(_PATTERNS), auto_reload=auto_reload, read_only=read_only
        )

    def _to_id(self, file: str) -> tuple[str, str]:
        """Split a file name into id and extension; a film's name is its id, whole.

        A label's name is its film's name with its own suffix behind: film.dcm.nii.gz.
        """
        name = PurePath(file)
        if name.suffix.lower() in FILM_SUFFIXES:
            return file, ""
        extension = ".nii.gz" if file.endswith(".nii.gz") else name.suffix
        return file.removesuffix(extension), extension

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Store an uploaded film; an id without a film's suffix gets `.dcm`."""
        if image_id and PurePath(image_id).suffix.lower() not in FILM_SUFFIXES:
            image_id += ".dcm"
        stored: str = super().add_image(image_id, image_filename, image_info)
        return stored
