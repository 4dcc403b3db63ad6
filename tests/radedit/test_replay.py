"""Every kind of edit is rebuilt from its record to the byte; where it cannot be, it says why."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import tiny_model
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from radedit.lib.cases import Case, EditRequest
from radedit.lib.deliver import Delivered, Outbox
from radedit.lib.errors import FilmError, ReplayError
from radedit.lib.parameters import PARAMETERS, STOCHASTIC
from radedit.lib.pipeline import Editor
from radedit.lib.replay import replay
from radedit.lib.sources import FilmSources
from radedit_dicom import decoders
from radedit_dicom.archive import Query
from radedit_dicom.edits import Ledger, retract
from radedit_dicom.errors import ProvenanceError
from radedit_dicom.film import Film, read_film
from radedit_dicom.folder import FolderArchive
from radedit_dicom.provenance import Provenance, pixel_sha256, read_private, write_private
from radedit_dicom.vocabulary import PRIVATE_CREATOR, PRIVATE_GROUP

MakeDataset = Callable[..., Dataset]
SHAPE = (240, 200)
BOX = np.s_[40:140, 60:160]
DRAIN = np.s_[20:180, 104:112]  # as wide as three latent cells are not, and right across the box
CAN = np.s_[100:180, 120:190]


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Editor:
    return tiny_model.editor(tmp_path_factory.mktemp("model"))


def pixels() -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    noise = np.random.default_rng(5).integers(0, 300, SHAPE)
    return (600 + 8 * y + 5 * x + noise).astype(np.uint16)


@pytest.fixture
def source(make_dataset: MakeDataset, tmp_path: Path) -> Path:
    return saved(make_dataset(pixels(), WindowCenter=2048, WindowWidth=4096), tmp_path)


def saved(dataset: Dataset, folder: Path) -> Path:
    path = folder / "film.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def mask(*parts: Any) -> np.ndarray:
    found = np.zeros(SHAPE, bool)
    for part in parts:
        found[part] = True
    return found


def request_of(masks: dict[str, np.ndarray], **parameters: Any) -> EditRequest:
    return EditRequest(
        tiny_model.PROMPT,
        "uploaded:edit" if "edit" in masks else None,
        "uploaded:keep" if "keep" in masks else None,
        parameters={"steps": 4, "skip": 0.3, **parameters},
    )


def case_of(film: Film, masks: dict[str, np.ndarray], **parameters: Any) -> Case:
    return Case(film, request_of(masks, **parameters), FilmSources(film, uploaded=masks))


def made(editor: Editor, film: Film, out: Path, case: Case) -> Delivered:
    return Outbox(FolderArchive(out)).deliver(editor.edit_batch([case])[0])


WAYS = [
    (method, solver)
    for method in PARAMETERS["method"].choices
    for solver in PARAMETERS["solver"].choices
    if solver == "ddpm" or method in STOCHASTIC
]


@pytest.mark.parametrize("support", PARAMETERS["support"].choices)
@pytest.mark.parametrize("keep", PARAMETERS["keep"].choices)
@pytest.mark.parametrize(("method", "solver"), WAYS)
def test_an_edit_of_every_kind_replays_whatever_lies_under_its_keep_mask(
    editor: Editor, source: Path, tmp_path: Path, method: str, solver: str, keep: str, support: str
) -> None:
    film = read_film(source)
    way = {"method": method, "solver": solver, "keep": keep, "support": support}
    drawn = {
        "without": {"edit": mask(BOX)},
        "drain": {"edit": mask(BOX), "keep": mask(DRAIN)},
        "drain and can": {"edit": mask(BOX), "keep": mask(DRAIN, CAN)},
        "the whole film": {"keep": mask(DRAIN)},
    }
    if method not in STOCHASTIC:  # which know no masks: one case says all
        drawn = {"drain and can": drawn["drain and can"]}
    for name, masks in drawn.items():
        delivered = made(editor, film, tmp_path / name, case_of(film, masks, **way))
        result = replay(delivered.files["sc"], source, editor)
        assert result.identical, (name, result.sentence())
        assert result.differing_pixels == 0


@pytest.mark.parametrize(
    "option",
    [
        {"guidance": 3.0}, {"skip": 0.0}, {"seed": 2**62}, {"steps": 7},
    ],
)  # fmt: skip
def test_every_other_parameter_is_recorded_and_replayed(
    editor: Editor, source: Path, tmp_path: Path, option: dict[str, Any]
) -> None:
    film = read_film(source)
    case = case_of(film, {"edit": mask(BOX)}, **option)
    case = replace(case, request=replace(case.request, invert_prompt="no mass"))
    delivered = made(editor, film, tmp_path, case)
    assert replay(delivered.files["sc"], source, editor).identical


def test_bands_and_blends_of_every_width_replay(
    editor: Editor, source: Path, tmp_path: Path
) -> None:
    film, masks = read_film(source), {"edit": mask(BOX), "keep": mask(DRAIN)}
    for number, (band, feather) in enumerate(((0, 0), (0, 8), (64, 0))):
        case = case_of(film, masks, keep="attenuation", band_px=band, feather_px=feather)
        delivered = made(editor, film, tmp_path / str(number), case)
        assert replay(delivered.files["sc"], source, editor).identical


def test_a_film_stored_mirrored_replays(
    editor: Editor, make_dataset: MakeDataset, tmp_path: Path
) -> None:
    dataset = make_dataset(pixels(), PatientOrientation=["R", "F"])
    source = saved(dataset, tmp_path)
    film = read_film(source)
    masks = {"edit": mask(BOX), "keep": mask(DRAIN)}
    delivered = made(editor, film, tmp_path / "out", case_of(film, masks, keep="attenuation"))
    assert replay(delivered.files["sc"], source, editor).identical


def test_two_masks_that_differ_under_a_drain_are_two_edits_only_where_their_pixels_differ(
    editor: Editor, source: Path
) -> None:
    film = read_film(source)
    inside, cut = mask(BOX), mask(BOX) & ~mask(DRAIN)
    for keep, same in (("attenuation", False), ("values", True)):
        cases = [case_of(film, {"edit": m, "keep": mask(DRAIN)}, keep=keep) for m in (inside, cut)]
        prepared = [editor.prepare(case) for case in cases]
        ids = {editor.edit_id(p) for p in prepared}
        edited = [editor.edit_batch([p])[0].stored for p in prepared]
        assert np.array_equal(*edited) is same
        assert (len(ids) == 1) is same


@pytest.mark.parametrize(
    "change",
    [
        {"WindowWidth": 3000},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PatientOrientation": ["R", "F"]},
        {"RescaleSlope": 2, "RescaleIntercept": 0},
    ],
    ids=str,
)
def test_a_film_that_is_shown_otherwise_is_another_edit_and_no_source_of_the_first(
    editor: Editor, source: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    film, masks = read_film(source), {"edit": mask(BOX)}
    delivered = made(editor, film, tmp_path / "out", case_of(film, masks))
    dataset = pydicom.dcmread(source)
    for keyword, value in change.items():
        setattr(dataset, keyword, value)
    other = saved(dataset, tmp_path)
    case = case_of(read_film(other), masks)
    assert editor.edit_id(editor.prepare(case)) != delivered.summary()["edit_id"]
    with pytest.raises(ReplayError, match="shown otherwise"):
        replay(delivered.files["sc"], other, editor)


def test_a_film_of_other_pixels_is_refused(editor: Editor, source: Path, tmp_path: Path) -> None:
    film = read_film(source)
    delivered = made(editor, film, tmp_path / "out", case_of(film, {"edit": mask(BOX)}))
    dataset = pydicom.dcmread(source)
    dataset.PixelData = (pixels() + 1).tobytes()
    with pytest.raises(ReplayError, match="other pixels than the edit was made from"):
        replay(delivered.files["sc"], saved(dataset, tmp_path), editor)


def test_a_window_over_values_that_the_film_does_not_have_is_refused_before_the_edit(
    editor: Editor, make_dataset: MakeDataset
) -> None:
    """A few pixels of a lead letter are shown, so the table itself is not flat on this film."""
    values = pixels() // 4
    values[:4, :4] = 4000
    film = read_film(make_dataset(values, WindowCenter=3000, WindowWidth=500))
    with pytest.raises(FilmError, match="in one grey"):
        editor.prepare(case_of(film, {"edit": mask(BOX)}))


# Records of earlier versions


def as_of_the_first_schema(path: Path) -> None:
    """Take out of an object's record what the first records did not hold."""
    dataset = pydicom.dcmread(path)
    element = dataset.private_block(PRIVATE_GROUP, PRIVATE_CREATOR)[0x01]
    plain = json.loads(element.value)
    element.value = json.dumps({name: plain[name] for name in plain if name not in FIRST})
    dataset.save_as(path)


