"""A folder as an archive: the embedded default.

dicomweb-client's file client answers queries. It is shown a private folder of links to
those files that `parsing` could read, because it parses whatever it is given (a deflate bomb
too) and one file that fails would take the whole index with it. Bytes are fetched from the
files themselves, and written by this module: a crash can leave some of the objects of one
call, but each of them whole, and storing the same again adds the others.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dicomweb_client.file import DICOMfileClient
from pydicom.dataset import Dataset

from radedit_dicom.archive import Instance, Query, instance_of
from radedit_dicom.errors import ArchiveError, DicomError
from radedit_dicom.flushed import sweep, sync, write_all
from radedit_dicom.parsing import parse
from radedit_dicom.readback import part10

_FIELDS = {
    "study_instance_uid": ("StudyInstanceUID", "0020000D"),
    "series_instance_uid": ("SeriesInstanceUID", "0020000E"),
    "sop_instance_uid": ("SOPInstanceUID", "00080018"),
    "modality": ("Modality", "00080060"),
    "patient_id": ("PatientID", "00100020"),
    "accession_number": ("AccessionNumber", "00080050"),
}


class FolderArchive:
    """A folder of DICOM files, in any layout and under any names.

    Parameters
    ----------
    folder : pathlib.Path
        Read recursively; made at the first `store`. Files that are no DICOM are passed over.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._is_swept = False
        self._screened: dict[Path, tuple[tuple[int, int], Instance | None]] = {}

    def __reduce__(self) -> tuple[type[FolderArchive], tuple[Path]]:
        """Another process opens the folder for itself: locks do not travel."""
        return FolderArchive, (self.folder,)

    def find(self, query: Query) -> list[Instance]:
        """List the instances that match, in the order of their UIDs.

        Raises
        ------
        ArchiveError
            The folder cannot be read.
        """
        wanted = {
            _FIELDS[name][0]: value for name, value in vars(query).items() if value is not None
        }
        with self._lock, tempfile.TemporaryDirectory(prefix="radedit-index-") as name:
            known = self._screen()
            for number, path in enumerate(known):
                (Path(name) / str(number)).symlink_to(path.resolve())
            client = DICOMfileClient(Path(name).as_uri(), in_memory=True)
            rows = client.search_for_instances(search_filters=wanted)
        by_uid = {instance.sop_instance_uid: instance for instance in known.values()}
        found = {
            by_uid[uid]
            for row in rows
            if (uid := _value(row, "00080018")) in by_uid and _matches(row, query)
        }
        return sorted(found)

    def fetch(self, instance: Instance) -> bytes:
        """Give the bytes of one instance.

        Raises
        ------
        ArchiveError
            It is not in the folder, or is there twice with different content.
        """
        with self._lock:
            paths = self._paths(instance.sop_instance_uid)
        contents = {_read(path) for path in paths}
        if len(contents) > 1:
            raise ArchiveError(
                f"The folder holds {len(contents)} different objects under one SOP instance UID, "
                "which must be unique; remove all but the right one."
            )
        for content in contents:
            return content
        raise ArchiveError(
            f"The folder holds no instance {instance.sop_instance_uid}; look for the UIDs it holds."
        )

    def path_of(self, instance: Instance) -> Path:
        """Say where a stored instance lies.

        Raises
        ------
        ArchiveError
            It is not in the folder.
        """
        with self._lock:
            paths = self._paths(instance.sop_instance_uid)
        if not paths:
            raise ArchiveError(
                f"The folder holds no instance {instance.sop_instance_uid}; "
                "look for the UIDs it holds."
            )
        return paths[0]

    def held(self) -> dict[Path, Instance]:
        """List every sound object and where it lies, without the cost of a query.

        Raises
        ------
        ArchiveError
            The folder cannot be read.
        """
        with self._lock:
            return self._screen()

    def store(self, objects: Sequence[Dataset]) -> list[Instance]:
        """Store all objects or none, each flushed to disk and read back.

        They appear one after the other, in the order given. A process that is killed in
        between leaves the first of them; storing the same objects again completes them.
        Storing the same object again is no error and writes nothing.

        Raises
        ------
        ArchiveError
            The folder cannot be written, does not give back what was written, or holds
            another object under one of the UIDs. No file of this call is left behind.
        """
        instances = [instance_of(dataset) for dataset in objects]
        contents = [part10(dataset) for dataset in objects]
        if len({instance.sop_instance_uid for instance in instances}) != len(instances):
            raise ArchiveError(
                "Two of the objects to store have one SOP instance UID; give each its own."
            )
        with self._lock:
            sweep(self.folder)
            fresh = []
            for instance, content in zip(instances, contents, strict=True):
                held = self._paths(instance.sop_instance_uid)
                if not held:
                    fresh.append((self._target(instance), content))
                elif any(_read(path) != content for path in held):
                    raise _another(instance)
            write_all(fresh)
        return instances

    def place(self, dataset: Dataset) -> Instance:
        """Store one object as `store` does, at a cost that does not grow with the folder.

        It goes where its UIDs put it, as with `store`; what lies under other names is not looked
        at. So it is for a folder that only these two methods write.

        Raises
        ------
        ArchiveError
            As `store`.
        """
        instance, content = instance_of(dataset), part10(dataset)
        target = self._target(instance)
        with self._lock:
            if not self._is_swept:
                sweep(self.folder)
                self._is_swept = True
            if not target.is_file():
                write_all([(target, content)])
            elif _read(target) != content:
                raise _another(instance)
        return instance

    def remove(self, instances: Sequence[Instance]) -> None:
        """Remove the files of instances, one after the other in the order given.

        Raises
        ------
        ArchiveError
            A file cannot be removed.
        """
        with self._lock:
            for instance in instances:
                for path in self._paths(instance.sop_instance_uid):
                    try:
                        path.unlink(missing_ok=True)
                        sync(path.parent)
                    except OSError as error:
                        raise ArchiveError(
                            f"A file of the archive folder cannot be removed ({error.strerror}); "
                            "check its permissions."
                        ) from None

    def _target(self, instance: Instance) -> Path:
        kind = instance.modality if re.fullmatch(r"[A-Z]{2,4}", instance.modality) else "OBJ"
        study = f"study-{_hashed(instance.study_instance_uid)[:16]}"
        return self.folder / study / f"{kind}-{_hashed(instance.sop_instance_uid)}.dcm"

    def _paths(self, sop_instance_uid: str) -> list[Path]:
        known = self._screen()
        return sorted(p for p, held in known.items() if held.sop_instance_uid == sop_instance_uid)

    def _screen(self) -> dict[Path, Instance]:
        """Look at new and changed files; give those that are sound DICOM objects."""
        current: dict[Path, tuple[tuple[int, int], Instance | None]] = {}
        for path in _files(self.folder):
            try:
                state = path.stat()
            except OSError:
                continue
            stamp = (state.st_mtime_ns, state.st_size)
            held = self._screened.get(path)
            fresh = held is None or held[0] != stamp
            current[path] = (stamp, _identify(path)) if fresh or held is None else held
        self._screened = current
        return {path: held for path, (_, held) in current.items() if held is not None}


