"""A real film with a finding in it as DICOM objects, and the manifest that names its truth.

One folder per insertion: `film.dcm`, a Secondary Capture that says it is synthetic, in a QA study
of its own; `film-masks.dcm`, a SEG of everything put in; `truth.json`, written last. The true
counterfactual is the film it was made of, which is referred to and never written or changed.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from highdicom.seg import SegmentAlgorithmTypeValues
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset

from radedit.lib.errors import OutputError, ParameterError
from radedit.lib.lungs import segment_lungs
from radedit.lib.phantom.body import Mask
from radedit.lib.phantom.devices import DEVICES, Device
from radedit.lib.phantom.findings import Finding
from radedit.lib.phantom.inserted_findings import INSERTED
from radedit.lib.phantom.insertion import Insertion, Site, insert, look_at
from radedit.lib.phantom.instances import LABELS, tool_version
from radedit.lib.phantom.studies import TRUTH, complete
from radedit.lib.phantom.world import draw_finding
from radedit.lib.whole_files import write_file
from radedit_dicom import vocabulary as words
from radedit_dicom.film import Film, Stored, read_film
from radedit_dicom.marks import Reference, code_item, mark, refer, series_number
from radedit_dicom.objects import Destination
from radedit_dicom.pixels import apply_display_delta, display_sha256, to_display
from radedit_dicom.provenance import SCHEMA, Provenance, edit_uid, pixel_sha256
from radedit_dicom.secondary_capture import build_secondary_capture
from radedit_dicom.segmentation import Maker, assemble, reference_to_segmentation

FORMAT = "radedit-insertion-1"
METHOD, MODEL = "insertion", "ray-sums"


@dataclass(frozen=True)
class Wish:
    """What to put in: one of `findings` (any, if neither is named), all of `devices`.

    Attributes
    ----------
    findings, devices : kinds
    first, count : seeds from `first` up, one insertion each

    Raises
    ------
    ParameterError
        A kind cannot be put into a real film, or the numbers are out of range.
    """

    findings: tuple[str, ...]
    devices: tuple[str, ...]
    first: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        """Check kinds and numbers."""
        unknown = [kind for kind in self.findings if kind not in INSERTED]
        unknown += [kind for kind in self.devices if kind not in DEVICES]
        if unknown:
            raise ParameterError(
                f"A {unknown[0]} cannot be put into a real film; choose of the findings "
                f"{', '.join(INSERTED)} and the devices {', '.join(DEVICES)}."
            )
        if self.first < 0 or self.count < 1:
            raise ParameterError(
                f"The seed is {self.first} and the count {self.count}; give a seed from 0 up and "
                "a count from 1 up."
            )

    def drawn(self, seed: int) -> tuple[tuple[Finding, ...], tuple[Device, ...]]:
        """Draw side, zone, extent and course; a pure function of the wish and the seed."""
        rng = np.random.default_rng([seed, 0x1256])
        kinds = self.findings or (() if self.devices else tuple(INSERTED))
        found = (draw_finding(rng, str(rng.choice(kinds))),) if kinds else ()
        placed = []
        for kind in self.devices:
            side = "left" if rng.random() < 0.5 else "right"
            if kind == "chest drain" and found and found[0].side != "both":
                side = found[0].side
            placed.append(Device(kind, side, int(rng.integers(2**31))))
        return found, tuple(placed)


@dataclass(frozen=True)
class Source:
    """A real film that was read and measured.

    Attributes
    ----------
    film : as it was read
    site : of its display, turned so that the patient's left is on the right
    """

    film: Film
    site: Site


def read_source(path: Path) -> Source:
    """Read a film and look for its lungs.

    Raises
    ------
    DicomError
        It is no frontal chest film that may be edited.
    FilmError
        Its lungs are not to be believed, or its contrast cannot be measured.
    """
    film = read_film(path)
    Destination().check(film)
    display, valid = _turned(film, to_display(film)), _turned(film, ~film.padding)
    spacing = film.spacing_mm[1] if film.spacing_mm else None
    return Source(film, look_at(display, segment_lungs(display, valid), spacing, valid))


def write_insertions(path: Path, wish: Wish, out: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Write every insertion that is not complete yet; the film at `path` is only read.

    Yields
    ------
    row, insertion
        The truth about each with `folder` and `resumed`; `insertion` is None when resumed.

    Raises
    ------
    DicomError, FilmError
        As `read_source`.
    OutputError
        A folder or file cannot be written.
    """
    source = read_source(path)
    for seed in range(wish.first, wish.first + wish.count):
        things = wish.drawn(seed)
        digest = fingerprint(source.film, things, seed)
        folder = out / f"{seed}-{digest[:8]}"
        truth, made = complete(folder, digest), None
        if resumed := truth is not None:
            yield {"folder": folder.name, "resumed": resumed, **(truth or {})}, None
            continue
        made = insert(source.site, *things, seed=seed)
        stored = _stored(source, made)
        objects, provenance = build_objects(source.film, stored, made, digest, seed)
        truth = _truth(source.film, things, made, provenance)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            truth = _write(objects, {**truth, "seed": seed, "fingerprint": digest}, folder)
        except OSError as error:
            raise OutputError(
                f"an insertion cannot be written ({error.strerror or type(error).__name__}); "
                "choose a folder that may be written to, with space left."
            ) from None
        yield {"folder": folder.name, "resumed": False, **truth}, (source, made, stored)


