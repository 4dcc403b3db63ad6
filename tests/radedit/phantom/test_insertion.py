"""Findings and devices in films that exist: where they show, what they add, and what stays."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter
from typer.testing import CliRunner

from radedit.lib.cli import app
from radedit.lib.errors import FilmError, ParameterError
from radedit.lib.phantom import response
from radedit.lib.phantom.chest import heart_mask, lung_zones
from radedit.lib.phantom.devices import DEVICES, Device
from radedit.lib.phantom.findings import Change, Finding
from radedit.lib.phantom.inserted_findings import INSERTED
from radedit.lib.phantom.insertion import HALO_MM, Insertion, Site, insert, look_at, optical_depth
from radedit.lib.phantom.insertion_studies import Wish, read_source
from radedit.lib.phantom.sentences import vocabulary
from radedit.lib.phantom.world import Studio, World, draw_patient, without_devices
from radedit_dicom.conformance import check_file, passes
from radedit_dicom.film import read_film
from radedit_dicom.provenance import pixel_sha256
from radedit_dicom.segment_reader import read_segmentation

SIZE, SEED = 256, 9_100_000
OPAQUE = ("consolidation", "effusion", "nodule", "mass", "atelectasis")


@pytest.fixture(scope="module")
def site() -> Site:
    """Give a normal film to put things into, with the outlines that are true of it."""
    world = World(normal=1.0, sites={"north": 1.0})
    patient = without_devices(draw_patient(SEED, world))
    studio = Studio(patient, SIZE)
    shown = studio.render()
    outlines = lung_zones(patient.body, studio.view)
    heart = heart_mask(patient.body, studio.view)
    return look_at(shown.image, {**outlines, "heart": heart}, shown.spacing)


def put(
    site: Site, kind: str, side: str = "right", extent: float = 0.6, seed: int = 5
) -> Insertion:
    return insert(site, [Finding(kind, side, "lower", extent, seed)], seed=seed)


@pytest.mark.parametrize("kind", INSERTED)
def test_an_insertion_is_a_pure_function_of_its_seed(site: Site, kind: str) -> None:
    first, again, other = (put(site, kind, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first.image, again.image)
    assert first.sentence == again.sentence
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("kind", INSERTED)
def test_a_film_stays_as_it_was_beyond_the_halo_of_the_mask(site: Site, kind: str) -> None:
    made = put(site, kind)
    mask = made.masks[kind]
    pixel = site.chest.rays.view.spacing / site.chest.rays.view.magnification
    far = distance_transform_edt(~mask) * pixel > HALO_MM + pixel
    assert mask.any()
    assert far.any()
    assert np.array_equal(made.image[far], site.display[far])
    assert not np.array_equal(made.image[mask], site.display[mask])
    assert np.array_equal(made.image[~made.support], site.display[~made.support])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", [*OPAQUE, "pneumothorax"])
def test_a_finding_changes_the_lung_it_names_and_never_the_other(
    site: Site, kind: str, side: str
) -> None:
    made = put(site, kind, side)
    other = site.chest.pleura["left" if side == "right" else "right"]
    change = made.image - site.display
    assert np.array_equal(made.image[other], site.display[other])
    inside = float(change[made.masks[kind] & site.chest.field[side]].mean())
    assert inside < -0.01 if kind == "pneumothorax" else inside > 0.01


@pytest.mark.parametrize("kind", INSERTED)
def test_masks_of_findings_lie_in_the_lungs(site: Site, kind: str) -> None:
    made = put(site, kind)
    lungs = site.chest.pleura["left"] | site.chest.pleura["right"]
    assert not made.masks[kind][~binary_dilation(lungs, iterations=2)].any()


@pytest.mark.parametrize("kind", DEVICES)
def test_a_device_whitens_its_mask_and_lies_where_such_a_thing_lies(site: Site, kind: str) -> None:
    made = insert(site, [], [Device(kind, "right", 7)])
    mask, chest = made.masks[kind], site.chest
    pixel = chest.rays.view.spacing / chest.rays.view.magnification
    far = distance_transform_edt(~mask) * pixel > HALO_MM + pixel
    assert np.array_equal(made.image[far], site.display[far])
    assert float((made.image - site.display)[mask].mean()) > 0.005
    lateral = chest.x - chest.body.midline
    if kind == "endotracheal tube":
        assert np.abs(lateral[mask & (chest.y > chest.body.lung_top)]).max() < 20
        assert chest.y[mask].max() < chest.body.carina_y
    elif kind == "chest drain":
        assert lateral[mask].max() < 0
        assert (mask & chest.pleura["right"]).sum() > 0.3 * mask.sum()
    elif kind == "pacemaker":
        assert lateral[mask].min() < -60
        assert (mask & chest.heart).any()


def test_attenuation_of_two_insertions_adds(site: Site) -> None:
    """Lines in level: one after the other, and both at once, differ by less than a fifth."""
    mass = Finding("mass", "right", "lower", 0.5, 3)
    drain = Device("chest drain", "right", 4)
    quiet = replace(site, response=replace(site.response, noise=site.response.noise * 0))
    both = insert(quiet, [mass], [drain])
    one = insert(quiet, [mass])
    after = insert(replace(quiet, display=one.image), [], [drain])
    crossed = one.masks["mass"] & after.masks["chest drain"]
    crossed = crossed if crossed.sum() > 20 else one.masks["mass"] | after.masks["chest drain"]
    before = response.level(site.display)[crossed]
    together = response.level(both.image)[crossed] - before
    added = response.level(after.image)[crossed] - before
    assert float(np.abs(together - added).max()) < 0.2 * float(np.abs(together).max())
    assert float(np.abs(together - added).mean()) < 0.05 * float(np.abs(together).mean())


def test_what_is_laid_over_white_shows_less_than_over_lung(site: Site) -> None:
    depth = np.full((1, 2), 0.3, "f4")
    lung = site.response.lung
    levels = np.array([[lung, lung + 2 * site.response.slope]], "f4")
    over_lung, over_white = site.response.change(levels, depth)[0]
    assert 0 < over_white < over_lung


@pytest.mark.parametrize(("kind", "side"), [("consolidation", "right"), ("pneumothorax", "left")])
def test_noise_of_what_was_inserted_is_that_of_its_surroundings(
    site: Site, kind: str, side: str
) -> None:
    """Within a factor of 1.5 of what the film has where it shows the same grey."""
    made = put(site, kind, side)
    mask = made.masks[kind] & site.chest.field[side]

    def noise(image: np.ndarray) -> float:
        fine = image - gaussian_filter(image, 1.0)
        return float(np.median(np.abs(fine[mask])))

    level = float(np.median(made.image[mask]))
    alike = (np.abs(site.display - level) < 0.04) & ~mask
    fine = site.display - gaussian_filter(site.display, 1.0)
    around = float(np.median(np.abs(fine[alike])))
    assert around / 1.5 < noise(made.image) < 1.5 * around


def test_what_becomes_whiter_gets_the_noise_that_the_film_has_where_it_is_as_white(
    site: Site,
) -> None:
    """The film is smooth but for noise that grows eightfold from grey to twice that grey."""
    rng = np.random.default_rng(2)
    smooth = np.clip(gaussian_filter(site.display, 4.0), 0.05, 0.9)
    noise = 0.12 * smooth**3
    film = np.clip(smooth + noise * rng.standard_normal(smooth.shape, "f4"), 0, 1)
    noisy = look_at(film.astype("f4"), {**site.chest.pleura, "heart": site.chest.heart})
    finding = Finding("consolidation", "right", "lower", 1.0, 5)
    made = insert(noisy, [finding], seed=5)
    mask = made.masks["consolidation"] & site.chest.field["right"]
    mean = gaussian_filter(made.image, 4.0)
    there = mask & (mean > smooth + 0.06)
    fine = made.image - gaussian_filter(made.image, 1.0)
    before = film - gaussian_filter(film, 1.0)
    gain = np.std(fine[there]) / np.std(before[there])
    wanted = float(np.median((mean / smooth)[there])) ** 3
    assert there.sum() > 100
    assert wanted / 1.5 < gain < 1.5 * wanted


def test_two_findings_do_not_fill_the_same_lung_twice(site: Site) -> None:
    lung = site.chest.lung["left"] + site.chest.lung["right"]
    most = Change(lung > 0, soft=np.float32(0.8) * lung)
    whole = Change(lung > 0, soft=lung)
    twice = optical_depth(site.chest, [most, most], [])
    assert twice == pytest.approx(optical_depth(site.chest, [whole], []), abs=1e-4)


def test_the_measured_noise_of_a_film_is_the_noise_laid_into_it(site: Site) -> None:
    rng = np.random.default_rng(1)
    smooth = gaussian_filter(site.display, 3.0)
    noisy = smooth + 0.02 * rng.standard_normal(smooth.shape, "f4")
    lungs = site.chest.pleura["left"] | site.chest.pleura["right"]
    measured = response.measure(noisy.astype("f4"), lungs, site.chest.heart)
    assert measured.noise == pytest.approx(0.02, rel=0.25)
    assert measured.blur_px < 0.5


def test_the_level_of_a_grey_leads_back_to_it() -> None:
    display = np.linspace(0.01, 0.99, 50, dtype="f4")
    assert response.grey(response.level(display)) == pytest.approx(display, abs=1e-5)


@pytest.mark.parametrize("kind", INSERTED)
def test_a_sentence_has_only_words_that_the_embedded_model_knows(site: Site, kind: str) -> None:
    made = put(site, kind, extent=0.9)
    assert set(made.sentence.lower().split()) <= set(vocabulary())
    assert made.severity == {kind: 0.9}


def test_a_film_without_contrast_between_heart_and_lung_is_refused(site: Site) -> None:
    outlines = {**site.chest.pleura, "heart": site.chest.heart}
    with pytest.raises(FilmError, match="hardly whiter"):
        look_at(1 - site.display, outlines)


def test_nothing_or_one_thing_twice_cannot_be_put_in(site: Site) -> None:
    with pytest.raises(ParameterError, match="name each thing once"):
        insert(site, [])
    twice = [Finding("mass", "left", "upper", 0.5, 1)] * 2
    with pytest.raises(ParameterError, match="name each thing once"):
        insert(site, twice)


@pytest.fixture(scope="module")
def small(rg1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the real film at a quarter of its size."""
    return scaled(rg1, 0, tmp_path_factory.mktemp("film") / "film.dcm")


