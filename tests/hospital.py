"""A hospital's archive to order, the whole loop over it, and everything that must hold after.

`tests/system/test_hospital.py` runs it on a few studies, `scripts/hospital-loop` on forty.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import requests
from numpy.typing import NDArray
from orthanc import Orthanc
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from radedit.lib.archived_studies import ArchivedStudies
from radedit.lib.bulk import Bulk
from radedit.lib.cases import EditRequest
from radedit.lib.deliver import Manner, Outbox
from radedit.lib.pipeline import Editor
from radedit.lib.selection import Selection, of_archive
from radedit.lib.shelf import Shelf
from radedit.lib.sources import FilmSources
from radedit_dicom.archive import Archive, Instance, Query
from radedit_dicom.cache import Cache
from radedit_dicom.conformance import check_file, passes
from radedit_dicom.film import Film, read_film
from radedit_dicom.provenance import pixel_sha256, read_private
from radedit_dicom.readback import part10

SECRET = "Geheim"
ROOT = "1.2.826.0.1.3680043.10.1.7"
#: Kinds of film: stored bits, polarity, class, transfer syntax (None: as built).
KINDS: tuple[tuple[int, str, str, str | None], ...] = (
    (15, "MONOCHROME1", ComputedRadiographyImageStorage, None),
    (12, "MONOCHROME2", DigitalXRayImageStorageForPresentation, None),
    (16, "MONOCHROME2", DigitalXRayImageStorageForPresentation, JPEGLSLossless),
    (10, "MONOCHROME1", ComputedRadiographyImageStorage, RLELossless),
    (12, "MONOCHROME1", DigitalXRayImageStorageForPresentation, JPEG2000Lossless),
    (14, "MONOCHROME2", ComputedRadiographyImageStorage, ImplicitVRLittleEndian),
    (8, "MONOCHROME2", DigitalXRayImageStorageForPresentation, None),
)


@dataclass
class Hospital:
    """Studies as a PACS holds them.

    Attributes
    ----------
    films : SOP Instance UID to Part 10 bytes, of every object
    frontal : UIDs of the films that are to be edited
    """

    films: dict[str, bytes] = field(default_factory=dict)
    frontal: list[str] = field(default_factory=list)

    def add(self, dataset: Dataset, syntax: str | None = None) -> str:
        """Take up an object in a transfer syntax."""
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        if syntax == ImplicitVRLittleEndian:
            dataset.file_meta.TransferSyntaxUID = syntax
        elif syntax is not None:
            dataset.compress(syntax, generate_instance_uid=False)
        self.films[str(dataset.SOPInstanceUID)] = part10(dataset)
        return str(dataset.SOPInstanceUID)


def make_hospital(make_dataset: Callable[..., Dataset], count: int, every: int) -> Hospital:
    """Make studies of one real film, moved and repacked, so that there are lungs in each.

    Parameters
    ----------
    make_dataset : of conftest.py
    count : studies with a film to edit; every fifth holds more than that film
    every : take every n-th row and column of the film
    """
    picture = _real_picture(every)
    hospital = Hospital()
    for number in range(count):
        bits, polarity, sop_class, syntax = KINDS[number % len(KINDS)]
        shade = np.roll(picture, 3 * number, axis=0)
        if polarity == "MONOCHROME2":
            shade = 1 - shade
        pixels = np.rint(shade * ((1 << bits) - 1)).astype(np.uint16)
        common: dict[str, Any] = {
            "StudyInstanceUID": f"{ROOT}.{number}",
            "StudyDate": "20250601",
            "PatientID": f"{SECRET}-{number}",
            "PatientName": f"{SECRET}^{number}",
            "PhotometricInterpretation": polarity,
            "SOPClassUID": sop_class,
            "Modality": "CR" if sop_class == ComputedRadiographyImageStorage else "DX",
            "ImageType": ["ORIGINAL", "PRIMARY"],
            "PixelSpacing": [0.17 * every, 0.17 * every],
            "PatientOrientation": ["L", "F"],
            "SeriesNumber": 1,
        }

        def film(
            part: int, own: Mapping[str, Any] = {}, given: Any = (pixels, bits, common)
        ) -> Dataset:
            values, depth, shared = given
            uid = f"{shared['StudyInstanceUID']}.{part}"
            return make_dataset(
                values,
                depth,
                **{**shared, "SOPInstanceUID": f"{uid}.1", "SeriesInstanceUID": uid, **own},
            )

        hospital.frontal.append(hospital.add(film(1), syntax))
        if number % 5 == 4:
            lateral = {"ViewPosition": "LL", "PatientOrientation": ["A", "F"], "SeriesNumber": 2}
            copy = {"ImageType": ["DERIVED", "PRIMARY"], "SeriesNumber": 3}
            prior = {"StudyInstanceUID": f"{ROOT}.{number}.99", "StudyDate": "20190601"}
            for part, own in ((2, lateral), (3, copy), (9, prior)):
                hospital.add(film(part, own))
    return hospital


def _real_picture(every: int) -> NDArray[np.float64]:
    """Read the real film of pydicom-data as shades, 0 to 1."""
    path = next(f for f in files("pydicom-data") or [] if f.name == "RG1_UNCR.dcm")
    pixels = pydicom.dcmread(Path(str(path.locate()))).pixel_array[::every, ::every]
    shades: NDArray[np.float64] = pixels / float(pixels.max())
    return shades


class Timed:
    """An archive that notes how long each fetch and store took; nothing else is changed."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.seconds: dict[str, list[float]] = {"find": [], "fetch": [], "store": []}

    def find(self, query: Query) -> list[Instance]:
        return self._timed("find", lambda: self.archive.find(query))

    def fetch(self, instance: Instance) -> bytes:
        return self._timed("fetch", lambda: self.archive.fetch(instance))

    def store(self, objects: Sequence[Dataset]) -> list[Instance]:
        return self._timed("store", lambda: self.archive.store(objects))

    def _timed(self, what: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        answer = call()
        self.seconds[what].append(time.perf_counter() - began)
        return answer


@dataclass(frozen=True)
class Loop:
    """One run over an archive.

    Attributes
    ----------
    archive : where films come from and results go
    editor : with its model loaded
    request : the same for every film
    manner : how results are written
    """

    archive: Archive
    editor: Editor
    request: EditRequest
    manner: Manner

    def select(self, folder: Path) -> Selection:
        """Choose the films of the archive and fetch them."""
        return of_archive(Cache(self.archive, folder), Query())

    def run(self, selection: Selection) -> list[dict[str, Any]]:
        """Edit the films and store the results."""
        bulk = Bulk(
            self.request,
            self.editor,
            Outbox(self.archive, self.manner),
            sources=lambda film: FilmSources(film, archive=self.archive),
        )
        return list(bulk.rows(selection))


def keep_masks(archive: Archive, hospital: Hospital, folder: Path) -> ArchivedStudies:
    """List the films as MONAI Label does, and save a label on each: a SEG in the archive."""
    shelf = Shelf(archive, Query(), folder, 10**10)
    studies = ArchivedStudies(shelf)
    frontal = set(hospital.frontal)
    assert frontal <= set(studies.list_images())
    for uid in hospital.frontal:
        shelf.save_label(uid, "final", _heart)
    return studies


def _heart(film: Film) -> dict[str, NDArray[np.bool_]]:
    """A box where the heart is; what matters is that it meets the left lung."""
    mask = np.zeros(film.shape, np.bool_)
    rows, columns = film.shape
    mask[rows // 2 : 3 * rows // 4, columns // 2 : 2 * columns // 3] = True
    return {"heart": mask}


def hashes(server: Orthanc) -> dict[str, str]:
    """Hash every object that an archive holds, as its own REST API gives it."""
    return {uid: hashlib.sha256(server.file(uid)).hexdigest() for uid in server.held()}


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
                    _check_untouched(result, read_film(hospital.films[row["input"]]), row)
                if row["uids"]["study"] != str(dataset.get("StudyInstanceUID")):
                    raise AssertionError("an object is in another study than its edit")
                resolved += _resolve(server, dataset)
    return resolved


def _check_untouched(result: Film, source: Film, row: Mapping[str, Any]) -> None:
    assert row["changed_outside_support"] == 0
    assert (result.bits_stored, result.photometric) == (source.bits_stored, source.photometric)
    assert result.spacing_mm == source.spacing_mm
    heart = _heart(source)["heart"]
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


def timed_process(*command: str) -> float:
    """Give the wall time in s of a program that must succeed."""
    began = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return time.perf_counter() - began
