"""The edits that an archive holds: found by the record in their objects, and taken back.

An edit is three objects whose UIDs follow from its record, so one object's record is enough
to know the other two. Reports are read first, being small; then those masks, and last those
images, that no record seen so far accounts for.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from radedit_dicom import vocabulary as words
from radedit_dicom.archive import (
    Archive,
    ByStudy,
    Instance,
    Query,
    Removing,
    instance_of,
)
from radedit_dicom.errors import ArchiveError, DicomError, ProvenanceError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.headers import headers
from radedit_dicom.parsing import parse
from radedit_dicom.provenance import Provenance, edit_uid, read_private
from radedit_dicom.record_reading import CLASSES, read_record, reported_uids
from radedit_dicom.study_index import StudyIndex

#: The objects of an edit: edited image, masks, report; their series are numbered in this order.
KINDS = ("sc", "seg", "sr")
_MODALITIES = {"SR": "sr", "SEG": "seg"} | {name: "sc" for name in words.FILM_MODALITIES}
#: Read in this order; and removed image first, so that the masks of what is cut short remain.
_READ, _REMOVED = ("sr", "seg", "sc"), ("sc", "sr", "seg")


@dataclass(frozen=True)
class HeldEdit:
    """An edit of which an archive holds at least one object.

    Attributes
    ----------
    record : Provenance
    instances : mapping of str to Instance
        Key as in `KINDS`; only the objects that are there.
    first_series_number : int or None
        Series number of the edited image, as written or as it follows from another object.
    is_renamed : bool
        True: its UIDs were replaced, as de-identification does; its report alone tells of it.
    """

    record: Provenance
    instances: Mapping[str, Instance]
    first_series_number: int | None = None
    is_renamed: bool = False

    @property
    def is_complete(self) -> bool:
        """True: image, masks and report are all there."""
        return len(self.instances) == len(KINDS)


@dataclass(frozen=True)
class _Read:
    record: Provenance
    first_series_number: int | None
    uids: Mapping[str, str]
    is_renamed: bool = False


class Ledger:
    """What is known of the edits in an archive; every object is read once.

    Parameters
    ----------
    archive : Archive
    """

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._seen: dict[str, _Read | None] = {}
        self._index = StudyIndex(archive, lambda i: bool(self._seen.get(i.sop_instance_uid)))
        self._lock = threading.Lock()

    def edits(self, scope: Query, *, renamed: bool = False) -> list[HeldEdit]:
        """List the edits whose objects match, as the archive is now.

        Parameters
        ----------
        scope : Query
            Such as one study or one QA patient; an empty one looks at the whole archive.
        renamed : bool
            True: list those too whose UIDs were replaced, which are copies: their originals may
            be elsewhere, and storing the edit again does not complete them.

        Returns
        -------
        list of HeldEdit
            By time of creation; incomplete ones too.

        Raises
        ------
        ArchiveError
            The archive cannot be searched or read.
        """
        with self._lock:
            listing = self._listed(scope)
            by_uid = {instance.sop_instance_uid: instance for instance in listing}
            found: dict[tuple[str, ...], HeldEdit] = {}
            accounted: set[str] = set()
            for kind in _READ:
                of_kind = {i: path for i, path in listing.items() if _kind(i) == kind}
                known = accounted | self._seen.keys()
                unread = [i for i in of_kind if i.sop_instance_uid not in known]
                told = headers(self.archive, unread)
                for instance, path in of_kind.items():
                    uid = instance.sop_instance_uid
                    if uid in accounted:
                        continue
                    read = self._look(instance, told.get(uid, path))
                    if read is not None:
                        held = _held(read, by_uid)
                        accounted |= {i.sop_instance_uid for i in held.instances.values()}
                        key = *_key(read.record), uid if read.is_renamed else ""
                        if renamed or not read.is_renamed:
                            found[key] = held
            return sorted(found.values(), key=lambda held: held.record.created_at)

    def _listed(self, scope: Query) -> dict[Instance, Path | None]:
        if scope == Query() and isinstance(self.archive, ByStudy):
            return dict.fromkeys(self._index.instances())
        return listed(self.archive, scope)

    def _look(self, instance: Instance, told: Path | Dataset | None) -> _Read | None:
        uid = instance.sop_instance_uid
        if uid not in self._seen:
            content = told if told is not None else self.archive.fetch(instance)
            self._seen[uid] = _read(content, uid)
        return self._seen[uid]


def listed(archive: Archive, scope: Query) -> dict[Instance, Path | None]:
    """List instances and, where the archive is a folder, their files.

    Of a folder, objects outside the scope may be among them: all are known without a query.

    Raises
    ------
    ArchiveError
        The archive cannot be searched.
    """
    if not isinstance(archive, FolderArchive):
        return dict.fromkeys(archive.find(scope))
    uids = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")
    return {
        instance: path
        for path, instance in archive.held().items()
        if all(getattr(scope, name) in (None, getattr(instance, name)) for name in uids)
    }


def retract(archive: Archive, edit_id: str, scope: Query | None = None) -> list[HeldEdit]:
    """Remove the objects of an edit, and nothing else.

    Each object is fetched first, and all of them must say that they are synthetic and carry
    the record of this edit; else nothing is removed.

    Parameters
    ----------
    archive : Archive
    edit_id : str
        As in `Provenance`.
    scope : Query, optional
        Where to look for it, such as one study; else the whole archive.

    Returns
    -------
    list of HeldEdit
        What was removed; one per result, should the edit have been made on several platforms.

    Raises
    ------
    ProvenanceError
        The archive holds no such edit, or an object under its UIDs is not what RadEdit wrote.
    ArchiveError
        The archive offers no removal, or still holds an object afterwards.
    """
    known = Ledger(archive).edits(scope or Query(), renamed=True)
    held = [edit for edit in known if edit.record.edit_id == edit_id]
    if renamed := [i for edit in held if edit.is_renamed for i in _in_order(edit)]:
        raise ProvenanceError(
            "The edit's objects bear other UIDs than RadEdit gave them, as de-identification does, "
            "so nothing shows that they are unchanged; have the archive's administrator remove "
            f"{', '.join(i.sop_instance_uid for i in renamed)}."
        )
    if not held:
        raise ProvenanceError(
            "The archive holds no edit of that id; `radedit find` lists those it holds."
        )
    if not isinstance(archive, Removing):
        raise ArchiveError(
            "This kind of archive offers no way to remove objects; have its administrator remove "
            f"{', '.join(i.sop_instance_uid for edit in held for i in _in_order(edit))}."
        )
    instances = [instance for edit in held for instance in _in_order(edit)]
    for edit in held:
        for kind, instance in edit.instances.items():
            _check_ours(archive.fetch(instance), kind, edit.record)
    archive.remove(instances)
    left = [i for i in instances if archive.find(Query(sop_instance_uid=i.sop_instance_uid))]
    if left:
        raise ArchiveError(
            f"The archive still holds {len(left)} of the edit's {len(instances)} objects after "
            "it was told to remove them; ask its administrator."
        )
    return held


def _in_order(edit: HeldEdit) -> Iterator[Instance]:
    return (edit.instances[kind] for kind in _REMOVED if kind in edit.instances)


def _check_ours(content: bytes, kind: str, record: Provenance) -> None:
    dataset = parse(content, pixels=False)
    try:
        found: Provenance | None = read_private(dataset)
    except ProvenanceError:
        found = None
    ours = (
        found is not None
        and _key(found) == _key(record)
        and str(dataset.get("SOPInstanceUID")) == edit_uid(record, kind)
        and dataset.get("SyntheticData") == "YES"
    )
    if not ours:
        raise ProvenanceError(
            f"The object {edit_uid(record, kind)} does not carry the record of this edit, so it "
            "may not be what RadEdit wrote; nothing was removed."
        )


def _key(record: Provenance) -> tuple[str, str, str]:
    """What the UIDs of an edit follow from."""
    return record.edit_id, record.source_sop_instance_uid, record.result_pixel_sha256


def _kind(instance: Instance) -> str | None:
    if instance.sop_class_uid:
        return CLASSES.get(instance.sop_class_uid)
    return _MODALITIES.get(instance.modality)


def _held(read: _Read, by_uid: Mapping[str, Instance]) -> HeldEdit:
    there = {kind: by_uid[read.uids[kind]] for kind in KINDS if read.uids.get(kind) in by_uid}
    return HeldEdit(read.record, there, read.first_series_number, read.is_renamed)


def _read(content: Path | bytes | Dataset, uid: str) -> _Read | None:
    """Read the record of an object; None for one that is not ours, or a copy of no report."""
    try:
        header = parse(content, pixels=False)
        record = read_record(header)
    except DicomError:
        return None
    uids = {kind: str(edit_uid(record, kind)) for kind in KINDS}
    for offset, kind in enumerate(KINDS):
        if uids[kind] == uid:
            return _Read(record, _first_number(header, offset), uids)
    try:
        uids = reported_uids(header)
    except ProvenanceError:
        return None
    return _Read(record, None, uids, is_renamed=True) if len(uids) == len(KINDS) else None


def _first_number(header: Dataset, offset: int) -> int | None:
    number = instance_of(header).series_number
    return None if number is None else number - offset
