"""Which films a run is about: a folder's, a list's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faulty_films import write_disc
from pydicom.uid import SegmentationStorage

from radedit.lib.batch.cohort import Ahead, Cohort, Missed, Study, read_list
from radedit.lib.errors import NotFoundError
from radedit_dicom.folder import FolderArchive

Write = Callable[..., Path]


def test_a_folders_films_come_by_study_and_other_files_are_none_of_ours(
    write_films: Write, tmp_path: Path
) -> None:
    folder = write_films(tmp_path / "films", 3)
    write_films(tmp_path / "films" / "more", 1, SOPInstanceUID="1.2.3.4.5")
    write_films(tmp_path / "films" / "seg", 1, Modality="SEG", SOPClassUID=SegmentationStorage)
    (folder / "notes.txt").write_text("Geheim")
    (folder / "torn.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (folder / "index.html").write_text("<html>")
    (folder / "page.dcm").write_text("<html>404 Not Found</html>")
    (folder / "disc").mkdir()
    write_disc(folder / "disc")
    found = list(Cohort(FolderArchive(folder)))
    missed = {one.name: one for one in found if isinstance(one, Missed)}
    assert {name: one.state for name, one in missed.items()} == {
        "page.dcm": "passed over",
        "torn.dcm": "failed",
    }
    assert all(one.why.endswith(".") for one in missed.values())
    assert (folder / "disc" / "DICOMDIR").is_file()
    names = [sorted(ref.name for ref in one.refs) for one in found if isinstance(one, Study)]
    assert sorted(names) == [
        ["film-000.dcm", "more/film-000.dcm"],
        ["film-001.dcm"],
        ["film-002.dcm"],
    ]


def test_a_list_names_the_films_and_what_it_names_wrongly_is_told(
    write_films: Write, tmp_path: Path
) -> None:
    folder = write_films(tmp_path / "films", 3)
    (tmp_path / "list.csv").write_text(
        '\ufefffilm-001.dcm; yes\n# the second\n"film-002.dcm",no\nfilm-001.dcm\nfilm-9.dcm\n\n'
    )
    entries = read_list(tmp_path / "list.csv")
    assert entries == ("film-001.dcm", "film-002.dcm", "film-9.dcm")
    found = list(Cohort(FolderArchive(folder), entries=entries))
    assert [ref.name for one in found if isinstance(one, Study) for ref in one.refs] == [
        "film-001.dcm", "film-002.dcm",
    ]  # fmt: skip
    assert [one.name for one in found if isinstance(one, Missed)] == ["film-9.dcm"]


def test_an_empty_list_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    with pytest.raises(NotFoundError, match="empty"):
        read_list(tmp_path / "list.txt")
    with pytest.raises(NotFoundError, match="cannot be read"):
        read_list(tmp_path / "none.txt")


def test_what_is_looked_for_ahead_is_counted_and_comes_in_order(
    write_films: Write, tmp_path: Path
) -> None:
    cohort = Cohort(FolderArchive(write_films(tmp_path / "films", 4)))
    ahead = Ahead(cohort)
    assert list(ahead) == list(cohort)
    assert (ahead.objects, ahead.complete) == (4, True)
