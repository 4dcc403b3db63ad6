"""The edits that wait for a reader, and the films that they were made of."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from radedit.lib.errors import NotFoundError
from radedit.lib.review.events import Subject
from radedit_dicom import vocabulary as words
from radedit_dicom.archive import Archive, Instance, Query
from radedit_dicom.cache import Cache
from radedit_dicom.dimse import DimseArchive
from radedit_dicom.edits import HeldEdit, Ledger, listed
from radedit_dicom.film import Film, read_film
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import to_display
from radedit_dicom.segment_reader import read_segmentation
from radedit_dicom.uids import is_uid

LISTED_S: Final = 10.0  # how long a listing is believed
_CACHE_BYTES: Final = 2_000_000_000
_OPEN_FILMS: Final = 4  # decoded and kept: two edits with their originals


@dataclass(frozen=True, eq=False)
class Opened:
    """An edit with its pixels.

    Attributes
    ----------
    source, result : the film and the edited image
    before, after : float32 [rows, columns] in [0, 1], 1 = white on the monitor
    """

    source: Film
    result: Film

    @property
    def before(self) -> NDArray[np.float32]:
        """The film as a reader sees it."""
        return to_display(self.source)

    @property
    def after(self) -> NDArray[np.float32]:
        """The edited image as a reader sees it."""
        return to_display(self.result)


class Cases:
    """The complete edits of an archive.

    Parameters
    ----------
    results : holds the edits
    originals : holds the films they were made of; may be the same
    cache : folder for fetched objects
    """

    def __init__(self, results: Archive, originals: Archive, cache: Path) -> None:
        self.results = results
        self._originals = originals
        self._ledger = Ledger(results)
        self._caches = (Cache(results, cache), Cache(originals, cache))
        self._lock = threading.Lock()
        self._at, self._listed = -LISTED_S, dict[str, HeldEdit]()
        self._film = lru_cache(maxsize=_OPEN_FILMS)(self._read_film)
        self._scores = lru_cache(maxsize=512)(self._read_scores)

    def edits(self) -> Mapping[str, HeldEdit]:
        """List the edits by SOP Instance UID of the edited image, oldest first.

        The archive is asked again when it was asked `LISTED_S` ago.

        Raises
        ------
        ArchiveError
            The archive cannot be searched or read.
        """
        with self._lock:
            if time.monotonic() - self._at >= LISTED_S:
                self._listed = _by_uid(self._ledger.edits(Query()))
                self._at = time.monotonic()
            return self._listed

    def _looked_up(self, uid: str) -> HeldEdit | None:
        """Ask for one that was made since the listing, by itself: the UID may be anything."""
        if not is_uid(uid) or isinstance(self.results, DimseArchive):
            return None  # by DIMSE an unknown UID may be looked for in every study
        studies = {i.study_instance_uid for i in listed(self.results, Query(sop_instance_uid=uid))}
        for study in studies:
            found = _by_uid(self._ledger.edits(Query(study_instance_uid=study)))
            with self._lock:
                self._listed = {**self._listed, **found}
        return self._listed.get(uid)

    def edit(self, uid: str) -> HeldEdit:
        """Give one edit.

        Raises
        ------
        NotFoundError
            There is no complete edit with that edited image.
        ArchiveError
            As in `edits`.
        """
        found = self.edits().get(uid) or self._looked_up(uid)
        if found is None:
            raise NotFoundError("There is no such edit; /review lists those that there are.")
        return found

    def subject(self, uid: str) -> Subject:
        """Name an edit as events name it.

        Raises
        ------
        NotFoundError, ArchiveError
            As in `edit`.
        """
        record = self.edit(uid).record
        return Subject(
            sop_instance_uid=uid,
            edit_id=record.edit_id,
            result_sha256=record.result_pixel_sha256,
            model=record.model,
            model_sha256=record.model_sha256,
            tool_version=record.tool_version,
        )

    def opened(self, uid: str) -> Opened:
        """Read an edit's pixels.

        Raises
        ------
        NotFoundError
            As in `edit`, or the originals do not hold the film any more.
        DicomError
            The archive does not give an object, or it cannot be read.
        """
        edit = self.edit(uid)
        result = self._film(0, edit.instances["sc"])
        return Opened(self._film(1, self._source(edit)), result)

    def masks(self, uid: str) -> dict[str, NDArray[np.bool_]]:
        """Read an edit's masks: label to bool [rows, columns], True = inside.

        Raises
        ------
        NotFoundError, DicomError
            As in `opened`.
        """
        edit = self.edit(uid)
        segmentation = parse(self._path(0, edit.instances["seg"]), pixels=True)
        return read_segmentation(segmentation, self._film(0, edit.instances["sc"]))

    def scores(self, uid: str) -> Mapping[str, float | None]:
        """Read an edit's scores by name; None = not computed.

        Raises
        ------
        NotFoundError, DicomError
            As in `opened`.
        """
        return self._scores(self.edit(uid).instances["sr"])

    def _source(self, edit: HeldEdit) -> Instance:
        found = self._originals.find(Query(sop_instance_uid=edit.record.source_sop_instance_uid))
        if not found:
            raise NotFoundError(
                "The archive no longer holds the film that this edit was made of, so there is "
                "nothing to compare it with; bring the film back."
            )
        return found[0]

    def _path(self, which: int, instance: Instance) -> Path:
        path = self._caches[which].path_of(instance)
        self._caches[which].trim(_CACHE_BYTES)
        return path

    def _read_film(self, which: int, instance: Instance) -> Film:
        return read_film(self._path(which, instance), allow_synthetic=True)

    def _read_scores(self, instance: Instance) -> Mapping[str, float | None]:
        return scores_of(parse(self._path(0, instance), pixels=False))


def _by_uid(held: Iterable[HeldEdit]) -> dict[str, HeldEdit]:
    return {edit.instances["sc"].sop_instance_uid: edit for edit in held if edit.is_complete}


def scores_of(report: Dataset) -> dict[str, float | None]:
    """Read the scores out of an edit's report.

    Returns
    -------
    dict
        Name, as it fits into a code's meaning (64 characters), to value; None = the report says
        that it was not computed.
    """
    found: dict[str, float | None] = {}
    for element in report.iterall():
        if element.keyword != "ContentSequence":
            continue
        for item in element.value:
            name = (item.get("ConceptNameCodeSequence") or [Dataset()])[0]
            if name.get("CodingSchemeDesignator") != words.SCHEME:
                continue
            if item.get("ValueType") == "NUM" and item.get("MeasuredValueSequence"):
                value = item.MeasuredValueSequence[0].get("NumericValue")
                found[str(name.get("CodeMeaning"))] = None if value is None else float(value)
            elif name.get("CodeValue") == words.SCORE_MISSING.value:
                found[str(item.get("TextValue"))] = None
    return found