FIRST = {"schema": 1, "source_display_sha256": "", "source_decoder": ""}


def test_a_record_of_the_first_schema_replays(editor: Editor, source: Path, tmp_path: Path) -> None:
    film, masks = read_film(source), {"edit": mask(BOX), "keep": mask(DRAIN)}
    delivered = made(editor, film, tmp_path / "out", case_of(film, masks))
    as_of_the_first_schema(delivered.files["sc"])
    assert replay(delivered.files["sc"], source, editor).identical


def test_a_record_that_lacks_the_mask_under_a_drain_says_so_in_one_sentence(
    editor: Editor, source: Path, tmp_path: Path
) -> None:
    film, masks = read_film(source), {"edit": mask(BOX), "keep": mask(DRAIN)}
    edited = editor.edit_batch([case_of(film, masks, keep="attenuation")])[0]
    record = edited.provenance
    visible = mask(BOX) & ~mask(DRAIN)
    record = replace(record, edit_mask_sha256=pixel_sha256(visible), **FIRST)
    old = replace(edited, edit=visible, provenance=record)
    delivered = Outbox(FolderArchive(tmp_path / "out")).deliver(old)
    result = replay(delivered.files["sc"], source, editor)
    assert not result.identical
    assert "schema 1" in result.sentence()
    assert "use the version that made it" in result.sentence()


