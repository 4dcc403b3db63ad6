"""Series numbers of a study: those that are taken, and the first that are free for an edit."""

from __future__ import annotations

from collections.abc import Collection

from radedit_dicom.archive import Archive, Instance, Query, instance_of
from radedit_dicom.edits import KINDS, listed
from radedit_dicom.errors import DicomError
from radedit_dicom.headers import header
from radedit_dicom.marks import first_series_numbers
from radedit_dicom.provenance import Provenance, edit_uid


def free_series_number(archive: Archive, record: Provenance, study_instance_uid: str) -> int:
    """Choose series numbers that no other series of a study has.

    Parameters
    ----------
    archive : Archive
    record : Provenance
        Of the edit; its own series do not count.
    study_instance_uid : str

    Returns
    -------
    int
        For the edited image; the next two are free for its masks and its report.

    Raises
    ------
    ArchiveError
        The archive cannot be searched or read.
    """
    own = {str(edit_uid(record, f"{kind}-series")) for kind in KINDS}
    taken = series_numbers(archive, study_instance_uid, without=own)
    return next(
        number
        for number in first_series_numbers(record)
        if not taken & {number + offset for offset in range(len(KINDS))}
    )


def series_numbers(
    archive: Archive, study_instance_uid: str, without: Collection[str] = ()
) -> set[int | None]:
    """Give the series numbers that a study holds.

    Parameters
    ----------
    archive : Archive
    study_instance_uid : str
    without : collection of str
        Series Instance UIDs that do not count.

    Raises
    ------
    ArchiveError
        The archive cannot be searched or read.
    """
    series: dict[str, Instance] = {}
    for instance in listed(archive, Query(study_instance_uid=study_instance_uid)):
        series.setdefault(instance.series_instance_uid, instance)
    return {_number_of(archive, held) for uid, held in series.items() if uid not in without}


def _number_of(archive: Archive, instance: Instance) -> int | None:
    if instance.series_number is not None:
        return instance.series_number
    try:
        return instance_of(header(archive, instance)).series_number
    except DicomError:
        return None