def scaled(film: Path, quarters: int, path: Path) -> Path:
    dataset = dcmread(film)
    dataset.pop("PatientOrientation", None)
    dataset.ViewPosition = "PA"
    values = np.ascontiguousarray(np.rot90(dataset.pixel_array[::4, ::4], quarters))
    dataset.Rows, dataset.Columns = values.shape
    dataset.PixelData = values.tobytes()
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        if name in dataset:
            setattr(dataset, name, [4 * float(value) for value in dataset[name].value])
    dataset.save_as(path)
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["phantom", *map(str, arguments)])
    return result.exit_code, result.output


def test_the_command_writes_a_synthetic_film_its_masks_and_a_row_and_leaves_the_film(
    small: Path, tmp_path: Path
) -> None:
    before = small.read_bytes()
    code, output = run("--into", small, "--finding", "pneumothorax", "--device", "chest tube",
                       "--seed", 3, "--out", tmp_path, "--picture", "--json")  # fmt: skip
    assert code == 0, output
    assert small.read_bytes() == before
    (row,) = json.loads(output)["insertions"]
    assert json.loads((tmp_path / "insertions.json").read_text())["insertions"] == [row]
    folder = tmp_path / row["folder"]
    film = read_film(small)
    made = read_film(folder / "film.dcm", allow_synthetic=True)
    assert made.header.SyntheticData == "YES"
    assert str(made.header.PatientID).startswith("QA-")
    assert row["counterfactual"] == {
        "sop_instance_uid": film.sop_instance_uid,
        "pixel_sha256": pixel_sha256(film.stored),
    }
    masks = read_segmentation(dcmread(folder / "film-masks.dcm"), made)
    assert set(masks) == {"pneumothorax", "chest drain"}
    changed = made.stored != film.stored
    view = read_source(small).site.chest.rays.view
    far = distance_transform_edt(~np.logical_or(*masks.values()))
    near = far * view.spacing / view.magnification < HALO_MM + 1
    assert changed.any()
    assert not changed[~near].any()
    assert (folder / "before-after.png").exists()
    for name in ("film.dcm", "film-masks.dcm"):
        assert passes(check_file(folder / name))


