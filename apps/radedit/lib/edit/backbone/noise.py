"""The noise schedule of a checkpoint, from scheduler_config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from radedit.lib.errors import CheckpointError

# Keys that would change the formulas, each with the value that leaves them alone.
_INERT: Final = {
    "clip_sample": False,
    "thresholding": False,
    "rescale_betas_zero_snr": False,
    "trained_betas": None,
}


@dataclass(frozen=True)
class NoiseSchedule:
    """What the network was trained with.

    Attributes
    ----------
    alphas_cumprod : float64 [num_train]
        alpha_bar of every training timestep.
    final_alpha_bar : float
        alpha_bar after the last step: 1, or alphas_cumprod[0] where `set_alpha_to_one` is
        false (Stable Diffusion 1.x).
    prediction_type : str
        "epsilon" or "v_prediction".
    """

    alphas_cumprod: npt.NDArray[np.float64]
    final_alpha_bar: float
    prediction_type: str


def noise_schedule(config: Mapping[str, Any], model: str) -> NoiseSchedule:
    """Compute the noise schedule of a scheduler configuration.

    Betas and their product are taken in float32, as the training code did, so that the
    values are those the network knows. The sampler named by the configuration and its
    timestep spacing are not used: an edit always runs trailing timesteps.

    Raises
    ------
    CheckpointError
        The configuration asks for something an edit does not do.
    """
    for key, inert in _INERT.items():
        if config.get(key, inert) != inert:
            raise CheckpointError(
                f"Model '{model}': its scheduler has {key} = {config[key]}, which edits do not "
                f"support (expected {inert})."
            )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise CheckpointError(
            f"Model '{model}': its network predicts '{prediction}'; expected epsilon or "
            "v_prediction."
        )
    num_train = int(config.get("num_train_timesteps", 1000))
    start, end = float(config.get("beta_start", 1e-4)), float(config.get("beta_end", 0.02))
    kind = config.get("beta_schedule", "linear")
    if kind == "linear":
        betas = torch.linspace(start, end, num_train, dtype=torch.float32)
    elif kind == "scaled_linear":
        betas = torch.linspace(start**0.5, end**0.5, num_train, dtype=torch.float32) ** 2
    else:
        raise CheckpointError(
            f"Model '{model}': its beta_schedule is '{kind}'; expected linear or scaled_linear."
        )
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0).double().numpy()
    to_one = config.get("set_alpha_to_one", True)
    final = 1.0 if to_one else float(alphas_cumprod[0])
    return NoiseSchedule(alphas_cumprod, final, prediction)
