"""What an archive can do, whichever kind it is: find, fetch, store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from radedit_dicom.errors import ArchiveError
from radedit_dicom.uids import is_uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class Query:
    """What to look for; every field given must match exactly.

    Attributes
    ----------
    study_instance_uid, series_instance_uid, sop_instance_uid : str or None
    modality, patient_id, accession_number : str or None

    Raises
    ------
    ArchiveError
        A UID is malformed (`checked_uid`).
    """

    study_instance_uid: str | None = None
    series_instance_uid: str | None = None
    sop_instance_uid: str | None = None
    modality: str | None = None
    patient_id: str | None = None
    accession_number: str | None = None

    def __post_init__(self) -> None:
        """Let no malformed UID reach an archive, of whatever kind."""
        for uid in (self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid):
            if uid is not None:
                checked_uid(uid)


@dataclass(frozen=True, order=True)
class Instance:
    """One object in an archive.

    Attributes
    ----------
    series_number : int or None
        Where the archive tells it; None: not told, or the object has none. It is no part of
        the identity, so instances that differ in it only are equal.
    coerced : tuple of str
        Of what was stored: attributes of the patient and the study that the archive keeps
        otherwise (`readback`). No part of the identity either.

    Raises
    ------
    ArchiveError
        A UID is malformed (`checked_uid`); only that of the class may be "".
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""
    modality: str = ""
    series_number: int | None = field(default=None, compare=False)
    coerced: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Let no malformed UID reach an address, a file's name or another program."""
        for uid in (self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid):
            checked_uid(uid)
        if self.sop_class_uid:
            checked_uid(self.sop_class_uid)


class Archive(Protocol):
    """A place that holds DICOM objects.

    Every method raises `ArchiveError` (one sentence, no patient data) when the archive
    refuses, cannot be reached, or does not do what it answered.
    """

    def find(self, query: Query) -> list[Instance]:
        """List the instances that match, in the order of their UIDs; none is an empty list."""
        ...

    def fetch(self, instance: Instance) -> bytes:
        """Give the DICOM Part 10 bytes of one instance, unparsed, for `read_film` to judge."""
        ...

    def store(self, objects: Sequence[Dataset]) -> list[Instance]:
        """Store all objects or none, and read each back before answering.

        What the archive coerced is in the instances, unless it must not (`Access.strict`).
        """
        ...


@runtime_checkable
class Removing(Protocol):
    """An archive that can also remove objects; ask with isinstance.

    Who removes has looked at each object first (`retract` removes only what RadEdit wrote).
    """

    def remove(self, instances: Sequence[Instance]) -> None:
        """Remove instances, one after the other in the order given.

        What is not there is no error. Raises `ArchiveError` when the archive refuses, or
        still has one of them afterwards.
        """
        ...


@dataclass(frozen=True)
class Study:
    """A study, and how many objects the archive says it holds (None: it does not say)."""

    uid: str
    size: int | None


@runtime_checkable
class ByStudy(Protocol):
    """An archive that lists studies without what is in them; ask with isinstance."""

    def studies(self, query: Query) -> list[Study]:
        """List the studies that hold what the query wants, as far as the archive tells."""
        ...


def checked_uid(uid: object) -> str:
    """Let only a UID pass: numbers with dots between (`uids.is_uid`).

    Parameters
    ----------
    uid : object
        From a stranger; may be ``..``, or hold ``../`` or a shell command.

    Returns
    -------
    str

    Raises
    ------
    ArchiveError
        It is none.
    """
    text = str(uid)
    if not is_uid(text):
        raise ArchiveError(
            "A UID holds other characters than digits and dots, nothing between two dots, or more "
            "than 64 characters; give the object a valid UID."
        )
    return text


def instance_of(dataset: Dataset) -> Instance:
    """Name a dataset as an archive instance.

    Raises
    ------
    ArchiveError
        A UID is missing or malformed.
    """
    return Instance(
        study_instance_uid=str(dataset.get("StudyInstanceUID", "")),
        series_instance_uid=str(dataset.get("SeriesInstanceUID", "")),
        sop_instance_uid=str(dataset.get("SOPInstanceUID", "")),
        sop_class_uid=checked_uid(dataset.get("SOPClassUID", "")),
        modality=str(dataset.get("Modality", "") or ""),
        series_number=_whole_number(dataset.get("SeriesNumber")),
    )


def query_of(instance: Instance) -> Query:
    """Look for one instance, by the UIDs of all levels."""
    return Query(
        instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid
    )


def _whole_number(value: object) -> int | None:
    try:
        return int(str(value))
    except ValueError:
        return None
