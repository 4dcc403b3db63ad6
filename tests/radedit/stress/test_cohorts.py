"""Cohorts: phantoms from seeds, films of an archive, and everything that can be wrong with them."""

from __future__ import annotations

import csv
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from radedit.lib.phantom.studies import Order, write_studies
from radedit.lib.phantom.world import World
from radedit.lib.selection import of_folder
from radedit.lib.settings import load_settings
from radedit.lib.stress.archive_cohort import ArchiveCohort, open_cohort
from radedit.lib.stress.phantom_cohort import PhantomCohort
from radedit.lib.stress.suite import Edit, Group
from radedit.lib.stress.variants import drawn_masks
from radedit_dicom.folder import FolderArchive
from radedit_dicom.frontal import Wanted
from radedit_dicom.pixels import to_display

SIZE = 128
WORLD = {"normal": 0.0, "second": 0.0, "findings": {"pneumothorax": 1.0}}
GROUPS = (
    Group("ill", 2, 9_700_000, SIZE, {**WORLD, "drain_given_pneumothorax": 1.0}, 1000),
    Group("well", 1, 9_710_000, SIZE, {"normal": 1.0, "drain_otherwise": 0.0}),
)
REMOVED = Edit(
    "removed",
    "No acute cardiopulmonary process",
    edit_mask="dilate(seg:pneumothorax, 4mm)",
    keep_mask='seg:"chest drain"',
    where={"pneumothorax": True},
    removes=("pneumothorax",),
)


@pytest.fixture(scope="module")
def phantoms() -> PhantomCohort:
    return PhantomCohort(GROUPS)


def test_a_phantom_is_the_same_every_time(phantoms: PhantomCohort) -> None:
    one, other = (phantoms.subject(1) for _ in range(2))
    assert (one.key, one.patient) == (other.key, other.patient)
    assert np.array_equal(one.film.stored, other.film.stored)
    assert phantoms.digest == PhantomCohort(GROUPS).digest


def test_groups_follow_each_other_and_are_what_they_say(phantoms: PhantomCohort) -> None:
    subjects = [phantoms.subject(n) for n in range(len(phantoms))]
    assert [s.group for s in subjects] == ["ill", "ill", "well"]
    assert [s.is_for(REMOVED) for s in subjects] == [True, True, False]
    assert [s.traits["drain"] for s in subjects] == ["yes", "yes", "no"]
    assert subjects[0].text.lower().endswith("pneumothorax")
    assert len({s.patient for s in subjects}) == 3


def test_a_finding_that_is_to_be_seen_covers_what_it_must(phantoms: PhantomCohort) -> None:
    least = 1000 * (SIZE / 512) ** 2
    for number in (0, 1):
        subject = phantoms.subject(number)
        assert subject.sources.mask("seg", "pneumothorax").sum() >= least


def test_the_truth_differs_from_the_film_where_the_finding_was(phantoms: PhantomCohort) -> None:
    subject = phantoms.subject(0)
    truth = subject.truth(REMOVED)
    assert truth is not None
    change = np.abs(truth - to_display(subject.film))
    inside = drawn_masks(subject, REMOVED)["edit"]
    assert change[inside].mean() > 10 * change[~inside].mean()
    nothing = Edit("nothing", "No acute cardiopulmonary process")
    assert subject.truth(nothing) is None


def test_a_box_holds_its_mask_with_a_margin_and_keeps_the_rest(phantoms: PhantomCohort) -> None:
    subject = phantoms.subject(0)
    boxed = Edit("box", "No finding", "seg:pneumothorax", shape="box", box_mm=10, keep_rest=True)
    drawn, inner = drawn_masks(subject, boxed), subject.sources.mask("seg", "pneumothorax")
    assert subject.film.spacing_mm is not None
    margin = int(10 / subject.film.spacing_mm[0])
    rows, cols = np.flatnonzero(inner.any(1)), np.flatnonzero(inner.any(0))
    box = np.zeros_like(inner)
    box[max(0, rows[0] - margin) : rows[-1] + margin + 1,
        max(0, cols[0] - margin) : cols[-1] + margin + 1] = True  # fmt: skip
    assert np.array_equal(drawn["edit"], box)
    assert np.array_equal(drawn["keep"], ~box)


