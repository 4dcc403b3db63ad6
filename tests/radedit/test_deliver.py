"""An edit's way out: three objects that belong together, whatever happened on the way."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from radedit.lib.deliver import Delivered, Manner, Outbox
from radedit.lib.errors import NoChangeError, OutputError
from radedit.lib.pipeline import Edited
from radedit.lib.score.fidelity import fidelity
from radedit_dicom.archive import Instance, Query
from radedit_dicom.conformance import check_dataset
from radedit_dicom.edits import KINDS, Ledger
from radedit_dicom.film import read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.marks import first_series_numbers
from radedit_dicom.objects import StudyMode
from radedit_dicom.pixels import to_display
from radedit_dicom.provenance import Provenance, pixel_sha256, read_private


@pytest.fixture(scope="module")
def source(rg1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give every fifth pixel of the real film."""
    dataset = pydicom.dcmread(rg1)
    pixels = np.ascontiguousarray(dataset.pixel_array[::5, ::5])
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    path = tmp_path_factory.mktemp("source") / "film.dcm"
    dataset.save_as(path)
    return path


@pytest.fixture(scope="module")
def edited(source: Path, make_provenance: Callable[..., Provenance]) -> Edited:
    """Edit the film by hand: how the new pixels came to be does not matter here."""
    film = read_film(source)
    edit = np.zeros(film.shape, dtype=np.bool_)
    edit[140:180, 260:320] = True
    stored = film.stored.copy()
    stored[edit] ^= 4096
    displays = to_display(film), to_display(film, stored)
    nothing = np.zeros_like(edit)
    return Edited(
        film=film,
        stored=stored,
        edit=edit,
        keep=nothing,
        support=edit,
        cells_lost_to_keep=0.0,
        provenance=make_provenance(film, stored, {"edit mask": edit}),
        fidelity=fidelity((film.stored, stored), displays, edit, nothing, edit),
        seconds={"denoise": 0.5},
    )


def test_an_edit_that_nobody_can_see_is_told_as_that_and_leaves_nothing(
    edited: Edited, tmp_path: Path
) -> None:
    """Its stored values differ, but by less than a grey level; or not at all."""
    film, display = edited.film, to_display(edited.film)
    for change in (0, 5):
        stored = film.stored.copy()
        stored[edited.edit] ^= change
        pairs = (film.stored, stored), (display, to_display(film, stored))
        found = fidelity(*pairs, edited.edit, edited.keep, edited.edit)
        assert (found.changed_pixels > 0, found.visible_pixels) == (change > 0, 0)
        with pytest.raises(NoChangeError, match="no change can be seen"):
            outbox(tmp_path).deliver(replace(edited, stored=stored, fidelity=found))
    assert list(tmp_path.iterdir()) == []
    assert outbox(tmp_path).deliver(edited).summary()["score"]["visible_pixels"] == 40 * 60


def outbox(folder: Path, mode: StudyMode = "new", compression: str = "none") -> Outbox:
    return Outbox(FolderArchive(folder), Manner(mode, compression=compression))


def complete(folder: Path) -> dict[str, Provenance]:
    """Give the edits of which all three objects are there."""
    edits = Ledger(FolderArchive(folder)).edits(Query())
    return {edit.record.edit_id: edit.record for edit in edits if edit.is_complete}


def later(edited: Edited) -> Edited:
    """Give the same edit as another process makes it at another time."""
    return replace(edited, provenance=replace(edited.provenance, created="2031-01-02T03:04:06Z"))


def contents(delivered: Delivered) -> dict[str, bytes]:
    return {kind: path.read_bytes() for kind, path in delivered.files.items()}


@pytest.mark.parametrize("survivor", KINDS)
def test_an_edit_cut_off_between_its_files_is_completed_by_the_next_try(
    edited: Edited, tmp_path: Path, survivor: str
) -> None:
    first = outbox(tmp_path).deliver(edited)
    before = contents(first)
    for kind in set(KINDS) - {survivor}:
        first.files[kind].unlink()
    assert complete(tmp_path) == {}, "an edit with objects missing is not done"
    again = outbox(tmp_path).deliver(later(edited))
    assert contents(again) == before
    objects = [pydicom.dcmread(path) for path in again.files.values()]
    assert [check_dataset(dataset) for dataset in objects] == [[], [], []]
    assert len({read_private(dataset).to_json() for dataset in objects}) == 1
    assert set(complete(tmp_path)) == {edited.provenance.edit_id}


def test_what_another_process_wrote_meanwhile_is_found(edited: Edited, tmp_path: Path) -> None:
    ours, theirs = outbox(tmp_path), outbox(tmp_path)
    assert ours.held(edited.film, edited.provenance.edit_id) is None
    written = contents(theirs.deliver(edited))
    assert contents(ours.deliver(later(edited))) == written
    assert ours.held(edited.film, edited.provenance.edit_id) is not None
    assert set(complete(tmp_path)) == {edited.provenance.edit_id}