def test_the_command_goes_on_where_it_was_and_writes_the_same_pixels(
    small: Path, tmp_path: Path
) -> None:
    first = json.loads(run("--into", small, "--finding", "mass", "--out", tmp_path, "--json")[1])
    again = json.loads(run("--into", small, "--finding", "mass", "--out", tmp_path, "--count", 2,
                           "--json")[1])  # fmt: skip
    assert [row["resumed"] for row in again["insertions"]] == [True, False]
    assert first["insertions"][0]["pixel_sha256"] == again["insertions"][0]["pixel_sha256"]
    assert again["insertions"][1]["pixel_sha256"] != again["insertions"][0]["pixel_sha256"]


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_film_that_lies_turned_is_refused_and_nothing_is_written(
    rg1: Path, tmp_path: Path, quarters: int
) -> None:
    turned = scaled(rg1, quarters, tmp_path / "turned.dcm")
    with pytest.raises(FilmError, match="seems to lie"):
        read_source(turned)
    code, _ = run("--into", turned, "--finding", "mass", "--out", tmp_path / "out")
    assert code == 1
    assert not (tmp_path / "out").exists()


def test_a_kind_that_cannot_be_put_in_is_refused_by_name() -> None:
    with pytest.raises(ParameterError, match="fracture"):
        Wish(("fracture",), ())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--site", "north"], "leave them out with --into"),
        (["--normal"], "leave them out with --into"),
        (["--finding", "cardiomegaly"], "cannot be put into a real film"),
        (["--count", "0"], "a count from 1 up"),
    ],
)
def test_what_makes_no_sense_of_a_real_film_is_refused_and_nothing_is_written(
    small: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    code, output = run("--into", small, "--out", tmp_path / "out", *arguments)
    assert code == 1
    assert said in " ".join(output.split())
    assert not (tmp_path / "out").exists()


def test_picture_without_a_film_to_put_things_into_is_refused(tmp_path: Path) -> None:
    code, output = run("--out", tmp_path / "out", "--picture")
    assert code == 1
    assert "--picture goes with --into" in output


def test_an_insertion_is_not_taken_for_an_original(small: Path, tmp_path: Path) -> None:
    code, output = run("--into", small, "--finding", "mass", "--out", tmp_path / "a", "--json")
    assert code == 0
    made = tmp_path / "a" / json.loads(output)["insertions"][0]["folder"] / "film.dcm"
    code, output = run("--into", made, "--finding", "mass", "--out", tmp_path / "b")
    assert code == 1
    assert "already marked as synthetic" in " ".join(output.split())