def test_a_phantom_in_two_groups_is_found() -> None:
    twice = PhantomCohort((GROUPS[0], Group("again", 1, 9_700_001, SIZE)))
    assert [problem.count for problem in twice.problems] == [1]
    assert twice.problems[0].loses


# ---------------------------------------------------------------- films of an archive


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients as a hospital has them, and a table of what they show."""
    folder = tmp_path_factory.mktemp("studies")
    world = World(**{**WORLD, "drain_given_pneumothorax": 1.0})  # type: ignore[arg-type]
    written = list(write_studies(Order(9_720_000, 4, SIZE, world), folder))
    rows = []
    for number, row in enumerate(written):
        for name in ("counterfactual.dcm", "counterfactual-masks.dcm"):
            (folder / row["folder"] / name).unlink()
        film = dcmread(folder / row["folder"] / "film.dcm", stop_before_pixels=True)
        rows.append(
            {
                "sop_instance_uid": film.SOPInstanceUID,
                "pneumothorax": "1",
                "text": "Pneumothorax",
                "group": "ill" if number < 3 else "other",
            }
        )
    write_table(folder / "labels.csv", rows)
    return folder


def write_table(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def table_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def opened(folder: Path, key: bytes = b"") -> ArchiveCohort:
    selection = of_folder(folder, Wanted(priors=True))
    settings = replace(load_settings(), pseudonym_key=key)
    return open_cohort(selection, FolderArchive(folder), folder / "labels.csv", settings)


def test_a_sound_folder_has_no_problem(studies: Path) -> None:
    cohort = opened(studies)
    assert len(cohort) == 4
    assert cohort.problems == ()
    subject = cohort.subject(0)
    assert subject.present == {"pneumothorax": True}
    assert subject.text == "Pneumothorax"
    assert subject.is_for(REMOVED)
    assert drawn_masks(subject, REMOVED)["edit"].any()
    assert {"sex", "view"} <= set(subject.traits)


@pytest.fixture
def corrupted(studies: Path, tmp_path: Path) -> Path:
    """The same folder with everything wrong that a hurried export gets wrong."""
    folder = tmp_path / "corrupted"
    shutil.copytree(studies, folder)
    films = sorted(folder.rglob("film.dcm"))
    rows = table_of(folder)
    by_uid = {row["sop_instance_uid"]: row for row in rows}
    films[0].unlink()  # a file that is missing
    copied = dcmread(films[1])  # the same film under another UID
    copied.SOPInstanceUID = copied.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    copied.save_as(films[1].with_name("copy.dcm"))
    whole = films[1].read_bytes()  # and one that was cut off on its way
    films[1].with_name("cut.dcm").write_bytes(whole[: len(whole) * 2 // 3])
    spaceless = dcmread(films[2])  # a spacing of 0
    spaceless.PixelSpacing = spaceless.ImagerPixelSpacing = [0, 0]
    spaceless.save_as(films[2])
    stranger = dcmread(films[3])  # a patient of the first group in the second
    other = dcmread(films[2], stop_before_pixels=True)
    stranger.PatientID, stranger.IssuerOfPatientID = (
        other.PatientID,
        other.get("IssuerOfPatientID", ""),
    )
    stranger.save_as(films[3])
    uid = str(dcmread(films[1], stop_before_pixels=True).SOPInstanceUID)
    by_uid[uid]["pneumothorax"] = ""  # a label that nobody knows, and some that contradict
    contradicting = {**by_uid[str(other.SOPInstanceUID)], "pneumothorax": "0"}
    write_table(folder / "labels.csv", [*rows, contradicting])
    return folder


def test_everything_wrong_with_a_cohort_is_found_and_said(corrupted: Path) -> None:
    problems = {problem.kind: problem for problem in opened(corrupted).problems}
    counts = {kind: problem.count for kind, problem in problems.items()}
    assert counts == {
        "labels that contradict": 1,
        "films there twice": 1,
        "films that cannot be read": 1,
        "patients in two groups": 1,
        "missing films": 1,
        "no pixel spacing": 1,
    }
    for kind in counts.keys() - {"films there twice"}:
        assert problems[kind].loses
    for problem in problems.values():
        assert str(corrupted) not in problem.sentence


def test_what_contradicts_itself_counts_for_nothing(corrupted: Path) -> None:
    cohort = opened(corrupted)
    subjects = [cohort.subject(n) for n in range(len(cohort))]
    assert len({s.patient for s in subjects}) == len(subjects)
    assert not any(s.present.get("pneumothorax") for s in subjects)


KEYS = (b"", b"a site's own secret", b"another site's secret")


def names_of(folder: Path, key: bytes) -> list[tuple[str, str]]:
    cohort = opened(folder, key)
    return [(s.key, s.patient) for s in (cohort.subject(n) for n in range(len(cohort)))]


def numbered(studies: Path, folder: Path) -> Path:
    """Copy the studies; the first two are two studies of patient 4711."""
    shutil.copytree(studies, folder)
    for path in sorted(folder.rglob("film.dcm"))[:2]:
        film = dcmread(path)
        film.PatientID, film.IssuerOfPatientID = "4711", "HOSPITAL"
        film.save_as(path)
    return folder


@pytest.mark.parametrize("key", KEYS[:2])
def test_films_of_one_patient_have_one_name_and_those_of_others_another(
    studies: Path, tmp_path: Path, key: bytes
) -> None:
    names = names_of(numbered(studies, tmp_path / "numbered"), key)
    assert len({film for film, _ in names}) == 4
    assert len({patient for _, patient in names}) == 3


def test_nobody_finds_a_patient_of_the_results_by_trying_patient_numbers(
    studies: Path, tmp_path: Path
) -> None:
    names = [
        {patient for _, patient in names_of(numbered(studies, tmp_path / f"numbered{n}"), key)}
        for n, key in enumerate(KEYS)
    ]
    assert not names[0] & names[1] | names[1] & names[2], "with a key only its holder can name them"
    other = numbered(studies, tmp_path / "other")
    for path in sorted(other.rglob("film.dcm")):  # without one nothing follows from the number
        film = dcmread(path)
        film.PatientID = f"{film.PatientID}1"
        film.save_as(path)
    assert {patient for _, patient in names_of(other, b"")} == names[0]


def test_films_without_a_patient_number_are_not_of_one_patient(
    studies: Path, tmp_path: Path
) -> None:
    folder = numbered(studies, tmp_path / "nameless")
    for path in sorted(folder.rglob("film.dcm")):
        film = dcmread(path)
        film.PatientID = ""
        film.save_as(path)
    for key in KEYS:
        assert len({patient for _, patient in names_of(folder, key)}) == 4


def test_a_films_name_follows_from_the_sites_key(studies: Path) -> None:
    films = [{film for film, _ in names_of(studies, key)} for key in KEYS]
    assert not films[0] & films[1] | films[1] & films[2]


def test_a_run_does_not_go_on_under_another_key(studies: Path) -> None:
    """Or one patient would count as two."""
    assert len({opened(studies, key).digest for key in KEYS}) == len(KEYS)


def test_a_cohort_is_looked_at_without_holding_its_pixels(studies: Path, tmp_path: Path) -> None:
    def peak_of(count: int) -> int:
        folder = tmp_path / str(count)
        folder.mkdir()
        shutil.copyfile(studies / "labels.csv", folder / "labels.csv")
        for number in range(count):
            film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            film.PixelData = np.full(1024 * 1024, number, "<u2").tobytes()
            film.save_as(folder / f"{number}.dcm")
        selection = of_folder(folder, Wanted(priors=True))
        tracemalloc.start()
        try:
            open_cohort(selection, FolderArchive(folder), None, load_settings())
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    film = dcmread(next(studies.rglob("film.dcm")))
    film.Rows = film.Columns = 1024
    assert peak_of(12) < peak_of(3) + 2 * 1024 * 1024, "nine more films cost less than one"


def test_a_lateral_of_the_table_is_told_as_a_lateral(studies: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lateral"
    shutil.copytree(studies, folder)
    path = sorted(folder.rglob("film.dcm"))[0]
    film = dcmread(path)
    film.ViewPosition = "LL"
    film.save_as(path)
    problems = {problem.kind: problem for problem in opened(folder).problems}
    assert list(problems) == ["films passed over"]
    assert "lateral" in problems["films passed over"].sentence
    assert problems["films passed over"].loses