def test_both_kinds_of_study_share_a_folder(edited: Edited, tmp_path: Path) -> None:
    new, same = (outbox(tmp_path, mode).deliver(edited) for mode in ("new", "same"))
    assert len({*new.files.values(), *same.files.values()}) == 6
    assert len(complete(tmp_path)) == 2


def files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Give the content of every file and when it was written."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_the_same_edit_again_writes_nothing_new(edited: Edited, tmp_path: Path) -> None:
    ours = outbox(tmp_path)
    first = ours.deliver(edited)
    before = files(tmp_path)
    assert {*first.files.values()} <= {*before}
    for again in (ours, outbox(tmp_path)):
        second = again.deliver(later(edited))
        assert (second.files, second.uids) == (first.files, first.uids)
        assert files(tmp_path) == before


def test_an_edit_is_found_again_in_an_archive_that_gave_it_another_patients_id(
    edited: Edited, tmp_path: Path
) -> None:
    first = Outbox(FolderArchive(tmp_path)).deliver(edited)
    for path in first.files.values():
        held = pydicom.dcmread(path)
        held.PatientID = "RECONCILED"
        held.save_as(path)
    later = replace(edited.provenance, created="2031-01-02T03:04:05+00:00")
    again = Outbox(FolderArchive(tmp_path)).deliver(replace(edited, provenance=later))
    assert again.instances == first.instances
    assert again.summary()["coerced"] == []


def test_another_result_is_another_edit(edited: Edited, tmp_path: Path) -> None:
    ours = outbox(tmp_path)
    first = ours.deliver(edited)
    other = ours.deliver(
        replace(edited, provenance=replace(edited.provenance, edit_id="f" * 32, seed=8))
    )
    assert set(complete(tmp_path)) == {edited.provenance.edit_id, "f" * 32}
    assert not {*first.uids.values()} & {*other.uids.values()}


@pytest.fixture
def named(edited: Edited, source: Path) -> Edited:
    """Give the same edit of a film with a patient's name in it."""
    dataset = pydicom.dcmread(source)
    dataset.PatientName, dataset.PatientID = "Geheim^Name", "GEHEIM-4711"
    return replace(edited, film=read_film(dataset))


def test_the_films_own_study_keeps_the_patient_and_a_new_one_does_not(
    named: Edited, tmp_path: Path
) -> None:
    same, new = (outbox(tmp_path / mode, mode).deliver(named) for mode in ("same", "new"))
    original = named.film.header
    for kind in KINDS:
        ours, theirs = (pydicom.dcmread(x.files[kind]) for x in (same, new))
        assert ours.StudyInstanceUID == original.StudyInstanceUID != theirs.StudyInstanceUID
        assert (ours.PatientName, ours.PatientID) == ("Geheim^Name", "GEHEIM-4711")
        assert "Geheim" not in str(theirs.PatientName)
        assert "GEHEIM" not in str(theirs.PatientID)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            assert len({ours[keyword].value, theirs[keyword].value, original[keyword].value}) == 3
        assert ours.SyntheticData == theirs.SyntheticData == "YES"
    assert same.uids["study"] == original.StudyInstanceUID
    assert not {*same.uids.values()} & {*new.uids.values()}


def test_a_second_outbox_knows_what_the_first_one_wrote(edited: Edited, tmp_path: Path) -> None:
    edit_id, film = edited.provenance.edit_id, edited.film
    assert outbox(tmp_path / "none").held(film, edit_id) is None
    delivered = outbox(tmp_path).deliver(edited)
    second, same = outbox(tmp_path), outbox(tmp_path, "same")
    record = replace(edited.provenance, seg_sop_instance_uid=delivered.uids["seg"])
    # The id that a run of many films asks for is the one under which the edit is found.
    held = second.held(film, second.edit_id(edit_id))
    assert held is not None
    assert (held.record, held.is_complete) == (record, True)
    assert same.held(film, same.edit_id(edit_id)) is None


def test_the_summary_is_json_that_points_to_the_files_and_holds_no_patient(
    named: Edited, tmp_path: Path
) -> None:
    for mode in ("new", "same"):
        delivered = outbox(tmp_path, mode).deliver(named)
        text = json.dumps(delivered.summary(), allow_nan=False)
        assert "geheim" not in text.lower()
        told = json.loads(text)
        for kind in KINDS:
            written = pydicom.dcmread(told[kind])
            assert written.SOPInstanceUID == told["uids"][kind]
            assert written.StudyInstanceUID == told["uids"]["study"]
        assert told["source"] == named.film.sop_instance_uid
        assert told["changed_outside_support"] == 0
        assert told["parameters"]["prompt"] == named.provenance.prompt
        assert told["pixel_sha256"] == pixel_sha256(named.stored)