def _files(folder: Path) -> list[Path]:
    def fail(error: OSError) -> None:
        if Path(str(error.filename)) != folder or not isinstance(error, FileNotFoundError):
            raise ArchiveError(
                f"The archive folder cannot be read ({error.strerror}); check its permissions."
            ) from None

    return [
        Path(root) / name
        for root, _, names in os.walk(folder, onerror=fail)
        for name in sorted(names)
        if not name.startswith(".") and (Path(root) / name).is_file()
    ]


def _identify(path: Path) -> Instance | None:
    try:
        return instance_of(parse(path, pixels=False))
    except DicomError:
        return None


def _matches(row: dict[str, Any], query: Query) -> bool:
    """Filter again: the client passes over keys it does not index."""
    return all(
        _value(row, tag) == wanted
        for name, (_, tag) in _FIELDS.items()
        if (wanted := getattr(query, name)) is not None
    )


def _another(instance: Instance) -> ArchiveError:
    return ArchiveError(
        f"The folder already holds another object under the UID {instance.sop_instance_uid}, "
        "which must be unique; nothing was stored."
    )


def _value(row: dict[str, Any], tag: str) -> str:
    values = row.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _hashed(uid: str) -> str:
    return hashlib.sha256(uid.encode("ascii")).hexdigest()[:32]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArchiveError(
            f"A file of the archive folder cannot be read ({error.strerror}); "
            "check its permissions."
        ) from None
