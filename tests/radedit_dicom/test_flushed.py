"""Files of the DICOM package: whole or as before, flushed, and whose they were."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from radedit_dicom.archive import Query
from radedit_dicom.cache import Cache
from radedit_dicom.flushed import write
from radedit_dicom.folder import FolderArchive


class Distant:
    """A folder asked as if it were far away."""

    def __init__(self, folder: Path) -> None:
        held = FolderArchive(folder)
        self.find, self.fetch, self.store = held.find, held.fetch, held.store


def test_a_file_that_takes_anothers_place_keeps_its_permissions_and_owner(tmp_path: Path) -> None:
    target = tmp_path / "settings.toml"
    target.write_bytes(b"before")
    target.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(target, 12345, 54321)
    before = target.stat()
    write(target, [b"after"])
    after = target.stat()
    assert target.read_bytes() == b"after"
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        before.st_mode,
        before.st_uid,
        before.st_gid,
    )


def test_what_is_cut_off_while_it_is_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"before")

    def cut_off() -> Iterator[bytes]:
        yield b"half"
        raise InterruptedError

    with pytest.raises(InterruptedError):
        write(target, cut_off())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"before"}


def test_a_fetched_film_is_on_the_disk_before_it_has_its_name(
    make_dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = FolderArchive(tmp_path / "films")
    archive.store([make_dataset()])
    (instance,) = archive.find(Query())
    content = archive.fetch(instance)
    steps: list[tuple[str, str, int]] = []
    fsync, rename = os.fsync, Path.rename

    def flushing(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append(("flush", path.name, path.stat().st_size if path.is_file() else 0))
        fsync(descriptor)

    def renaming(path: Path, target: Path) -> Path:
        steps.append(("rename", path.name, 0))
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(Path, "rename", renaming)
    kept = Cache(Distant(tmp_path / "films"), tmp_path / "cache").path_of(instance)
    part = steps[0][1]
    assert steps == [("flush", part, len(content)), ("rename", part, 0), ("flush", "cache", 0)]
    assert kept.read_bytes() == content
    assert kept.stat().st_mode & 0o777 == 0o600