def test_a_folder_that_can_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "not" / "yet"):
        outbox(folder).check_writable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", [(), ("a",), ("a", "b")])
def test_a_file_in_the_way_is_refused_before_the_edit(
    tmp_path: Path, below: tuple[str, ...]
) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        outbox((tmp_path / "out").joinpath(*below)).check_writable()
    assert str(tmp_path) not in str(caught.value)
    assert files(tmp_path).keys() == {tmp_path / "out"}
    assert (tmp_path / "out").read_text() == "in the way"


def numbers(delivered: Delivered) -> list[int]:
    """Give the series numbers of image, masks and report."""
    files = (delivered.files[kind] for kind in KINDS)
    return [int(pydicom.dcmread(path, stop_before_pixels=True).SeriesNumber) for path in files]


def occupy(folder: Path, source: Path, number: int) -> None:
    """Put another series with this number into the film's study."""
    dataset = pydicom.dcmread(source)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.1.{number}"
    dataset.SeriesInstanceUID, dataset.SeriesNumber = f"1.2.826.2.{number}", number
    FolderArchive(folder).store([dataset])


def test_series_numbers_keep_clear_of_those_in_the_study(
    edited: Edited, source: Path, tmp_path: Path
) -> None:
    wanted = numbers(outbox(tmp_path / "free", "same").deliver(edited))
    assert wanted == [wanted[0], wanted[0] + 1, wanted[0] + 2]
    busy = tmp_path / "busy"
    occupy(busy, source, wanted[1])
    first = outbox(busy, "same").deliver(edited)
    given = numbers(first)
    assert given == [given[0], given[0] + 1, given[0] + 2]
    assert not {*given} & {*wanted}
    assert numbers(outbox(tmp_path / "new").deliver(edited)) == numbers(
        outbox(busy).deliver(edited)
    ), "a study of its own has no other series"
    for kind in ("sc", "sr"):
        first.files[kind].unlink()
    occupy(busy, source, given[0])
    again = outbox(busy, "same").deliver(later(edited))
    assert numbers(again) == given, "the objects of one edit stay together"
    assert again.uids == first.uids


@pytest.mark.parametrize("compression", ["jpegls", "rle"])
def test_a_compressed_edit_is_the_same_edit(
    edited: Edited, tmp_path: Path, compression: str
) -> None:
    packed = outbox(tmp_path, compression=compression).deliver(edited)
    image = pydicom.dcmread(packed.files["sc"])
    assert image.file_meta.TransferSyntaxUID.is_compressed
    assert check_dataset(image) == []
    again = outbox(tmp_path).deliver(later(edited))
    assert again.files == packed.files
    assert pydicom.dcmread(again.files["sc"]).file_meta == image.file_meta


def test_an_edit_cut_off_is_completed_with_another_compression(
    edited: Edited, tmp_path: Path
) -> None:
    first = outbox(tmp_path).deliver(edited)
    first.files["seg"].unlink()
    again = outbox(tmp_path, compression="rle").deliver(later(edited))
    assert again.files == first.files
    assert set(complete(tmp_path)) == {edited.provenance.edit_id}


def test_two_edits_of_a_study_at_once_never_share_a_series_number(
    edited: Edited, tmp_path: Path
) -> None:
    """Both try the same number first, and each has an outbox of its own, as in a batch."""
    first = next(first_series_numbers(in_study(edited.provenance)))
    rivals = (replace(edited.provenance, edit_id=f"{n:032x}") for n in range(10**6))
    other = next(each for each in rivals if next(first_series_numbers(in_study(each))) == first)
    both = threading.Barrier(2)

    class Slow(FolderArchive):
        def store(self, objects: Sequence[Dataset]) -> list[Instance]:
            time.sleep(0.3)
            return super().store(objects)

    def deliver(record: Provenance) -> Delivered:
        out = Outbox(Slow(tmp_path), Manner("same"))
        both.wait(60)
        return out.deliver(replace(edited, provenance=record))

    with ThreadPoolExecutor(2) as pool:
        done = [pool.submit(deliver, record) for record in (edited.provenance, other)]
        found = [numbers(each.result()) for each in done]
    assert first in found[0] + found[1]
    assert not {*found[0]} & {*found[1]}


def in_study(record: Provenance) -> Provenance:
    """Name an edit as it is named in its film's own study."""
    return replace(
        record, edit_id=Outbox(FolderArchive(Path()), Manner("same")).edit_id(record.edit_id)
    )
