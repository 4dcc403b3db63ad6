"""One edit from film to stored values: masks, edit, composite, score, in a straight line.

Here the pixels of `radedit_dicom` meet the model of `edit`, as numpy arrays and frozen
dataclasses. Reading a film comes before, writing objects after (`deliver`).
"""

from __future__ import annotations

import hashlib
import json
import platform
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radedit.lib import masks
from radedit.lib.composite import native_change, support_weight
from radedit.lib.edit.backbone import Backbone, load_backbone
from radedit.lib.edit.inversion import InversionCache, InversionKey, draw_noise_batch
from radedit.lib.edit.radedit import Conditioning, EditMasks, Hooks, Plan, radedit
from radedit.lib.edit.schedule import Schedule, make_schedule
from radedit.lib.geometry import SquareGrid, stretch_range
from radedit.lib.parameters import Defaults as Parameters
from radedit.lib.parameters import validate_parameters
from radedit.lib.score.fidelity import Fidelity, fidelity
from radedit.lib.settings import Settings, load_settings
from radedit.lib.sources import FilmSources
from radedit_dicom.film import Film
from radedit_dicom.pixels import apply_display_delta, to_display
from radedit_dicom.provenance import Provenance, pixel_sha256

Mask = NDArray[np.bool_]
Progress = Callable[[int, int], None]
TOOL = "radedit-monailabel"


@dataclass(frozen=True)
class EditRequest:
    """What to do with one film.

    Attributes
    ----------
    prompt : what the edited region shall show
    edit_mask : expression of the mask grammar; None = the whole film
    keep_mask : expression of the mask grammar; None = nothing is kept
    invert_prompt : text the inversion is conditioned on, "" as in the paper
    model : an entry of the model registry; None = the default one
    parameters : method, steps, skip, guidance, seed, support, ...; the model's own defaults
        fill in what is not given
    """

    prompt: str
    edit_mask: str | None = None
    keep_mask: str | None = None
    invert_prompt: str = ""
    model: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Case:
    """One film, what to do with it, and where its masks come from."""

    film: Film
    request: EditRequest
    sources: masks.Sources


@dataclass(frozen=True, eq=False)
class Edited:
    """The outcome of one edit, not yet written.

    Attributes
    ----------
    stored : as `film.stored`, the new stored values
    edit, keep : bool [rows, cols], the masks that were used (keep taken out of edit)
    support : bool [rows, cols], True = where a pixel could change
    """

    film: Film
    stored: NDArray[Any]
    edit: Mask
    keep: Mask
    support: Mask
    provenance: Provenance
    fidelity: Fidelity
    seconds: Mapping[str, float]


