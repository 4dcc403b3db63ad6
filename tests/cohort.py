"""A mixed hospital: phantoms of every site with their true masks, a real film, whole studies.

The phantoms bring the SEG of every structure that the keep masks come from, and a derived
counterfactual with a SEG of its own that must not be mistaken for the film's; the real film
comes as its scanner wrote it; the studies of `hospital.make_hospital` bring laterals, derived
copies and priors. In all eight transfer syntaxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pydicom
from hospital import Hospital, make_hospital, real_film
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from radedit.lib.phantom.studies import build_study
from radedit.lib.phantom.world import World, draw_patient

SITES = ("north", "harbour", "ward")
SYNTAXES = (
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    JPEGLSLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
FIRST_SEED = 7000
KEPT = "heart"


@dataclass(frozen=True)
class Census:
    """How many studies of which kind.

    Attributes
    ----------
    phantoms : in turn of each site
    repacked : of the real film, moved and repacked; every third holds more than a frontal film
    every : of those, take every n-th row and column
    size : pixels of a phantom's longer side
    """

    phantoms: int
    repacked: int
    every: int = 1
    size: int = 1024

    @classmethod
    def of(cls, studies: int, every: int, size: int) -> Census:
        """Share out studies: three in five phantoms, one the real film itself."""
        phantoms = 3 * studies // 5
        return cls(phantoms, studies - phantoms - 1, every, size)

    @property
    def studies(self) -> int:
        """How many studies have a film to edit."""
        return self.phantoms + self.repacked + 1


def make_cohort(make_dataset: Callable[..., Dataset], census: Census) -> Hospital:
    """Make every object that the archive holds at first."""
    hospital = make_hospital(make_dataset, census.repacked, census.every)
    hospital.frontal.append(hospital.add(pydicom.dcmread(real_film())))
    for number in range(census.phantoms):
        _add_phantom(hospital, number, census.size)
    return hospital


def _add_phantom(hospital: Hospital, number: int, size: int) -> None:
    """Add one study; syntaxes and sites run past each other, so that each meets each."""
    site = SITES[number % len(SITES)]
    syntax = SYNTAXES[(number + number // len(SITES)) % len(SYNTAXES)]
    world = replace(World(), sites={site: 1.0}, site_given={}, normal=0.3)
    objects = build_study(draw_patient(FIRST_SEED + number, world), size).objects
    for name, dataset in objects.items():
        is_film = not name.endswith("-masks.dcm")
        if name == "film-masks.dcm":
            hospital.kept[str(objects["film.dcm"].SOPInstanceUID)] = _segment(dataset, KEPT)
        uid = hospital.add(dataset, syntax if is_film else None)
        if not is_film:
            hospital.segs.add(uid)
        if name == "film.dcm":
            hospital.frontal.append(uid)


def _segment(segmentation: Dataset, label: str) -> NDArray[np.bool_]:
    """Read one segment of a binary SEG of one image, by pydicom alone."""
    [number] = [s.SegmentNumber for s in segmentation.SegmentSequence if s.SegmentLabel == label]
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns)
    functional = segmentation.PerFrameFunctionalGroupsSequence
    mask = np.zeros(frames.shape[1:], np.bool_)
    for frame, groups in zip(frames, functional, strict=True):
        if groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number:
            mask |= frame.astype(np.bool_)
    assert mask.any(), "the phantom has no such structure"
    return mask


def kinds(hospital: Hospital) -> dict[str, Counter[str]]:
    """Count the frontal films' transfer syntaxes, depths and polarities."""
    counted: dict[str, Counter[str]] = {"syntax": Counter(), "bits": Counter(), "grey": Counter()}
    for uid in hospital.frontal:
        header = pydicom.dcmread(DicomBytesIO(hospital.films[uid]), stop_before_pixels=True)
        counted["syntax"][header.file_meta.TransferSyntaxUID.name] += 1
        counted["bits"][str(header.BitsStored)] += 1
        counted["grey"][header.PhotometricInterpretation] += 1
    return counted
