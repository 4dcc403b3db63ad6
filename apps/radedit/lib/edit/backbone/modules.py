"""Networks from a configuration and safetensors weights.

A network is laid out on the meta device, so that no time goes into random weights that are
thrown away, and then takes over the tensors that were read. They are copied out of the
memory-mapped file: what was hashed is what is used, even if the file changes later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from radedit.lib.errors import CheckpointError

# Attention keys of checkpoints saved before diffusers 0.15 (Stable Diffusion 1.x VAEs).
_OLD_ATTENTION: Final = {
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}


def read_json(path: Path, model: str) -> dict[str, Any]:
    """Read a configuration file.

    Raises
    ------
    CheckpointError
        Not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"Model '{model}': {path} is not readable JSON.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"Model '{model}': {path} does not hold a JSON object.")
    return content


def read_weights(path: Path, dtype: torch.dtype, model: str) -> dict[str, Tensor]:
    """Read a safetensors file, floating tensors converted to `dtype` (fp16 files included).

    Raises
    ------
    CheckpointError
        Not a complete safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {key: _owned(file.get_tensor(key), dtype) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"Model '{model}': {path} is not a complete safetensors file ({error})."
        ) from error


def _owned(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype if tensor.is_floating_point() else tensor.dtype, copy=True)


def assemble(build: Callable[[], nn.Module], weights: Mapping[str, Tensor], what: str) -> nn.Module:
    """Lay out a network and give it its weights; frozen, in evaluation mode.

    Parameters
    ----------
    build : callable
        Constructs the network; run on the meta device.
    weights : mapping
        Must fit the network exactly.
    what : str
        "model 'x', unet", for the error.

    Raises
    ------
    CheckpointError
        A weight is missing, left over or of another shape.
    """
    with torch.device("meta"):
        network = build()
    expected = network.state_dict()
    missing = sorted(expected.keys() - weights.keys())
    extra = sorted(weights.keys() - expected.keys())
    wrong = [k for k in expected if k in weights and weights[k].shape != expected[k].shape]
    for problem, keys in (("lacks", missing), ("has the unknown", extra), ("misfits", wrong)):
        if keys:
            raise CheckpointError(
                f"{what}: the weights file does not fit config.json, it {problem} {keys[0]} "
                f"({len(keys)} such tensors)."
            )
    network.load_state_dict(dict(weights), assign=True)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                setattr(module, name, _constant(name, buffer, what))
    return network.requires_grad_(False).eval()


def _constant(name: str, buffer: Tensor, what: str) -> Tensor:
    """Rebuild a buffer that text encoders do not save."""
    if name == "position_ids":
        return torch.arange(buffer.shape[-1]).expand(buffer.shape).clone()
    if name == "token_type_ids":
        return torch.zeros(buffer.shape, dtype=torch.long)
    raise CheckpointError(f"{what}: the buffer {name} is neither saved nor known.")


def load_unet(files: Mapping[str, Path], dtype: torch.dtype, model: str) -> nn.Module:
    """Load a diffusers UNet2DConditionModel."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return _load_diffusers(UNet2DConditionModel, files, dtype, model)


def load_vae(files: Mapping[str, Path], dtype: torch.dtype, model: str) -> nn.Module:
    """Load a diffusers AutoencoderKL, old attention names included."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return _load_diffusers(AutoencoderKL, files, dtype, model)


def _load_diffusers(
    cls: Any, files: Mapping[str, Path], dtype: torch.dtype, model: str
) -> nn.Module:
    config = read_json(files["config.json"], model)
    found = config.get("_class_name", cls.__name__)
    if found != cls.__name__:
        raise CheckpointError(
            f"Model '{model}': {files['config.json']} is for a {found}; expected {cls.__name__}."
        )
    path = next(path for name, path in files.items() if name.endswith(".safetensors"))
    weights = {_modern(k): v for k, v in read_weights(path, dtype, model).items()}
    return assemble(lambda: cls.from_config(config), weights, f"Model '{model}', {cls.__name__}")


def _modern(key: str) -> str:
    match = re.fullmatch(r"(.+\.attentions\.\d+)\.(query|key|value|proj_attn)\.(.+)", key)
    return f"{match[1]}.{_OLD_ATTENTION[match[2]]}.{match[3]}" if match else key
