"""An edit's way out: its DICOM objects, where they are, and what to tell the caller."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radedit.lib.errors import NoChangeError, OutputError
from radedit.lib.pipeline import Edited
from radedit_dicom.archive import Archive, Instance, Query
from radedit_dicom.compression import compress
from radedit_dicom.edits import KINDS, HeldEdit, Ledger
from radedit_dicom.film import Film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.objects import Destination, EditObjects, StudyMode, build_objects
from radedit_dicom.provenance import Provenance, edit_uid
from radedit_dicom.series_numbers import free_series_number
from radedit_dicom.study import qa_patient_id
from radedit_dicom.vocabulary import EDIT_LABEL, KEEP_LABEL

logger = logging.getLogger(__name__)
#: Masks and report go before the image, so that whoever sees it finds them as well.
_STORED = ("seg", "sr", "sc")


@dataclass(frozen=True)
class Delivered:
    """Where the objects of one edit are.

    Attributes
    ----------
    instances : "sc", "seg", "sr" to instance
    files : the same keys to path; empty unless the archive is a folder
    """

    edited: Edited
    instances: Mapping[str, Instance]
    files: Mapping[str, Path]

    @property
    def uids(self) -> dict[str, str]:
        """The keys of `instances` to SOP Instance UID, and "study" to the Study Instance UID."""
        return {"study": self.instances["sc"].study_instance_uid} | {
            kind: instance.sop_instance_uid for kind, instance in self.instances.items()
        }

    def summary(self) -> dict[str, Any]:
        """Everything about the edit as one JSON object; no patient data.

        `coerced` names what the archive keeps otherwise than it was sent, now; [] = nothing.
        """
        edited = self.edited
        record = edited.provenance
        uids = self.uids
        return {
            "edit_id": record.edit_id,
            "source": record.source_sop_instance_uid,
            **{kind: str(self.files.get(kind, uids[kind])) for kind in KINDS},
            "uids": uids,
            "changed_outside_support": edited.fidelity.changed_outside_support,
            "score": edited.scores,
            "cells_lost_to_keep": edited.cells_lost_to_keep,
            "seconds": dict(edited.seconds),
            "parameters": record.parameters,
            "pixel_sha256": record.result_pixel_sha256,
            "model_sha256": record.model_sha256,
            "coerced": sorted({name for i in self.instances.values() for name in i.coerced}),
        }


@dataclass(frozen=True)
class Manner:
    """How results are written.

    Attributes
    ----------
    study_mode : "new" (a QA study per edit) or "same" (the source's own study)
    pseudonym_key : the site's secret, by which a patient's films get one QA patient
    compression : of the edited image, a key of `compression.SYNTAXES`
    """

    study_mode: StudyMode = "new"
    pseudonym_key: bytes = b""
    compression: str = "none"

    @property
    def destination(self) -> Destination:
        """The study that objects go to."""
        return Destination(self.study_mode, self.pseudonym_key)


class Outbox:
    """An archive that edits are stored into; it knows the edits that are already there.

    Parameters
    ----------
    archive : where results go
    manner : how they are written
    """

    def __init__(self, archive: Archive, manner: Manner | None = None) -> None:
        self.archive = archive
        self.manner = manner or Manner()
        self._ledger = Ledger(archive)
        self._writing = threading.Lock()

    def check_writable(self) -> None:
        """Try the archive before an edit takes its time.

        Raises
        ------
        OutputError
            It is a folder in which no files can be made; nothing is left behind.
        ArchiveError
            It cannot be reached, or does not let us in.
        """
        if isinstance(self.archive, FolderArchive):
            _check_folder(self.archive.folder)
        else:
            self.archive.find(Query(sop_instance_uid="2.25.0"))

    def check_film(self, film: Film) -> None:
        """Refuse a film that must not go to this kind of study, before an edit takes its time.

        Raises
        ------
        UnsupportedImageError
            See `Destination.check`.
        """
        self.manner.destination.check(film)

    def edit_id(self, edit_id: str) -> str:
        """Name an edit in this kind of study: other studies need other UIDs."""
        mode = self.manner.study_mode
        if mode == "new":
            return edit_id
        return hashlib.sha256(f"{edit_id} {mode}".encode()).hexdigest()[:32]

    def held(self, film: Film, edit_id: str) -> HeldEdit | None:
        """Find a complete edit of a film in the archive.

        Parameters
        ----------
        edit_id : as `edit_id` gives it

        Raises
        ------
        ArchiveError
            The archive cannot be searched or read.
        """
        return next(
            (
                edit
                for edit in self._ledger.edits(self._place(film))
                if edit.is_complete and edit.record.edit_id == edit_id
            ),
            None,
        )

    def deliver(self, edited: Edited) -> Delivered:
        """Store the three objects of an edit, all or none.

        The same edit again gives the objects that are there, and stores only those that are
        missing because a process or an archive went down in between.

        Raises
        ------
        NoChangeError
            No pixel is shown otherwise than before; nothing is stored.
        DicomError
            An object cannot be built or stored.
        """
        if not edited.is_visible:
            raise NoChangeError(
                "The edit was made, but no change can be seen: as the film is shown, none of its "
                "pixels differs by as much as one of 256 grey levels, so nothing was stored; check "
                "the film's window, ask for another finding, enlarge the edit mask or raise the "
                "guidance."
            )
        record = replace(edited.provenance, edit_id=self.edit_id(edited.provenance.edit_id))
        with self._alone(edited.film):
            return self._deliver(edited, record)

    @contextmanager
    def _alone(self, film: Film) -> Iterator[None]:
        """Deliver one edit at a time, so that no two find the same series number free.

        In a film's own study that holds for every thread and process of this user on this
        machine, since each may have an `Outbox` of its own.
        """
        if self.manner.study_mode != "same":
            with self._writing:
                yield
            return
        study = hashlib.sha256(str(film.header.StudyInstanceUID).encode()).hexdigest()
        try:
            folder = Path(tempfile.gettempdir()) / f"radedit-{os.getuid()}-series"
            folder.mkdir(mode=0o700, exist_ok=True)
            lock = (folder / study[:2]).open("a")  # of 256 for all studies
        except OSError as error:
            raise OutputError(
                f"No temporary file can be made ({error.strerror}), which an edit in the film's "
                "own study needs; set TMPDIR to a folder that can be written."
            ) from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _deliver(self, edited: Edited, record: Provenance) -> Delivered:
        earlier = self._earlier(edited.film, record)
        # What was recorded with the first object counts: the UIDs follow from the edit, and
        # under one UID there must not be two objects that differ in their time of creation.
        edited = replace(edited, provenance=earlier.record if earlier else record)
        instances = dict(earlier.instances) if earlier else {}
        missing = [kind for kind in _STORED if kind not in instances]
        if missing:
            objects = self._objects(edited, earlier)
            if "sc" in missing:
                compress(objects.sc, self.manner.compression)
            stored = self.archive.store([getattr(objects, kind) for kind in missing])
            instances |= zip(missing, stored, strict=True)
        for kind, instance in instances.items():
            if instance.coerced:
                logger.warning(
                    "the archive keeps other values of %s in the %s; all else came back as sent",
                    ", ".join(instance.coerced),
                    kind,
                )
        files = {}
        if isinstance(self.archive, FolderArchive):
            files = {kind: self.archive.path_of(instances[kind]) for kind in KINDS}
        return Delivered(edited, {kind: instances[kind] for kind in KINDS}, files)

    def _objects(self, edited: Edited, earlier: HeldEdit | None) -> EditObjects:
        masks = {EDIT_LABEL: edited.edit}
        if edited.keep.any():
            masks[KEEP_LABEL] = edited.keep
        number = earlier.first_series_number if earlier else None
        if number is None and self.manner.study_mode == "same":
            study = str(edited.film.header.StudyInstanceUID)
            number = free_series_number(self.archive, edited.provenance, study)
        destination = replace(self.manner.destination, first_series_number=number)
        return build_objects(
            edited.film, edited.stored, masks, edited.provenance, edited.scores, destination
        )

    def _earlier(self, film: Film, record: Provenance) -> HeldEdit | None:
        """Find what an edit with this id and result stored before, be it one object only."""
        wanted = (record.edit_id, record.result_pixel_sha256)
        study = edit_uid(record, "study")  # by which it is found under another patient's id too
        if self.manner.study_mode == "same":
            study = film.header.StudyInstanceUID
        for edit in self._ledger.edits(Query(study_instance_uid=str(study))):
            if (edit.record.edit_id, edit.record.result_pixel_sha256) == wanted:
                return edit
        return None

    def _place(self, film: Film) -> Query:
        """Say where in the archive the edits of a film are."""
        if self.manner.study_mode == "same":
            return Query(study_instance_uid=str(film.header.StudyInstanceUID))
        return Query(patient_id=qa_patient_id(film.header, self.manner.pseudonym_key))


def _check_folder(folder: Path) -> None:
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        if not existing.is_dir():
            raise NotADirectoryError
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise OutputError(
            f"the output folder '{folder.name}' cannot be written; choose another."
        ) from error
