"""The edit's parameters: type, default, range and meaning of each, as data.

The command line, the REST `config()` and the checks of a request all read this table, so
that they cannot disagree. `radedit.lib.settings` re-exports its names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Final

from radedit.lib.errors import ParameterError

PRECISIONS: Final = ("float32", "bfloat16", "float16")
"""Precisions that the U-Net can run in."""

AUTO: Final = "auto"
"""Setting `dtype`: the precision that the device computes fast and right."""


@dataclass(frozen=True)
class ParameterRange:
    """What one parameter may be.

    Attributes
    ----------
    type : type
        int, float or str.
    default : int, float or str
        Used when nothing else is said.
    help : str
        One line for a person, with the unit.
    minimum, maximum : int or float, optional
        Bounds of a number, both allowed unless `below_maximum`.
    below_maximum : bool
        True: the maximum itself is not allowed.
    choices : tuple of str
        Allowed words of a str.
    """

    type: type
    default: int | float | str
    help: str
    minimum: int | float | None = None
    maximum: int | float | None = None
    below_maximum: bool = False
    choices: tuple[str, ...] = ()

    def check(self, name: str, value: Any) -> int | float | str:
        """Return `value` in the parameter's type.

        Raises
        ------
        ParameterError
            Wrong type or out of range; names the parameter, the value and what is allowed.
        """
        if self.type is float and type(value) is int:
            value = float(value)
        found: int | float | str = value
        if type(value) is not self.type:
            raise ParameterError(
                f"{name} is of type {type(value).__name__}; expected {self.type.__name__}."
            )
        good = self._in_range(found) if isinstance(found, int | float) else found in self.choices
        if not good:
            raise ParameterError(f"{name} is {found}; expected {self.allowed}.")
        return found

    def _in_range(self, number: int | float) -> bool:
        low, high = self.minimum, self.maximum
        if math.isnan(number) or (low is not None and number < low):
            return False
        return high is None or number < high or (number == high and not self.below_maximum)

    @property
    def allowed(self) -> str:
        """The range in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.below_maximum:
            return f"{self.minimum} or more and less than {self.maximum}"
        return f"{self.minimum} to {self.maximum}"


PARAMETERS: Final[Mapping[str, ParameterRange]] = MappingProxyType(
    {
        "method": ParameterRange(
            str,
            "radedit",
            "editing algorithm",
            choices=("radedit", "diffedit", "lance", "lance-null-text", "img2img"),
        ),
        "solver": ParameterRange(
            str,
            "ddpm",
            "ddpm, the paper's steps; or dpm, SDE-DPM-Solver++ of second order, for few of them",
            choices=("ddpm", "dpm"),
        ),
        "steps": ParameterRange(int, 100, "denoising steps of the whole schedule", 1, 1000),
        "skip": ParameterRange(
            float, 0.3, "fraction of the noisiest steps left out", 0.0, 1.0, below_maximum=True
        ),
        "guidance": ParameterRange(
            float, 7.5, "classifier-free guidance weight inside the edit mask", 0.0, 30.0
        ),
        "seed": ParameterRange(int, 0, "seed of the case's noise", 0, 2**63 - 1),
        "support": ParameterRange(
            str,
            "band",
            "what may change: the edit mask and a band around it, or all but the keep mask",
            choices=("band", "free"),
        ),
        "keep": ParameterRange(
            str,
            "values",
            "what stays on the keep mask: its stored values, or its attenuation, which adds to "
            "what is behind it",
            choices=("values", "attenuation"),
        ),
        "band_px": ParameterRange(int, 32, "width of the support's band in model pixels", 0, 512),
        "feather_px": ParameterRange(
            int, 8, "width of the blend at the support's rim in model pixels", 0, 128
        ),
    }
)

METHOD_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {"img2img": MappingProxyType({"skip": 0.6, "guidance": 4.0})}
)
"""What a method's own paper runs it with, where the request says nothing else (RoentMod,
arXiv 2509.08640: strength 0.4, guidance 4)."""

STOCHASTIC: Final = ("radedit", "diffedit")
"""Methods with fresh noise at every step, to which `solver` applies."""


@dataclass(frozen=True)
class Defaults:
    """A full set of edit parameters; the field names are the keys of `PARAMETERS`."""

    method: str = "radedit"
    solver: str = "ddpm"
    steps: int = 100
    skip: float = 0.3
    guidance: float = 7.5
    seed: int = 0
    support: str = "band"
    keep: str = "values"
    band_px: int = 32
    feather_px: int = 8

    @property
    def shared(self) -> tuple[str | int | float, ...]:
        """What the edits of one batch have in common; each has its own seed and masks."""
        return self.method, self.solver, self.steps, self.skip, self.guidance


def inversion_of(prompt: str, invert_prompt: str) -> str:
    """Say what the text of an inversion is to an edit: "empty", "prompt" or "other".

    Where it is one of the two texts that a step asks about anyway, the network is asked once. So
    edits that differ in it make a batch whose calls have a shape that the record of none of them
    tells, and kernels choose by shape.
    """
    text, edit = (" ".join(words.casefold().split()) for words in (invert_prompt, prompt))
    return {"": "empty", edit: "prompt"}.get(text, "other")


def validate_parameters(values: Mapping[str, Any], defaults: Defaults) -> Defaults:
    """Check the given parameters and fill in the others.

    Parameters
    ----------
    values : mapping
        Any subset of `PARAMETERS`.
    defaults : Defaults
        For what is not given, and what the method's own paper does not say either.

    Raises
    ------
    ParameterError
        A key is unknown (names it and the known ones), a value is out of its range, or the
        method has no such solver.
    """
    complete = asdict(defaults) | dict(METHOD_DEFAULTS.get(str(values.get("method")), {}))
    for name, value in values.items():
        if name not in PARAMETERS:
            raise ParameterError(
                f"There is no parameter '{name}'; known parameters are {', '.join(PARAMETERS)}."
            )
        complete[name] = PARAMETERS[name].check(name, value)
    if complete["solver"] != "ddpm" and complete["method"] not in STOCHASTIC:
        raise ParameterError(
            f"solver {complete['solver']} is for the methods {' and '.join(STOCHASTIC)}; "
            f"{complete['method']} has steps of its own."
        )
    return Defaults(**complete)
