"""Every code is the standard's own, and every private one fits its VR."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.coding import Code

from radedit_dicom import vocabulary as words

CODES = [value for value in vars(words).values() if isinstance(value, Code)]
# A UCUM annotation is any text in braces, so no dictionary lists {pixels}.
STANDARD = [
    code
    for code in CODES
    if code.scheme_designator in ("DCM", "SCT", "UCUM") and code != words.PIXELS
]
# Concepts of SNOMED CT that DICOM itself never names, so pydicom's dictionary lacks them.
BEYOND_DICOM = {
    "95436008": "Lung consolidation",
    "46621007": "Atelectasis",
    "8186001": "Cardiomegaly",
}
PRIVATE = [code for code in CODES if code.scheme_designator == words.SCHEME]


def test_every_code_is_standard_or_private():
    assert len(STANDARD) + len(PRIVATE) == len(CODES) - 1
    assert len(STANDARD) >= 20


def test_codes_that_dicom_never_names_are_the_few_that_were_looked_up():
    held = {value for table in concepts["SCT"].values() for value in table}
    beyond = {c.value: c.meaning for c in STANDARD if c.scheme_designator == "SCT"}
    assert {v: m for v, m in beyond.items() if v not in held} == BEYOND_DICOM


@pytest.mark.parametrize(
    "code",
    [code for code in STANDARD if code.value not in BEYOND_DICOM],
    ids=lambda code: code.meaning,
)
def test_standard_codes_have_the_standards_meaning(code):
    meanings = {
        entry[code.value][0].lower()
        for entry in concepts[code.scheme_designator].values()
        if code.value in entry
    }
    plain = {meaning.split(" (")[0] for meaning in meanings}
    assert code.meaning.lower() in plain


@pytest.mark.parametrize("code", [*PRIVATE, words.score_code("x" * 100)], ids=lambda c: c.value)
def test_private_codes_fit_their_vr(code):
    assert 0 < len(code.value) <= 16
    assert 0 < len(code.meaning) <= 64
    assert words.SCHEME.startswith("99")


def test_private_values_are_unique():
    assert len({code.value for code in PRIVATE}) == len(PRIVATE)


def test_the_tags_the_facts_name_are_the_dictionarys():
    tags = {
        "SyntheticData": 0x0008001C,
        "ConversionType": 0x00080064,
        "ContentQualification": 0x00189004,
        "QualityControlImage": 0x00280300,
        "SourceImageSequence": 0x00082112,
        "DerivationCodeSequence": 0x00089215,
        "CodingSchemeIdentificationSequence": 0x00080110,
        "ContributingEquipmentSequence": 0x0018A001,
        "StudiesContainingOtherReferencedInstancesSequence": 0x00081200,
    }
    for keyword, tag in tags.items():
        assert tag_for_keyword(keyword) == tag
    assert dictionary_VR(0x0008001C) == "CS"


def test_labels_are_looked_up_whatever_their_case_and_unknown_ones_are_other():
    assert words.segment_codes("Left_Lung").type == words.LUNG
    assert words.segment_codes("chest-tube").type == words.CHEST_TUBE
    assert words.segment_codes("gallstone").type == words.OTHER_MASK
