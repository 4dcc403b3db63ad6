"""An edit's way out: three objects that belong together, whatever happened on the way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from radedit.lib.deliver import KINDS, Delivered, Outbox
from radedit.lib.pipeline import Edited
from radedit.lib.score.fidelity import fidelity
from radedit_dicom.conformance import check_dataset
from radedit_dicom.film import read_film
from radedit_dicom.pixels import to_display
from radedit_dicom.provenance import Provenance, pixel_sha256, read_private


@pytest.fixture(scope="module")
def edited(rg1: Path) -> Edited:
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
        provenance=Provenance(
            edit_id="0f8fad5bd9cb469fa16570867728950e",
            tool="radedit",
            tool_version="0.1.0",
            method="radedit",
            model="phantom",
            model_sha256="ab" * 32,
            prompt="Large left lung mass",
            invert_prompt="",
            steps=20,
            skip=0.1,
            guidance=7.5,
            seed=7,
            support="band",
            edit_mask="box:1300,700,1600,900",
            keep_mask=None,
            source_sop_instance_uid=film.sop_instance_uid,
            source_pixel_sha256=pixel_sha256(film.stored),
            result_pixel_sha256=pixel_sha256(stored),
            edit_mask_sha256=pixel_sha256(edit),
            keep_mask_sha256=None,
            platform={"python": "3.11"},
            batch=1,
            created="2030-01-02T03:04:05+00:00",
        ),
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