def fingerprint(film: Film, things: object, seed: int) -> str:
    """Hash all that an insertion follows from: film, display, what is put in, seed, version."""
    parts = (FORMAT, tool_version(), film.sop_instance_uid, pixel_sha256(film.stored),
             display_sha256(film), repr(things), str(seed))  # fmt: skip
    return hashlib.sha256("\x00".join(parts).encode("utf-8")).hexdigest()


def _turned(film: Film, image: Any) -> Any:
    return np.ascontiguousarray(image[:, ::-1]) if film.is_mirrored else image


def _stored(source: Source, made: Insertion) -> Stored:
    return apply_display_delta(source.film, _turned(source.film, made.image - source.site.display))


def build_objects(
    film: Film, stored: Stored, made: Insertion, digest: str, seed: int
) -> tuple[dict[str, Dataset], Provenance]:
    """Make the film (Secondary Capture) and the SEG of one insertion.

    Parameters
    ----------
    film, stored : before, and the stored values after
    made : the insertion
    digest : its `fingerprint`
    seed : of the insertion
    """
    masks: dict[str, Mask] = {
        LABELS.get(kind, kind): _turned(film, mask) for kind, mask in made.masks.items()
    }
    whole = np.logical_or.reduce(list(masks.values()))
    provenance = _provenance(film, stored, made, (digest, seed), pixel_sha256(whole))
    study = Destination().context(film, provenance)
    segmentation = reference_to_segmentation(provenance, study)
    image = build_secondary_capture(
        film, stored, provenance, study=study, segmentation=segmentation
    )
    image.DerivationDescription = (
        f"{made.sentence}: put in by {provenance.tool} {provenance.tool_version} by attenuation "
        "along estimated rays; the source image is the true counterfactual; synthetic"
    )[:1024]
    image.DerivationCodeSequence = [
        code_item(words.PIXEL_BY_PIXEL_MASK),
        code_item(words.RAY_SUMS),
    ]
    masks_object = assemble(
        image,
        masks,
        Maker(
            series_instance_uid=edit_uid(provenance, "seg-series"),
            sop_instance_uid=edit_uid(provenance, "seg"),
            dimensions_uid=edit_uid(provenance, "seg-dimensions"),
            series_number=series_number(provenance, 1),
            version=tool_version(),
            family=CodedConcept.from_code(words.RAY_SUMS),
            how=SegmentAlgorithmTypeValues.AUTOMATIC,
            content=("INSERTION_TRUTH", "Masks of what was put into a film"),
        ),
    )
    mark(masks_object, provenance, study, "masks")
    refer(masks_object, [Reference.to(image), Reference.to(film.header)])
    return {"film.dcm": image, "film-masks.dcm": masks_object}, provenance


def _provenance(
    film: Film, stored: Stored, made: Insertion, made_of: tuple[str, int], mask_sha256: str
) -> Provenance:
    return Provenance(
        edit_id=made_of[0][:32],
        tool="radedit-monailabel",
        tool_version=version("radedit-monailabel"),
        method=METHOD,
        model=MODEL,
        model_sha256=_outliner(),
        prompt=made.sentence,
        invert_prompt="",
        steps=0,
        skip=0.0,
        guidance=0.0,
        seed=made_of[1],
        support="halo",
        edit_mask="seg",
        keep_mask=None,
        source_sop_instance_uid=film.sop_instance_uid,
        source_pixel_sha256=pixel_sha256(film.stored),
        source_display_sha256=display_sha256(film),
        source_decoder=film.decoder,
        result_pixel_sha256=pixel_sha256(stored),
        edit_mask_sha256=mask_sha256,
        keep_mask_sha256=None,
        platform={"python": platform.python_version(), "numpy": np.__version__},
        batch=1,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=SCHEMA,
    )


@cache
def _outliner() -> str:
    """SHA-256 of the one network that has a part: the weights that find the lungs."""
    from radedit.lib import lungs

    weights = Path(lungs.__file__).parents[1] / "model" / "lungs" / "model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def _truth(
    film: Film,
    things: tuple[tuple[Finding, ...], tuple[Device, ...]],
    made: Insertion,
    provenance: Provenance,
) -> dict[str, Any]:
    def area(kind: str) -> int:
        return int(made.masks[kind].sum())

    return {
        "sentence": made.sentence,
        "findings": [
            {"kind": f.kind, "side": f.side, "zone": f.zone, "extent": round(f.extent, 4),
             "area_px": area(f.kind)}
            for f in things[0]
        ],
        "devices": [
            {"kind": d.kind, "side": d.side, "area_px": area(d.kind)} for d in things[1]
        ],
        "counterfactual": {
            "sop_instance_uid": film.sop_instance_uid,
            "pixel_sha256": provenance.source_pixel_sha256,
        },
        "pixel_sha256": provenance.result_pixel_sha256,
    }  # fmt: skip


def _write(
    objects: Mapping[str, Dataset], truth: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    files = {}
    for name, dataset in objects.items():
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        write_file(folder / name, buffer.getvalue())
        files[name] = {
            "sop_instance_uid": str(dataset.SOPInstanceUID),
            "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        }
    whole = {**truth, "files": files}
    write_file(folder / TRUTH, json.dumps(whole, indent=2) + "\n")
    return whole
