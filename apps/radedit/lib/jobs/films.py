"""The film, the masks and the way out of a job, at the place that is served."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from radedit.lib.cases import Case, EditRequest
from radedit.lib.deliver import Delivered, Manner, Outbox
from radedit.lib.errors import NotFoundError
from radedit.lib.infers.request import UploadSources
from radedit.lib.jobs.model import JobRequest
from radedit.lib.mask_files import read_png
from radedit.lib.served import ServedPlace, served_place
from radedit.lib.settings import Settings
from radedit.lib.sources import EMBEDDED_TASKS, Task
from radedit_dicom.film import read_film
from radedit_dicom.folder import FolderArchive


@dataclass(frozen=True)
class Films:
    """What is served, and how results leave.

    Parameters
    ----------
    place : films, labels and output
    settings : of the editor
    bundles : mask tasks beside the embedded ones, by name
    """

    place: ServedPlace
    settings: Settings
    bundles: Mapping[str, Any] = field(default_factory=dict)
    _outboxes: dict[str, Outbox] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, studies: str, conf: Mapping[str, str], settings: Settings) -> Films:
        """Open the studies that are served; arguments and errors as those of `served_place`.

        Parameters
        ----------
        conf : beside those, `bundles`, as MONAI Label's `--conf bundles`
        """
        named, found = conf.get("bundles", ""), {}
        if named:
            from radedit.lib.infers.bundle import bundles  # brings MONAI Label along

            found = bundles(named, settings.device)
        return cls(served_place(studies, conf), settings, found)

    def outbox(self, study_mode: str) -> Outbox:
        """Give the way out to studies of their own, or to the film's."""
        if study_mode not in self._outboxes:
            manner = Manner("same" if study_mode == "same" else "new", self.settings.pseudonym_key)
            self._outboxes[study_mode] = Outbox(self.place.output, manner)
        return self._outboxes[study_mode]

    def case(self, request: JobRequest) -> Case:
        """Read the film of a request and put its masks beside it.

        Raises
        ------
        NotFoundError
            There is no such image.
        MaskError
            A mask is no PNG of the film's size.
        DicomError
            The film is refused, or the archive does not give it.
        """
        path = self._path(request.image)
        film = read_film(path)
        self.outbox(request.study_mode).check_film(film)
        pngs = request.masks.items()
        sources = UploadSources(
            film,
            tasks=self._tasks(path),
            uploaded={name: read_png(io.BytesIO(png), name, film.shape) for name, png in pngs},
            archive=self.place.archive,
            remotes=self.settings.remotes,
        )
        return Case(film, _edit_request(request), sources)

    def told(self, delivered: Delivered) -> dict[str, Any]:
        """Say what became of a job; of files, each path from the output folder on."""
        summary = delivered.summary()
        if isinstance(self.place.output, FolderArchive):
            folder = self.place.output.folder
            summary |= {kind: str(p.relative_to(folder)) for kind, p in delivered.files.items()}
        series = {kind: i.series_instance_uid for kind, i in delivered.instances.items()}
        return {**summary, "series": series}

    def held(self, case: Case, edit_id: str, study_mode: str) -> dict[str, Any] | None:
        """Say what is in the archive of an edit that was made before in another way."""
        outbox = self.outbox(study_mode)
        found = outbox.held(case.film, outbox.edit_id(edit_id))
        if found is None:
            return None
        uids = {kind: i.sop_instance_uid for kind, i in found.instances.items()}
        return {
            "edit_id": found.record.edit_id,
            "source": found.record.source_sop_instance_uid,
            **uids,
            "uids": {"study": found.instances["sc"].study_instance_uid, **uids},
            "series": {kind: i.series_instance_uid for kind, i in found.instances.items()},
            "score": {},
            "seconds": {},
            "pixel_sha256": found.record.result_pixel_sha256,
            "already_there": True,
        }

    def _path(self, image: str) -> Path:
        if self.place.shelf is not None:
            return self.place.shelf.path(image)
        if self.place.folder is None:
            raise NotFoundError("There is no such image; GET /datastore/?output=all lists them.")
        return self.place.folder.path(image)

    def _tasks(self, path: Path) -> Mapping[str, Task]:
        if not self.bundles:
            return EMBEDDED_TASKS
        from radedit.lib.infers.task_masks import mask_tasks

        return mask_tasks(self.bundles, path)


def _edit_request(request: JobRequest) -> EditRequest:
    return EditRequest(
        prompt=request.prompt,
        edit_mask=request.edit_mask,
        keep_mask=request.keep_mask,
        invert_prompt=request.invert_prompt,
        film_text=request.film_text,
        model=request.model,
        parameters=request.parameters,
    )
