"""Whom and what a header says was examined, in whose words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from radedit_dicom.errors import DicomError, UnsupportedImageError
from radedit_dicom.gate import check_film

FRONTAL_ORIENTATION = {"ViewPosition": None, "PatientOrientation": ["L", "F"]}


@pytest.fixture
def check(make_dataset) -> Callable[..., None]:
    """Judge a header made to order; None takes an attribute away."""

    def run(**attributes: Any) -> None:
        with config.disable_value_validation():
            header = make_dataset()
            header.SpecificCharacterSet = "ISO_IR 192"
            for name, value in attributes.items():
                if value is None:
                    header.pop(name, None)
                else:
                    setattr(header, name, value)
            check_film(header, allow_synthetic=False, max_pixels=1 << 20)

    return run


def coded(value: str, scheme: str, meaning: str = "x") -> Sequence:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Sequence([item])


@pytest.mark.parametrize(
    "animal",
    [
        {"PatientSpeciesDescription": "Equine"},
        {"PatientSpeciesDescription": "犬"},
        {"PatientSpeciesCodeSequence": coded("388445009", "SCT", "Equus caballus")},
        {"PatientBreedDescription": "Collie"},
        {"PatientBreedCodeSequence": coded("132492004", "SCT", "Collie dog breed")},
        {"PatientSexNeutered": "ALTERED"},
        {"ResponsiblePersonRole": "OWNER"},
        {"AcquisitionDeviceProcessingDescription": "EQUINE THORAX"},
        {"SeriesDescription": "Thorax Hund"},
        {"ProtocolName": "CANINE THORAX VD"},
        {"InstitutionName": "Tierklinik am Wald"},
    ],
)
def test_films_of_animals_are_refused_by_the_attribute_that_says_so(check, animal) -> None:
    with pytest.raises(UnsupportedImageError, match=f"^{next(iter(animal))} says .* an animal"):
        check(**animal)


@pytest.mark.parametrize(
    "person",
    [
        {"PatientSpeciesDescription": "Homo sapiens"},
        {"PatientSpeciesCodeSequence": coded("337915000", "SCT", "Homo sapiens")},
        {"PatientSpeciesCodeSequence": coded("L-85003", "SRT", "homo sapiens")},
        {"PatientBreedDescription": "", "PatientSpeciesDescription": ""},
        {"ResponsiblePersonRole": "MOTHER"},
        {"InstitutionName": "Veterans Hospital"},
    ],
)
def test_films_that_say_they_are_of_a_person_are_taken(check, person) -> None:
    check(**person)


@pytest.mark.parametrize(
    "text", ["SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription"]
)
@pytest.mark.parametrize(
    "said",
    [
        *("Thorax LAT", "CHEST LATERAL", "Thorax seitlich", "Tórax perfil", "胸部侧位"),
        *("ГРУДНАЯ КЛЕТКА БОКОВАЯ", "Chest AP decubitus", "Thorax AP LLD"),
        *("Thorax RAO", "Chest PA oblique"),
    ],
)
@pytest.mark.parametrize("own", [{"ViewPosition": "PA"}, FRONTAL_ORIENTATION])
def test_a_text_on_the_film_that_names_another_view_wins_over_a_default(
    check, text, said, own
) -> None:
    with pytest.raises(UnsupportedImageError, match=f"^{text} names a lateral, oblique"):
        check(**own, **{text: said})


@pytest.mark.parametrize("text", ["StudyDescription", "PerformedProcedureStepDescription"])
def test_a_text_on_the_study_is_about_its_other_films_too(check, text) -> None:
    check(ViewPosition="PA", **{text: "Thorax lateral"})
    check(ViewPosition="PA", SeriesDescription="Chest PA and LAT")
    with pytest.raises(UnsupportedImageError, match=f"^{text} names a lateral"):
        check(**FRONTAL_ORIENTATION, **{text: "Thorax lateral"})


@pytest.mark.parametrize("beside", ["LLD", "RLD", "RAO", "LAO", "RPO", "LPO", "OBLIQUE", "LAT"])
@pytest.mark.parametrize("view", ["AP", "PA"])
def test_a_view_that_is_also_oblique_or_lateral_is_refused(check, view, beside) -> None:
    for position in (f"{view} {beside}", f"{beside}_{view}", f"{view}/{beside}"):
        with pytest.raises(UnsupportedImageError, match=r"^ViewPosition names a lateral, oblique"):
            check(ViewPosition=position)


@pytest.mark.parametrize(
    "position",
    [
        *("P-A", "P.A.", "p.a.", "A/P", "P->A", "POSTERO-ANTERIOR", "POSTERO_ANTERIOR"),
        *("ANTEROPOSTERIOR", "Anterior posterior", "FRONTAL", "AP SUPINE", "正位", "прямая"),
    ],
)
def test_frontal_views_are_known_however_they_are_spelled(check, position) -> None:
    check(ViewPosition=position)
    check(
        ViewPosition=None,
        PatientOrientation=None,
        AcquisitionDeviceProcessingDescription=f"THORAX,{position}",
    )


def test_a_view_that_is_not_known_is_called_that_and_not_lateral(check) -> None:
    with pytest.raises(UnsupportedImageError, match=r"^ViewPosition .*not known as frontal") as of:
        check(ViewPosition="STEHEND", PatientOrientation=None)
    assert "lateral" not in str(of.value)
    with pytest.raises(UnsupportedImageError, match=r"^Neither ViewPosition"):
        check(ViewPosition="UNK", PatientOrientation=None)
    check(ViewPosition="UNK", PatientOrientation=None, SeriesDescription="Thorax p.a.")


CHESTS = {
    "Chinese": "胸部",
    "Japanese": "胸部正面",
    "Korean": "흉부",
    "Russian": "ОРГАНЫ ГРУДНОЙ КЛЕТКИ",
    "Polish": "KLATKA PIERS.",
    "German": "BRUSTKORB",
    "Swedish": "BRÖSTKORG",
    "Spanish": "TÓRAX",
    "French": "POUMONS",
    "Turkish": "AKCİĞER",
    "Arabic": "الصدر",
    "Greek": "ΘΩΡΑΚΑΣ",
}


@pytest.mark.parametrize("chest", CHESTS.values(), ids=CHESTS)
def test_a_chest_is_known_in_the_languages_of_consoles(check, chest) -> None:
    check(BodyPartExamined=chest)
    check(BodyPartExamined=None, StudyDescription=f"RX {chest.lower()} 2")


@pytest.mark.parametrize("other", ["胸椎", "胸骨", "THORACIC SPINE", "RIBS CHEST", "ŻEBRA", "BWS"])
def test_bones_of_the_chest_are_no_chest_film(check, other) -> None:
    with pytest.raises(UnsupportedImageError, match="not known as the chest"):
        check(BodyPartExamined=other)


def test_the_sites_own_words_are_known_from_its_settings_and_win(
    check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnsupportedImageError, match=r"'chest' in \[words\] of the settings"):
        check(BodyPartExamined="RÖ PULM")
    settings = tmp_path / "settings.toml"
    settings.write_text(
        "[words]\nchest = ['RÖ PULM*']\nfrontal = ['stehend', 'DECUBITUS DORSAL']\n"
        "other_views = ['Welin']\n",
        "utf-8",
    )
    monkeypatch.setenv("RADEDIT_CONFIG", str(settings))
    check(BodyPartExamined="Rö. Pulmo", ViewPosition="STEHEND")
    check(ViewPosition="AP", SeriesDescription="Thorax décubitus dorsal")
    with pytest.raises(UnsupportedImageError, match=r"^SeriesDescription names a lateral, oblique"):
        check(ViewPosition="AP", SeriesDescription="Thorax Welin AP")


@pytest.mark.parametrize("broken", ["[words]\nchest = 'x'", "[words]\nbrust = ['x']", "words = 1"])
def test_words_that_are_no_lists_are_an_error_that_names_what_is_known(
    check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken
) -> None:
    (tmp_path / "settings.toml").write_text(broken)
    monkeypatch.setenv("RADEDIT_CONFIG", str(tmp_path / "settings.toml"))
    with pytest.raises(DicomError, match="chest, frontal, other_views"):
        check()
