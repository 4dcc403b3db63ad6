"""From what a person writes to a file, a folder or an archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from radedit.lib.errors import RadEditError
from radedit_dicom.access import Access
from radedit_dicom.archive import Archive, Query
from radedit_dicom.locate import is_server, open_archive, split_address


@dataclass(frozen=True)
class Place:
    """An archive, and the part of it that was named behind `#`."""

    archive: Archive
    scope: Query


def local(text: str) -> Path:
    """Give the path of what must be a file or a folder here.

    Raises
    ------
    RadEditError
        It is an address, or nothing is there.
    """
    if is_server(text):
        raise RadEditError("this takes a file or a folder, and an address was given.")
    path = Path(text).expanduser()
    if not path.exists():
        raise RadEditError(f"there is no file or folder '{path}'; check the path.")
    return path


def place(text: str) -> Place:
    """Open the archive at a folder's path or an address, `ADDRESS#StudyUID[/SeriesUID[/UID]]`.

    Raises
    ------
    RadEditError
        It is a path where no folder is.
    ArchiveError
        The address is malformed, or `RADEDIT_ARCHIVE_*` contradict each other.
    """
    address, scope = split_address(text)
    if not is_server(address) and not local(address).is_dir():
        raise RadEditError(f"'{text}' is a file; give the folder that it is in, or an address.")
    return Place(open_archive(address, Access.from_environment()), scope)


def destination(text: str) -> Archive:
    """Open the archive that results go to; a folder is made at the first edit.

    Raises
    ------
    RadEditError
        A study is named behind the address.
    ArchiveError
        As in `place`.
    """
    address, scope = split_address(text)
    if scope != Query():
        raise RadEditError(
            "--output names a part of an archive; give the address alone, and --study same to "
            "store into the film's own study."
        )
    return open_archive(address, Access.from_environment())
