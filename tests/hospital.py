"""A hospital's archive to order, the whole loop over it, and everything that must hold after.

`tests/system/test_hospital.py` runs it on a few studies, `scripts/hospital-loop` on forty.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import files
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
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
from radedit_dicom.film import Film
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
    kept : UID of a frontal film to what the SEG that came with it calls its heart
    segs : UIDs of those SEGs
    """

    films: dict[str, bytes] = field(default_factory=dict)
    frontal: list[str] = field(default_factory=list)
    kept: dict[str, NDArray[np.bool_]] = field(default_factory=dict)
    segs: set[str] = field(default_factory=set)

    @property
    def images(self) -> set[str]:
        """The UIDs of all that is an image, not a SEG: what MONAI Label lists."""
        return set(self.films) - self.segs

    def add(self, dataset: Dataset, syntax: str | None = None) -> str:
        """Take up an object in a transfer syntax."""
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        uid = str(dataset.SOPInstanceUID)
        if syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian):
            dataset.file_meta.TransferSyntaxUID = syntax
        elif syntax == JPEGLosslessSV1:
            self.films[uid] = jpeg_lossless(part10(dataset))
            return uid
        elif syntax is not None:
            dataset.compress(syntax, generate_instance_uid=False)
        self.films[uid] = part10(dataset)
        return uid


def jpeg_lossless(content: bytes) -> bytes:
    """Compress an object with dcmtk, as pydicom does not."""
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name) / "source.dcm", Path(name) / "target.dcm"
        source.write_bytes(content)
        subprocess.run(["dcmcjpeg", "+e1", "+un", str(source), str(target)], check=True)
        return target.read_bytes()


def make_hospital(make_dataset: Callable[..., Dataset], count: int, every: int) -> Hospital:
    """Make studies of one real film, moved and repacked, so that there are lungs in each.

    Parameters
    ----------
    make_dataset : of conftest.py
    count : studies with a film to edit; every third, from the second, holds more than that film
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
        if number % 3 == 1:
            lateral = {"ViewPosition": "LL", "PatientOrientation": ["A", "F"], "SeriesNumber": 2}
            copy = {"ImageType": ["DERIVED", "PRIMARY"], "SeriesNumber": 3}
            prior = {"StudyInstanceUID": f"{ROOT}.{number}.99", "StudyDate": "20190601"}
            for part, own in ((2, lateral), (3, copy), (9, prior)):
                hospital.add(film(part, own))
    return hospital


def real_film() -> Path:
    """Find the chest film of pydicom-data."""
    path = next(f for f in files("pydicom-data") or [] if f.name == "RG1_UNCR.dcm")
    return Path(str(path.locate()))


def _real_picture(every: int) -> NDArray[np.float64]:
    """Read the real film of pydicom-data as shades, 0 to 1."""
    pixels = pydicom.dcmread(real_film()).pixel_array[::every, ::every]
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
    """List the films as MONAI Label does, and save a label on each that came without a SEG."""
    shelf = Shelf(archive, Query(), folder, 10**10)
    studies = ArchivedStudies(shelf)
    frontal = set(hospital.frontal)
    assert frontal <= set(studies.list_images())
    for uid in frontal - set(hospital.kept):
        shelf.save_label(uid, "final", heart_box)
    return studies


def heart_box(film: Film) -> dict[str, NDArray[np.bool_]]:
    """A box where the heart is; what matters is that it meets the left lung."""
    mask = np.zeros(film.shape, np.bool_)
    rows, columns = film.shape
    mask[rows // 2 : 3 * rows // 4, columns // 2 : 2 * columns // 3] = True
    return {"heart": mask}


def timed_process(*command: str) -> float:
    """Give the wall time in s of a program that must succeed."""
    began = time.perf_counter()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return time.perf_counter() - began
