"""What a TOML file says of a victim: operating points, what a film is turned into, limits.

The file lies beside the model (``model.onnx`` and ``model.onnx.toml``), or is named itself and
says under ``victim`` what it is about. Every key may be left out, a misspelt one is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from radedit.lib.errors import ParameterError
from radedit.lib.victims.protocol import VictimCard
from radedit.lib.victims.scores import UNITS

TASKS: Final = ("classify", "segment")
ACTIVATIONS: Final = ("none", "sigmoid", "softmax")
BODIES: Final = ("json", "multipart")
CONTENTS: Final = ("png", "dicom")
BITS: Final = (16, 8)
RESULTS: Final = ("sr", "seg", "sc")
_ASSUMED: Final = 0.5
_T = TypeVar("_T")


@dataclass(frozen=True)
class Input:
    """What a film is turned into for a network that runs here.

    Attributes
    ----------
    size : rows and columns of the network's input; () = the film's own
    pad : True = padded with black to a square first, the film in the middle
    percentiles : two of the film's valid pixels that become black and white; () = as displayed
    channels : 1, or more equal ones
    low, high : what black and white become
    mean, std : of each channel; subtracted and divided by, behind `low` and `high`
    """

    size: tuple[int, ...] = ()
    pad: bool = False
    percentiles: tuple[float, ...] = ()
    channels: int = 1
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


@dataclass(frozen=True)
class Limits:
    """How long and how much.

    Attributes
    ----------
    timeout_s : for one answer
    retries : how often a victim that cannot be reached is tried again
    pause_s : before that, and twice as long each time after
    max_mb : the largest answer that is read, in MiB
    """

    timeout_s: float = 60.0
    retries: int = 2
    pause_s: float = 1.0
    max_mb: int = 64


@dataclass(frozen=True)
class HttpForm:
    """How a victim behind HTTP wants to be asked, and where in its JSON the answer is.

    Attributes
    ----------
    body : "json" (the film in base64) or "multipart" (as a file)
    content : "png" (1 = white; as [input] says of size, pad, percentiles and channels) or "dicom"
        (pixels and presentation alone)
    bits : of a PNG's grey values, 16 or 8
    field : name of the film in the JSON object or the form
    scores, segments : keys with dots between; an object of label to number, or of label to
        PNG in base64, or for scores a list in the order of `labels`
    token_variable : environment variable whose value goes along as a bearer token; "" = none
    """

    body: str = "json"
    content: str = "png"
    bits: int = 16
    field: str = "image"
    scores: str = "scores"
    segments: str = "segments"
    token_variable: str = ""


@dataclass(frozen=True)
class DicomForm:
    """How a DICOM node gives its results back: it calls us with C-STORE.

    Attributes
    ----------
    results : what is waited for, of "sr", "seg" and "sc"; all of them
    our_ae, listen_host, listen_port : who we are and where we listen
    result_ae : AE title that results come from; "" = the node's own
    text_attribute, text_pattern : where a Secondary Capture says its scores: an attribute's
        keyword, and a regular expression with the groups "label" and "score"
    sr_pattern : such an expression for an SR whose numbers stand in its text, or in items that
        are none of 0 to 1: over its items, one a line, `NAME: VALUE`; "" = its numbers are read
    """

    results: tuple[str, ...] = ("sr",)
    our_ae: str = "RADEDIT"
    listen_host: str = "127.0.0.1"
    listen_port: int = 11113
    result_ae: str = ""
    text_attribute: str = "ImageComments"
    text_pattern: str = (
        r"(?P<label>[A-Za-z][A-Za-z ]*): *(?P<score>[0-9]+(?:\.[0-9]+)?(?: *%)?)(?![0-9.,])"
    )
    sr_pattern: str = ""


@dataclass(frozen=True)
class About:
    """Everything that can be said of a victim.

    Attributes
    ----------
    name, version, threshold, thresholds : as in `VictimCard`; no threshold is told = 0.5 is assumed
    labels : of a network's outputs, in order; "" = an output that is not reported
    rename : a label of ours for the victim's own words
    unit : of scores, one of `scores.UNITS`; "" = not told: 0 to 1, and see there
    task : "classify" or "segment"
    activation : of a network's outputs; with "softmax" a pixel belongs to one label
    remember : folder, seen from the file's, where answers are kept so that no film is asked about
        twice; "" = none
    """

    name: str = ""
    version: str = ""
    threshold: float = math.nan
    thresholds: Mapping[str, float] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    rename: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    task: str = "classify"
    activation: str = "none"
    remember: str = ""
    input: Input = Input()
    limits: Limits = Limits()
    http: HttpForm = HttpForm()
    dicom: DicomForm = DicomForm()

    def digest(self, *more: str) -> str:
        """Digest what answers follow from, with what else there is; not limits, nor how it is kept.

        Parameters
        ----------
        more : kind and address, say
        """
        said = {**asdict(self), "name": "", "limits": None, "remember": ""}
        whole = json.dumps([said, *more], sort_keys=True, default=str)
        return hashlib.sha256(whole.encode()).hexdigest()

    def card(self, name: str, preprocessing: str, sha256: str | None = None) -> VictimCard:
        """Make the card; `name` is used when the file gives none."""
        return VictimCard(
            name=self.name or name,
            version=self.version,
            threshold=_ASSUMED if math.isnan(self.threshold) else self.threshold,
            assumed=math.isnan(self.threshold),
            preprocessing=preprocessing,
            sha256=sha256,
            thresholds=dict(self.thresholds),
        )

    def renamed(self, found: Mapping[str, _T]) -> dict[str, _T]:
        """Give answers their labels in our words."""
        return {self.rename.get(label, label): value for label, value in found.items()}


def read_about(path: Path) -> tuple[str, About]:
    """Read a TOML file.

    Returns
    -------
    what it says under ``victim`` ("" = nothing), and the rest

    Raises
    ------
    ParameterError
        The file cannot be read, or a key or value in it means nothing.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ParameterError(
            f"The model's file '{path.name}' cannot be read as TOML ({type(error).__name__})."
        ) from error
    victim = table.pop("victim", "")
    if not isinstance(victim, str):
        raise ParameterError(f"victim in '{path.name}' is no text; write KIND:WHERE.")
    about = _filled(About, table, path.name)
    _check(about, path.name)
    return victim, about


