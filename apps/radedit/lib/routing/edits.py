"""One edit of a route: from a film in the spool to objects that wait in outboxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from radedit.lib.cases import Case, EditRequest
from radedit.lib.deliver import Manner
from radedit.lib.deliver import Outbox as Store
from radedit.lib.errors import FilmError, NoChangeError, NotFoundError, RequestError
from radedit.lib.pipeline import Editor
from radedit.lib.routing.settings import edit_fields
from radedit.lib.sources import FilmSources
from radedit_dicom.archive import Instance, Query, instance_of
from radedit_dicom.errors import (
    AlreadySyntheticError,
    ArchiveError,
    NotDicomError,
    SegmentNotFoundError,
    UnsupportedImageError,
)
from radedit_dicom.film import read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.objects import StudyMode
from radedit_dicom.parsing import parse
from radedit_dicom.router.journal import Journal
from radedit_dicom.router.outbox import Order
from radedit_dicom.router.spool import Spool, read
from radedit_dicom.router.work import Job

#: Whatever raises these would do so again.
FINAL: tuple[type[Exception], ...] = (
    RequestError,
    NotFoundError,
    FilmError,
    NoChangeError,
    AlreadySyntheticError,
    NotDicomError,
    SegmentNotFoundError,
    UnsupportedImageError,
)
_KINDS = ("seg", "sr", "sc")  # masks and report first, as `deliver` stores them


@dataclass(frozen=True)
class EditStep:
    """Makes the edits of jobs.

    Attributes
    ----------
    spool, journal
        Of the route.
    editor : Editor
    """

    spool: Spool
    journal: Journal
    editor: Editor

    def run(self, job: Job) -> tuple[dict[str, Any], list[Order]]:
        """Make one edit, or find it made.

        Every step may be repeated: the objects' UIDs follow from film and request, and an
        earlier attempt's objects are kept and completed.

        Returns
        -------
        result : dict
            Identifiers, scores and seconds; no patient data.
        orders : list of Order
            For each destination the three objects.

        Raises
        ------
        RadEditError, DicomError
            It cannot be made; those of `FINAL` never.
        """
        path = self._path(job.subject)
        film = read_film(path)
        settings = job.action["settings"]
        request = EditRequest(**edit_fields(settings))
        store = FolderArchive(self.spool.results(job.name))
        mode: StudyMode = "same" if settings.get("study") == "same" else "new"
        manner = Manner(mode, self.editor.settings.pseudonym_key, settings.get("compress", "none"))
        outbox = Store(store, manner)
        outbox.check_film(film)
        sources = FilmSources(
            film, archive=Arrived(self.spool, self.journal), remotes=self.editor.settings.remotes
        )
        prepared = self.editor.prepare(Case(film, request, sources))
        held = outbox.held(film, outbox.edit_id(self.editor.edit_id(prepared)))
        if held is not None:
            result: dict[str, Any] = {"edit_id": held.record.edit_id}
            instances = dict(held.instances)
        else:
            delivered = outbox.deliver(self.editor.edit_batch([prepared])[0])
            summary = delivered.summary()
            result = {key: summary[key] for key in ("edit_id", "uids", "score", "seconds")}
            instances = dict(delivered.instances)
        return result, self._orders(job, store, instances)

    def _path(self, uid: str) -> Path:
        row = self.journal.row("SELECT file FROM instances WHERE uid = ?", (uid,))
        path = self.spool.folder / ("" if row is None else str(row["file"]))
        if not path.is_file():
            raise FilmError("The film is no longer in the spool; have it sent again.")
        return path

    def _orders(
        self, job: Job, store: FolderArchive, instances: dict[str, Instance]
    ) -> list[Order]:
        return [
            Order(
                destination=destination,
                uid=instances[kind].sop_instance_uid,
                file=self.spool.relative(store.path_of(instances[kind])),
                job=job.name,
                priority=job.priority,
                held=bool(job.action["review"]),
            )
            for destination in job.action["to"]
            for kind in _KINDS
        ]


@dataclass(frozen=True)
class Arrived:
    """The objects of a route as an archive, in which `seg:` looks for masks.

    Attributes
    ----------
    spool, journal
        Of the route.
    """

    spool: Spool
    journal: Journal

    def find(self, query: Query) -> list[Instance]:
        """List the sound objects of a study that match.

        Raises
        ------
        ArchiveError
            No study is named.
        """
        if query.study_instance_uid is None:
            raise ArchiveError("Masks are looked for in a film's own study; name a study.")
        rows = self.journal.rows(
            "SELECT file FROM instances WHERE study = ? "
            "AND state NOT IN ('quarantined', 'discarded', 'removed')",
            (query.study_instance_uid,),
        )
        wanted = {name: value for name, value in vars(query).items() if value is not None}
        found = []
        for row in rows:
            header = parse(self.spool.folder / row["file"], pixels=False)
            instance = instance_of(header)
            fields = vars(instance) | {
                "patient_id": str(header.get("PatientID", "")),
                "accession_number": str(header.get("AccessionNumber", "")),
            }
            if all(fields[name] == value for name, value in wanted.items()):
                found.append(instance)
        return sorted(found)

    def fetch(self, instance: Instance) -> bytes:
        """Give the bytes of one object.

        Raises
        ------
        ArchiveError
            It is not here.
        """
        row = self.journal.row(
            "SELECT file FROM instances WHERE uid = ?", (instance.sop_instance_uid,)
        )
        if row is None:
            raise ArchiveError(f"The instance {instance.sop_instance_uid} did not come here.")
        return read(self.spool.folder / row["file"])

    def store(self, objects: Sequence[Dataset]) -> list[Instance]:
        """Refuse: objects come here by the receiver alone."""
        raise ArchiveError("Objects come to a route by its receiver; send them there.")


def is_final(error: Exception) -> bool:
    """Tell whether a job would fail in the same way, whenever it is tried again."""
    return isinstance(error, FINAL)
