"""What a server serves: a folder of films, or an archive; and where its results go."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from radedit.lib.errors import ParameterError
from radedit.lib.folder_films import FolderFilms
from radedit.lib.shelf import Shelf
from radedit.lib.user_folders import cache_folder
from radedit_dicom.access import Access
from radedit_dicom.archive import Archive, Query
from radedit_dicom.folder import FolderArchive
from radedit_dicom.locate import is_server, open_archive, split_address

OUTPUT_FOLDER: Final = "edited"
CACHE_GB: Final = "20"


@dataclass(frozen=True)
class ServedPlace:
    """Where films come from and results go.

    Attributes
    ----------
    archive : where `seg:` finds masks
    output : where results are stored
    shelf : the films of an archive; None = a folder's are served
    folder : the films of that folder; None = an archive is served
    """

    archive: Archive
    output: Archive
    shelf: Shelf | None
    folder: FolderFilms | None = None


def served_place(studies: str, conf: Mapping[str, str]) -> ServedPlace:
    """Open what `--studies` names.

    Parameters
    ----------
    studies : a folder's path, or ADDRESS[#StudyUID]
    conf : `output`, a folder or an address for results (studies/edited for a folder, else the
        archive itself); `cache`, a folder for fetched films (~/.cache/radedit/...);
        `cache_gb`, its size (20)

    Raises
    ------
    ParameterError
        `cache_gb` is no number above 0.
    ArchiveError
        An address is malformed, or the archive does not answer.
    """
    access = Access.from_environment()
    address, scope = split_address(_as_given(studies))
    output = conf.get("output")
    if not is_server(address):
        folder = Path(address)
        results = open_archive(output or str(folder / OUTPUT_FOLDER), access)
        films = FolderArchive(folder)
        return ServedPlace(films, results, None, FolderFilms(films))
    archive = open_archive(address, access)
    archive.find(Query(sop_instance_uid="2.25.0"))  # rather now than at the first request
    digest = hashlib.sha256(address.encode()).hexdigest()[:16]
    cache = Path(conf.get("cache") or cache_folder() / digest)
    shelf = Shelf(archive, scope, cache, _bytes(conf.get("cache_gb") or CACHE_GB))
    return ServedPlace(archive, open_archive(output, access) if output else archive, shelf)


def _as_given(studies: str) -> str:
    """Undo what MONAI Label does to an address that is not http: a path, and a folder there."""
    found = re.search(r"(?:^|/)dimse:/([^/].*)$", studies)
    if found is None:
        return studies
    made = Path(studies)
    for folder in (made, made.parent):
        with suppress(OSError):  # only if empty, so only what was made just now
            folder.rmdir()
    return f"dimse://{found.group(1)}"


def _bytes(gigabytes: str) -> int:
    try:
        limit = float(gigabytes)
    except ValueError:
        limit = 0.0
    if not limit > 0:
        raise ParameterError("--conf cache_gb is no number above 0; give the size of the cache.")
    return int(limit * 1e9)
