"""Rebuild an edit from what its objects record, and compare the pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radedit.lib.cases import Case, EditRequest
from radedit.lib.edit.precision import usable
from radedit.lib.edit_objects import FoundEdit, find_edit, object_in
from radedit.lib.errors import ReplayError
from radedit.lib.parameters import PRECISIONS
from radedit.lib.pipeline import Editor, Progress
from radedit.lib.record import this_platform
from radedit_dicom import decoders
from radedit_dicom.errors import DicomError, ProvenanceError
from radedit_dicom.film import Film, read_film
from radedit_dicom.parsing import parse
from radedit_dicom.pixels import display_sha256
from radedit_dicom.provenance import SCHEMA, Provenance, pixel_sha256
from radedit_dicom.segment_reader import read_segmentation
from radedit_dicom.vocabulary import EDIT_LABEL, KEEP_LABEL

Mask = NDArray[np.bool_]
MOST = 1024  # threads, or cases of a batch, that a record may ask for


@dataclass(frozen=True)
class Replay:
    """What a replay found.

    Attributes
    ----------
    identical : the rebuilt stored values are the ones in the file, and both are the ones the
        record names
    differing_pixels : how many stored values differ from the file's
    first_difference : row, column, value in the file, value rebuilt; None when none differs
    largest_difference : in stored values
    other_platform : what differs from how the edit was made (machine, versions, threads,
        device, precision, batch); the same bytes are promised only where
        this is empty
    schema : of the record; an older one says less than decides the pixels today
    """

    edit_id: str
    identical: bool
    recorded_sha256: str
    file_sha256: str
    rebuilt_sha256: str
    differing_pixels: int
    first_difference: tuple[int, int, int, int] | None
    largest_difference: int
    other_platform: Mapping[str, str]
    schema: int = SCHEMA

    def sentence(self) -> str:
        """The verdict in words."""
        if self.identical:
            return f"identical: the rebuilt pixels hash to {self.rebuilt_sha256}, as recorded."
        parts = []
        if self.file_sha256 != self.recorded_sha256:
            parts.append("the file's pixels are not the ones its record names")
        if self.first_difference is not None:
            row, col, found, rebuilt = self.first_difference
            parts.append(
                f"{self.differing_pixels} pixels differ, first at row {row}, column {col} "
                f"({found} in the file, {rebuilt} rebuilt), by at most {self.largest_difference}"
            )
        if self.other_platform:
            changed = ", ".join(f"{k}: {v}" for k, v in self.other_platform.items())
            parts.append(f"it ran otherwise here ({changed}), where the last bits may differ")
        if self.first_difference is not None and self.schema != SCHEMA:
            parts.append(
                f"its record is of schema {self.schema}, and this version rebuilds edits of schema "
                f"{SCHEMA}; use the version that made it"
            )
        return "not identical: " + "; ".join(parts or ["the record was changed"]) + "."


def replay(edited: Path, source: Path, editor: Editor, progress: Progress | None = None) -> Replay:
    """Run a recorded edit again and compare.

    Parameters
    ----------
    edited : the Secondary Capture, or its report; what else the edit needs (its SEG, the image of
        a report, the report of an image without a record) lies in the same folder or below
    source : the film that it was made from

    Raises
    ------
    ReplayError
        The source is another film or is read or shown otherwise than then, or the masks of the
        edit are not to be had.
    DicomError
        A file cannot be read.
    """
    found = find_edit(edited)
    result, record = found.image, found.record
    film = _source(source, found)
    masks = _masks(found)
    request = EditRequest(
        prompt=record.prompt,
        edit_mask="uploaded:edit",
        keep_mask="uploaded:keep" if "keep" in masks else None,
        invert_prompt=record.invert_prompt,
        model=record.model,
        parameters={
            "method": record.method,
            "steps": record.steps,
            "skip": record.skip,
            "guidance": record.guidance,
            "seed": record.seed,
            "support": record.support,
            "keep": record.extra.get("keep", "values"),
            "solver": record.extra.get("solver", "ddpm"),
            **_widths(record),
        },
    )
    model_sha256 = editor.backbone(record.model).sha256
    if model_sha256 != record.model_sha256:
        raise ReplayError(
            f"the model '{record.model}' has other weights here ({model_sha256[:12]}) than the "
            f"edit was made with ({record.model_sha256[:12]}); install those and try again."
        )
    # In the precision of the record, unless the device only emulates it and would take for ever.
    if record.platform.get("dtype") in PRECISIONS:
        dtype = record.platform["dtype"]
        if usable(dtype, editor.settings.device):
            editor = editor.in_precision(dtype)
    threads, size = _counts(record)
    if threads:  # sums are split between threads, so their number decides the last bits
        torch.set_num_threads(threads)
    # Kernels choose by the shape of a batch, so the film fills one of the recorded size.
    batch = [Case(film, request, _Recorded(masks))] * size
    rebuilt = [edited.stored for edited in editor.edit_batch(batch, progress)]
    same = (stored for stored in rebuilt if np.array_equal(stored, result.stored))
    here = dict(this_platform(editor.run_of(record.model)))
    here["batch"] = str(size)
    return _compare(record, result.stored, next(same, rebuilt[0]), here)


def _counts(record: Provenance) -> tuple[int, int]:
    """Threads, 0 = not said, and cases of the batch; a damaged record may name any number."""
    threads = record.platform.get("threads", "0")
    if not (threads.isdecimal() and int(threads) <= MOST and 0 <= record.batch <= MOST):
        raise ProvenanceError(
            "The record names threads or cases that no edit ran with; use the original object."
        )
    return int(threads), max(1, record.batch)


def _widths(record: Provenance) -> dict[str, int]:
    try:
        return {name: int(record.extra[name]) for name in ("band_px", "feather_px")}
    except (KeyError, ValueError):
        raise ProvenanceError(
            "the record lacks the widths of its band and feather; it is damaged or from another "
            "version, use the version that wrote it."
        ) from None


class _Recorded:
    """The masks of the edit, read from its SEG."""

    def __init__(self, masks: Mapping[str, Mask]) -> None:
        self._masks = masks

    def mask(self, kind: str, name: str) -> Mask:
        return self._masks[name]


def _source(path: Path, found: FoundEdit) -> Film:
    """Read the film that the edit was made from, with the decoder that it was read with then."""
    film, record = read_film(path), found.record
    # A renamed edit may have been made from what is renamed as well: its pixels decide.
    if not found.is_renamed and film.sop_instance_uid != record.source_sop_instance_uid:
        raise ReplayError(
            f"The edit was made from the instance {record.source_sop_instance_uid}, and the "
            f"source given is {film.sop_instance_uid}; give the film it was made from."
        )
    if pixel_sha256(film.stored) != record.source_pixel_sha256:
        film = _read_otherwise(path, film, record)
    if record.source_display_sha256 not in ("", display_sha256(film)):
        raise ReplayError(
            "The source has the right pixels, but it is shown otherwise than when the edit "
            "was made (its window, look-up table, polarity, padding or orientation was changed); "
            "give the unchanged film."
        )
    return film


def _read_otherwise(path: Path, film: Film, record: Provenance) -> Film:
    """Try the other decoders, where the first one does not give the pixels of the record."""
    syntax = film.transfer_syntax
    read = {film.decoder}
    for plugin in decoders.installed(syntax) if film.decoder else ():
        try:
            other = read_film(path, decoder=plugin)
        except DicomError:  # one that cannot read it; another one did
            continue
        if pixel_sha256(other.stored) == record.source_pixel_sha256:
            return other
        read.add(other.decoder)
    if syntax in decoders.LOSSY and record.source_decoder not in read:
        there = record.source_decoder or "a decoder that its older record does not name"
        raise ReplayError(
            "The source's pixels are compressed with loss, and "
            f"{' and '.join(sorted(read))} here read them as other values than {there} did when "
            "the edit was made; install that decoder to replay it. If it is the same, the film "
            "itself was changed: give the unchanged one."
        )
    raise ReplayError(
        "The source has other pixels than the edit was made from; give the unchanged film."
    )


def _masks(found: FoundEdit) -> dict[str, Mask]:
    """The edit's masks out of its SEG, which lies on the edited image, checked by hash."""
    path = object_in(found.folder, found.segmentation, "The masks of this edit are in the SEG")
    record = found.record
    try:
        segments = read_segmentation(parse(path, pixels=True), found.image)
    except DicomError as error:
        raise ReplayError(str(error)) from error
    masks = {"edit": segments.get(EDIT_LABEL), "keep": segments.get(KEEP_LABEL)}
    wanted = {"edit": record.edit_mask_sha256, "keep": record.keep_mask_sha256}
    for name, mask in masks.items():
        if (pixel_sha256(mask) if mask is not None else None) != wanted[name]:
            raise ReplayError(f"the {name} mask in the SEG is not the one the edit was made with.")
    return {name: mask for name, mask in masks.items() if mask is not None}


