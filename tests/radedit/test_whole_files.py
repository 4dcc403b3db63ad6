"""Every file is written by one writer: whole and on the disk, or as it was before."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from radedit.lib.whole_files import replacing, write_file

ROOTS = [Path(__file__).resolve().parents[2] / part for part in ("apps/radedit", "dicom")]
#: What is written otherwise, and why it may be: nobody takes it for a whole file afterwards.
OTHERWISE = {
    "whole_files.py": "the writer",
    "flushed.py": "the writer of the DICOM package",
    "json_lines.py": "lines are added, each flushed; and a lock",
    "deliver.py": "a lock",
    "spool.py": "a lock",
    "node.py": "a lock",
    "serving/films.py": "a temporary file for MONAI Label's own code",
    "remote.py": "a temporary file for a reader",
    "infers/bundle.py": "a temporary file for MONAI Label's own code",
    "infers/radedit.py": "a temporary file that MONAI Label sends and removes",
    "label_files.py": "a temporary file that MONAI Label sends and removes",
    "archived_studies.py": "a temporary file that MONAI Label sends and removes",
    "serving/label_forms.py": "a temporary file for MONAI Label's own code",
    "catalogue.py": "a temporary file for the reader of settings",
    "routing/cohort.py": "what a process says while it runs",
    "routing/roles.py": "a switch of the kernel",
    "bench/intake.py": "films and settings of peers that live as long as the measurement",
    "bench/served.py": "what a process says while it runs",
    "stress/figures.py": "into memory",
    "demo.py": "what a process says while it runs",
}
WRITING = {
    "write_text",
    "write_bytes",
    "savefig",
    "save_file",
    "save_as",
    "NamedTemporaryFile",
    "mkstemp",
}


def writes(path: Path) -> Iterator[str]:
    """Name the calls of a module that write a file of their own."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = [
            a.value
            for a in [*node.args, *(k.value for k in node.keywords)]
            if isinstance(a, ast.Constant)
        ]
        opens = name == "open" and any(t in ("w", "wb", "x", "xb", "a", "ab", "w+b") for t in texts)
        streams = [
            a.id for a in node.args if isinstance(a, ast.Name) and a.id in ("stream", "buffer")
        ]
        if opens or (name in WRITING and not streams):
            yield name


def test_no_module_writes_a_file_by_itself() -> None:
    found = {
        path: list(writes(path))
        for root in ROOTS
        for path in root.rglob("*.py")
        if any(writes(path))
    }
    unknown = {
        str(path): calls
        for path, calls in found.items()
        if not any(path.as_posix().endswith(f"/{name}") for name in OTHERWISE)
    }
    assert unknown == {}
    unused = [n for n in OTHERWISE if not any(p.as_posix().endswith(f"/{n}") for p in found)]
    assert unused == []


def test_a_file_that_takes_anothers_place_keeps_its_permissions_its_owner_and_links_to_it(
    tmp_path: Path,
) -> None:
    target, link = tmp_path / "settings.toml", tmp_path / "link.toml"
    target.write_bytes(b"before")
    target.chmod(0o640)
    link.symlink_to(target)
    if os.geteuid() == 0:
        os.chown(target, 12345, 54321)
    before = target.stat()
    write_file(link, "after")
    after = target.stat()
    assert link.is_symlink()
    assert target.read_bytes() == b"after"
    assert [after.st_mode, after.st_uid, after.st_gid] == [
        before.st_mode,
        before.st_uid,
        before.st_gid,
    ]


def test_a_new_file_has_the_permissions_that_the_system_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_file(tmp_path / "new", "text")
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_what_is_cut_off_while_it_is_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"before")

    def cut_off() -> None:
        with replacing(target) as stream:
            stream.write(b"half")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        cut_off()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"file": b"before"}


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, int]] = []
    fsync, replace = os.fsync, Path.replace

    def flushing(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        steps.append(("folder" if path.is_dir() else "file", path.stat().st_size * path.is_file()))
        fsync(descriptor)

    def renaming(path: Path, target: Path) -> Path:
        steps.append(("rename", 0))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(Path, "replace", renaming)
    write_file(tmp_path / "file", b"content")
    assert steps == [("file", 7), ("rename", 0), ("folder", 0)]
