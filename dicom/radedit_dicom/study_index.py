"""The studies of an archive that may hold edits, each listed again only when it has changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from radedit_dicom.archive import Archive, ByStudy, Instance, Query, Study

#: What a study with an edit holds: masks and report are stored before the image, and removed last.
_SEARCHED = ("SR", "SEG")
_BELIEVED_S = 600.0  # a study with edits is listed again, as one may have taken another's place


@dataclass(frozen=True)
class _Listed:
    """What a study held when it was listed."""

    size: int | None
    instances: tuple[Instance, ...]
    at: float


class StudyIndex:
    """What the studies with reports or masks hold, of an archive that is `ByStudy`.

    Parameters
    ----------
    archive : Archive
    is_ours : callable
        Tells of an instance whether it is known to be of an edit.
    """

    def __init__(self, archive: Archive, is_ours: Callable[[Instance], bool]) -> None:
        self._archive, self._is_ours = archive, is_ours
        self._known: dict[str, _Listed] = {}

    def instances(self) -> list[Instance]:
        """List them as the archive is now: two searches, and one for each study that changed.

        Raises
        ------
        ArchiveError
            The archive cannot be searched.
        """
        assert isinstance(self._archive, ByStudy)
        holding = {
            study.uid: study
            for modality in _SEARCHED
            for study in self._archive.studies(Query(modality=modality))
        }
        self._known = {uid: self._listed(study) for uid, study in holding.items()}
        return [instance for study in self._known.values() for instance in study.instances]

    def _listed(self, study: Study) -> _Listed:
        known, now = self._known.get(study.uid), time.monotonic()
        if known is not None and study.size is not None and study.size == known.size:
            ours = any(map(self._is_ours, known.instances))
            if not ours or now - known.at < _BELIEVED_S:
                return known
        found = self._archive.find(Query(study_instance_uid=study.uid))
        return _Listed(study.size, tuple(found), now)
