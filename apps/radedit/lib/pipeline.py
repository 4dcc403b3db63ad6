"""One edit from film to stored values: masks, edit, composite, score, in a straight line.

Here the pixels of `radedit_dicom` meet the model of `edit`, as numpy arrays and frozen
dataclasses. Reading a film comes before, writing objects after (`deliver`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radedit.lib import masks
from radedit.lib.cases import Case, EditRequest, Prepared, prepare
from radedit.lib.composite import native_change, support_weight
from radedit.lib.edit.backbone import Backbone, load_backbone
from radedit.lib.edit.course import Course, DenoiseRows, Hooks, stoppable
from radedit.lib.edit.inversion import draw_noise_batch, invert
from radedit.lib.edit.methods import METHODS
from radedit.lib.edit.precision import resolve
from radedit.lib.edit.radedit import Conditioning, EditMasks, Plan, resumed
from radedit.lib.edit.schedule import Schedule
from radedit.lib.kept import Kept, inversion_key
from radedit.lib.lifted import laid_over
from radedit.lib.parameters import AUTO, inversion_of, validate_parameters
from radedit.lib.parameters import Defaults as Parameters
from radedit.lib.record import Run, edit_id, provenance_of
from radedit.lib.score.directional import Directional
from radedit.lib.score.fidelity import Fidelity, fidelity
from radedit.lib.scoring import Scorer, record_of, scorer_or_reason
from radedit.lib.settings import Settings, load_settings
from radedit.lib.sources import FilmSources
from radedit_dicom.film import Film
from radedit_dicom.pixels import apply_display_delta, to_display
from radedit_dicom.provenance import Provenance

Mask = NDArray[np.bool_]
Progress = Callable[[int, int], None]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Edited:
    """The outcome of one edit, not yet written.

    Attributes
    ----------
    stored : as `film.stored`, the new stored values
    edit, keep : bool [rows, cols], the masks as `Prepared` has them
    support : bool [rows, cols], True = where a pixel could change
    cells_lost_to_keep : the part, 0 to 1, of the edit's latent cells that the keep mask took
    seconds : wall time of each stage
    directional : whether the film changed as the words did
    """

    film: Film
    stored: NDArray[Any]
    edit: Mask
    keep: Mask
    support: Mask
    cells_lost_to_keep: float
    provenance: Provenance
    fidelity: Fidelity
    seconds: Mapping[str, float]
    directional: Directional = field(default_factory=Directional)

    @property
    def is_visible(self) -> bool:
        """Whether a reader of the film could see that it was edited."""
        return self.fidelity.visible_pixels > 0

    @property
    def scores(self) -> dict[str, float | None]:
        """Every score by name; None = there is none, for the reason in the provenance."""
        return self.fidelity.as_scores() | self.directional.as_scores()


class Editor:
    """Loaded models, and what a next edit of the same film can reuse.

    Parameters
    ----------
    settings : the parsed configuration; read from the environment unless given
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self._backbones: dict[str, Backbone] = {}
        self._scorers: dict[str, Scorer] = {}
        self._kept = Kept(self.settings.inversion_cache_mb)
        self._loading = threading.Lock()

    def backbone(self, model: str | None = None) -> Backbone:
        """Load a model once.

        Raises
        ------
        NotFoundError
            No model of that name.
        CheckpointError
            Its files are missing, gated, offline or fail their hash.
        ParameterError
            The precision that is set is refused on this device.
        """
        spec = self.settings.model(model)
        with self._loading:
            if spec.name not in self._backbones:
                self._backbones[spec.name] = load_backbone(
                    spec, dtype=getattr(torch, self.dtype), device=self.settings.device
                )
            return self._backbones[spec.name]

    @cached_property
    def dtype(self) -> str:
        """Precision of its U-Nets: the setting, or what it comes to on this device.

        Raises
        ------
        ParameterError
            It is refused here; see `precision.resolve`.
        """
        dtype = resolve(self.settings.dtype, self.settings.device)
        if self.settings.dtype == AUTO:
            _log.info("the U-Net runs in %s on %s", dtype, self.settings.device)
        return dtype

    def in_precision(self, dtype: str) -> Editor:
        """Return an editor of the same settings whose U-Nets run in `dtype`."""
        if dtype == self.dtype:
            return self
        return Editor(replace(self.settings, dtype=dtype))

    def scorer(self, model: str | None = None) -> Scorer:
        """Load what scores a model's edits, once; where it cannot be, the scorer says why."""
        spec, backbone = self.settings.model(model), self.backbone(model)
        with self._loading:
            if spec.name not in self._scorers:
                self._scorers[spec.name] = scorer_or_reason(spec, backbone)
            return self._scorers[spec.name]

    def parameters(self, request: EditRequest) -> Parameters:
        """The request's parameters, checked, with the model's defaults filled in."""
        return validate_parameters(request.parameters, self.settings.defaults_for(request.model))

    def run_of(self, model: str | None, batch: int = 1) -> Run:
        """How this editor runs a model."""
        backbone = self.backbone(model)
        return Run(backbone.name, backbone.sha256, self.settings.device, self.dtype, batch)

    def prepare(self, case: Case) -> Prepared:
        """Check a case and draw its masks; see `cases.prepare`."""
        model = case.request.model
        return prepare(case, self.parameters(case.request), self.backbone(model))

    def edit_id(self, prepared: Prepared) -> str:
        """Name the edit that a prepared case would become."""
        return edit_id(prepared, self.run_of(prepared.case.request.model))

    def edit(
        self,
        film: Film,
        request: EditRequest,
        sources: masks.Sources | None = None,
        progress: Progress | None = None,
    ) -> Edited:
        """Edit one film; see `edit_batch`."""
        case = Case(film, request, sources or FilmSources(film))
        return self.edit_batch([case], progress)[0]

    def edit_batch(
        self,
        cases: Sequence[Case | Prepared],
        progress: Progress | None = None,
        course: Course | None = None,
    ) -> list[Edited]:
        """Edit films of one model and one schedule in one batch.

        Parameters
        ----------
        cases : at least one; of one model, alike in `Defaults.shared` and `inversion_of`. A case
            alone gives the same bytes again; in a batch of another size its stored values may
            differ in the last place (bound and figures: docs/benchmarks.md)
        progress : called with (done, total) diffusion steps
        course : all that can be heard of and stopped, in place of `progress`, and where the same
            batch, cases and order included, goes on

        Raises
        ------
        RadEditError
            A parameter, prompt, mask or checkpoint is refused (see `errors`).
        DicomError
            The film's presentation cannot be tabulated.
        """
        clock = _Clock()
        requests = [(c.case if isinstance(c, Prepared) else c).request for c in cases]
        if len({self._plan_of(request) for request in requests}) != 1:
            raise ValueError("a batch's cases must share model, `Defaults.shared`, `inversion_of`")
        model, parameters = requests[0].model, self.parameters(requests[0])
        backbone = self.backbone(model)
        clock.lap("load_model")
        prepared = [c if isinstance(c, Prepared) else self.prepare(c) for c in cases]
        clock.lap("masks")
        schedule = backbone.schedule(parameters.steps, parameters.skip, parameters.solver)
        course = course or Course(Hooks(progress=progress))
        x0 = torch.cat([self._kept.encoded(p, backbone) for p in course.over(prepared)])
        clock.lap("encode")
        delta = self._delta(prepared, backbone, schedule, x0, course)
        clock.lap("edit")
        # Calls of one shape, so that rounding is the same in both decodings of a case.
        latents = zip(prepared, x0.float()[:, None], delta.float()[:, None], strict=True)
        pairs = [
            torch.cat([backbone.decode(z + d), self._kept.decoded(p, backbone, z)])
            for p, z, d in course.over(latents)
        ]
        clock.lap("decode")
        run = self.run_of(model, len(cases))
        decoded = zip(prepared, pairs, strict=True)
        finished = [_finish(p, pair, run) for p, pair in course.over(decoded)]
        clock.lap("composite")
        scorer = self.scorer(model)
        results = [_scored(scorer, p, *f) for p, f in zip(prepared, finished, strict=True)]
        clock.lap("score")
        return [replace(result, seconds=dict(clock.seconds)) for result in results]

    def _plan_of(self, request: EditRequest) -> tuple[object, ...]:
        inversion = inversion_of(request.prompt, request.invert_prompt)
        return self.settings.model(request.model).name, *self.parameters(request).shared, inversion

    def _delta(
        self,
        prepared: Sequence[Prepared],
        backbone: Backbone,
        schedule: Schedule,
        x0: torch.Tensor,
        course: Course,
    ) -> torch.Tensor:
        hooks, resume = course.hooks, course.resume
        if resume is not None and resume.done == len(schedule):
            return resumed(resume, schedule, x0)
        requests = [p.case.request for p in prepared]
        conditioning = Conditioning(
            cond=backbone.encode_text([r.prompt for r in requests]),
            uncond=backbone.encode_text([""] * len(requests)),
            inversion=backbone.encode_text([r.invert_prompt for r in requests]),
        )
        latent_masks = EditMasks(
            edit=torch.stack([torch.from_numpy(p.edit_cells)[None] for p in prepared]),
            keep=torch.stack([torch.from_numpy(p.keep_cells)[None] for p in prepared]),
        )
        method = METHODS[prepared[0].parameters.method]
        seeds = [p.parameters.seed for p in prepared]
        noise = draw_noise_batch(tuple(x0.shape[1:]), len(schedule), seeds)
        plan = Plan(schedule, noise, prepared[0].parameters.guidance, resume=resume)
        network: DenoiseRows = backbone.denoise
        if method.differentiates:
            network = backbone.differentiable_denoise
        denoise = stoppable(network, hooks)
        if method.inverts_ahead:
            keys = [
                inversion_key(p, self.run_of(requests[0].model, len(prepared)), schedule)
                for p in prepared
            ]
            context = conditioning.inversion
            plan = replace(
                plan,
                e_inv=self._kept.inverted(
                    keys, lambda: invert(denoise, x0, context, schedule, noise)
                ),
            )
        return method.run(denoise, x0, conditioning, latent_masks, plan, hooks)


