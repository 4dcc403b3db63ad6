"""Phantom studies on disk: conformant, repeatable, resumable, and what they say is true."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from radedit.lib.cli import app
from radedit.lib.commands.phantom import dials
from radedit.lib.errors import OutputError, ParameterError
from radedit.lib.phantom.devices import DEVICES
from radedit.lib.phantom.findings import KINDS
from radedit.lib.phantom.instances import LABELS
from radedit.lib.phantom.sentences import DEVICE_NAMES, NAMES
from radedit.lib.phantom.studies import TRUTH, Order, build_study, write_studies
from radedit.lib.phantom.world import Rendering, Studio, World, draw_patient, without
from radedit.lib.sources import FilmSources
from radedit_dicom import vocabulary as words
from radedit_dicom.conformance import check_file, passes
from radedit_dicom.film import read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.frontal import View, choose_frontal
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import to_display
from radedit_dicom.segment_reader import read_segmentation, segment_labels

SEED, SIZE = 9_000_040, 80
SITES = ("north", "harbour", "ward")
SICK = World(normal=0.0, second=0.0, findings={"pneumothorax": 1.0}, drain_given_pneumothorax=1.0)
FILES = {"film.dcm", "film-masks.dcm", "counterfactual.dcm", "counterfactual-masks.dcm"}


def world_at(site: str) -> World:
    return World(
        normal=0.0,
        second=0.0,
        findings={"pneumothorax": 1.0},
        drain_given_pneumothorax=1.0,
        sites={site: 1.0},
    )


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    for site in SITES:
        list(write_studies(Order(SEED, 1, SIZE, world_at(site)), folder))
    return folder


@pytest.fixture(scope="module")
def truths(out: Path) -> dict[str, dict[str, Any]]:
    read = [json.loads(path.read_text()) | {"folder": path.parent} for path in out.rglob(TRUTH)]
    return {truth["site"]: truth for truth in read}


def rendered(site: str) -> Rendering:
    return Studio(draw_patient(SEED, world_at(site)), SIZE).render()


@pytest.mark.parametrize("site", SITES)
def test_every_object_passes_the_gate(
    site: str, truths: dict[str, dict[str, Any]], peer: Callable[[str], str]
) -> None:
    peer("dciodvfy")
    for name in FILES:
        findings = check_file(truths[site]["folder"] / name)
        assert passes(findings), (name, findings)


@pytest.mark.parametrize("site", SITES)
def test_the_film_is_stored_as_its_site_stores_films_and_shows_what_was_rendered(
    site: str, truths: dict[str, dict[str, Any]]
) -> None:
    film = read_film(truths[site]["folder"] / "film.dcm")
    taken, shown = draw_patient(SEED, world_at(site)).exposure, rendered(site)
    assert film.bits_stored == taken.bits_stored
    assert film.photometric == taken.photometric
    assert film.header.Modality == ("CR" if site == "ward" else "DX")
    assert film.header.ViewPosition == taken.projection
    assert [float(v) for v in film.header.PixelSpacing] == pytest.approx([shown.spacing] * 2)
    step = 1 / (2**taken.bits_stored - 1)
    np.testing.assert_allclose(to_display(film), shown.image, atol=0.51 * step + 1e-6)


@pytest.mark.parametrize("site", SITES)
def test_the_masks_are_the_rendered_ones_bit_for_bit(
    site: str, truths: dict[str, dict[str, Any]]
) -> None:
    folder = truths[site]["folder"]
    film = read_film(folder / "film.dcm")
    masks = read_segmentation(parse(folder / "film-masks.dcm", pixels=True), film)
    expected = {LABELS.get(name, name): mask for name, mask in rendered(site).masks.items()}
    assert masks.keys() == expected.keys()
    assert {"left lung", "right lung", "heart", "pneumothorax", "chest drain"} <= masks.keys()
    for label, mask in expected.items():
        np.testing.assert_array_equal(masks[label], mask)


@pytest.mark.parametrize("name", ["chest drain", "112173", "Chest Tube"])
def test_the_mask_grammar_selects_the_drain_by_label_code_and_meaning(
    name: str, truths: dict[str, dict[str, Any]]
) -> None:
    folder = truths["north"]["folder"]
    sources = FilmSources(read_film(folder / "film.dcm"), archive=FolderArchive(folder))
    drain = sources.mask("seg", name)
    assert drain.any()
    np.testing.assert_array_equal(drain, rendered("north").masks["chest drain"])


def test_the_counterfactual_lacks_the_finding_keeps_the_drain_and_is_the_true_one(
    truths: dict[str, dict[str, Any]],
) -> None:
    folder = truths["north"]["folder"]
    film, other = (read_film(folder / f"{name}.dcm") for name in ("film", "counterfactual"))
    assert film.header.StudyInstanceUID == other.header.StudyInstanceUID
    assert film.header.SeriesInstanceUID != other.header.SeriesInstanceUID
    assert "counterfactual" in other.header.SeriesDescription
    labels = segment_labels(parse(folder / "counterfactual-masks.dcm", pixels=False))
    assert "chest drain" in labels
    assert "pneumothorax" not in labels
    patient = draw_patient(SEED, world_at("north"))
    true = Studio(patient, SIZE).render(without(patient)).image
    np.testing.assert_allclose(to_display(other), true, atol=1 / 4095)


def test_who_asks_for_a_studys_films_to_edit_gets_the_film_and_not_the_counterfactual(
    truths: dict[str, dict[str, Any]],
) -> None:
    folder = truths["ward"]["folder"]
    views = {name: View.of(parse(folder / name, pixels=False)) for name in FILES}
    assert choose_frontal(views).chosen == ("film.dcm",)


def test_every_object_says_that_it_is_synthetic_and_a_phantom(
    truths: dict[str, dict[str, Any]],
) -> None:
    uids = set()
    for truth in truths.values():
        for name in FILES:
            header = parse(truth["folder"] / name, pixels=False)
            assert (header.SyntheticData, header.QualityControlSubject) == ("YES", "YES")
            assert str(header.PatientName).startswith("PHANTOM")
            assert header.SOPInstanceUID == truth["files"][name]["sop_instance_uid"]
            uids.add(header.SOPInstanceUID)
    assert len(uids) == len(truths) * len(FILES)


def test_the_truth_says_finding_side_zone_extent_and_sentence(
    truths: dict[str, dict[str, Any]],
) -> None:
    patient = draw_patient(SEED, world_at("north"))
    (found,), (said,) = patient.findings, truths["north"]["findings"]
    assert (said["kind"], said["side"], said["zone"]) == (found.kind, found.side, found.zone)
    assert said["extent"] == pytest.approx(found.extent, abs=1e-4)
    shown = rendered("north")
    area = shown.masks["pneumothorax"].sum() * shown.spacing**2
    assert said["area_mm2"] == pytest.approx(area, abs=0.1)
    assert "pneumothorax" in truths["north"]["sentence"].lower()
    assert "pneumothorax" not in truths["north"]["counterfactual_sentence"].lower()


def test_the_same_seed_gives_the_same_bytes(out: Path, tmp_path: Path) -> None:
    (row,) = write_studies(Order(SEED, 1, SIZE, world_at("harbour")), tmp_path)
    for name in (*FILES, TRUTH):
        again = (tmp_path / row["folder"] / name).read_bytes()
        assert again == (out / row["folder"] / name).read_bytes(), name


def test_another_size_or_world_is_another_study() -> None:
    one = build_study(draw_patient(SEED, SICK), 64).truth
    other = build_study(draw_patient(SEED, SICK), 72).truth
    assert one["study_instance_uid"] != other["study_instance_uid"]
    assert one["fingerprint"] != other["fingerprint"]


def test_a_complete_study_is_skipped_and_a_damaged_one_is_made_whole(tmp_path: Path) -> None:
    order = Order(SEED + 1, 1, 64, World(normal=1.0))
    (first,) = write_studies(order, tmp_path)
    film = tmp_path / first["folder"] / "film.dcm"
    content = film.read_bytes()
    os.utime(film, ns=(1, 1))
    (second,) = write_studies(order, tmp_path)
    assert (first["resumed"], second["resumed"]) == (False, True)
    assert film.stat().st_mtime_ns == 1
    film.write_bytes(content[:-1])
    (third,) = write_studies(order, tmp_path)
    assert not third["resumed"]
    assert film.read_bytes() == content
    (film.parent / TRUTH).unlink()  # as when the run was stopped before the study was complete
    (fourth,) = write_studies(order, tmp_path)
    assert not fourth["resumed"]
    assert {**fourth, "resumed": True} == second


def test_a_healthy_patient_has_no_counterfactual(tmp_path: Path) -> None:
    (row,) = write_studies(Order(SEED + 1, 1, 64, World(normal=1.0)), tmp_path)
    assert set(row["files"]) == {"film.dcm", "film-masks.dcm"}
    assert row["counterfactual_sentence"] is None
    assert row["findings"] == []


def test_every_structure_of_the_phantom_has_a_code_of_its_own() -> None:
    kinds = ["lung_left", "heart", *KINDS, *DEVICES]
    types = [words.segment_codes(LABELS.get(kind, kind)).type for kind in kinds]
    assert words.OTHER_MASK not in types
    assert len(set(types)) == len(types)


def test_a_folder_that_cannot_be_written_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        list(write_studies(Order(SEED, 1, 64), tmp_path / "taken"))


@pytest.mark.parametrize(("first", "count", "size"), [(-1, 1, 256), (0, 0, 256), (0, 1, 9)])
def test_numbers_out_of_range_are_refused(first: int, count: int, size: int) -> None:
    with pytest.raises(ParameterError):
        Order(first, count, size)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_wished_finding_is_in_every_patient_by_any_of_its_names(kind: str) -> None:
    for name in (kind, *NAMES[kind]):
        world = dials([name.upper()], [], None, False, None)
        assert all(kind in draw_patient(seed, world).kinds for seed in range(20))


@pytest.mark.parametrize("kind", sorted(DEVICES))
def test_a_wished_device_is_in_every_patient_by_any_of_its_names(kind: str) -> None:
    for name in (kind, *DEVICE_NAMES[kind]):
        world = dials([], [name], "harbour", True, None)
        for seed in range(20):
            patient = draw_patient(seed, world)
            assert kind in {device.kind for device in patient.devices}
            assert patient.exposure.site == "harbour"
            assert not patient.findings


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--finding", "dragon"], "choose one of pneumothorax"),
        (["--device", "crown"], "choose one of chest drain"),
        (["--site", "moon"], "choose one of north"),
        (["--normal", "--finding", "mass"], "contradict"),
        (["--drain-given-pneumothorax", "1.5"], "give 0 to 1"),
        (["--device", "chest tube", "--drain-given-pneumothorax", "0.5"], "give one of them"),
        (["--count", "0"], "a count from 1 up"),
        (["--size", "7"], "choose 64 to 4096"),
        (["--films", "."], "--credibility"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    arguments: list[str], sentence: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, ["phantom", "--out", str(tmp_path / "new"), *arguments])
    assert result.exit_code == 1
    assert sentence in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_the_command_writes_studies_and_edit_takes_the_film_with_the_drain_kept(
    tmp_path: Path,
) -> None:
    radedit = Path(sys.executable).with_name("radedit")
    environment = {**os.environ, "COLUMNS": "300", "NO_COLOR": "1"}

    def run(*arguments: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(radedit), *arguments, "--json"],
            capture_output=True, text=True, timeout=300, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    made = run("phantom", "--out", str(tmp_path), "--count", "2", "--seed", str(SEED), "--size",
               "96", "--finding", "pneumothorax", "--drain-given-pneumothorax", "1")  # fmt: skip
    assert made["written"] == 2
    assert json.loads((tmp_path / "phantoms.json").read_text()) == made
    film = tmp_path / made["studies"][0]["folder"] / "film.dcm"
    edited = run("edit", str(film), "--prompt", "No acute cardiopulmonary process",
                 "--edit-mask", "seg:pneumothorax", "--keep-mask", 'seg:"chest drain"',
                 "--steps", "3", "--output", str(tmp_path / "edited"))  # fmt: skip
    assert edited["score"]["changed_pixels"] > 0
    assert edited["score"]["changed_in_keep"] == 0