def _filled(kind: type[_T], table: Mapping[str, Any], where: str) -> _T:
    """Fill a dataclass of defaults from a table whose keys and types are checked."""
    empty = kind()
    known = {f.name: getattr(empty, f.name) for f in fields(empty)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in known:
            raise ParameterError(
                f"'{where}' has no use for the key '{name}'; it may hold {', '.join(known)}."
            )
        values[name] = _value(known[name], value, f"{name} in '{where}'")
    return kind(**values)


def _value(default: Any, value: Any, what: str) -> Any:
    if is_dataclass(default) and isinstance(value, dict):
        return _filled(type(default), value, what)
    if isinstance(default, tuple) and isinstance(value, list):
        return tuple(value)
    if isinstance(default, dict) and isinstance(value, dict):
        return value
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise ParameterError(
            f"{what} is of type {type(value).__name__}; expected {type(default).__name__}."
        )
    return value


def _check(about: About, where: str) -> None:
    """Refuse values of the right type that mean nothing."""
    found: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("task", about.task, TASKS),
        ("unit", about.unit, UNITS),
        ("activation", about.activation, ACTIVATIONS),
        ("http.body", about.http.body, BODIES),
        ("http.content", about.http.content, CONTENTS),
        ("http.bits", about.http.bits, BITS),
        *(("dicom.results", kind, RESULTS) for kind in about.dicom.results),
    ]
    for name, value, allowed in found:
        if value not in allowed:
            raise ParameterError(
                f"{name} in '{where}' is {value}; expected one of {', '.join(map(str, allowed))}."
            )
    told = [] if math.isnan(about.threshold) else [about.threshold]
    points = [*told, *about.thresholds.values()]
    if not all(isinstance(p, int | float) and 0 <= p <= 1 for p in points):
        raise ParameterError(f"a threshold in '{where}' is outside of 0 to 1.")
    limits = about.limits
    if limits.timeout_s <= 0 or limits.max_mb < 1 or min(limits.retries, limits.pause_s) < 0:
        raise ParameterError(f"a limit in '{where}' is not above 0.")
    _check_input(about.input, where)


def _check_input(wanted: Input, where: str) -> None:
    pairs = (wanted.size, wanted.percentiles)
    numbers = [*wanted.size, *wanted.percentiles, *wanted.mean, *wanted.std]
    if any(len(pair) not in (0, 2) for pair in pairs) or not all(
        isinstance(n, int | float) for n in numbers
    ):
        raise ParameterError(f"size and percentiles in '{where}' take two numbers each.")
    if any(n < 1 for n in (*wanted.size, wanted.channels)):
        raise ParameterError(f"size and channels in '{where}' must be 1 or more.")
    if wanted.pad and len(set(wanted.size)) != 1:
        raise ParameterError(f"pad in '{where}' needs a size whose rows and columns are the same.")
    if any(len(values) not in (0, wanted.channels) for values in (wanted.mean, wanted.std)):
        raise ParameterError(f"mean and std in '{where}' take one number for each channel.")
    if wanted.low == wanted.high:
        raise ParameterError(f"low and high in '{where}' are the same.")
    if 0 in wanted.std:
        raise ParameterError(f"a std in '{where}' is 0.")
