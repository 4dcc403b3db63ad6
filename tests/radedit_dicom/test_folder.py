"""A folder as an archive: nothing half-written, nothing overwritten, nothing hostile parsed."""

from __future__ import annotations

import os
import threading
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from radedit_dicom.archive import Instance, Query, Removing, checked_uid
from radedit_dicom.errors import ArchiveError, UnsupportedImageError
from radedit_dicom.folder import FolderArchive
from radedit_dicom.pixels import read_film


def film_object(make_dataset, number: int = 4, **attributes) -> Dataset:
    dataset = make_dataset(SOPInstanceUID=f"1.2.3.{number}", **attributes)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    return dataset


def deflated(data: bytes) -> bytes:
    """Write the same object in the deflated transfer syntax."""
    dataset = pydicom.dcmread(BytesIO(data))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_what_is_stored_is_found_and_fetched_byte_for_byte(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path / "archive")
    objects = [film_object(make_dataset, n) for n in (4, 5)]
    stored = archive.store(objects)
    assert archive.find(Query()) == sorted(stored)
    assert archive.find(Query(sop_instance_uid="1.2.3.5")) == [stored[1]]
    buffer = BytesIO()
    objects[0].save_as(buffer, enforce_file_format=True)
    assert archive.fetch(stored[0]) == buffer.getvalue()
    assert read_film(archive.fetch(stored[0])).sop_instance_uid == "1.2.3.4"
    assert FolderArchive(tmp_path / "archive").find(Query(modality="CR")) == sorted(stored)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (Query(patient_id="4711"), 1),
        (Query(patient_id="4712"), 0),
        (Query(patient_id="47*"), 0),
        (Query(accession_number="A1", modality="CR"), 1),
        (Query(modality="SR"), 0),
        (Query(study_instance_uid="1.2", series_instance_uid="1.2.3"), 1),
        (Query(series_instance_uid="9"), 0),
    ],
)
def test_every_field_of_a_query_must_match(make_dataset, tmp_path, query, count):
    archive = FolderArchive(tmp_path)
    archive.store([film_object(make_dataset)])
    assert len(archive.find(query)) == count


def test_storing_the_same_again_writes_nothing(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path)
    archive.store([film_object(make_dataset)])
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.dcm")}
    archive.store([film_object(make_dataset)])
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.dcm")} == before


def test_another_object_under_a_known_uid_is_refused_and_nothing_is_stored(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path)
    archive.store([film_object(make_dataset)])
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ArchiveError, match="already holds"):
        archive.store([film_object(make_dataset, 6), film_object(make_dataset, StudyID="other")])
    assert sorted(tmp_path.rglob("*")) == before


def test_one_object_that_cannot_be_encoded_leaves_nothing_behind(make_dataset, tmp_path):
    broken = film_object(make_dataset, 5)
    del broken.file_meta.TransferSyntaxUID
    with pytest.raises(ArchiveError, match="cannot be encoded"):
        FolderArchive(tmp_path / "a").store([film_object(make_dataset), broken])
    assert not (tmp_path / "a").exists()


def test_a_target_that_cannot_be_made_leaves_nothing_half_written(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path)
    first = film_object(make_dataset)
    other = film_object(make_dataset, 9, StudyInstanceUID="1.9")
    blocked = archive._target(Instance("1.9", "1.2.3", "1.2.3.9", modality="CR"))
    blocked.mkdir(parents=True)
    (blocked / "keep").write_text("x")
    with pytest.raises(ArchiveError, match="cannot be written"):
        archive.store([first, other])
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [blocked / "keep"]


def test_a_file_where_the_folder_should_be_is_a_clear_refusal(make_dataset, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArchiveError, match="cannot be"):
        FolderArchive(tmp_path / "file").store([film_object(make_dataset)])


def test_uids_with_paths_or_commands_are_refused(make_dataset, tmp_path):
    for uid in ("../../../x", "1.2.3;$(id)", "", "1" * 65, "1.2\n"):
        with pytest.raises(ArchiveError, match="UID"):
            checked_uid(uid)


def test_hostile_and_foreign_files_do_not_hide_the_sound_ones(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path)
    stored = archive.store([film_object(make_dataset)])
    (tmp_path / "note.txt").write_text("hello")
    (tmp_path / "empty.dcm").write_bytes(b"")
    sound = archive.fetch(stored[0])
    (tmp_path / "odd.dcm").write_bytes(deflated(sound))
    (tmp_path / "cut.dcm").write_bytes(sound[:200])
    os.symlink(tmp_path / "nowhere", tmp_path / "dangling")
    with pytest.raises(UnsupportedImageError, match="deflated"):
        read_film(tmp_path / "odd.dcm")
    assert archive.find(Query(sop_instance_uid="1.2.3.4")) == stored
    assert archive.fetch(stored[0]) == sound, "the deflated twin is not looked into"


