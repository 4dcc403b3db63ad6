"""Edits of one patient of the bench, measured against the patient's true counterfactuals.

Every edit runs alone and not in a batch: so it gives the same bytes wherever it stands, and a
stopped run goes on to the same figures. One patient's edits share what the inversion cache holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from radedit.lib.bench.cases import NORMAL, Addition, Removal, draw, grown
from radedit.lib.bench.measures import (
    Border,
    Drain,
    Image,
    Mask,
    border_of,
    dice,
    mean_error,
)
from radedit.lib.cases import EditRequest
from radedit.lib.errors import FilmError, MaskError
from radedit.lib.lungs import segment_lungs
from radedit.lib.parameters import Defaults as Parameters
from radedit.lib.pipeline import Editor
from radedit.lib.sources import FilmSources
from radedit.lib.stress.judge import Judge
from radedit_dicom.film import Film
from radedit_dicom.pixels import to_display

Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """One way to edit.

    Attributes
    ----------
    masks, keeps : whether the edit mask and the keep mask are given
    sham : True = the prompt asks for what is there already
    empty_inversion : True = the inversion is conditioned on "", as in the paper
    parameters : of the edit
    """

    masks: bool = True
    keeps: bool = True
    sham: bool = False
    empty_inversion: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)


_VALUES = {
    "method": "radedit",
    "keep": "values",
    "support": "band",
    "band_px": Parameters().band_px,
}
_ATTENUATION = {**_VALUES, "keep": "attenuation"}
_DIFFEDIT = {**_VALUES, "method": "diffedit"}
REMOVALS: Mapping[str, Method] = {
    "sham": Method(sham=True, parameters=_ATTENUATION),
    "radedit, values kept": Method(empty_inversion=True, parameters=_VALUES),
    "radedit, attenuation kept": Method(empty_inversion=True, parameters=_ATTENUATION),
    "radedit, attenuation kept, finding inverted": Method(parameters=_ATTENUATION),
    "radedit, no keep mask": Method(keeps=False, empty_inversion=True, parameters=_VALUES),
    "diffedit": Method(empty_inversion=True, parameters=_DIFFEDIT),
    "global prompt": Method(
        masks=False,
        keeps=False,
        empty_inversion=True,
        parameters={"method": "radedit", "support": "free"},
    ),
}
AS_IS, TRUTH, RADEDIT, DIFFEDIT = "left as is", "truth", "radedit", "diffedit"
ANEW = "truth, its vessels drawn anew"
ADDITIONS: Mapping[str, Method] = {
    RADEDIT: Method(parameters=_VALUES),
    DIFFEDIT: Method(parameters=_DIFFEDIT),
}
DIFFEDIT_ADDS = ("consolidation",)  # one kind is enough to show its border
# The mask says where; at the model's own guidance these become up to twice as dense as in truth.
GUIDANCE = {"consolidation": 2.0, "pacemaker": 2.0}
OWN_GUIDANCE = "radedit, the model's own guidance"


@dataclass(frozen=True)
class Bench:
    """What every patient of one run is measured with.

    Attributes
    ----------
    model : an entry of the model registry; None = the default one
    size : pixels of a film's longer side
    parameters : over the model's defaults, in all edits
    """

    editor: Editor
    judge: Judge
    model: str | None = None
    size: int = 512
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def edit(self, film: Film, request: EditRequest, masks: Mapping[str, Mask]) -> Image:
        """Edit a film, with masks by the names that the request calls them; give its display."""
        given = {**request.parameters, **self.parameters}
        request = replace(request, model=self.model, parameters=given)
        edited = self.editor.edit(film, request, FilmSources(film, uploaded=masks))
        return to_display(film, edited.stored)

    def seen(self, image: Image) -> set[str]:
        """All that the judge sees on a film, by its labels."""
        opinion = self.judge.opinion(image)
        return {label for label, p in opinion.items() if p >= self.judge.thresholds[label]}


@dataclass(frozen=True, eq=False)
class Measured:
    """One patient's figures, and what the pictures need of it.

    Attributes
    ----------
    row : "removal", "additions": method (and kind) to figures; ready for JSON
    images : name to image or mask
    """

    row: Row
    images: Mapping[str, Image | Mask]


def measure(number: int, bench: Bench) -> Measured:
    """Edit and measure one patient of the bench.

    Raises
    ------
    RadEditError
        The model refuses a prompt, or its files are missing.
    """
    removal, additions = draw(number, bench.size)
    images: dict[str, Image | Mask] = {}
    row: Row = {"number": number, "removal": _remove(removal, bench, images), "additions": []}
    for addition in additions:
        row["additions"].append(_add(addition, bench, images))
    return Measured(row, images)


def removal_request(case: Removal, method: Method, seed: int) -> EditRequest:
    """What is asked for: masks `edit` and `keep`, as uploads."""
    return EditRequest(
        prompt=case.sentence if method.sham else NORMAL,
        edit_mask="uploaded:edit" if method.masks else None,
        keep_mask="uploaded:keep" if method.keeps else None,
        invert_prompt="" if method.empty_inversion else case.sentence,
        film_text=case.sentence,
        parameters={"seed": seed, **method.parameters},
    )


def _remove(case: Removal, bench: Bench, images: dict[str, Image | Mask]) -> Row:
    before, masks = to_display(case.film), case.masks()
    drain = Drain(case.truth, case.empty, case.drain, case.lungs)
    border = border_of(masks["edit"], before, case.chest, case.seed)
    films, bare, refused = {AS_IS: before}, {AS_IS: to_display(case.bare)}, set[str]()
    for name, method in REMOVALS.items():
        request = removal_request(case, method, case.seed)
        given = case.masks(request.parameters.get("keep", "values"))
        try:
            films[name] = bench.edit(case.film, request, given)
            bare[name] = bench.edit(case.bare, request, given)
        except MaskError:  # a small finding, all of whose cells the keep mask takes
            films[name], bare[name] = before, bare[AS_IS]
            refused.add(name)
    films[ANEW], bare[ANEW] = case.anew, case.anew_empty
    films[TRUTH], bare[TRUTH] = case.truth, case.empty
    images |= {f"removal/{name}": film for name, film in films.items()}
    images |= {f"removal/{name} shadow": 0.5 + film - bare[name] for name, film in films.items()}
    images |= {f"removal/{name} mask": mask for name, mask in masks.items()}
    seen = {name: bench.seen(film) for name, film in films.items()}
    return {
        name: {
            "refused": name in refused,
            "gone": f"pneumothorax {case.side}" not in seen[name],
            "drain_called": f"chest drain {case.side}" in seen[name],
            **_drain(drain, film, bare[name]),
            "error": mean_error(film, case.truth, masks["edit"]),
            "elsewhere": mean_error(film, before, ~masks["edit"]),
            **_seam(border, film),
        }
        for name, film in films.items()
    }


def _drain(drain: Drain, film: Image, bare: Image) -> Row:
    overlap, contrast = drain.compare(film, bare)
    coarse_overlap, coarse_contrast = drain.compare(film)
    return {
        "drain_dice": overlap,
        "drain_contrast": contrast,
        "drain_dice_on_true_lung": coarse_overlap,
        "drain_contrast_on_true_lung": coarse_contrast,
    }


def _seam(border: Border, film: Image) -> Row:
    seam = border.seam(film)
    return {"gradient": seam.mean, "seam": seam.z}


def _add(case: Addition, bench: Bench, images: dict[str, Image | Mask]) -> Row:
    before = to_display(case.film)
    border = border_of(case.edit, before, case.chest, case.seed)
    lungs, called = _lungs(before), bench.seen(before)
    others = set(bench.judge.meant_by(case.kind)) - {case.label}
    films = {AS_IS: before}
    for name, method in _additions_of(case.kind).items():
        request = EditRequest(
            prompt=case.prompt,
            edit_mask="uploaded:edit",
            invert_prompt=NORMAL,
            film_text=NORMAL,
            parameters={"seed": case.seed, **method.parameters},
        )
        films[name] = bench.edit(case.film, request, {"edit": case.edit})
    films[TRUTH] = case.truth
    images |= {f"{case.kind}/{name}": film for name, film in films.items()}
    images[f"{case.kind}/edit mask"] = case.edit
    outside = ~grown(case.edit, Parameters().band_px)
    methods = {}
    for name, film in films.items():
        seen = bench.seen(film)
        changed = np.abs(film - before)[outside]
        methods[name] = {
            "present": case.label in seen,
            "elsewhere_too": bool((seen & others) - called),
            "error": mean_error(film, case.truth, case.edit),
            "outside_pixels": int((changed > 0).sum()),
            "outside_max": float(changed.max(initial=0)),
            "outside_mean": float(changed.mean()) if changed.size else 0.0,
            "lungs_dice": _lungs_dice(lungs, film, outside),
            **_seam(border, film),
        }
    return {"kind": case.kind, "place": case.place, "methods": methods}


def _additions_of(kind: str) -> dict[str, Method]:
    """How a kind is added: with a guidance of its own where it has one, and without that too."""
    methods = {
        name: method
        for name, method in ADDITIONS.items()
        if name != DIFFEDIT or kind in DIFFEDIT_ADDS
    }
    if kind not in GUIDANCE:
        return methods
    mild = {
        name: replace(method, parameters={**method.parameters, "guidance": GUIDANCE[kind]})
        for name, method in methods.items()
    }
    return {**mild, OWN_GUIDANCE: methods[RADEDIT]}


def _lungs(image: Image) -> Mask | None:
    try:
        return segment_lungs(image)["lungs"]
    except FilmError:
        return None


def _lungs_dice(lungs: Mask | None, image: Image, where: Mask) -> float | None:
    """Dice of the lungs that the embedded segmenter draws, outside the support; None = no lung."""
    found = _lungs(image)
    return None if lungs is None or found is None else dice(lungs & where, found & where)
