"""An edit's way out: its DICOM objects, where they lie, and what to tell the caller."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from radedit.lib.pipeline import Edited
from radedit_dicom.archive import Query
from radedit_dicom.errors import DicomError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.objects import StudyMode, build_objects, write_objects
from radedit_dicom.parsing import parse
from radedit_dicom.provenance import Provenance
from radedit_dicom.report import read_report_provenance
from radedit_dicom.vocabulary import EDIT_LABEL, KEEP_LABEL


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
    """

    def __init__(self, folder: Path, study_mode: StudyMode = "new") -> None:
        self.archive = FolderArchive(folder)
        self.study_mode = study_mode
        self._known: dict[str, Provenance] | None = None

    @property
    def known(self) -> dict[str, Provenance]:
        """Edit id to record of every edit whose report lies in the folder."""
        if self._known is None:
            self._known = {}
            reports = self.archive.find(Query(modality="SR")) if self._exists() else []
            for report in reports:
                try:
                    record = read_report_provenance(
                        parse(self.archive.path_of(report), pixels=False)
                    )
                except DicomError:  # somebody else's report
                    continue
                self._known[record.edit_id] = record
        return self._known

    def edit_id(self, edit_id: str) -> str:
        """Name an edit in this folder's kind of study: other studies need other UIDs."""
        if self.study_mode == "new":
            return edit_id
        return hashlib.sha256(f"{edit_id} {self.study_mode}".encode()).hexdigest()[:32]

    def deliver(self, edited: Edited) -> Delivered:
        """Write the three objects of an edit, all or none.

        The same edit again writes nothing and gives the objects that are there.

        Raises
        ------
        DicomError
            An object cannot be built or stored; nothing is left behind.
        """
        record = replace(edited.provenance, edit_id=self.edit_id(edited.provenance.edit_id))
        earlier = self.known.get(record.edit_id)
        if earlier is not None and earlier.result_pixel_sha256 == record.result_pixel_sha256:
            record = earlier
        edited = replace(edited, provenance=record)
        masks = {EDIT_LABEL: edited.edit}
        if edited.keep.any():
            masks[KEEP_LABEL] = edited.keep
        objects = build_objects(
            edited.film, edited.stored, masks, record, edited.fidelity.as_scores(), self.study_mode
        )
        stored = write_objects(objects, self.archive)
        self.known[record.edit_id] = record
        kinds = {"sc": stored.sc, "seg": stored.seg, "sr": stored.sr}
        return Delivered(
            edited,
            {kind: self.archive.path_of(instance) for kind, instance in kinds.items()},
            {"study": stored.sc.study_instance_uid}
            | {kind: instance.sop_instance_uid for kind, instance in kinds.items()},
        )

    def _exists(self) -> bool:
        return self.archive.folder.is_dir()
