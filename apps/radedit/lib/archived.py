"""Masks from segmentations that an archive holds of a film (`seg:` in the mask grammar)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from radedit.lib.errors import MaskError, NotFoundError
from radedit_dicom.archive import Archive, Instance, Query
from radedit_dicom.errors import DicomError
from radedit_dicom.film import Film
from radedit_dicom.parsing import parse
from radedit_dicom.segment_reader import find_segments, refers_to, segment_labels, select_mask
from radedit_dicom.uids import is_uid

Mask = NDArray[np.bool_]
_SHOWN = 12  # labels or UIDs in a sentence


@dataclass(frozen=True)
class _Held:
    """One segmentation of the film's study, read."""

    instance: Instance
    dataset: Dataset


def archived_mask(wanted: str, film: Film, archive: Archive) -> Mask:
    """Find the one segmentation of a film that holds a label, and read its mask.

    Parameters
    ----------
    wanted : a segment's label, code value or code meaning, in any case; "@UID" behind it
        chooses among several segmentations by their series or instance UID
    film : the film the mask is wanted for
    archive : its segmentations are looked for in the film's own study; one that is named by its
        instance UID also in others, where edits may have been stored

    Returns
    -------
    bool [rows, cols], True = inside

    Raises
    ------
    NotFoundError
        There is no segmentation, or none with that label.
    MaskError
        None refers to this film, or several do and it is not said which one is meant.
    DicomError
        The archive cannot be reached, or the segmentation does not fit the film.
    """
    label, uid = _split(wanted)
    held = _segmentations(uid, film, archive)
    ours = [one for one in held if refers_to(one.dataset, film)]
    if not ours:
        raise MaskError(
            f"seg:{label} cannot be used: the {len(held)} segmentation(s) that were found refer "
            "to other images, not to this film; choose one that was made on it."
        )
    matching = [one for one in ours if find_segments(one.dataset, label)]
    if not matching:
        labels = sorted({name for one in ours for name in segment_labels(one.dataset)})
        raise NotFoundError(
            f"no segmentation of this film has a segment with the label or code '{label}'; there "
            f"are {', '.join(labels[:_SHOWN]) or 'none'}."
        )
    if len(matching) > 1:
        raise MaskError(
            f"'{label}' is in {len(matching)} segmentations of this film; say which with "
            f"seg:{label}@UID and one of {', '.join(_choices(matching)[:_SHOWN])}."
        )
    return select_mask(matching[0].dataset, film, label)


def _split(wanted: str) -> tuple[str, str | None]:
    label, at, uid = wanted.rpartition("@")
    if not at or not is_uid(uid):
        label, uid = wanted, ""
    if not label.strip():
        raise MaskError("seg: names no label; write seg:LABEL, or seg:LABEL@SERIESUID.")
    return label.strip(), uid or None


def _segmentations(uid: str | None, film: Film, archive: Archive) -> list[_Held]:
    study = str(film.header.StudyInstanceUID)
    found = [
        instance
        for instance in archive.find(Query(study_instance_uid=study, modality="SEG"))
        if uid in (None, instance.series_instance_uid, instance.sop_instance_uid)
    ]
    if uid and not found:
        found = archive.find(Query(sop_instance_uid=uid, modality="SEG"))
    if not found:
        named = f"with the UID {uid}" if uid else "in the film's study"
        raise NotFoundError(
            f"the archive holds no segmentation {named}; store one there, or name another source."
        )
    held = []
    for instance in found:
        content = archive.fetch(instance)
        try:
            held.append(_Held(instance, parse(content, pixels=True)))
        except DicomError as error:
            raise MaskError(
                f"the segmentation {instance.sop_instance_uid} cannot be read "
                f"({type(error).__name__}); choose another one with seg:LABEL@SERIESUID."
            ) from error
    return held


def _choices(held: Sequence[_Held]) -> list[str]:
    """Give the UIDs that tell segmentations apart: of the series where that is enough."""
    series = [one.instance.series_instance_uid for one in held]
    if len(set(series)) == len(series):
        return series
    return [one.instance.sop_instance_uid for one in held]
