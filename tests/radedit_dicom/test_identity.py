"""Patient and study of what is written: repeated as the film has them, refused, or a QA study's."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from radedit_dicom.conformance import check_dataset
from radedit_dicom.encapsulated import Document, encapsulated_pdf
from radedit_dicom.errors import UnsupportedImageError
from radedit_dicom.film import Film, read_film
from radedit_dicom.label_segmentation import About, build_label
from radedit_dicom.objects import Destination
from radedit_dicom.study import StudyContext, one_line

BROKEN = {
    "AccessionNumber": b"RIS-2024-0310-000123456",
    "StudyID": b"STUDY-2024-0310-000123",
    "PatientID": b"N" * 70,
    "PatientName": b"N" * 70,
    "PatientSex": b"female",
    "PatientBirthDate": b"1950-01-01",
    "StudyDate": b"2024.03.10",
    "StudyTime": b"10:11:12",
    "PatientAge": b"45",
    "PatientWeight": b"70 kg per cm",
    "PatientSize": b"1,80 metres.",
    "IssuerOfPatientID": b"I" * 65,
    "StudyDescription": b"Thorax " * 10,
    "ReferringPhysicianName": b"D" * 65,
    "TypeOfPatientID": b"text!",
}
NUMBERS = ("PatientWeight", "PatientSize")  # which pydicom does not write unless they are
UMLAUT = "M\u00fcller^Eva"


def film_with(make_dataset: Any, **raw: bytes | str | list[str] | None) -> Film:
    """Make a film with values as bytes, which no library would let us write."""
    sets = raw.pop("SpecificCharacterSet", "ISO_IR 100")
    places = {name: value for name, value in raw.items() if isinstance(value, bytes)}
    dataset = make_dataset(SpecificCharacterSet=None, PatientName=None)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    buffer, written = BytesIO(), {}
    with warnings.catch_warnings():  # of pydicom's, about what is written here
        warnings.simplefilter("ignore")
        for name, value in places.items():
            value += b" " * (len(value) % 2)
            written |= {b"7" * len(value): value} if name in NUMBERS else {}
            dataset.add_new(name, "UN", b"7" * len(value) if name in NUMBERS else value)
        if sets is not None:
            declared = sets if isinstance(sets, str) else "\\".join(sets)
            dataset.add_new("SpecificCharacterSet", "UN", declared.encode())
        dataset.save_as(buffer, enforce_file_format=True)
    content = buffer.getvalue()
    for digits, value in written.items():
        content = content.replace(digits, value, 1)
    return read_film(content)


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_its_representation_is_refused_by_name_before_the_edit(
    name: str, make_dataset: Any, make_edit: Any
):
    film = film_with(make_dataset, **{name: BROKEN[name]})
    with pytest.raises(UnsupportedImageError, match=rf"must repeat its {name}, but") as refused:
        Destination("same").check(film)
    assert BROKEN[name].decode() not in str(refused.value)
    with pytest.raises(UnsupportedImageError, match=name):
        build_label(film, {"heart": film.stored > 9}, About("final", "", "1", 8000))
    _, objects = make_edit(film, "new")  # a study of its own needs none of it
    assert check_dataset(objects.sc) == []
    assert film.header.ReferringPhysicianName  # the film's own header is not touched


@pytest.mark.parametrize(
    ("sets", "raw"),
    [
        (None, UMLAUT.encode("latin-1")),
        (None, UMLAUT.encode()),
        ("ISO_IR 6", UMLAUT.encode("latin-1")),
        ("ISO_IR 999", UMLAUT.encode("latin-1")),
        ("latin1", UMLAUT.encode("latin-1")),
        ("ISO_IR 192", UMLAUT.encode("latin-1")),
        ("ISO_IR 100", "Gro\u00df^Eva".encode()),
        (None, b"Yamada=\x1b$B;3ED\x1b(B"),
    ],
)
def test_letters_that_the_film_does_not_declare_are_refused(
    sets: str | None, raw: bytes, make_dataset: Any
):
    film = film_with(make_dataset, PatientName=raw, SpecificCharacterSet=sets)
    with pytest.raises(UnsupportedImageError, match=r"PatientName.*SpecificCharacterSet"):
        Destination("same").check(film)


@pytest.mark.parametrize(
    ("sets", "raw", "name"),
    [
        ("ISO_IR 100", UMLAUT.encode("latin-1"), UMLAUT),
        ("ISO_IR 192", UMLAUT.encode(), UMLAUT),
        ("ISO_IR 144", "\u0418\u0432\u0430\u043d".encode("iso8859_5"), "\u0418\u0432\u0430\u043d"),
        (["", "ISO 2022 IR 87"], b"Yamada=\x1b$B;3ED\x1b(B", "Yamada=\u5c71\u7530"),
        (None, b"Test^Film", "Test^Film"),
    ],
)
def test_letters_that_the_film_declares_are_repeated(
    sets: Any, raw: bytes, name: str, make_dataset: Any, make_edit: Any
):
    film = film_with(make_dataset, PatientName=raw, SpecificCharacterSet=sets)
    for dataset in vars(make_edit(film, "same")[1]).values():
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        assert str(pydicom.dcmread(BytesIO(buffer.getvalue())).PatientName) == name


def test_the_films_study_keeps_that_it_is_a_phantoms_and_who_issued_its_numbers(
    make_dataset: Any, make_edit: Any
):
    issuer = Dataset()
    issuer.LocalNamespaceEntityID = "RIS"
    given = {
        "QualityControlSubject": "YES",
        "IssuerOfPatientID": "HIS",
        "TypeOfPatientID": "TEXT",
        "IssuerOfAccessionNumberSequence": [issuer],
    }
    film = read_film(make_dataset(**given))
    for dataset in vars(make_edit(film, "same")[1]).values():
        assert {name: dataset.get(name) for name in given} == given
        assert check_dataset(dataset) == []
        del dataset.SyntheticData  # nor is an edit of a phantom held to less than others
        del dataset.CodingSchemeIdentificationSequence
        assert {found.rule for found in check_dataset(dataset)} >= {"synthetic", "scheme"}


def test_no_two_qa_studies_look_alike_where_a_person_looks(make_dataset: Any, make_provenance: Any):
    film = read_film(make_dataset())
    mask = film.stored > 9
    record = make_provenance(film, film.stored, {"edit mask": mask})
    others = [
        record,
        replace(record, edit_id="1" * 32),
        replace(record, result_pixel_sha256="2" * 64),
        replace(record, edit_id="3" * 32, prompt="Cardiomegaly"),
    ]
    found = [StudyContext.qa(film, each).attributes for each in others]
    ids = [each["StudyID"] for each in found]
    assert len(set(ids)) == len(ids)
    assert all(len(name) <= 16 for name in ids)
    assert [each["StudyDescription"] for each in found] == [
        *[f"RadEdit QA: {record.prompt}"] * 3,
        "RadEdit QA: Cardiomegaly",
    ]


def test_the_edit_says_prompt_source_and_time_in_its_descriptions(
    make_dataset: Any, make_edit: Any
):
    film = read_film(make_dataset())
    for mode in ("new", "same"):
        objects = make_edit(film, mode)[1]
        said = objects.sc.ImageComments
        assert "Kein Erguss" in said
        assert film.sop_instance_uid in said
        assert "2025-03-04 05:06:07" in said
        descriptions = [d.SeriesDescription for d in vars(objects).values()]
        assert all(
            text.startswith("AI-EDITED (SYNTHETIC) NOT FOR DIAGNOSIS") for text in descriptions
        )
        assert all("Kein Erg" in text for text in descriptions)
        assert len(set(descriptions)) == 3


def test_reports_of_two_stress_tests_have_studies_of_their_own():
    moment = datetime(2025, 1, 1, tzinfo=UTC)
    first, second = (
        encapsulated_pdf(Document(b"%PDF-" + name, f"Stress test: {name.decode()}", moment, "1"))
        for name in (b"a", b"b")
    )
    assert first.StudyID != second.StudyID
    assert first.StudyDescription == "RadEdit QA: Stress test: a"


def test_a_description_fits_its_representation_whatever_the_prompt_is():
    assert one_line("a\\b\n\tc") == "a/b c"
    assert len(one_line("\u00e4" * 70).encode()) <= 64
    assert one_line("\u00e4" * 70) == "\u00e4" * 32
