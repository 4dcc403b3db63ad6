"""The hospital loop against a real Orthanc: films from the archive, results back in it.

Seven studies each way, so that the suite stays short; `scripts/hospital-loop` runs forty.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from cohort import Census, make_cohort
from hospital import ROOT, SECRET, Hospital, Loop, keep_masks
from hospital_checks import check_listing, check_results, hashes
from monai_server import serving
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from radedit.lib.cases import EditRequest
from radedit.lib.cli import app
from radedit.lib.deliver import Manner
from radedit.lib.pipeline import Editor
from radedit.lib.selection import Selection
from radedit_dicom.archive import Archive, Instance, Query
from radedit_dicom.edits import Ledger, retract
from radedit_dicom.errors import ArchiveError, ProvenanceError
from radedit_dicom.film import read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.locate import open_archive
from radedit_dicom.provenance import read_private

CENSUS = Census(phantoms=3, repacked=3, every=4, size=512)
LUNG, HEART = "task:lung_segmentation:left", "seg:heart"
REQUEST = EditRequest(
    prompt="Left lung mass", edit_mask=LUNG, keep_mask=HEART, parameters={"steps": 2, "seed": 3}
)


@pytest.fixture(scope="module")
def editor() -> Editor:
    return Editor()


@pytest.fixture(scope="module")
def hospital(make_dataset: Callable[..., Dataset], peer: Any) -> Hospital:
    peer("dcmcjpeg")
    return make_cohort(make_dataset, CENSUS)


def addresses(server: Any) -> dict[str, str]:
    return {
        "DICOMweb": server.dicom_web,
        "DIMSE": f"dimse://{server.aet}@127.0.0.1:{server.dicom_port}",
    }


@pytest.fixture
def filled(start_orthanc: Callable[..., Any], hospital: Hospital) -> Any:
    server = start_orthanc()
    for film in hospital.films.values():
        server.upload(film)
    return server


@pytest.mark.parametrize(
    ("way", "manner"),
    [("DICOMweb", Manner("new")), ("DIMSE", Manner("same", compression="jpegls"))],
    ids=["DICOMweb-new-study", "DIMSE-same-study-JPEG-LS"],
)
def test_every_study_goes_through_the_loop_and_no_original_changes(
    filled: Any, hospital: Hospital, editor: Editor, peer: Any, tmp_path: Path, way: str,
    manner: Manner,
) -> None:  # fmt: skip
    peer("dciodvfy")
    archive = open_archive(addresses(filled)[way])
    before = hashes(filled)
    check_listing(filled, hospital)
    studies = keep_masks(archive, hospital, tmp_path / "shelf")
    assert set(studies.get_labeled_images()) == set(hospital.frontal) - set(hospital.kept)
    drawn = len(hashes(filled)) - len(before)
    assert drawn == CENSUS.studies - CENSUS.phantoms, "the phantoms came with a SEG"

    loop = Loop(archive, editor, REQUEST, manner)
    selection = loop.select(tmp_path / "films")
    assert set(selection.films) == set(hospital.frontal)
    assert selection.failed == {}
    rows = loop.run(selection)
    edited = [row for row in rows if "uids" in row]
    assert [row["input"] for row in edited] == list(selection.films), rows
    assert not [row for row in rows if "failed" in row]
    assert SECRET not in json.dumps(rows)
    assert check_results(filled, edited, hospital) >= 5 * CENSUS.studies

    after = hashes(filled)
    assert {uid: after[uid] for uid in before} == before, "an original changed"
    assert len(after) == len(before) + drawn + 3 * CENSUS.studies
    if manner.study_mode == "same":
        check_series_numbers(filled)
    again = loop.run(selection)
    unsaid = [r for r in again if r["input"] in hospital.frontal and "already_there" not in r]
    assert unsaid == []
    assert hashes(filled) == after
    studies.refresh()
    assert set(studies.list_images()) == hospital.images, "results are no films"


def check_series_numbers(server: Any) -> None:
    """No two series of a study have one number."""
    numbers: dict[str, dict[str, int]] = {}
    for uid in server.held():
        header = pydicom.dcmread(io.BytesIO(server.file(uid)), stop_before_pixels=True)
        study = numbers.setdefault(str(header.StudyInstanceUID), {})
        study[str(header.SeriesInstanceUID)] = int(header.SeriesNumber)
    for series in numbers.values():
        assert len(set(series.values())) == len(series), series


def run(*words: object) -> Any:
    """Run the command line here, so that the libraries are loaded once."""
    return CliRunner().invoke(app, [str(word) for word in words])


def edit(source: str, output: object, *more: str) -> Any:
    return run(
        "edit", source, "--prompt", REQUEST.prompt, "--edit-mask", LUNG, "--steps", "2",
        "--output", output, "--json", *more,
    )  # fmt: skip


def test_a_run_cut_off_by_the_archive_ends_complete_and_without_doubles(
    filled: Any, hospital: Hospital, editor: Editor, tmp_path: Path
) -> None:
    """Orthanc is stopped when the first film's masks and report are in it, and its image not."""
    loop = Loop(open_archive(filled.dicom_web), editor, plain_request(), Manner())
    selection = loop.select(tmp_path / "films")
    few = selection_of(selection, hospital.frontal[:2])
    stored = hashes(filled)
    cutting = CutOff(loop.archive, filled)
    rows = Loop(cutting, editor, plain_request(), Manner()).run(few)
    assert [set(row) for row in rows] == [{"input", "failed"}, {"input", "failed"}]
    assert "cannot be reached" in rows[0]["failed"] or "dropped" in rows[0]["failed"]
    filled.start()
    [begun] = Ledger(loop.archive).edits(Query())
    assert set(begun.instances) == {"seg", "sr"}
    assert not begun.is_complete
    rows = loop.run(few)
    assert all("uids" in row for row in rows), rows
    edits = Ledger(loop.archive).edits(Query())
    assert [edit.is_complete for edit in edits] == [True, True]
    assert begun.record in [edit.record for edit in edits]
    after = hashes(filled)
    assert len(after) == len(stored) + 6
    assert {uid: after[uid] for uid in stored} == stored