def test_two_different_files_under_one_uid_are_not_guessed_between(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path)
    (instance,) = archive.store([film_object(make_dataset)])
    film_object(make_dataset, StudyID="other").save_as(tmp_path / "b.dcm", enforce_file_format=True)
    with pytest.raises(ArchiveError, match="2 different objects"):
        archive.fetch(instance)


def test_what_is_not_there_is_said_to_be_missing(tmp_path):
    archive = FolderArchive(tmp_path / "none")
    assert archive.find(Query()) == []
    with pytest.raises(ArchiveError, match="holds no instance"):
        archive.fetch(Instance("1", "2", "3"))


def test_several_threads_store_and_find_without_loss(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path)
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            archive.store([film_object(make_dataset, number)])
            assert archive.find(Query(sop_instance_uid=f"1.2.3.{number}"))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(10, 18)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(archive.find(Query())) == 8


def test_a_changed_file_and_a_removed_one_are_seen(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path)
    (instance,) = archive.store([film_object(make_dataset)])
    path: Path = archive.path_of(instance)
    film_object(make_dataset, 77, StudyID="other").save_as(path, enforce_file_format=True)
    (changed,) = archive.find(Query())
    assert changed.sop_instance_uid == "1.2.3.77"
    assert archive.fetch(changed) == path.read_bytes()
    with pytest.raises(ArchiveError, match="holds no instance"):
        archive.fetch(instance)
    path.unlink()
    assert archive.find(Query()) == []


def test_what_a_killed_process_left_staged_is_swept_and_a_running_ones_is_not(
    make_dataset, tmp_path
):
    archive = FolderArchive(tmp_path)
    (instance,) = archive.store([film_object(make_dataset)])
    study = archive.path_of(instance).parent
    stale, fresh, foreign = study / ".part-a", study / ".part-b", tmp_path / ".part-c"
    for path in (stale, fresh, foreign):
        path.write_bytes(b"half")
        os.utime(path, (0, 0))
    os.utime(fresh)
    archive.store([film_object(make_dataset, 9)])
    assert [path.exists() for path in (stale, fresh, foreign)] == [False, True, True]


def test_the_entry_of_every_new_folder_is_flushed_to_disk(make_dataset, tmp_path, monkeypatch):
    flushed = set()
    flush = os.fsync

    def recording(descriptor: int) -> None:
        flushed.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    archive = FolderArchive(tmp_path / "a" / "b")
    (instance,) = archive.store([film_object(make_dataset)])
    study = archive.path_of(instance).parent
    assert {str(tmp_path), str(tmp_path / "a"), str(tmp_path / "a" / "b"), str(study)} <= flushed


def test_every_object_is_listed_with_its_place(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path)
    stored = archive.store([film_object(make_dataset, n) for n in (4, 5)])
    (tmp_path / "note.txt").write_text("hello")
    assert archive.held() == {archive.path_of(instance): instance for instance in stored}


def test_what_is_removed_is_gone_and_the_rest_untouched(make_dataset, tmp_path):
    archive = FolderArchive(tmp_path)
    gone, kept = archive.store([film_object(make_dataset, n, SeriesNumber=n) for n in (4, 5)])
    assert isinstance(archive, Removing)
    before = archive.fetch(kept)
    for _ in range(2):
        archive.remove([gone])
    assert archive.find(Query()) == [kept]
    assert archive.fetch(kept) == before
    assert [held.series_number for held in archive.held().values()] == [5]


def test_an_object_is_placed_once_and_found_where_store_would_put_it(make_dataset, tmp_path):
    first, again = FolderArchive(tmp_path / "a"), FolderArchive(tmp_path / "b")
    dataset = make_dataset()
    assert first.place(dataset) == first.place(dataset)
    (stored,) = again.store([dataset])
    path = first.path_of(stored)
    assert path.relative_to(tmp_path / "a") == again.path_of(stored).relative_to(tmp_path / "b")
    assert path.read_bytes() == again.path_of(stored).read_bytes()
    with pytest.raises(ArchiveError, match="already holds another object"):
        first.place(make_dataset(PatientID="other"))
    assert first.find(Query()) == [stored]


def test_the_cost_of_placing_does_not_grow_with_the_folder(make_dataset, tmp_path, monkeypatch):
    archive = FolderArchive(tmp_path / "a")
    archive.store([make_dataset()])
    for name in ("_paths", "_screen"):
        monkeypatch.delattr(FolderArchive, name)  # what looks at all of it
    archive.place(make_dataset(SOPInstanceUID="1.2.3.5"))
    assert len(list((tmp_path / "a").rglob("*.dcm"))) == 2
