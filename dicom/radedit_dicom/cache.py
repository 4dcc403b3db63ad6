"""Objects of an archive as files, fetched when first asked for."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from radedit_dicom.archive import Archive, Instance
from radedit_dicom.errors import ArchiveError, DicomError
from radedit_dicom.flushed import write
from radedit_dicom.folder import FolderArchive
from radedit_dicom.parsing import parse

log = logging.getLogger(__name__)


class Cache:
    """A private folder of fetched objects, each under a name that says nothing.

    A folder as archive needs none: its own files are given. Nothing but `drop` and `trim`
    removes a file, and a file that is there is not fetched again: under one UID there is one
    object.

    Parameters
    ----------
    archive : Archive
    folder : pathlib.Path
        Made at the first fetch, readable by its owner only.
    """

    def __init__(self, archive: Archive, folder: Path) -> None:
        self.archive = archive
        self.folder = folder
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}

    def path_of(self, instance: Instance) -> Path:
        """Give the file of an instance, fetched if need be.

        Raises
        ------
        ArchiveError
            The archive does not give it, gives another object, or the folder cannot be
            written.
        """
        if isinstance(self.archive, FolderArchive):
            return self.archive.path_of(instance)
        with self._lock:
            busy = self._busy.setdefault(instance.sop_instance_uid, threading.Lock())
        with busy:
            path = self._place(instance)
            if path.exists():
                os.utime(path)  # for `trim`
            else:
                self._write(path, self._fetched(instance))
            return path

    def held(self, instance: Instance) -> Path | None:
        """Give the file of an instance if it was fetched before, or lies in a folder."""
        if isinstance(self.archive, FolderArchive):
            return self.archive.path_of(instance)
        path = self._place(instance)
        return path if path.exists() else None

    def adopt(self, file: Path, instance: Instance, suffix: str) -> Path:
        """Move a file that was made from an instance in, in place of an earlier one.

        Raises
        ------
        ArchiveError
            The folder cannot be written.
        """
        target = self._place(instance).with_suffix(suffix)
        self._write(target, file.read_bytes())
        file.unlink()
        return target

    def drop(self, instance: Instance) -> None:
        """Remove the file of an instance, never one of a folder that is the archive."""
        if not isinstance(self.archive, FolderArchive):
            _remove(self._place(instance))

    def trim(self, limit_bytes: int) -> None:
        """Remove what was asked for longest ago until the rest, or the last file, fits."""
        with self._lock:
            found = sorted(self._kept(), key=lambda pair: pair[0].st_mtime_ns)
            total = sum(state.st_size for state, _ in found)
            for state, path in found[:-1]:
                if total <= limit_bytes:
                    return
                total -= state.st_size
                _remove(path)

    def _kept(self) -> Iterator[tuple[os.stat_result, Path]]:
        for path in self.folder.glob("*.dcm"):
            with suppress(FileNotFoundError):  # another cache of this folder removed it meanwhile
                yield path.stat(), path

    def _place(self, instance: Instance) -> Path:
        digest = hashlib.sha256(instance.sop_instance_uid.encode("ascii")).hexdigest()
        return self.folder / f"{digest[:32]}.dcm"

    def _fetched(self, instance: Instance) -> bytes:
        content = self.archive.fetch(instance)
        try:
            found = str(parse(content, pixels=False).get("SOPInstanceUID", ""))
        except DicomError as error:
            raise ArchiveError(
                f"The archive gave no readable object for {instance.sop_instance_uid} ({error})"
            ) from None
        if found != instance.sop_instance_uid:
            raise ArchiveError(
                f"The archive gave another object than {instance.sop_instance_uid}, which was "
                "asked for; have it checked."
            )
        return content

    def _write(self, path: Path, content: bytes) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write(path, [content], 0o600)
        except OSError as error:
            raise ArchiveError(
                f"A fetched object cannot be kept in the cache ({error.strerror}); give the "
                "cache a folder with room."
            ) from None


def _remove(path: Path) -> None:
    """Remove a file; one that stays does no harm but takes room, and is logged."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning(
            "a fetched object cannot be removed from the cache (%s): the cache's folder fills up",
            error.strerror,
        )
