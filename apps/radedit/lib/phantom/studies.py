"""Phantom patients as studies on disk, with the truth beside them; resumable.

What is written is a pure function of seed, world, size and this program's version. A study's
folder holds `film.dcm` and `film-masks.dcm`, for a patient with findings `counterfactual.dcm`
and `counterfactual-masks.dcm` too, and last of all `truth.json`: where that is, and its hashes
hold, the study is complete.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from radedit.lib.errors import OutputError, ParameterError
from radedit.lib.phantom.instances import (
    COUNTERFACTUAL,
    FILM,
    LABELS,
    Identity,
    film_object,
    stored_values,
    tool_version,
    truth_object,
)
from radedit.lib.phantom.sentences import describe
from radedit.lib.phantom.world import (
    Patient,
    Rendering,
    Studio,
    World,
    draw_patient,
    without,
)
from radedit.lib.whole_files import write_file
from radedit_dicom.provenance import pixel_sha256

FORMAT = "radedit-phantom-1"
TRUTH = "truth.json"
MIN_SIZE, MAX_SIZE = 64, 4096
_WHOLE_CHEST = ("oedema", "cardiomegaly")  # their zone says nothing


@dataclass(frozen=True)
class Order:
    """Which studies to write: `count` seeds from `first`, `size` pixels on the longer side.

    Raises
    ------
    ParameterError
        The seed is negative, nothing is asked for, or the size is out of its range.
    """

    first: int
    count: int
    size: int = 1024
    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.first < 0 or self.count < 1:
            raise ParameterError(
                f"the seed is {self.first} and the count {self.count}; give a seed from 0 up and "
                "a count from 1 up."
            )
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ParameterError(
                f"a film of {self.size} pixels cannot be made; choose {MIN_SIZE} to {MAX_SIZE}."
            )


@dataclass(frozen=True)
class PhantomStudy:
    """One patient's objects, by file name, and the truth about them."""

    objects: Mapping[str, Dataset]
    truth: Mapping[str, Any]


def write_studies(order: Order, out: Path) -> Iterator[dict[str, Any]]:
    """Write every study that is not complete yet.

    Parameters
    ----------
    order : Order
    out : folder, made if missing

    Yields
    ------
    dict
        The truth about each study in the order of seeds; `folder` is relative to `out`, and
        `resumed` says that the study was there already.

    Raises
    ------
    OutputError
        A folder or file cannot be written.
    """
    for seed in range(order.first, order.first + order.count):
        patient = draw_patient(seed, order.world)
        yield write_study(patient, order.size, out)


def write_study(patient: Patient, size: int, out: Path) -> dict[str, Any]:
    """Write one study, unless it is complete; see `write_studies`."""
    digest = fingerprint(patient, size)
    folder = out / f"{patient.seed}-{digest[:8]}"
    try:
        truth = complete(folder, digest)
        resumed = truth is not None
        if truth is None:
            folder.mkdir(parents=True, exist_ok=True)
            truth = _write(build_study(patient, size), folder)
    except OSError as error:
        raise OutputError(
            f"a phantom study cannot be written ({error.strerror or type(error).__name__}); "
            "choose a folder that may be written to, with space left."
        ) from None
    return {"folder": folder.name, "resumed": resumed, **truth}


def complete(folder: Path, digest: str) -> dict[str, Any] | None:
    """Give the truth of a study that lies complete in a folder, else None.

    Parameters
    ----------
    folder : the study's
    digest : its `fingerprint`
    """
    try:
        truth: dict[str, Any] = json.loads((folder / TRUTH).read_text("utf-8"))
        hashes = {name: entry["sha256"] for name, entry in truth["files"].items()}
        whole = truth["fingerprint"] == digest and all(
            hashlib.sha256((folder / name).read_bytes()).hexdigest() == known
            for name, known in hashes.items()
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return truth if whole else None


def fingerprint(patient: Patient, size: int) -> str:
    """Hash all that a study follows from: the patient, the size, and this program's version."""
    text = "\x00".join((FORMAT, tool_version(), repr(patient), str(size)))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def build_study(patient: Patient, size: int) -> PhantomStudy:
    """Render one patient and make the objects of the study.

    Parameters
    ----------
    patient : Patient
    size : pixels of the longer side

    Returns
    -------
    PhantomStudy
        Of a patient without findings there is no counterfactual: it would be the film again.
    """
    studio = Studio(patient, size)
    films = {FILM: studio.render()}
    if patient.findings:
        films[COUNTERFACTUAL] = studio.render(without(patient))
    pixels = [pixel_sha256(stored_values(film, patient)) for film in films.values()]
    key = hashlib.sha256("\x00".join((fingerprint(patient, size), *pixels)).encode()).hexdigest()
    identity = Identity(patient, key)
    objects: dict[str, Dataset] = {}
    for role, film in films.items():
        image = film_object(film, identity, role)
        objects[f"{role.name}.dcm"] = image
        objects[f"{role.name}-masks.dcm"] = truth_object(image, film.masks, identity, role)
    return PhantomStudy(objects, _truth(patient, films[FILM], identity, fingerprint(patient, size)))


def _truth(patient: Patient, film: Rendering, identity: Identity, digest: str) -> dict[str, Any]:
    """State what the film shows; areas are of the masks, at the detector."""

    def area(kind: str) -> float:
        return round(float(film.masks[kind].sum()) * film.spacing**2, 1)

    rng = np.random.default_rng([patient.seed, 0x7E47])
    return {
        "seed": patient.seed,
        "fingerprint": digest,
        "study_instance_uid": str(identity.uid("study")),
        "site": patient.exposure.site,
        "projection": patient.exposure.projection,
        "sex": patient.body.sex,
        "age": int(patient.body.age),
        "rows": film.image.shape[0],
        "columns": film.image.shape[1],
        "spacing_mm": round(film.spacing, 8),
        "sentence": describe(patient, rng),
        "counterfactual_sentence": describe(without(patient), rng) if patient.findings else None,
        "findings": [
            {
                "kind": finding.kind,
                "side": finding.side,
                "zone": None if finding.kind in _WHOLE_CHEST else finding.zone,
                "extent": round(finding.extent, 4),
                "area_mm2": area(finding.kind),
            }
            for finding in patient.findings
        ],
        "devices": [
            {"kind": device.kind, "side": device.side, "area_mm2": area(device.kind)}
            for device in patient.devices
        ],
        "segments": [LABELS.get(kind, kind) for kind in film.masks],
    }


def _write(study: PhantomStudy, folder: Path) -> dict[str, Any]:
    files = {}
    for name, dataset in study.objects.items():
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        content = buffer.getvalue()
        write_file(folder / name, content)
        files[name] = {
            "sop_instance_uid": str(dataset.SOPInstanceUID),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    truth = {**study.truth, "files": files}
    write_file(folder / TRUTH, json.dumps(truth, indent=2) + "\n")
    return truth
