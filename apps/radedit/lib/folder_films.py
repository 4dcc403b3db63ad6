"""The films of a folder: which of its files they are, and by what name each is asked for."""

from __future__ import annotations

import threading
from pathlib import Path

from radedit.lib.errors import NotFoundError
from radedit_dicom import vocabulary as words
from radedit_dicom.archive import Instance
from radedit_dicom.conformance import claims_ours
from radedit_dicom.errors import DicomError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.gate import is_phantom
from radedit_dicom.parsing import parse
from radedit_dicom.uids import is_uid


class FolderFilms:
    """The CR and DX films of a folder, in any layout and under any file names.

    What a film is, its content says: the SOP class, the modality, and that it is not made by
    an edit. A phantom is synthetic, and is a film.

    Parameters
    ----------
    archive : the folder
    """

    def __init__(self, archive: FolderArchive) -> None:
        self.folder = archive.folder
        self._archive = archive
        self._lock = threading.Lock()
        self._looked_into: dict[tuple[Path, int, Instance], bool] = {}

    def films(self) -> dict[str, Path]:
        """List the films by their ids, as the folder is now.

        The id of a film at the top of the folder is its file's name, whole; that of any
        other is its SOP Instance UID, unless the same film lies at the top too.

        Raises
        ------
        ArchiveError
            The folder cannot be read.
        """
        with self._lock:
            found = self._films()
        named: dict[str, Path] = {}
        at_the_top: set[str] = set()
        for path in sorted(found, key=lambda path: (path.parent != self.folder, path)):
            uid = found[path].sop_instance_uid
            if self._is_named_by_file(path, uid):
                named[path.name] = path
                at_the_top.add(uid)
            elif uid not in at_the_top:
                named.setdefault(uid, path)
        return named

    def path(self, image: str) -> Path:
        """Give the file of a film.

        Raises
        ------
        NotFoundError
            The folder has no film of that id.
        ArchiveError
            As in `films`.
        """
        found = self.films().get(image)
        if found is None:
            raise NotFoundError(
                "There is no such image among the films of the served folder (CR and DX that are "
                "no edits); GET /datastore/?output=all lists them."
            )
        return found

    def image_of(self, uid: str) -> str:
        """Give the id of the film with a SOP Instance UID.

        Raises
        ------
        NotFoundError
            The folder has no film of that UID.
        ArchiveError
            As in `films`.
        """
        films = self.films()
        with self._lock:
            held = self._archive.held()
        for image, path in films.items():
            if path in held and held[path].sop_instance_uid == uid:
                return image
        raise NotFoundError(
            "There is no such film in the served folder: what can be edited are CR and DX that "
            "are no edits; GET /datastore/?output=all lists them."
        )

    def _is_named_by_file(self, path: Path, uid: str) -> bool:
        """Whether the file's name is a film's id: not if it could be the UID of another film."""
        return path.parent == self.folder and (path.name == uid or not is_uid(path.name))

    def _films(self) -> dict[Path, Instance]:
        found, known = {}, {}
        for path, instance in self._archive.held().items():
            try:
                key = (path, path.stat().st_mtime_ns, instance)
                before = self._looked_into.get(key)
                known[key] = is_film(instance, path) if before is None else before
            except (OSError, DicomError):
                continue  # it went, or was replaced, since the folder was listed
            if known[key]:
                found[path] = instance
        self._looked_into = known
        return found


def is_film(instance: Instance, source: Path | bytes) -> bool:
    """Tell whether an object is a film that may be edited, as far as class and origin go.

    Parameters
    ----------
    instance : what it says that it is
    source : of the object; looked into only where those leave it open

    Raises
    ------
    DicomError
        It cannot be read.
    """
    is_image = instance.sop_class_uid in words.FILM_CLASSES
    if not is_image or instance.modality not in words.FILM_MODALITIES:
        return False
    header = parse(source, pixels=False)
    return is_phantom(header) or not claims_ours(header)
