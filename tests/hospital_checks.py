"""Everything that must hold of an archive after a run of the hospital loop over it."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import requests
from hospital import Hospital, heart_box
from orthanc import Orthanc
from pydicom.dataset import Dataset

from radedit_dicom.conformance import check_file, passes
from radedit_dicom.film import Film, read_film
from radedit_dicom.provenance import Provenance, pixel_sha256, read_private
from radedit_dicom.segment_reader import read_segmentation
from radedit_dicom.vocabulary import EDIT_LABEL, KEEP_LABEL


def hashes(server: Orthanc) -> dict[str, str]:
    """Hash every object that an archive holds, as its own REST API gives it."""
    return {uid: hashlib.sha256(server.file(uid)).hexdigest() for uid in server.held()}


def check_listing(server: Orthanc, hospital: Hospital) -> None:
    """QIDO lists every object that was loaded, and no other; page by page."""
    listed: list[str] = []
    while True:
        answer = requests.get(
            f"{server.dicom_web}/instances",
            params={"limit": 50, "offset": len(listed)},
            headers={"Accept": "application/dicom+json"},
            timeout=60,
        )
        page = answer.json() if answer.status_code == 200 else []
        if not page:
            break
        listed += [row["00080018"]["Value"][0] for row in page]
    assert len(listed) == len(set(listed))
    assert set(listed) == set(hospital.films)


def check_results(server: Orthanc, rows: Sequence[dict[str, Any]], hospital: Hospital) -> int:
    """Check every object of every edit, read back over another way than it was stored by.

    Returns
    -------
    int
        How many references were resolved.
    """
    resolved = 0
    with tempfile.TemporaryDirectory() as name:
        for row in rows:
            for kind in ("sc", "seg", "sr"):
                path = Path(name) / "object.dcm"
                path.write_bytes(server.file(row["uids"][kind]))
                findings = check_file(path)
                assert passes(findings), (kind, findings)
                dataset = pydicom.dcmread(path)
                record = read_private(dataset)
                assert record.edit_id == row["edit_id"]
                assert record.source_sop_instance_uid == row["input"]
                if kind == "sc":
                    result = read_film(path, allow_synthetic=True)
                    assert pixel_sha256(result.stored) == row["pixel_sha256"]
                    _check_untouched(result, read_film(hospital.films[row["input"]]), row, hospital)
                if kind == "seg":
                    _check_masks(dataset, read_film(hospital.films[row["input"]]), record)
                if row["uids"]["study"] != str(dataset.get("StudyInstanceUID")):
                    raise AssertionError("an object is in another study than its edit")
                resolved += _resolve(server, dataset)
    return resolved


def _check_masks(dataset: Dataset, source: Film, record: Provenance) -> None:
    """The masks that were stored are those that were used, by their hashes."""
    masks = read_segmentation(dataset, source)
    assert pixel_sha256(masks[EDIT_LABEL]) == record.edit_mask_sha256
    assert pixel_sha256(masks[KEEP_LABEL]) == record.keep_mask_sha256


def _check_untouched(
    result: Film, source: Film, row: Mapping[str, Any], hospital: Hospital
) -> None:
    assert row["changed_outside_support"] == 0
    assert (result.bits_stored, result.photometric) == (source.bits_stored, source.photometric)
    assert result.spacing_mm == source.spacing_mm
    heart = hospital.kept.get(source.sop_instance_uid)
    heart = heart_box(source)["heart"] if heart is None else heart
    assert np.array_equal(result.stored[heart], source.stored[heart]), "the keep mask changed"
    assert (result.stored != source.stored).any(), "nothing changed at all"


def _resolve(server: Orthanc, dataset: Dataset) -> int:
    """Ask QIDO for every instance that an object refers to, wherever it says the instance is."""
    wanted: set[str] = set()
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            wanted.add(str(element.value))
    placed = dict(_placed(dataset, str(dataset.StudyInstanceUID)))
    assert wanted <= set(placed) | {str(dataset.SOPInstanceUID)}, "a reference without a place"
    for uid, (study, series) in placed.items():
        answer = requests.get(
            f"{server.dicom_web}/studies/{study}/series/{series}/instances",
            params={"SOPInstanceUID": uid},
            headers={"Accept": "application/dicom+json"},
            timeout=60,
        )
        assert answer.status_code == 200, (uid, answer.status_code)
        assert len(answer.json()) == 1, f"{uid} is not where a reference says it is"
    return len(placed)


def _placed(dataset: Dataset, study: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Give each referenced instance with the study and series that are said to hold it."""
    own = [(study, item) for item in dataset.get("ReferencedSeriesSequence") or []]
    others = [
        *(dataset.get("StudiesContainingOtherReferencedInstancesSequence") or []),
        *(dataset.get("CurrentRequestedProcedureEvidenceSequence") or []),
        *(dataset.get("PertinentOtherEvidenceSequence") or []),
    ]
    for item in others:
        own += [(str(item.StudyInstanceUID), each) for each in item.ReferencedSeriesSequence]
    for where, series in own:
        for name in ("ReferencedInstanceSequence", "ReferencedSOPSequence"):
            for each in series.get(name) or []:
                yield str(each.ReferencedSOPInstanceUID), (where, str(series.SeriesInstanceUID))
