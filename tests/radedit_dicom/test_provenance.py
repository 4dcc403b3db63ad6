"""The record of an edit survives every way of carrying it."""

from __future__ import annotations

import json
from dataclasses import replace
from io import BytesIO

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from radedit_dicom.errors import ProvenanceError
from radedit_dicom.provenance import (
    Provenance,
    contributing_equipment,
    edit_uid,
    pixel_sha256,
    read_private,
    write_private,
)

TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=100, deadline=None)
@given(
    prompt=TEXT,
    skip=NUMBER,
    guidance=NUMBER,
    seed=st.integers(0, 2**63),
    keep=st.none() | TEXT,
    platform=st.dictionaries(TEXT, TEXT, max_size=4),
)
def test_json_gives_back_exactly_the_same_record(provenance, **fields):
    record = replace(
        provenance,
        prompt=fields["prompt"],
        skip=fields["skip"],
        guidance=fields["guidance"],
        seed=fields["seed"],
        keep_mask=fields["keep"],
        platform=fields["platform"],
    )
    again = Provenance.from_json(record.to_json())
    assert again == record
    assert again.to_json() == record.to_json()


def test_the_private_block_survives_a_file(provenance, tmp_path):
    dataset = Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2"
    write_private(dataset, provenance)
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    assert read_private(pydicom.dcmread(BytesIO(buffer.getvalue()))) == provenance


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"edit_id": 1}', "[" * 100000])
def test_a_damaged_record_is_refused(text):
    with pytest.raises(ProvenanceError):
        Provenance.from_json(text)


def test_fields_of_another_version_are_kept_and_written_again(provenance):
    plain = json.loads(provenance.to_json()) | {"more": {"deep": [1, None]}, "unknown": "too"}
    record = Provenance.from_json(json.dumps(plain))
    assert record.seed == provenance.seed
    assert json.loads(record.to_json()) == plain
    assert Provenance.from_json(record.to_json()) == record


def test_a_record_from_before_schemas_is_read_as_the_first(provenance):
    plain = json.loads(provenance.to_json())
    for later in ("schema", "source_display_sha256", "source_decoder"):
        del plain[later]
    record = Provenance.from_json(json.dumps(plain))
    assert (record.schema, record.source_display_sha256, record.source_decoder) == (1, "", "")


def test_a_missing_field_and_a_wrong_type_are_refused(provenance):
    plain = json.loads(provenance.to_json())
    with pytest.raises(ProvenanceError, match="all the fields"):
        Provenance.from_json(json.dumps({k: v for k, v in plain.items() if k != "seed"}))
    for change in (
        {"schema": "1"},
        {"seed": "1"},
        {"seed": True},
        {"platform": []},
        {"created": "x"},
    ):
        with pytest.raises(ProvenanceError):
            Provenance.from_json(json.dumps(plain | change))


def test_a_time_without_offset_and_an_infinite_number_are_refused(provenance):
    with pytest.raises(ProvenanceError, match="offset"):
        replace(provenance, created="2025-01-01T00:00:00")
    with pytest.raises(ProvenanceError, match="finite"):
        replace(provenance, guidance=float("inf")).to_json()


def test_an_object_without_block_is_refused():
    with pytest.raises(ProvenanceError, match="no provenance block"):
        read_private(Dataset())


def test_the_pixel_hash_sees_shape_type_and_every_value():
    base = np.arange(6, dtype=np.uint16).reshape(2, 3)
    changed = base.copy()
    changed[1, 2] ^= 1
    others = [base.reshape(3, 2), base.astype(np.int32), changed]
    digests = {pixel_sha256(array) for array in [base, *others]}
    assert len(digests) == 4
    assert pixel_sha256(base.astype(">u2")) == pixel_sha256(base)
    assert pixel_sha256(np.asfortranarray(base)) == pixel_sha256(base)


def test_uids_are_stable_valid_and_differ_by_role_and_result(provenance):
    assert edit_uid(provenance, "sc") == edit_uid(provenance, "sc")
    assert edit_uid(provenance, "sc").is_valid
    other = replace(provenance, result_pixel_sha256="cd" * 32)
    assert (
        len({edit_uid(provenance, "sc"), edit_uid(provenance, "seg"), edit_uid(other, "sc")}) == 3
    )


def test_the_equipment_item_names_the_synthesizer(provenance):
    item = contributing_equipment(provenance)
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109100"
    assert item.SoftwareVersions == "0.1.0"