def plain_request() -> EditRequest:
    return EditRequest(prompt=REQUEST.prompt, edit_mask=LUNG, parameters={"steps": 2})


def selection_of(selection: Selection, uids: list[str]) -> Selection:
    """Leave only some films of a selection."""
    films = {uid: selection.films[uid] for uid in uids}
    return replace(selection, films=films, passed_over={}, failed={})


class CutOff:
    """An archive that goes down in the middle of a store: the real one is stopped then."""

    def __init__(self, archive: Archive, server: Any) -> None:
        self.archive, self.server, self.find, self.fetch = (
            archive, server, archive.find, archive.fetch,
        )  # fmt: skip

    def store(self, objects: Sequence[Dataset]) -> list[Instance]:
        held = self.archive.store(objects[:2])
        self.server.stop()
        return held + self.archive.store(objects[2:])


def test_the_command_line_edits_a_study_of_the_archive_finds_it_and_takes_it_back(
    filled: Any, hospital: Hospital, tmp_path: Path
) -> None:
    before = hashes(filled)
    study = f"{filled.dicom_web}#{ROOT}.1"  # one with a lateral and a derived film
    done = edit(study, filled.dicom_web, "--compress", "rle", "--study", "same")
    assert done.exit_code == 0, done.stderr
    told = json.loads(done.stdout)
    [row] = [row for row in told["files"] if "uids" in row]
    assert row["input"] == f"{ROOT}.1.1.1"
    assert row["uids"]["study"] == f"{ROOT}.1"
    reasons = [r["passed_over"] for r in told["files"] if "passed_over" in r]
    assert len(reasons) == 2
    assert any("lateral" in reason for reason in reasons)
    assert any("derived" in reason for reason in reasons)
    image = pydicom.dcmread(io.BytesIO(filled.file(row["uids"]["sc"])))
    assert image.file_meta.TransferSyntaxUID.name == "RLE Lossless"

    again = json.loads(edit(study, filled.dicom_web, "--compress", "rle", "--study", "same").stdout)
    assert [r["edit_id"] for r in again["files"] if r.get("already_there")] == [row["edit_id"]]
    found = json.loads(run("find", study, "--json").stdout)["edits"]
    assert [each["edit_id"] for each in found] == [row["edit_id"]]
    assert found[0]["parameters"]["prompt"] == REQUEST.prompt
    assert found[0]["complete"] is True
    assert row["edit_id"] in run("find", filled.dicom_web).stdout

    for name in ("sc", "seg"):
        (tmp_path / f"{name}.dcm").write_bytes(filled.file(row["uids"][name]))
    (tmp_path / "film.dcm").write_bytes(hospital.films[row["input"]])
    replayed = run("replay", tmp_path / "sc.dcm", "--source", tmp_path / "film.dcm")
    assert replayed.exit_code == 0, replayed.stderr

    gone = run("retract", row["edit_id"], "--archive", study, "--json")
    assert gone.exit_code == 0, gone.stderr
    assert sorted(json.loads(gone.stdout)["removed"]) == sorted(
        row["uids"][kind] for kind in ("sc", "seg", "sr")
    )
    assert hashes(filled) == before
    assert run("retract", row["edit_id"], "--archive", study).exit_code == 1


