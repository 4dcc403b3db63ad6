"""Every film that victims are asked about for one subject: real, edited, sham, controls, truth.

All go the same way back into stored values, so that a control is quantised as an edit is. Edits
are kept in a folder, accepted or not: a stopped run, and a run with another victim, makes none
twice. What is kept is the change of the stored values inside a window, and what was judged of it.
"""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import PYDICOM_ROOT_UID, generate_uid
from scipy.ndimage import distance_transform_edt

from radedit.lib import masks
from radedit.lib.cases import Case, EditRequest, Prepared
from radedit.lib.composite import support_weight
from radedit.lib.errors import FilmError, MaskError, NotFoundError, PromptError, SourceError
from radedit.lib.mask_grammar import parse
from radedit.lib.pipeline import Edited, Editor
from radedit.lib.sources import FilmSources
from radedit.lib.stress.attention import grounding
from radedit.lib.stress.controls import blurred, masked_out, reconstructed
from radedit.lib.stress.corruptions import corrupted
from radedit.lib.stress.edit_files import read_edit, write_edit
from radedit.lib.stress.evidence import NO_CHANGE, against_truth
from radedit.lib.stress.filters import Verdict, judged, objections
from radedit.lib.stress.judge import Judge
from radedit.lib.stress.quality import ssim_outside
from radedit.lib.stress.subjects import Image, Mask, Subject
from radedit.lib.stress.suite import Edit, Filter, Suite
from radedit_dicom.errors import DicomError
from radedit_dicom.film import Film
from radedit_dicom.pixels import apply_display_delta, presentation_table, to_display
from radedit_dicom.provenance import edit_uid

_NO_EDIT = (MaskError, FilmError, PromptError, NotFoundError, SourceError, DicomError)


@dataclass(frozen=True)
class Arm:
    """Which film of a subject.

    Attributes
    ----------
    kind : real, edit, sham, blur, reconstruction, masked, dose, truth, corruption
    edit : name of the suite's edit; of a corruption, its name
    seed : of an edit or a sham
    level : part of an edit's change (dose), or severity of a corruption
    """

    kind: str
    edit: str = ""
    seed: int = 0
    level: float = 0.0


