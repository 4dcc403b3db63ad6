"""An edit's way out: three objects that belong together, whatever happened on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from radedit.lib.deliver import KINDS, Delivered, Outbox
from radedit.lib.errors import OutputError
from radedit.lib.pipeline import Edited
from radedit.lib.score.fidelity import fidelity
from radedit_dicom.conformance import check_dataset
from radedit_dicom.film import read_film
from radedit_dicom.pixels import to_display
from radedit_dicom.provenance import Provenance, pixel_sha256, read_private


@pytest.fixture(scope="module")
def edited(rg1: Path, make_provenance: Callable[..., Provenance]) -> Edited:
    """Edit the real film by hand: how the new pixels came to be does not matter here."""
    film = read_film(rg1)
    edit = np.zeros(film.shape, dtype=np.bool_)
    edit[700:900, 1300:1600] = True
    stored = film.stored.copy()
    stored[edit] ^= 5
    display = to_display(film)
    nothing = np.zeros_like(edit)
    return Edited(
        film=film,
        stored=stored,
        edit=edit,
        keep=nothing,
        support=edit,
        cells_lost_to_keep=0.0,
        provenance=make_provenance(film, stored, {"edit mask": edit}),
        fidelity=fidelity((film.stored, stored), (display, display), edit, nothing, edit),
        seconds={"denoise": 0.5},
    )


def later(edited: Edited) -> Edited:
    """Give the same edit as another process makes it at another time."""
    return replace(edited, provenance=replace(edited.provenance, created="2031-01-02T03:04:06Z"))


def contents(delivered: Delivered) -> dict[str, bytes]:
    return {kind: path.read_bytes() for kind, path in delivered.files.items()}


@pytest.mark.parametrize("survivor", KINDS)
def test_an_edit_cut_off_between_its_files_is_completed_by_the_next_try(
    edited: Edited, tmp_path: Path, survivor: str
) -> None:
    first = Outbox(tmp_path).deliver(edited)
    before = contents(first)
    for kind in set(KINDS) - {survivor}:
        first.files[kind].unlink()
    assert Outbox(tmp_path).known == {}, "an edit with objects missing is not done"
    again = Outbox(tmp_path).deliver(later(edited))
    assert contents(again) == before
    objects = [pydicom.dcmread(path) for path in again.files.values()]
    assert [check_dataset(dataset) for dataset in objects] == [[], [], []]
    assert len({read_private(dataset).to_json() for dataset in objects}) == 1
    assert set(Outbox(tmp_path).known) == {edited.provenance.edit_id}


def test_what_another_process_wrote_meanwhile_is_found(edited: Edited, tmp_path: Path) -> None:
    ours, theirs = Outbox(tmp_path), Outbox(tmp_path)
    assert ours.known == {}
    written = contents(theirs.deliver(edited))
    assert contents(ours.deliver(later(edited))) == written
    assert set(ours.known) == {edited.provenance.edit_id}


def test_both_kinds_of_study_share_a_folder(edited: Edited, tmp_path: Path) -> None:
    new, same = (Outbox(tmp_path, mode).deliver(edited) for mode in ("new", "same"))
    assert len({*new.files.values(), *same.files.values()}) == 6
    assert len(Outbox(tmp_path).known) == 2


def files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Give the content of every file and when it was written."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_the_same_edit_again_writes_nothing_new(edited: Edited, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    first = outbox.deliver(edited)
    before = files(tmp_path)
    assert {*first.files.values()} <= {*before}
    for again in (outbox, Outbox(tmp_path)):
        second = again.deliver(later(edited))
        assert (second.files, second.uids) == (first.files, first.uids)
        assert files(tmp_path) == before


def test_another_result_is_another_edit(edited: Edited, tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    first = outbox.deliver(edited)
    other = outbox.deliver(
        replace(edited, provenance=replace(edited.provenance, edit_id="f" * 32, seed=8))
    )
    assert set(outbox.known) == {edited.provenance.edit_id, "f" * 32} == set(Outbox(tmp_path).known)
    assert not {*first.uids.values()} & {*other.uids.values()}


@pytest.fixture
def named(edited: Edited, rg1: Path) -> Edited:
    """Give the same edit of a film with a patient's name in it."""
    dataset = pydicom.dcmread(rg1)
    dataset.PatientName, dataset.PatientID = "Geheim^Name", "GEHEIM-4711"
    return replace(edited, film=read_film(dataset))


def test_the_films_own_study_keeps_the_patient_and_a_new_one_does_not(
    named: Edited, tmp_path: Path
) -> None:
    same, new = (Outbox(tmp_path / mode, mode).deliver(named) for mode in ("same", "new"))
    source = named.film.header
    for kind in KINDS:
        ours, theirs = (pydicom.dcmread(x.files[kind]) for x in (same, new))
        assert ours.StudyInstanceUID == source.StudyInstanceUID != theirs.StudyInstanceUID
        assert (ours.PatientName, ours.PatientID) == ("Geheim^Name", "GEHEIM-4711")
        assert "Geheim" not in str(theirs.PatientName)
        assert "GEHEIM" not in str(theirs.PatientID)
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
            assert len({ours[keyword].value, theirs[keyword].value, source[keyword].value}) == 3
        assert ours.SyntheticData == theirs.SyntheticData == "YES"
    assert same.uids["study"] == source.StudyInstanceUID
    assert not {*same.uids.values()} & {*new.uids.values()}


def test_a_second_outbox_knows_what_the_first_one_wrote(edited: Edited, tmp_path: Path) -> None:
    assert Outbox(tmp_path / "none").known == {}
    delivered = Outbox(tmp_path).deliver(edited)
    second = Outbox(tmp_path)
    record = replace(edited.provenance, seg_sop_instance_uid=delivered.uids["seg"])
    assert second.known == {record.edit_id: record}
    # The id that a folder's run asks for is the one under which the edit is found.
    assert second.edit_id(edited.provenance.edit_id) in second.known
    same = Outbox(tmp_path, "same")
    assert same.edit_id(edited.provenance.edit_id) not in same.known


def test_the_summary_is_json_that_points_to_the_files_and_holds_no_patient(
    named: Edited, tmp_path: Path
) -> None:
    for mode in ("new", "same"):
        delivered = Outbox(tmp_path, mode).deliver(named)
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
        Outbox(folder).check_writable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", [(), ("a",), ("a", "b")])
def test_a_file_in_the_way_is_refused_before_the_edit(
    tmp_path: Path, below: tuple[str, ...]
) -> None:
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        Outbox((tmp_path / "out").joinpath(*below)).check_writable()
    assert str(tmp_path) not in str(caught.value)
    assert files(tmp_path).keys() == {tmp_path / "out"}
    assert (tmp_path / "out").read_text() == "in the way"
