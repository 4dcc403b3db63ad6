"""The films of an archive and their labels: listed, fetched when asked for, stored as SEG."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, SegmentationStorage

from radedit.lib.errors import MaskError, NotFoundError
from radedit.lib.label_files import label_image, write_labels
from radedit.lib.record import TOOL
from radedit.lib.shared_call import SharedCall
from radedit_dicom import vocabulary as words
from radedit_dicom.archive import Archive, Instance, Query
from radedit_dicom.cache import Cache
from radedit_dicom.conformance import claims_ours
from radedit_dicom.errors import ArchiveError, DicomError
from radedit_dicom.film import Film, read_film
from radedit_dicom.gate import is_phantom
from radedit_dicom.headers import header, headers
from radedit_dicom.label_segmentation import About, LabelNote, build_label, note_of
from radedit_dicom.parsing import parse
from radedit_dicom.segment_reader import read_segmentation
from radedit_dicom.series_numbers import series_numbers

LISTED_S = 10.0  # how long a listing is believed; one request asks for it several times
WAIT_S = 10.0  # how long a request waits for the archive before it goes on with the last listing
SLOW_S = 5.0  # an archive that has not answered for so long is said not to
PROBED_S = 30.0  # how often the archive is asked whether it is there
_SILENT = (
    "The archive has not answered yet; see whether it runs, and ask again in a moment: the "
    "server goes on waiting for it."
)
FOREIGN_TAG = "final"
_FIRST_NUMBER = 8000  # series numbers of labels, past what consoles number


T = TypeVar("T")


@dataclass(frozen=True)
class Label:
    """A SEG that refers to a film."""

    instance: Instance
    note: LabelNote

    @property
    def tag(self) -> str:
        """MONAI Label's kind of label; another program's SEG counts as final."""
        return self.note.tag or FOREIGN_TAG


class Shelf:
    """The CR and DX films of an archive, without those that say they are synthetic.

    Parameters
    ----------
    archive : holds the films, and gets the labels
    scope : such as one study; an empty one lists the whole archive
    cache : for fetched films
    limit_bytes : of the cache; what was asked for longest ago goes first
    """

    def __init__(self, archive: Archive, scope: Query, cache: Path, limit_bytes: int) -> None:
        self.archive = archive
        self.limit_bytes = limit_bytes
        self._scope = scope
        self._cache = Cache(archive, cache)
        self._lock = threading.RLock()
        self._films = SharedCall(self._listed_films, LISTED_S, SLOW_S)
        self._segmentations = SharedCall(lambda: self._find("SEG"), LISTED_S, SLOW_S)
        nothing = Query(sop_instance_uid="2.25.0")
        self._probe = SharedCall(lambda: archive.find(nothing), PROBED_S, SLOW_S)
        self._synthetic: dict[str, bool] = {}
        self._notes: dict[str, LabelNote | None] = {}

    def films(self) -> dict[str, Instance]:
        """List the films by SOP Instance UID, as the archive was at most `LISTED_S` ago.

        One that does not answer within `WAIT_S` is taken as it was when it last answered.

        Raises
        ------
        ArchiveError
            The archive cannot be searched, or has not answered yet.
        """
        films: dict[str, Instance] = _waited(self._films)
        return dict(films)

    def is_answering(self) -> bool:
        """Say whether the archive answered when it was last asked; asks it, but waits for nothing.

        A call that is under way counts as answered until it has taken `SLOW_S`.
        """
        self._probe.start()
        calls: tuple[SharedCall[Any], ...] = (self._probe, self._films, self._segmentations)
        return not any(call.is_in_trouble() for call in calls)

    def film(self, uid: str) -> Instance:
        """Name one film by its SOP Instance UID, or by its series' if it is the only one there.

        Raises
        ------
        NotFoundError
            The archive lists no such film, or several of that series.
        ArchiveError
            As in `films`.
        """
        films = self.films()
        if uid in films:
            return films[uid]
        named = [film for film in films.values() if film.series_instance_uid == uid]
        if len(named) > 1:
            raise NotFoundError(
                f"The series holds {len(named)} films; name one by its SOP Instance UID, as GET "
                "/datastore/?output=all lists them."
            )
        if not named:
            raise NotFoundError("There is no such image; GET /datastore/?output=all lists them.")
        return named[0]

    def path(self, uid: str) -> Path:
        """Give the file of a film, fetched if need be.

        Raises
        ------
        NotFoundError
            As in `film`.
        ArchiveError
            The archive does not give it.
        """
        path = self._cache.path_of(self.film(uid))
        self._cache.trim(self.limit_bytes)
        return path

    def header(self, uid: str) -> Dataset | None:
        """Give the header of a film without fetching it; None = the archive tells none.

        Raises
        ------
        NotFoundError, ArchiveError
            As in `film`.
        NotDicomError
            What was fetched before cannot be parsed.
        """
        film = self.film(uid)
        path = self._cache.held(film)
        if path is not None:
            return parse(path, pixels=False)
        return headers(self.archive, [film]).get(film.sop_instance_uid)

    def labels(self, uid: str) -> dict[str, Label]:
        """Give the newest label of each tag that a film has; edits' masks are none.

        Raises
        ------
        ArchiveError
            The archive cannot be searched or read.
        """
        film = self.film(uid)
        uid, study = film.sop_instance_uid, film.study_instance_uid
        held = [i for i in _waited(self._segmentations) if i.study_instance_uid == study]
        if not self._lock.acquire(timeout=WAIT_S):
            raise ArchiveError(_SILENT)
        try:
            notes = [(instance, self._note(instance)) for instance in held]
        finally:
            self._lock.release()
        labels = [Label(i, note) for i, note in notes if note is not None and uid in note.films]
        # One's own label of a tag comes before another program's, then the newest.
        labels.sort(key=lambda label: (label.note.tag is not None, label.note.created))
        return {label.tag: label for label in labels}

    def label(self, uid: str, tag: str) -> Label:
        """Give one label.

        Raises
        ------
        NotFoundError
            The film has none with that tag.
        ArchiveError
            As in `labels`.
        """
        found = self.labels(uid).get(tag)
        if found is None:
            raise NotFoundError(f"There is no label '{tag}' of this image.")
        return found

    def label_path(self, uid: str, tag: str) -> Path:
        """Write a label as an image (.nii.gz), numbered in the order of its segments.

        Raises
        ------
        NotFoundError, ArchiveError
            As in `label`.
        UnsupportedImageError
            The SEG does not fit the film.
        """
        instance = self.label(uid, tag).instance
        film = read_film(self.path(uid))
        segments = read_segmentation(parse(self.archive.fetch(instance), pixels=True), film)
        written = write_labels(label_image(segments, film), film, ".nii.gz")
        return self._cache.adopt(written, instance, ".nii.gz")

    def save_label(
        self,
        uid: str,
        tag: str,
        masks: Callable[[Film], Mapping[str, NDArray[np.bool_]]],
        model: str = "",
    ) -> Instance:
        """Store a film's labels as a SEG in its study; an earlier one of the tag stays too.

        Parameters
        ----------
        masks : from the film, label to bool [rows, cols]; those that are empty are left out
        model : the task that made them; "" = a person

        Raises
        ------
        NotFoundError
            There is no such film.
        MaskError
            There is no label in the masks.
        DicomError
            The film is not one that is read, or the archive does not take
            it.
        """
        study = self.film(uid).study_instance_uid
        film = read_film(self.path(uid))
        given = {label: mask for label, mask in masks(film).items() if mask.any()}
        if not given:
            raise MaskError("the label image has nothing in it; draw a label and save it again.")
        taken = series_numbers(self.archive, study)
        number = next(n for n in count(_FIRST_NUMBER) if n not in taken)
        about = About(tag, model, version(TOOL), number)
        stored = self.archive.store([build_label(film, given, about)])[0]
        self._segmentations.forget()  # a label adds no film
        return stored

    def refresh(self) -> None:
        """Forget the listings; what was read of an object stays, since it cannot change."""
        self._films.forget()
        self._segmentations.forget()

    def _listed_films(self) -> dict[str, Instance]:
        found = [i for name in sorted(words.FILM_MODALITIES) for i in self._find(name)]
        return {
            instance.sop_instance_uid: instance
            for instance in sorted(found)
            if instance.sop_class_uid in {"", *words.FILM_CLASSES}
            and not self._is_synthetic(instance)
        }

    def _find(self, modality: str) -> list[Instance]:
        scope = self._scope
        return self.archive.find(
            Query(
                study_instance_uid=scope.study_instance_uid,
                series_instance_uid=scope.series_instance_uid if modality != "SEG" else None,
                modality=modality,
            )
        )

    def _is_synthetic(self, instance: Instance) -> bool:
        """Look into Secondary Captures only: results are written as those."""
        if instance.sop_class_uid not in ("", SecondaryCaptureImageStorage):
            return False
        uid = instance.sop_instance_uid
        if uid not in self._synthetic:
            try:
                told = header(self.archive, instance)
                self._synthetic[uid] = claims_ours(told) and not is_phantom(told)
            except DicomError:
                return False  # asked for by name, it says itself what is wrong
        return self._synthetic[uid]

    def _note(self, instance: Instance) -> LabelNote | None:
        uid = instance.sop_instance_uid
        if instance.sop_class_uid not in ("", SegmentationStorage, words.LABEL_MAP_CLASS):
            return None
        if uid not in self._notes:
            self._notes[uid] = note_of(header(self.archive, instance))
        return self._notes[uid]


def _waited(call: SharedCall[T]) -> T:
    """Wait for an archive's answer as long as a request may."""
    try:
        return call.value(WAIT_S)
    except TimeoutError:
        raise ArchiveError(_SILENT) from None