def test_what_an_archive_refuses_is_one_sentence(filled: Any, start_orthanc: Any) -> None:
    locked = start_orthanc(users={"physicist": "right"})
    dimse = f"dimse://WRONG@127.0.0.1:{filled.dicom_port}"
    for source in (locked.dicom_web, dimse, "http://127.0.0.1:9/dicom-web", "ftp://x/y"):
        for words in (("find", source), ("retract", "x", "--archive", source)):
            refused = run(*words)
            assert refused.exit_code == 1
            assert refused.stdout == ""
            assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr
            assert "Traceback" not in refused.stderr


def test_over_dimse_nothing_can_be_retracted_and_the_sentence_says_what_to_do(
    filled: Any, make_edit: Callable[..., Any], make_dataset: Callable[..., Dataset]
) -> None:
    archive = open_archive(addresses(filled)["DIMSE"])
    _, objects = make_edit(read_film(make_dataset()))
    archive.store([objects.seg, objects.sr, objects.sc])
    edit_id = read_private(objects.sc).edit_id
    with pytest.raises(ArchiveError, match=r"no way to remove.*administrator") as refused:
        retract(archive, edit_id)
    assert str(objects.sc.SOPInstanceUID) in str(refused.value)
    with pytest.raises(ProvenanceError, match="no edit of that id"):
        retract(open_archive(filled.dicom_web), "0" * 32)


def test_an_object_that_someone_put_in_an_edits_place_is_not_removed(
    make_edit: Callable[..., Any], make_dataset: Callable[..., Dataset], tmp_path: Path
) -> None:
    archive = FolderArchive(tmp_path)
    _, objects = make_edit(read_film(make_dataset()))
    stranger = make_dataset(SOPInstanceUID=str(objects.sc.SOPInstanceUID))
    stranger.file_meta.MediaStorageSOPClassUID = stranger.SOPClassUID
    archive.store([objects.seg, objects.sr, stranger])
    with pytest.raises(ProvenanceError, match="nothing was removed"):
        retract(archive, read_private(objects.seg).edit_id)
    assert len(archive.held()) == 3


def test_a_real_server_works_on_the_archive_and_needs_nothing_else_of_the_network(
    filled: Any, hospital: Hospital, free_port: int, tmp_path: Path,
    start_server: Callable[..., list[str]], environment: Callable[[Path], dict[str, str]],
) -> None:  # fmt: skip
    url, uid = f"http://127.0.0.1:{free_port}", hospital.frontal[0]
    command = start_server(
        "--studies", filled.dicom_web, "--host", "127.0.0.1", "--port", str(free_port),
        "--conf", "models", "all", "--conf", "cache", str(tmp_path / "cache"),
    )  # fmt: skip
    nowhere = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}
    offline = {**environment(tmp_path), **nowhere, "no_proxy": "127.0.0.1"}
    before = hashes(filled)
    with serving(command, offline, tmp_path / "server.log", url):
        listed = requests.get(f"{url}/datastore/?output=all", timeout=120)
        assert set(listed.json()["objects"]) == hospital.images
        drawn = requests.post(
            f"{url}/infer/lung_segmentation", params={"image": uid, "output": "image"}, timeout=300
        )
        assert drawn.status_code == 200, drawn.text
        saved = requests.put(
            f"{url}/datastore/label",
            params={"image": uid, "tag": "final"},
            data={"params": json.dumps({"label_names": {"left": 1, "heart": 2}})},
            files={"label": ("label.png", drawn.content)},
            timeout=120,
        )
        assert saved.status_code == 200, saved.text
        label = requests.get(
            f"{url}/datastore/label", params={"label": uid, "tag": "final"}, timeout=120
        )
        assert label.content[:2] == b"\x1f\x8b", "a NIfTI, packed"
        params = {"prompt": REQUEST.prompt, "edit_mask": LUNG, "keep_mask": HEART, "steps": 2}
        answer = requests.post(
            f"{url}/infer/radedit",
            params={"image": uid, "output": "json"},
            data={"params": json.dumps(params)},
            timeout=300,
        )
        assert answer.status_code == 200, answer.text
        refused = requests.post(f"{url}/infer/radedit", params={"image": "1.9"}, timeout=60)
        assert refused.status_code == 404
    uids = answer.json()["uids"]
    held = set(filled.held())
    assert {uids[kind] for kind in ("sc", "seg", "sr")} < held
    assert len(held) == len(before) + 4
    after = hashes(filled)
    assert {known: after[known] for known in before} == before
    assert SECRET not in (tmp_path / "server.log").read_text()