def _compare(
    record: Provenance, found: NDArray[Any], rebuilt: NDArray[Any], here: Mapping[str, str]
) -> Replay:
    if found.shape != rebuilt.shape:
        raise ReplayError(
            f"the edited image has {found.shape[0]} x {found.shape[1]} pixels and its source "
            f"{rebuilt.shape[0]} x {rebuilt.shape[1]}; it is not an edit of that film."
        )
    differs = np.argwhere(found != rebuilt)
    first = None
    if len(differs):
        row, col = (int(i) for i in differs[0])
        first = (row, col, int(found[row, col]), int(rebuilt[row, col]))
    hashes = (record.result_pixel_sha256, pixel_sha256(found), pixel_sha256(rebuilt))
    there = {**record.platform, "batch": str(record.batch)}
    return Replay(
        edit_id=record.edit_id,
        identical=len(set(hashes)) == 1,
        recorded_sha256=hashes[0],
        file_sha256=hashes[1],
        rebuilt_sha256=hashes[2],
        differing_pixels=len(differs),
        first_difference=first,
        largest_difference=int(np.abs(found.astype(np.int64) - rebuilt.astype(np.int64)).max()),
        other_platform={
            name: f"{made} there, {here.get(name, '')} here"
            for name, made in there.items()
            if here.get(name) != made
        },
        schema=record.schema,
    )