class Editor:
    """Loaded models and the inversions that a next edit can reuse.

    Parameters
    ----------
    settings : the parsed configuration; read from the environment unless given
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self._backbones: dict[str, Backbone] = {}
        self._inversions = InversionCache(self.settings.inversion_cache_mb * 2**20)
        self._loading = threading.Lock()

    def backbone(self, model: str | None = None) -> Backbone:
        """Load a model once.

        Raises
        ------
        NotFoundError
            No model of that name.
        CheckpointError
            Its files are missing, gated, offline or fail their hash.
        """
        spec = self.settings.model(model)
        with self._loading:
            if spec.name not in self._backbones:
                self._backbones[spec.name] = load_backbone(
                    spec, dtype=getattr(torch, self.settings.dtype), device=self.settings.device
                )
            return self._backbones[spec.name]

    def parameters(self, request: EditRequest) -> Parameters:
        """The request's parameters, checked, with the model's defaults filled in."""
        return validate_parameters(request.parameters, self.settings.defaults_for(request.model))

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

    def edit_batch(self, cases: Sequence[Case], progress: Progress | None = None) -> list[Edited]:
        """Edit films of one model and one schedule in one batch.

        Parameters
        ----------
        cases : at least one; model, steps, skip and guidance are the same in all
        progress : called with (done, total) diffusion steps

        Raises
        ------
        RadEditError
            A parameter, prompt, mask or checkpoint is refused (see `errors`).
        DicomError
            The film's presentation cannot be tabulated.
        """
        clock = _Clock()
        plans = {self._plan_of(case) for case in cases}
        if len(plans) != 1:
            raise ValueError("the cases of one batch must share model, steps, skip and guidance")
        first = self.parameters(cases[0].request)
        backbone = self.backbone(cases[0].request.model)
        clock.lap("load_model")
        prepared = [self.prepare(case) for case in cases]
        clock.lap("masks")
        schedule = make_schedule(
            backbone.alphas_cumprod, first.steps, first.skip, backbone.final_alpha_bar
        )
        x0 = torch.cat([backbone.encode(_tensor(p.image)) for p in prepared])
        clock.lap("encode")
        delta, inversion = self._delta(prepared, backbone, schedule, x0, progress)
        clock.lap("edit")
        # Both decodings in one call per case, so that rounding is the same in both.
        pairs = [
            backbone.decode(torch.cat([z + d, z]))
            for z, d in zip(x0.float()[:, None], delta.float()[:, None], strict=True)
        ]
        clock.lap("decode")
        results = [
            self._finish(p, pair, backbone, (len(cases), inversion))
            for p, pair in zip(prepared, pairs, strict=True)
        ]
        clock.lap("composite")
        return [Edited(**result, seconds=dict(clock.seconds)) for result in results]

    def _plan_of(self, case: Case) -> tuple[str, int, float, float]:
        p = self.parameters(case.request)
        return self.settings.model(case.request.model).name, p.steps, p.skip, p.guidance

    def prepare(self, case: Case) -> Prepared:
        """Check a case and draw its masks; the diffusion has not begun.

        Raises
        ------
        RadEditError, DicomError
            As `edit_batch`.
        """
        film, request = case.film, case.request
        backbone = self.backbone(request.model)
        parameters = self.parameters(request)
        backbone.check_prompt(request.prompt)
        if request.invert_prompt:
            backbone.check_prompt(request.invert_prompt)
        frame = masks.Frame(*film.shape, film.spacing_mm)
        edit, keep = masks.resolve(
            _evaluated(request.edit_mask, frame, case.sources),
            _evaluated(request.keep_mask, frame, case.sources),
            frame,
        )
        display = to_display(film)
        low, high = stretch_range(display, ~film.padding)
        stretched = np.clip((display - low) / (high - low), 0, 1)
        grid = SquareGrid(*film.shape, backbone.image_size)
        return Prepared(
            edit_id=_edit_id(case, parameters, backbone.sha256, (edit, keep)),
            case=case,
            parameters=parameters,
            edit=edit,
            keep=keep,
            display=display,
            image=grid.down(stretched.astype(np.float32)) * 2 - 1,
            grid=grid,
            contrast=high - low,
        )

    def _delta(
        self,
        prepared: Sequence[Prepared],
        backbone: Backbone,
        schedule: Schedule,
        x0: torch.Tensor,
        progress: Progress | None,
    ) -> tuple[torch.Tensor, str]:
        """The latents' change, and whether its inversion was "computed" or "cached"."""
        cells = int(x0.shape[-1])
        requests = [p.case.request for p in prepared]
        uncond = backbone.encode_text([""])
        conditioning = Conditioning(
            cond=backbone.encode_text([r.prompt for r in requests]),
            uncond=uncond.expand(len(requests), -1, -1),
            inversion=backbone.encode_text([r.invert_prompt for r in requests]),
        )
        latent_masks = EditMasks(
            edit=torch.stack([_latent(p.grid, p.edit, cells) for p in prepared]),
            keep=torch.stack([_latent(p.grid, p.keep, cells) for p in prepared]),
        )
        seeds = [p.parameters.seed for p in prepared]
        noise = draw_noise_batch(tuple(x0.shape[1:]), len(schedule), seeds)
        keys = [
            InversionKey(
                image_sha256=hashlib.sha256(p.image.tobytes()).hexdigest(),
                model_sha256=backbone.sha256,
                schedule=schedule.key,
                invert_prompt=p.case.request.invert_prompt,
                seed=p.parameters.seed,
                precision=f"{self.settings.dtype}/{self.settings.device}/{len(prepared)}",
            )
            for p in prepared
        ]
        known = [self._inversions.get(key) for key in keys]
        cached = [k for k in known if k is not None]
        is_cached = len(cached) == len(keys)
        collected: list[torch.Tensor] = []
        delta = radedit(
            backbone.denoise,
            x0,
            conditioning,
            latent_masks,
            Plan(
                schedule,
                noise,
                prepared[0].parameters.guidance,
                torch.stack(cached, dim=1) if is_cached else None,
            ),
            Hooks(progress=progress, inverted=lambda _, e: collected.append(e.cpu())),
        )
        if not is_cached:
            for key, e_inv in zip(keys, torch.stack(collected).unbind(1), strict=True):
                self._inversions.put(key, e_inv)
        return delta, "cached" if is_cached else "computed"

    def _finish(
        self, p: Prepared, pair: torch.Tensor, backbone: Backbone, run: tuple[int, str]
    ) -> dict[str, Any]:
        film = p.case.film
        edited, unedited = pair.float().cpu().numpy()[:, 0]
        weight = support_weight(p.edit, p.keep, p.parameters)
        change = native_change(edited, unedited, p.grid, weight) * np.float32(p.contrast / 2)
        stored = apply_display_delta(film, change)
        display = to_display(_with_pixels(film, stored))
        support = weight > 0
        return {
            "film": film,
            "stored": stored,
            "edit": p.edit,
            "keep": p.keep,
            "support": support,
            "fidelity": fidelity(
                (film.stored, stored), (p.display, display), p.edit, p.keep, support
            ),
            "provenance": _provenance(p, stored, backbone, run),
        }


