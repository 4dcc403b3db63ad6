"""Headers of what an archive holds, without the cost of the pixels where it can be helped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from pydicom.dataset import Dataset

from radedit_dicom.archive import Archive, Instance
from radedit_dicom.errors import ArchiveError
from radedit_dicom.parsing import parse


@runtime_checkable
class Describing(Protocol):
    """An archive that gives headers without objects; ask with isinstance."""

    def headers(self, instances: Sequence[Instance]) -> dict[str, Dataset]:
        """Give headers by SOP Instance UID, with few requests; what it does not tell is left out.

        Raises `ArchiveError` when the archive does not offer that.
        """
        ...


def headers(archive: Archive, instances: Sequence[Instance]) -> dict[str, Dataset]:
    """Give the headers that an archive tells without the objects; it may be none."""
    if not instances or not isinstance(archive, Describing):
        return {}
    try:
        return archive.headers(instances)
    except ArchiveError:
        return {}  # by fetching, its error is told


def header(archive: Archive, instance: Instance) -> Dataset:
    """Give the header of one object, which is fetched for it if need be.

    Raises
    ------
    ArchiveError
        The archive does not give it.
    NotDicomError, UnsupportedImageError
        It cannot be parsed.
    """
    told = headers(archive, [instance]).get(instance.sop_instance_uid)
    return parse(archive.fetch(instance), pixels=False) if told is None else told