@pytest.mark.parametrize(
    "damage",
    [{"batch": 10**9}, {"batch": -1}, {"platform": {"threads": "many"}},
     {"platform": {"threads": "100000000"}}],
    ids=str,
)  # fmt: skip
def test_a_record_that_asks_for_what_no_machine_has_is_damaged(
    editor: Editor, source: Path, tmp_path: Path, damage: dict[str, Any]
) -> None:
    film = read_film(source)
    delivered = made(editor, film, tmp_path / "out", case_of(film, {"edit": mask(BOX)}))
    dataset = pydicom.dcmread(delivered.files["sc"])
    write_private(dataset, replace(read_private(dataset), **damage))
    dataset.save_as(delivered.files["sc"])
    with pytest.raises(ProvenanceError, match="no edit ran with"):
        replay(delivered.files["sc"], source, editor)


# Decoders


@pytest.fixture
def lossy(make_dataset: MakeDataset, tmp_path: Path) -> Path:
    """Save a film as baseline JPEG, which two decoders at hand read otherwise."""
    grey = (pixels() >> 4).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=70)
    dataset = make_dataset(grey, bits=8)
    dataset.PixelData = encapsulate([file.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    return saved(dataset, tmp_path)


def test_decoders_are_asked_in_an_order_of_our_own_and_recorded(
    editor: Editor, lossy: Path, tmp_path: Path
) -> None:
    film = read_film(lossy)
    assert re.fullmatch(r"pillow [\d.]+ \(libjpeg_turbo [\d.]+\)", film.decoder)
    other = read_film(lossy, decoder="pylibjpeg")
    assert other.decoder.startswith("pylibjpeg-libjpeg ")
    assert np.abs(film.stored.astype(int) - other.stored).max() == 1
    delivered = made(editor, film, tmp_path / "out", case_of(film, {"edit": mask(BOX)}))
    assert delivered.edited.provenance.source_decoder == film.decoder
    assert replay(delivered.files["sc"], lossy, editor).identical


def test_an_edit_of_a_film_that_another_decoder_read_is_replayed_with_that_one(
    editor: Editor, lossy: Path, tmp_path: Path
) -> None:
    film = read_film(lossy, decoder="pylibjpeg")
    delivered = made(editor, film, tmp_path / "out", case_of(film, {"edit": mask(BOX)}))
    assert replay(delivered.files["sc"], lossy, editor).identical
    as_of_the_first_schema(delivered.files["sc"])  # which does not name it
    assert replay(delivered.files["sc"], lossy, editor).identical


@pytest.mark.parametrize("recorded", ["python-gdcm 3.2.2", ""])
def test_a_film_read_by_a_decoder_that_is_not_here_is_told_as_that(
    editor: Editor, lossy: Path, tmp_path: Path, recorded: str
) -> None:
    film = read_film(lossy)
    values = film.stored.copy()
    values[::7] += 1
    away = replace(film, stored=values, decoder=recorded)
    delivered = made(editor, away, tmp_path / "out", case_of(away, {"edit": mask(BOX)}))
    with pytest.raises(ReplayError, match="read them as other values") as refusal:
        replay(delivered.files["sc"], lossy, editor)
    for named in (recorded or "older record", "pillow", "pylibjpeg-libjpeg"):
        assert named in str(refusal.value)


def test_pixels_changed_since_are_the_films_fault_where_the_same_decoder_read_it(
    editor: Editor, lossy: Path, tmp_path: Path
) -> None:
    film = read_film(lossy)
    values = film.stored.copy()
    values[::7] += 1
    away = replace(film, stored=values)
    delivered = made(editor, away, tmp_path / "out", case_of(away, {"edit": mask(BOX)}))
    with pytest.raises(ReplayError, match="other pixels than the edit was made from"):
        replay(delivered.files["sc"], lossy, editor)


def test_the_order_names_every_decoder_that_pydicom_knows_of_every_syntax() -> None:
    from pydicom.pixels.decoders.base import _PIXEL_DATA_DECODERS

    for uid, (decoder, _) in _PIXEL_DATA_DECODERS.items():
        if uid.is_compressed and uid.is_encapsulated:
            known = {*decoder.available_plugins, *decoder.missing_dependencies}
            known = {name.split()[0] for name in known}
            assert set(decoders.ORDER[str(uid)]) >= set(decoder.available_plugins), uid


def test_a_record_is_what_the_film_says(editor: Editor, source: Path) -> None:
    film = read_film(source)
    record: Provenance = editor.edit_batch([case_of(film, {"edit": mask(BOX)})])[0].provenance
    assert record.schema == 2
    assert record.source_decoder == ""


def deidentified(
    delivered: Delivered, source: Path, folder: Path, renamed: bool, private: bool = False
) -> dict[str, Path]:
    """Take descriptions, private attributes unless kept, and, if asked, UIDs (PS3.15)."""
    folder.mkdir()
    paths = {}
    for kind, path in {**delivered.files, "film": source}.items():
        dataset = pydicom.dcmread(path)
        if not private:
            dataset.remove_private_tags()
        for name in ("SeriesDescription", "StudyDescription", "ImageComments"):
            if name in dataset:
                delattr(dataset, name)
        for element in dataset.iterall() if renamed else ():
            if element.VR == "UI" and "Class" not in element.keyword:
                element.value = generate_uid(entropy_srcs=[str(element.value)])
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        paths[kind] = folder / ("film" if kind == "film" else "") / f"{kind}.dcm"
        paths[kind].parent.mkdir(exist_ok=True)
        dataset.save_as(paths[kind], enforce_file_format=True)
    return paths


@pytest.mark.parametrize(("renamed", "private"), [(False, False), (True, False), (True, True)])
def test_an_edit_is_found_and_replayed_by_its_report_after_de_identification(
    editor: Editor, source: Path, tmp_path: Path, renamed: bool, private: bool
) -> None:
    masks = {"edit": mask(BOX), "keep": mask(DRAIN)}
    delivered = made(editor, read_film(source), tmp_path / "out", case_of(read_film(source), masks))
    paths = deidentified(delivered, source, tmp_path / "clean", renamed, private)
    edit_id = delivered.summary()["edit_id"]

    ledger = Ledger(FolderArchive(tmp_path / "clean"))
    (found,) = ledger.edits(Query(), renamed=True)
    assert (found.record.edit_id, found.is_complete, found.is_renamed) == (edit_id, True, renamed)
    assert {kind: i.sop_instance_uid for kind, i in found.instances.items()} == {
        kind: pydicom.dcmread(paths[kind]).SOPInstanceUID for kind in ("sc", "seg", "sr")
    }
    assert len(ledger.edits(Query())) == (not renamed), "a renamed copy is no edit that is there"
    for start in ("sc", "sr"):
        for film in (source, paths["film"]):
            assert replay(paths[start], film, editor).identical
    with pytest.raises(ProvenanceError, match="other UIDs" if renamed else "does not carry"):
        retract(FolderArchive(tmp_path / "clean"), edit_id)
    assert all(path.exists() for path in paths.values())


def test_what_an_edit_without_its_record_lacks_is_named(
    editor: Editor, source: Path, tmp_path: Path
) -> None:
    film = read_film(source)
    delivered = made(editor, film, tmp_path / "out", case_of(film, {"edit": mask(BOX)}))
    paths = deidentified(delivered, source, tmp_path / "clean", renamed=True)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    report = paths["sr"].rename(elsewhere / "sr.dcm")
    with pytest.raises(ReplayError, match="no report on it that still holds one"):
        replay(paths["sc"], source, editor)
    with pytest.raises(ReplayError, match="edited image that this report is about"):
        replay(report, source, editor)
    image = paths["sc"].rename(elsewhere / "sc.dcm")
    with pytest.raises(ReplayError, match="masks of this edit are in the SEG"):
        replay(image, source, editor)