@dataclass(frozen=True, eq=False)
class Prepared:
    """A case that was checked: its masks, its parameters and its picture for the model.

    Attributes
    ----------
    edit_id : 32 hex digits, the same for the same film, masks, model and request
    image : float32 [S, S], -1 to 1
    contrast : display intensity between the model's black and white
    """

    edit_id: str
    case: Case
    parameters: Parameters
    edit: Mask
    keep: Mask
    display: NDArray[np.float32]
    image: NDArray[np.float32]
    grid: SquareGrid
    contrast: float


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def _evaluated(expression: str | None, frame: masks.Frame, sources: masks.Sources) -> Mask | None:
    if expression is None:
        return None
    return masks.evaluate(masks.parse(expression), frame, sources)


def _edit_id(
    case: Case, parameters: Parameters, model_sha256: str, drawn: tuple[Mask, Mask]
) -> str:
    request = case.request
    parts = [
        case.film.sop_instance_uid,
        pixel_sha256(case.film.stored),
        model_sha256,
        *(pixel_sha256(mask) for mask in drawn),
        request.prompt,
        request.invert_prompt,
        request.edit_mask,
        request.keep_mask,
        asdict(parameters),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _tensor(image: NDArray[np.float32]) -> torch.Tensor:
    return torch.from_numpy(image)[None, None]


def _latent(grid: SquareGrid, mask: Mask, cells: int) -> torch.Tensor:
    return torch.from_numpy(grid.mask_down(mask, cells))[None]


def _with_pixels(film: Film, stored: NDArray[Any]) -> Film:
    return replace(film, stored=stored)


def _provenance(
    p: Prepared, stored: NDArray[Any], backbone: Backbone, run: tuple[int, str]
) -> Provenance:
    request, parameters = p.case.request, p.parameters
    batch, inversion = run
    return Provenance(
        edit_id=p.edit_id,
        tool=TOOL,
        tool_version=version(TOOL),
        method=parameters.method,
        model=backbone.name,
        model_sha256=backbone.sha256,
        prompt=request.prompt,
        invert_prompt=request.invert_prompt,
        steps=parameters.steps,
        skip=parameters.skip,
        guidance=parameters.guidance,
        seed=parameters.seed,
        support=parameters.support,
        edit_mask=request.edit_mask or "",
        keep_mask=request.keep_mask,
        source_sop_instance_uid=p.case.film.sop_instance_uid,
        source_pixel_sha256=pixel_sha256(p.case.film.stored),
        result_pixel_sha256=pixel_sha256(stored),
        edit_mask_sha256=pixel_sha256(p.edit),
        keep_mask_sha256=pixel_sha256(p.keep) if p.keep.any() else None,
        platform=this_platform(),
        batch=batch,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        extra={
            "band_px": str(parameters.band_px),
            "feather_px": str(parameters.feather_px),
            "inversion": inversion,
        },
    )


def this_platform() -> dict[str, str]:
    """What the bytes of an edit depend on beside its parameters."""
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "",
    }
