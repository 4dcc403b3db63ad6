"""The three objects of one edit, referring to each other, built and stored as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from radedit_dicom import vocabulary as words
from radedit_dicom.archive import Archive, Instance
from radedit_dicom.errors import ConformanceError, ProvenanceError, UnsupportedImageError
from radedit_dicom.film import Film, Stored
from radedit_dicom.marks import Reference
from radedit_dicom.provenance import Provenance, pixel_sha256
from radedit_dicom.report import Scores, build_report
from radedit_dicom.secondary_capture import build_secondary_capture
from radedit_dicom.segmentation import build_segmentation, reference_to_segmentation
from radedit_dicom.study import StudyContext, check_identity

StudyMode = Literal["new", "same"]


@dataclass(frozen=True, eq=False)
class EditObjects:
    """The edited image, its masks and its report.

    Attributes
    ----------
    sc, seg, sr : pydicom.Dataset
        Each with ``file_meta``.
    """

    sc: Dataset
    seg: Dataset
    sr: Dataset


@dataclass(frozen=True)
class StoredEdit:
    """Where the three objects of an edit are in an archive."""

    sc: Instance
    seg: Instance
    sr: Instance


@dataclass(frozen=True)
class Destination:
    """Which study the objects go to.

    Attributes
    ----------
    study_mode : "new" or "same"
        A study of their own under a QA patient, or the source's study.
    pseudonym_key : bytes
        For "new": the site's secret that groups a patient's films (`qa_patient_id`).
    first_series_number : int or None
        Series number of the edited image; its SEG and its SR get the next two. None: a
        number that follows from the edit, which another series of the study may have.
    """

    study_mode: StudyMode = "new"
    pseudonym_key: bytes = b""
    first_series_number: int | None = None

    def check(self, film: Film) -> None:
        """Refuse a film whose identity would go to a QA patient, or cannot be repeated.

        It costs nothing, so call it before the edit; `context` calls it in any case.

        Raises
        ------
        UnsupportedImageError
            The mode is "new" and the film says that an identity is burned into it; or it is
            "same" and an identifier of the film cannot be repeated (`study.check_identity`).
        """
        self.check_header(film.header)

    def check_header(self, header: Dataset) -> None:
        """Refuse a film by its header; see `check`."""
        if self.study_mode == "same":
            check_identity(header)
        burned_in = str(header.get("BurnedInAnnotation", "")).strip().upper() == "YES"
        if burned_in and self.study_mode == "new":
            raise UnsupportedImageError(
                "The film's pixels show who the patient is (BurnedInAnnotation YES), and a new QA "
                "study must not; use study mode same, or clean the film first."
            )

    def context(self, film: Film, provenance: Provenance) -> StudyContext:
        """Make the study context for one edit.

        Raises
        ------
        ConformanceError
            The mode is neither "new" nor "same".
        UnsupportedImageError
            As in `check`.
        """
        self.check(film)
        if self.study_mode == "same":
            return StudyContext.same(film)
        if self.study_mode == "new":
            return StudyContext.qa(film, provenance, pseudonym_key=self.pseudonym_key)
        raise ConformanceError("The study mode is unknown; it must be new or same.")


def build_objects(
    film: Film,
    edited: Stored,
    masks: Mapping[str, NDArray[np.bool_]],
    provenance: Provenance,
    score: Scores,
    study_mode: StudyMode | Destination = "new",
) -> EditObjects:
    """Build the edited image, the SEG and the report of one edit.

    Parameters
    ----------
    film : Film
        The source.
    edited : uint16 or int32 [rows, columns]
        New stored values.
    masks : mapping of str to bool [rows, columns]
        "edit mask", "keep mask" if there is one, and any anatomy carried along.
    provenance : Provenance
        Its hashes must be those of film, edited pixels and masks.
    score : mapping of str to float or None
    study_mode : "new", "same" or Destination

    Returns
    -------
    EditObjects

    Raises
    ------
    ProvenanceError
        A hash of the record is not that of the pixels or masks.
    ConformanceError
        Pixels or masks do not fit the film, or the mode is unknown.
    UnsupportedImageError
        An identity is burned into a film that goes to a new study (`Destination.check`).
    """
    _check_hashes(masks, provenance)
    to = study_mode if isinstance(study_mode, Destination) else Destination(study_mode)
    study = to.context(film, provenance)
    segmentation = reference_to_segmentation(provenance, study)
    provenance = replace(provenance, seg_sop_instance_uid=segmentation.sop_instance_uid)
    sc = build_secondary_capture(film, edited, provenance, study=study, segmentation=segmentation)
    seg = build_segmentation(sc, masks, provenance, study, Reference.to(film.header))
    sr = build_report(film, sc, seg, score, provenance, study)
    if to.first_series_number is not None:
        for offset, dataset in enumerate((sc, seg, sr)):
            dataset.SeriesNumber = to.first_series_number + offset
    return EditObjects(sc=sc, seg=seg, sr=sr)


def write_objects(objects: EditObjects, archive: Archive) -> StoredEdit:
    """Store the three objects, all or none.

    The image comes last, so that whoever sees it finds its masks and report as well.

    Parameters
    ----------
    objects : EditObjects
    archive : Archive

    Returns
    -------
    StoredEdit

    Raises
    ------
    ArchiveError
        The archive refused or altered one of them.
    """
    seg, sr, sc = archive.store([objects.seg, objects.sr, objects.sc])
    return StoredEdit(sc=sc, seg=seg, sr=sr)


def _check_hashes(masks: Mapping[str, NDArray[np.bool_]], provenance: Provenance) -> None:
    recorded = {
        words.EDIT_LABEL: provenance.edit_mask_sha256,
        words.KEEP_LABEL: provenance.keep_mask_sha256,
    }
    for label, wanted in recorded.items():
        found = pixel_sha256(masks[label]) if label in masks else None
        if found != wanted:
            raise ProvenanceError(
                f"The provenance's hash of the {label} is not that of the mask to be written; "
                "hash the mask that was used."
            )