@dataclass(frozen=True, eq=False)
class Shown:
    """One film to ask victims about.

    Attributes
    ----------
    film : with its own stored values and UID
    display : float32 [rows, cols], 0 to 1, as `to_display`
    about : figures of an edit or a sham: accepted, reasons, scores, dose, seconds, ...
    """

    arm: Arm
    film: Film
    display: Image
    about: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Maker:
    """What makes the films of a suite.

    Attributes
    ----------
    judge : the independent reader, where the suite asks for one
    folder : where edits are kept
    key : of the run; edits of another one are not believed
    """

    suite: Suite
    editor: Editor
    judge: Judge | None
    folder: Path
    key: str

    def films(self, subject: Subject) -> Iterator[Shown | tuple[Arm, Exception]]:
        """Give every film of a subject, or the error that says why there is none."""
        film, display = subject.film, to_display(subject.film)
        yield Shown(Arm("real"), film, display)
        for name in self.suite.controls.corruptions:
            for severity in self.suite.controls.severities:
                spoilt = corrupted(display, name, severity, zlib.crc32(subject.key.encode()))
                arm = Arm("corruption", name, level=severity)
                yield _shown(subject, display, spoilt, arm)
        for edit in self.suite.edits:
            if subject.is_for(edit):
                yield from self._of_edit(subject, display, edit)

    def _of_edit(
        self, subject: Subject, display: Image, edit: Edit
    ) -> Iterator[Shown | tuple[Arm, Exception]]:
        arm = Arm("edit", edit.name)
        try:
            drawn = drawn_masks(subject, edit)
            prepared = self._prepared(subject, edit, drawn, edit.seeds[0])
        except _NO_EDIT as error:
            for seed in edit.seeds:
                yield replace(arm, seed=seed), error
            return
        truth = subject.truth(edit)
        for seed in edit.seeds:
            shown = self._tried(subject, edit, drawn, replace(arm, seed=seed))
            if isinstance(shown, Shown) and truth is not None and edit.removes and not edit.adds:
                against = against_truth(display, shown.display, truth)
                shown = replace(shown, about={**(shown.about or {}), "truth": against})
            if isinstance(shown, Shown) and seed == edit.seeds[0]:
                for dose in edit.doses:
                    part = display + np.float32(dose) * (shown.display - display)
                    part_arm = Arm("dose", edit.name, seed, dose)
                    yield _shown(subject, display, part, part_arm, prepared)
            yield shown
        yield from self._shams(subject, edit, drawn)
        yield from self._controls(subject, display, edit.name, prepared, drawn.get("keep"))
        if truth is not None:
            yield _shown(subject, display, truth, Arm("truth", edit.name), prepared)

    def _shams(
        self, subject: Subject, edit: Edit, drawn: dict[str, Mask]
    ) -> Iterator[Shown | tuple[Arm, Exception]]:
        controls = self.suite.controls
        if not controls.sham:
            return
        if not subject.text:
            yield Arm("sham", edit.name), FilmError("no words say what the film shows")
            return
        # Guidance would exaggerate what is there, and a missed finding would then be found.
        plain = {**edit.parameters, "guidance": 1.0}
        same = replace(edit, prompt=subject.text, removes=(), adds=(), parameters=plain)
        for seed in edit.seeds[: controls.sham_seeds]:
            yield self._tried(subject, same, drawn, Arm("sham", edit.name, seed))

    def _controls(
        self, subject: Subject, display: Image, name: str, prepared: Prepared, keep: Mask | None
    ) -> Iterator[Shown]:
        controls, weight = self.suite.controls, None
        if controls.blur_mm:
            weight = support_weight(prepared.edit, prepared.held, prepared.parameters)
            px = controls.blur_mm / (subject.film.spacing_mm or (_ASSUMED_MM,))[0]
            yield _shown(subject, display, blurred(display, weight, px), Arm("blur", name))
        if controls.reconstruction:
            backbone = self.editor.backbone(self.suite.model or None)
            again = reconstructed(prepared, backbone)
            yield _shown(subject, display, again, Arm("reconstruction", name))
        if controls.masked:
            grey = prepared.edit if keep is None else prepared.edit & ~keep
            yield _shown(subject, display, masked_out(display, grey), Arm("masked", name))

    def _prepared(
        self, subject: Subject, edit: Edit, drawn: dict[str, Mask], seed: int
    ) -> Prepared:
        request = EditRequest(
            prompt=subject.said(edit.prompt),
            edit_mask="uploaded:edit" if "edit" in drawn else None,
            keep_mask="uploaded:keep" if "keep" in drawn else None,
            invert_prompt=subject.said(edit.invert_prompt),
            film_text=subject.text,
            model=self.suite.model or None,
            parameters={**edit.parameters, "seed": seed},
        )
        sources = FilmSources(subject.film, uploaded=drawn)
        return self.editor.prepare(Case(subject.film, request, sources))

    def _tried(
        self, subject: Subject, edit: Edit, drawn: dict[str, Mask], arm: Arm
    ) -> Shown | tuple[Arm, Exception]:
        try:
            return self._edited(subject, edit, drawn, arm)
        except _NO_EDIT as error:
            return arm, error

    def _edited(self, subject: Subject, edit: Edit, drawn: dict[str, Mask], arm: Arm) -> Shown:
        digest = zlib.crc32(json.dumps([self.key, asdict(arm)], sort_keys=True).encode())
        path = self.folder / f"{subject.key}-{arm.kind}-{arm.seed}-{digest:08x}.npz"
        kept = read_edit(path, subject.film)
        if kept is None:
            prepared = self._prepared(subject, edit, drawn, arm.seed)
            edited = self.editor.edit_batch([prepared])[0]
            about = self._about(subject, edit, edited, arm.kind == "sham")
            about |= grounding(prepared, self.editor.backbone(self.suite.model or None))
            write_edit(path, subject.film, edited.stored, about)
            kept = edited.stored, about
        stored, about = kept
        film = _variant(subject.film, stored, about["uid"])
        return Shown(arm, film, to_display(film), {**about, "file": path.name})

    def _about(self, subject: Subject, edit: Edit, edited: Edited, sham: bool) -> dict[str, Any]:
        before = to_display(edited.film)
        after = to_display(edited.film, edited.stored)
        seen: list[str] | None = None
        if self.judge is not None and self.suite.filter.consistent:
            facing = after[:, ::-1] if edited.film.is_mirrored else after
            side = subject.words.get("side", "") if subject.words.get("side") != "both" else ""
            here = [name for name, is_there in subject.present.items() if is_there]
            seen = objections(self.judge, np.ascontiguousarray(facing), edit, side, here)
        unseen = [NO_CHANGE] if not sham and not edited.is_visible else []
        # A sham asks for no change, so there is no direction that it could be scored by.
        wanted = Filter(None, outside=self.suite.filter.outside) if sham else self.suite.filter
        verdict: Verdict = judged(edited, wanted, [*unseen, *(seen or ())])
        encoder = self.editor.scorer(self.suite.model or None).encoder
        features = (
            []
            if encoder is None
            else [np.round(encoder.embed_image(x), 5).tolist() for x in (before, after)]
        )
        return {
            "accepted": not verdict.reasons,
            "reasons": list(verdict.reasons),
            "read": seen is not None,
            "scores": dict(verdict.scores),
            "dose": float(np.abs(after - before)[edited.edit].mean()),
            "ssim_outside": ssim_outside(before, after, edited.edit),
            "lost_to_keep": edited.cells_lost_to_keep,
            "features": features,
            "seconds": round(sum(edited.seconds.values()), 3),
            "sha256": edited.provenance.result_pixel_sha256,
            "uid": str(edit_uid(edited.provenance, "sc")),
        }


