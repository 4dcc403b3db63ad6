"""The served films by what viewers know of them: their UIDs."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

from fastapi import HTTPException

from radedit.lib.app import RadEditApp
from radedit.lib.errors import NotFoundError
from radedit.lib.folder_films import is_film
from radedit_dicom.archive import Instance, Query, instance_of
from radedit_dicom.edits import HeldEdit, Ledger
from radedit_dicom.errors import ArchiveError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.parsing import parse
from radedit_dicom.study import qa_patient_id

_WAIT_S = 10.0


class Films:
    """Films, by image id or SOP Instance UID, and the edits of them.

    Parameters
    ----------
    app : the MONAI Label app, whose datastore lists the films
    """

    def __init__(self, app: RadEditApp) -> None:
        self._app = app
        self._place = app.place
        self._ledger = Ledger(app.place.output)
        self._lock = threading.Lock()

    def find(self, image: str, uid: str) -> str:
        """Name a film's image id.

        Parameters
        ----------
        image, uid : its image id or its SOP Instance UID; the other one is ""

        Raises
        ------
        NotFoundError
            There is no such film.
        ArchiveError
            The archive cannot be searched.
        """
        if uid and self._place.folder is not None:
            return self._place.folder.image_of(uid)
        image = uid or image
        if image not in self._app.datastore().list_images():
            raise NotFoundError("There is no such film; GET /datastore/?output=all lists them.")
        return image

    def edits(self, uid: str) -> list[dict[str, Any]]:
        """List the edits of a film that the archive of results holds, the newest first.

        Raises
        ------
        NotFoundError
            There is no such film.
        DicomError
            The film cannot be read, or the archive not be searched.
        """
        image = self.find("", uid)
        header = parse(Path(self._app.datastore().get_image_uri(image)), pixels=False)
        patient = qa_patient_id(header, self._app.editor.settings.pseudonym_key)
        scopes = (
            Query(patient_id=patient),
            Query(study_instance_uid=str(header.StudyInstanceUID)),
        )
        if not self._lock.acquire(timeout=_WAIT_S):  # the archive hangs, and holds whoever asks
            raise ArchiveError("The archive has not answered an earlier request; ask again later.")
        try:
            held = {
                edit.record.edit_id: edit
                for scope in scopes
                for edit in self._ledger.edits(scope)
                if edit.record.source_sop_instance_uid == uid
            }
        finally:
            self._lock.release()
        newest = sorted(held.values(), key=lambda edit: edit.record.created_at, reverse=True)
        return [_told(edit) for edit in newest]

    def store(self, content: bytes, study: str) -> Instance:
        """Store an object that was sent to the served folder; a film is listed from then on.

        Parameters
        ----------
        content : DICOM Part 10
        study : the Study Instance UID it must have, unless ""

        Raises
        ------
        DicomError
            It is no DICOM object, is of another study, or cannot be stored.
        fastapi.HTTPException
            409: there is an object under its UID already, whatever its file is named.
        """
        dataset = parse(content, pixels=True)
        instance = instance_of(dataset)
        if study and instance.study_instance_uid != study:
            raise ArchiveError("The object is of another study than the address; name its own.")
        if not is_film(instance, content):
            return self._place.archive.store([dataset])[0]
        if self._held(instance.sop_instance_uid):
            raise HTTPException(
                409, "There is an object under its UID already; originals are not overwritten."
            )
        with tempfile.TemporaryDirectory(prefix="radedit-stored-") as folder:
            sent = Path(folder) / "film.dcm"
            sent.write_bytes(content)
            name = f"{instance.sop_instance_uid}.dcm"
            self._app.datastore().add_image(name, str(sent), {})
        return instance

    def refresh(self) -> None:
        """Look anew: objects came in past the datastore."""
        if self._place.shelf is not None:
            self._place.shelf.refresh()

    def _held(self, uid: str) -> list[Path]:
        held = self._folder.held().items()
        return [path for path, instance in held if instance.sop_instance_uid == uid]

    @property
    def _folder(self) -> FolderArchive:
        archive = self._place.archive
        assert isinstance(archive, FolderArchive)
        return archive


def _told(edit: HeldEdit) -> dict[str, Any]:
    """Say of an edit what a viewer needs to show it and to ask for it again."""
    record = edit.record
    return {
        "edit_id": record.edit_id,
        "created": record.created,
        "source": record.source_sop_instance_uid,
        "is_complete": edit.is_complete,
        "uids": {kind: held.sop_instance_uid for kind, held in edit.instances.items()},
        "series": {kind: held.series_instance_uid for kind, held in edit.instances.items()},
        "study": next(iter(edit.instances.values())).study_instance_uid,
        "parameters": record.parameters,
    }
