"""What is written down about an edit: its id, its provenance, and where it ran."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from numpy.typing import NDArray

from radedit.lib.cases import Prepared
from radedit_dicom.pixels import display_sha256
from radedit_dicom.provenance import SCHEMA, Provenance, pixel_sha256

TOOL = "radedit-monailabel"


@dataclass(frozen=True)
class Run:
    """How the network ran.

    Attributes
    ----------
    model, model_sha256 : name and SHA-256 of the weights
    device, dtype : of the network
    batch : cases that ran together
    """

    model: str
    model_sha256: str
    device: str
    dtype: str
    batch: int = 1


def edit_id(prepared: Prepared, run: Run) -> str:
    """Name an edit: 32 hex digits, the same for the same film, masks, request and model.

    Whatever shapes its pixels has a part in it, how the film is shown and how they follow from a
    record included; the masks are the two that all others follow from.
    """
    request, film = prepared.case.request, prepared.case.film
    parts = [
        SCHEMA,
        film.sop_instance_uid,
        pixel_sha256(film.stored),
        display_sha256(film),
        run.model_sha256,
        run.dtype,
        pixel_sha256(prepared.edit),
        pixel_sha256(prepared.keep),
        request.prompt,
        request.invert_prompt,
        request.edit_mask,
        request.keep_mask,
        asdict(prepared.parameters),
    ]
    if request.film_text:  # it decides the score that the edit's objects hold
        parts.append(request.film_text)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def provenance_of(prepared: Prepared, stored: NDArray[Any], run: Run) -> Provenance:
    """Record one edit.

    Parameters
    ----------
    stored : the new stored values, [rows, cols]
    """
    request, parameters, film = prepared.case.request, prepared.parameters, prepared.case.film
    return Provenance(
        edit_id=edit_id(prepared, run),
        tool=TOOL,
        tool_version=version(TOOL),
        method=parameters.method,
        model=run.model,
        model_sha256=run.model_sha256,
        prompt=request.prompt,
        invert_prompt=request.invert_prompt,
        steps=parameters.steps,
        skip=parameters.skip,
        guidance=parameters.guidance,
        seed=parameters.seed,
        support=parameters.support,
        edit_mask=request.edit_mask or "",
        keep_mask=request.keep_mask,
        source_sop_instance_uid=film.sop_instance_uid,
        source_pixel_sha256=pixel_sha256(film.stored),
        source_display_sha256=display_sha256(film),
        source_decoder=film.decoder,
        result_pixel_sha256=pixel_sha256(stored),
        edit_mask_sha256=pixel_sha256(prepared.edit),
        keep_mask_sha256=pixel_sha256(prepared.keep) if prepared.keep.any() else None,
        platform=this_platform(run),
        batch=run.batch,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        schema=SCHEMA,
        extra={
            "band_px": str(parameters.band_px),
            "feather_px": str(parameters.feather_px),
            "keep": parameters.keep,
            "solver": parameters.solver,
        },
    )


def this_platform(run: Run) -> Mapping[str, str]:
    """What the last bits of an edit depend on beside its parameters."""
    on_gpu = run.device.startswith("cuda")
    return {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "diffusers": version("diffusers"),
        "threads": str(torch.get_num_threads()),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name(run.device) if on_gpu else run.device,
        "dtype": run.dtype,
    }
