"""Which films a batch run edits: study by study, out of a folder, an archive or a list.

A study is judged as a whole, as in `radedit edit`: of it the frontal originals are taken.
A patient's older studies are films of the cohort like any other, so nothing has to be known of one
study to edit another, and the first film is edited while the last is not yet looked for.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from radedit.lib.errors import NotFoundError
from radedit_dicom.archive import Archive, Instance, Query, instance_of
from radedit_dicom.errors import ArchiveError, DicomError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.parsing import SUFFIXES, looks_like_dicom, parse
from radedit_dicom.uids import is_uid
from radedit_dicom.vocabulary import FILM_CLASSES, FILM_MODALITIES

_LEVELS = ("study_instance_uid", "series_instance_uid", "sop_instance_uid")


@dataclass(frozen=True)
class Ref:
    """One object that may be a film.

    Attributes
    ----------
    name : its path from the folder on, or in an archive its SOP Instance UID
    instance : as the archive names it
    path : its file, where the archive is a folder
    """

    name: str
    instance: Instance
    path: Path | None = None

    @property
    def uid(self) -> str:
        """Its SOP Instance UID."""
        return self.instance.sop_instance_uid


@dataclass(frozen=True)
class Study:
    """The objects of one study that may be films; the unit of a batch run."""

    refs: tuple[Ref, ...]


@dataclass(frozen=True)
class Missed:
    """What was named, or looks like a film, and could not be had.

    Attributes
    ----------
    state : of its row: failed, or passed over where it is no film at all
    """

    name: str
    why: str
    state: str = "failed"


Found = Study | Missed


@dataclass(frozen=True)
class Cohort:
    """What was asked for.

    Attributes
    ----------
    archive : where films come from
    scope : a part of it, such as one study
    entries : lines of a list: files of a folder; UIDs or accession numbers of an archive. None =
        everything in the scope
    """

    archive: Archive
    scope: Query = field(default_factory=Query)
    entries: tuple[str, ...] | None = None

    def __iter__(self) -> Iterator[Found]:
        """Give the studies one after the other, each once.

        Raises
        ------
        ArchiveError
            The archive or the folder cannot be searched at all.
        """
        if isinstance(self.archive, FolderArchive):
            return _of_folder(self.archive.folder, self.entries)
        if self.entries is None:
            return iter(_by_study(_films(self.archive, self.scope)))
        return self._listed(self.entries)

    def _listed(self, entries: Sequence[str]) -> Iterator[Found]:
        seen: set[str] = set()
        for number, entry in enumerate(entries, 1):
            name = f"line {number} of the list"
            try:
                found = _films(self.archive, _query(entry))
            except ArchiveError as error:
                yield Missed(name, str(error))
                continue
            fresh = [i for i in found if i.sop_instance_uid not in seen]
            seen.update(i.sop_instance_uid for i in fresh)
            if not found:
                yield Missed(name, "the archive holds no CR or DX image of this entry.")
            yield from _by_study(fresh)


class Ahead:
    """The studies of a cohort, looked for in a thread of its own while others are edited.

    Parameters
    ----------
    found : what to look for; only names are kept of it, no film

    Attributes
    ----------
    objects : how many there are, as far as is known
    complete : whether that is all of them
    """

    def __init__(self, found: Iterable[Found]) -> None:
        self.objects, self.complete = 0, False
        self._queue: SimpleQueue[Found | Exception | None] = SimpleQueue()
        threading.Thread(target=self._look, args=(found,), daemon=True).start()

    def __iter__(self) -> Iterator[Found]:
        """Give them as they come.

        Raises
        ------
        ArchiveError
            As the cohort does.
        """
        while (found := self._queue.get()) is not None:
            if isinstance(found, Exception):
                raise found
            yield found

    def _look(self, found: Iterable[Found]) -> None:
        try:
            for each in found:
                self.objects += len(each.refs) if isinstance(each, Study) else 1
                self._queue.put(each)
        except Exception as error:  # raised again where somebody hears it
            self._queue.put(error)
        self.complete = True
        self._queue.put(None)


def read_list(path: Path) -> tuple[str, ...]:
    """Read a list: an entry a line, the first column of a CSV; # begins a remark.

    Raises
    ------
    NotFoundError
        It cannot be read, or nothing is in it.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise NotFoundError("the list cannot be read; give a text file with a line each.") from None
    first = (re.split(r"[,;\t]", line.partition("#")[0], maxsplit=1)[0] for line in lines)
    entries = tuple(dict.fromkeys(entry.strip().strip('"') for entry in first))
    if not any(entries):
        raise NotFoundError(
            "the list is empty; give a film, a study or an accession number a line."
        )
    return tuple(entry for entry in entries if entry)


def _query(entry: str) -> Query:
    """Read an entry as StudyUID[/SeriesUID[/SOPInstanceUID]], or as an accession number."""
    uids = entry.split("/")
    if len(uids) <= len(_LEVELS) and all("." in uid and is_uid(uid) for uid in uids):
        return Query(**dict(zip(_LEVELS, uids, strict=False)))
    return Query(accession_number=entry)


def _films(archive: Archive, scope: Query) -> list[Instance]:
    """List what may be a film; other modalities are not even asked for."""
    found = {
        instance
        for modality in sorted(FILM_MODALITIES)
        for instance in archive.find(replace(scope, modality=modality))
        if instance.sop_class_uid in {"", *FILM_CLASSES}
    }
    return sorted(found)


def _by_study(found: Sequence[Instance]) -> list[Study]:
    studies: dict[str, list[Ref]] = {}
    for instance in found:
        ref = Ref(instance.sop_instance_uid, instance)
        studies.setdefault(instance.study_instance_uid, []).append(ref)
    return [Study(tuple(refs)) for refs in studies.values()]


def _of_folder(folder: Path, entries: Sequence[str] | None) -> Iterator[Found]:
    """Read every header, since a study's files may lie anywhere in a folder.

    As of an archive, other modalities are none of ours, and no more are files of another kind;
    what is named in a list, or is DICOM and cannot be read, is told about, and so is what is
    called .dcm and is none.
    """
    studies: dict[str, list[Ref]] = {}
    for path in _files(folder, entries):
        name = _name(path, folder)
        try:
            header = parse(path, pixels=False)
            if _is_directory(header):
                continue
            instance = instance_of(header)
        except (DicomError, OSError) as error:
            lost = "there is no such file; check the list."
            if entries is not None or looks_like_dicom(path):
                yield Missed(name, str(error) if path.exists() else lost)
            elif path.suffix.lower() in SUFFIXES:
                yield Missed(name, str(error), "passed over")
            continue
        if entries is not None or _may_be_film(instance):
            studies.setdefault(instance.study_instance_uid, []).append(Ref(name, instance, path))
    yield from (Study(tuple(refs)) for refs in studies.values())


def _may_be_film(instance: Instance) -> bool:
    return instance.modality in FILM_MODALITIES | {""} or instance.sop_class_uid in FILM_CLASSES


def _is_directory(header: Dataset) -> bool:
    """Tell a DICOMDIR, the table of contents of a CD, which is no object of a study."""
    said = str(header.file_meta.get("MediaStorageSOPClassUID", ""))
    return said == MediaStorageDirectoryStorage


def _files(folder: Path, entries: Sequence[str] | None) -> list[Path]:
    if entries is not None:
        return [folder / entry for entry in entries]
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _name(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
