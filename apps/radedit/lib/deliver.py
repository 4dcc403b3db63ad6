"""An edit's way out: its DICOM objects, where they lie, and what to tell the caller."""

from __future__ import annotations

import hashlib
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radedit.lib.errors import OutputError
from radedit.lib.pipeline import Edited
from radedit_dicom.archive import Instance
from radedit_dicom.errors import DicomError
from radedit_dicom.film import Film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.objects import Destination, StudyMode, build_objects, write_objects
from radedit_dicom.parsing import parse
from radedit_dicom.provenance import Provenance, read_private
from radedit_dicom.vocabulary import EDIT_LABEL, KEEP_LABEL

KINDS = ("sc", "seg", "sr")


@dataclass(frozen=True)
class Delivered:
    """Where the objects of one edit lie.

    Attributes
    ----------
    files : "sc", "seg", "sr" to path
    uids : the same keys to SOP Instance UID, and "study" to the Study Instance UID
    """

    edited: Edited
    files: Mapping[str, Path]
    uids: Mapping[str, str]

    def summary(self) -> dict[str, Any]:
        """Everything about the edit as one JSON object; no patient data."""
        edited = self.edited
        record = edited.provenance
        return {
            "edit_id": record.edit_id,
            "source": record.source_sop_instance_uid,
            **{kind: str(path) for kind, path in self.files.items()},
            "uids": dict(self.uids),
            "changed_outside_support": edited.fidelity.changed_outside_support,
            "score": edited.fidelity.as_scores(),
            "cells_lost_to_keep": edited.cells_lost_to_keep,
            "seconds": dict(edited.seconds),
            "parameters": {
                "method": record.method,
                "model": record.model,
                "prompt": record.prompt,
                "invert_prompt": record.invert_prompt,
                "edit_mask": record.edit_mask,
                "keep_mask": record.keep_mask,
                "steps": record.steps,
                "skip": record.skip,
                "guidance": record.guidance,
                "seed": record.seed,
                "support": record.support,
                **record.extra,
            },
            "pixel_sha256": record.result_pixel_sha256,
            "model_sha256": record.model_sha256,
        }


class Outbox:
    """A folder that edits are written to; it knows the edits it already holds.

    Parameters
    ----------
    folder : made at the first edit
    study_mode : "new" (a QA study per edit) or "same" (the source's own study)
    pseudonym_key : the site's secret, by which a patient's films get one QA patient
    """

    def __init__(
        self, folder: Path, study_mode: StudyMode = "new", pseudonym_key: bytes = b""
    ) -> None:
        self.archive = FolderArchive(folder)
        self.study_mode = study_mode
        self._destination = Destination(study_mode, pseudonym_key)
        self._read: dict[Path, tuple[Instance, Provenance | None]] = {}
        self._known: dict[str, Provenance] | None = None
        self._writing = threading.Lock()

    @property
    def known(self) -> dict[str, Provenance]:
        """Edit id to record of every edit whose three objects all lie in the folder.

        As of the first look or the latest `deliver`; what another process wrote since is
        found by `deliver` itself.
        """
        if self._known is None:
            self._look()
            classes: dict[tuple[str, str], set[str]] = {}
            for instance, record in self._read.values():
                if record is not None:
                    classes.setdefault(_key(record), set()).add(instance.sop_class_uid)
            self._known = {
                record.edit_id: record
                for _, record in self._read.values()
                if record is not None and len(classes[_key(record)]) == len(KINDS)
            }
        return self._known

    def _look(self) -> None:
        """Read the record of every object of ours that was not there at the last look."""
        self._read = {
            path: self._read[path]
            if path in self._read and self._read[path][0] == instance
            else (instance, _record(path))
            for path, instance in self.archive.held().items()
        }
        self._known = None

    def _earlier(self, record: Provenance) -> Provenance | None:
        """Find what an edit with this id and result wrote before, be it one object only."""
        found = self._find(record)
        if found is None:  # another process may have written it since
            self._look()
            found = self._find(record)
        return found

    def _find(self, record: Provenance) -> Provenance | None:
        for _, found in self._read.values():
            if found is not None and _key(found) == _key(record):
                return found
        return None

    def check_writable(self) -> None:
        """Try whether files can be made here, before an edit takes its time.

        Raises
        ------
        OutputError
            They cannot; nothing is left behind.
        """
        existing = self.archive.folder
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        try:
            if not existing.is_dir():
                raise NotADirectoryError
            with tempfile.TemporaryFile(dir=existing):
                pass
        except OSError as error:
            raise OutputError(
                f"the output folder '{self.archive.folder.name}' cannot be written; choose another."
            ) from error

    def check_film(self, film: Film) -> None:
        """Refuse a film that must not go to this kind of study, before an edit takes its time.

        Raises
        ------
        UnsupportedImageError
            See `Destination.check`.
        """
        self._destination.check(film)

    def edit_id(self, edit_id: str) -> str:
        """Name an edit in this folder's kind of study: other studies need other UIDs."""
        if self.study_mode == "new":
            return edit_id
        return hashlib.sha256(f"{edit_id} {self.study_mode}".encode()).hexdigest()[:32]

    def deliver(self, edited: Edited) -> Delivered:
        """Write the three objects of an edit, all or none.

        The same edit again gives the objects that are there, and writes only those that are
        missing because a process was killed while it wrote them.

        Raises
        ------
        DicomError
            An object cannot be built or stored; nothing is left behind.
        """
        record = replace(edited.provenance, edit_id=self.edit_id(edited.provenance.edit_id))
        with self._writing:
            return self._deliver(edited, record)

    def _deliver(self, edited: Edited, record: Provenance) -> Delivered:
        # What was recorded with the first object counts: the UIDs follow from the edit, and
        # under one UID there must not be two objects that differ in their time of creation.
        record = self._earlier(record) or record
        edited = replace(edited, provenance=record)
        masks = {EDIT_LABEL: edited.edit}
        if edited.keep.any():
            masks[KEEP_LABEL] = edited.keep
        scores = edited.fidelity.as_scores()
        objects = build_objects(
            edited.film, edited.stored, masks, record, scores, self._destination
        )
        stored = write_objects(objects, self.archive)
        self.known[record.edit_id] = record
        kinds = {kind: getattr(stored, kind) for kind in KINDS}
        return Delivered(
            edited,
            {kind: self.archive.path_of(instance) for kind, instance in kinds.items()},
            {"study": stored.sc.study_instance_uid}
            | {kind: instance.sop_instance_uid for kind, instance in kinds.items()},
        )


def _key(record: Provenance) -> tuple[str, str]:
    """What the UIDs of an edit follow from, beside its source."""
    return record.edit_id, record.result_pixel_sha256


def _record(path: Path) -> Provenance | None:
    """Read the record in an object's header; None for an object that is not ours."""
    try:
        return read_private(parse(path, pixels=False))
    except DicomError:
        return None