_ASSUMED_MM = 0.8  # of a film of 512 pixels that does not say; only the blur's width rests on it


def drawn_masks(subject: Subject, edit: Edit) -> dict[str, Mask]:
    """Draw the masks of an edit: `edit` and `keep`, as far as there are any.

    Raises
    ------
    MaskError, RadEditError, DicomError
        A mask cannot be drawn.
    """
    frame = masks.Frame(*subject.film.shape, subject.film.spacing_mm)

    def draw(expression: str) -> Mask:
        return masks.evaluate(parse(subject.said(expression)), frame, subject.sources)

    drawn = {}
    if edit.edit_mask:
        drawn["edit"] = draw(edit.edit_mask)
        if edit.shape == "box" and drawn["edit"].any():
            drawn["edit"] = _box(
                drawn["edit"], edit.box_mm / (frame.spacing_mm or (_ASSUMED_MM,))[0]
            )
    if edit.keep_mask:
        drawn["keep"] = draw(edit.keep_mask)
    if edit.keep_rest and "edit" in drawn:
        drawn["keep"] = ~drawn["edit"] | drawn.get("keep", np.zeros_like(drawn["edit"]))
    return drawn


def region_of(subject: Subject, expression: str) -> Mask:
    """Draw the true outline of a structure; errors as `drawn_masks`."""
    frame = masks.Frame(*subject.film.shape, subject.film.spacing_mm)
    return masks.evaluate(parse(expression), frame, subject.sources)


def kept_edit(path: Path, film: Film) -> Film | None:
    """Read a kept edit of a film again; None where it is not there."""
    kept = read_edit(path, film)
    return None if kept is None else _variant(film, kept[0], kept[1]["uid"])


def _box(mask: Mask, margin_px: float) -> Mask:
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = np.zeros_like(mask)
    box[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] = True
    reach = (
        distance_transform_edt(~box[rows[0]]) <= margin_px,
        distance_transform_edt(~box[:, cols[0]]) <= margin_px,
    )
    return np.asarray(np.outer(reach[1], reach[0]))


def _shown(
    subject: Subject, before: Image, after: Image, arm: Arm, prepared: Prepared | None = None
) -> Shown:
    """Bring a changed display back into stored values and look at it again."""
    stored = apply_display_delta(subject.film, np.asarray(after - before, np.float32))
    film = _variant(subject.film, stored, f"{subject.key} {arm}")
    display = to_display(film)
    about = None
    if prepared is not None:
        about = {"dose": float(np.abs(display - before)[prepared.edit].mean())}
    return Shown(arm, film, display, about)


def _variant(film: Film, stored: NDArray[Any], name: str) -> Film:
    header = copy.deepcopy(film.header)  # a shallow one shares its elements
    digits = name if name.startswith(PYDICOM_ROOT_UID) else generate_uid(entropy_srcs=[name])
    header.SOPInstanceUID, header.SyntheticData = digits, "YES"
    window = presentation_table(film).window
    if window is not None:  # made up from the film's values, of which an edit may take the largest
        header.WindowCenter, header.WindowWidth = (f"{value:.10g}" for value in window)
    return replace(film, stored=stored, header=header)
