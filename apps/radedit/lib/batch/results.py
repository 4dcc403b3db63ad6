"""Where the edits of a batch run go, and whether they are there already.

Who stores into a folder of thousands of objects must not look at all of them for each one: the
edits of a study's films get a subfolder of their own, and only that is looked at. In an archive the
archive itself does the looking. So nothing here grows with the number of films.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from radedit.lib.deliver import Delivered, Manner, Outbox
from radedit_dicom.archive import Archive, Query
from radedit_dicom.edits import Ledger
from radedit_dicom.errors import ArchiveError
from radedit_dicom.film import Film
from radedit_dicom.folder import FolderArchive

_KINDS = ("sc", "seg", "sr")


class Results:
    """The way out.

    Parameters
    ----------
    archive : where results go
    manner : how they are written
    """

    def __init__(self, archive: Archive, manner: Manner) -> None:
        self.archive, self.manner = archive, manner
        self._folder = archive.folder if isinstance(archive, FolderArchive) else None
        self._before = frozenset(_edits_before(self._folder)) if self._folder else frozenset()

    def outbox(self, film: Film) -> Outbox:
        """Give a way out for one film that knows nothing of the others."""
        if self._folder is None:
            return Outbox(self.archive, self.manner)
        study = hashlib.sha256(str(film.header.StudyInstanceUID).encode()).hexdigest()[:16]
        return Outbox(FolderArchive(self._folder / f"source-{study}"), self.manner)

    def held(self, film: Film, edit_id: str) -> dict[str, Any] | None:
        """Tell about a film's edit that is there already; None = it is not.

        Parameters
        ----------
        edit_id : as the editor gives it

        Raises
        ------
        ArchiveError
            The archive cannot be searched or read.
        """
        outbox = self.outbox(film)
        name = outbox.edit_id(edit_id)
        if name in self._before:
            return {"edit_id": name}
        found = outbox.held(film, name)
        if found is None:
            return None
        uids = {kind: instance.sop_instance_uid for kind, instance in found.instances.items()}
        study = found.instances["sc"].study_instance_uid
        row: dict[str, Any] = {"edit_id": name, "uids": {"study": study, **uids}}
        if isinstance(outbox.archive, FolderArchive):
            paths = {kind: outbox.archive.path_of(i) for kind, i in found.instances.items()}
            row["files"] = self._relative(paths)
        return row

    def still_there(self, row: dict[str, Any]) -> bool:
        """Tell whether the objects that a journal's row names are (still) in the archive."""
        if self._folder is not None:
            files = row.get("files") or {}
            return len(files) == len(_KINDS) and all(
                (self._folder / str(file)).is_file() for file in files.values()
            )
        uids = row.get("uids") or {}
        if not {"study", *_KINDS} <= set(uids):
            return False
        try:
            found = self.archive.find(Query(study_instance_uid=uids["study"]))
        except ArchiveError:
            return False
        return {uids[kind] for kind in _KINDS} <= {i.sop_instance_uid for i in found}

    def row(self, delivered: Delivered) -> dict[str, Any]:
        """Tell about an edit; of files, each path from the output folder on."""
        summary = delivered.summary()
        row = {name: value for name, value in summary.items() if name not in {*_KINDS, "source"}}
        if self._folder is not None:
            row["files"] = self._relative(delivered.files)
        return row

    def _relative(self, files: Mapping[str, Path]) -> dict[str, str]:
        assert self._folder is not None
        return {kind: str(path.relative_to(self._folder)) for kind, path in files.items()}


def _edits_before(folder: Path) -> Iterator[str]:
    """Give the edits that were stored in the folder otherwise, as by `radedit edit`."""
    for study in sorted(folder.glob("study-*")):
        held = Ledger(FolderArchive(study)).edits(Query())
        yield from (edit.record.edit_id for edit in held if edit.is_complete)
