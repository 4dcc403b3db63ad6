"""Fetched objects as files: several that use one folder do not get in each other's way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from radedit_dicom.cache import Cache
from radedit_dicom.folder import FolderArchive


def test_a_file_that_another_removes_while_a_folder_is_trimmed_is_passed_over(
    tmp_path: Path,
) -> None:
    archive, folder = FolderArchive(tmp_path / "films"), tmp_path / "cache"
    folder.mkdir()

    def fill_and_empty() -> None:
        for _ in range(60):
            for number in range(40):
                (folder / f"{number:032x}.dcm").write_bytes(b"a film")
            Cache(archive, folder).trim(0)

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(fill_and_empty)
        while not other.done():
            Cache(archive, folder).trim(10**9)
        other.result()
    assert len(list(folder.iterdir())) == 1