def _finish(p: Prepared, pair: torch.Tensor, run: Run) -> tuple[Edited, NDArray[np.float32]]:
    """Lay the difference of the two decodings [2, 1, S, S] over the film; also its display."""
    film = p.case.film
    edited, unedited = pair.float().cpu().numpy()[:, 0]
    weight = support_weight(p.edit, p.held, p.parameters)
    drawn = edited - unedited
    if film.is_mirrored:
        drawn = np.ascontiguousarray(drawn[:, ::-1])
    # The model's images span -1 to 1, the stretched display 0 to 1.
    change = native_change(drawn, p.grid, weight) * np.float32(p.contrast / 2)
    if p.lifted is not None:
        change = laid_over(change, p.display, p.lifted)
    stored = apply_display_delta(film, change)
    display = to_display(film, stored)
    support = weight > 0
    result = Edited(
        film=film,
        stored=stored,
        edit=p.edit,
        keep=p.keep,
        support=support,
        cells_lost_to_keep=p.cells_lost_to_keep,
        provenance=provenance_of(p, stored, run),
        fidelity=fidelity((film.stored, stored), (p.display, display), p.edit, p.keep, support),
        seconds={},
    )
    return result, display


def _scored(scorer: Scorer, p: Prepared, edited: Edited, display: NDArray[np.float32]) -> Edited:
    """Score an edit, and write down what came of it; it is kept whatever that is."""
    found = scorer.score(p, display)
    record = edited.provenance
    extra = {**record.extra, **record_of(scorer, p, found)}
    return replace(edited, directional=found, provenance=replace(record, extra=extra))


class _Clock:
    """Wall time of one stage after the other."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now
