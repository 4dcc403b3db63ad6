"""Scores in the shapes and units that vendors send, brought to label and 0 to 1.

Shapes: an object of label to number; a list of numbers in the order of the file's labels; a list of
objects of one label each; a list of findings with a name and a number; an object of label to a
finding with a number. Numbers: 0 to 1; per cent or logits where the file says so (`unit`), or where
the text does (``90 %``). A service that sends several numbers, one over 10 and none over 100, is
taken to speak in per cent, which is said with the answer; where some answers say so and others do
not, a run is refused (`stress.preflight`), since 0.4 may be a score or 0.4 per cent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from radedit.lib.errors import VictimError

UNITS: Final = ("", "ratio", "percent", "logit")
PERCENT: Final = "percent"
#: Under this a number over 1 could be a logit as well.
_SURELY_PERCENT: Final = 10.0
_NAMES: Final = ("label", "name", "finding", "class", "pathology", "disease", "title", "type")
_NUMBERS: Final = ("probability", "prob", "score", "confidence", "likelihood", "value")
_TEXT: Final = re.compile(r"\s*([-+]?[0-9]+(?:[.,][0-9]+)?(?:[eE][-+]?[0-9]+)?)\s*(%?)\s*")
_SAY: Final = (
    'if it gives logits or per cent, write unit = "logit" or unit = "percent" into its TOML file'
)


def labelled(found: Any, labels: Sequence[str] = ()) -> dict[str, Any]:
    """Bring a vendor's scores to an object of label to number, whatever shape they have.

    Parameters
    ----------
    labels : of a list of numbers, in order; "" = an output that is not reported

    Raises
    ------
    VictimError
        They have another shape, or a finding is named twice with different numbers.
    """
    if isinstance(found, Mapping):
        named = _one_finding(found)
        pairs = [named] if named else [(str(k), _number(v)) for k, v in found.items()]
    elif isinstance(found, list) and found and all(isinstance(e, Mapping) for e in found):
        pairs = [pair for entry in found for pair in _entry(entry)]
    elif isinstance(found, list):
        if len(found) != len(labels):
            raise VictimError(
                f"The model gave {len(found)} scores; expected one for each of the {len(labels)} "
                "labels in its TOML file."
            )
        pairs = [(label, v) for label, v in zip(labels, found, strict=True) if label]
    else:
        raise VictimError("The model's scores are neither an object nor a list.")
    scores: dict[str, Any] = {}
    for label, value in pairs:
        if label in scores and scores[label] != value:
            raise VictimError(
                f"The model names {label!r} twice with different scores; ask its vendor for one "
                "score of a film."
            )
        scores[label] = value
    return scores


def usable_scores(
    found: Mapping[str, Any], unit: str = "", is_service: bool = False
) -> tuple[dict[str, float], bool]:
    """Check scores that came from outside, and bring them to 0 to 1.

    Parameters
    ----------
    unit : one of UNITS; "" = not told
    is_service : whether numbers over 10 may be taken for per cent where nothing is told

    Returns
    -------
    label to a number from 0 to 1, and whether per cent were assumed

    Raises
    ------
    VictimError
        One is no number, or out of its range; none is guessed instead.
    """
    numbers = {str(label): _read(value) for label, value in found.items()}
    plain = [number for number, is_percent in numbers.values() if not is_percent]
    assumed = (
        not unit
        and is_service
        and len(plain) > 1  # one alone says too little
        and _SURELY_PERCENT < max(plain) <= 100
        and min(plain) >= 0
    )
    scores = {}
    for label, (number, is_percent) in numbers.items():
        if is_percent or assumed or unit == PERCENT:
            number /= 100
        elif unit == "logit" and math.isfinite(number):
            number = 0.5 * (1 + math.tanh(number / 2))
        if not 0 <= number <= 1:
            raise VictimError(f"The model gave a score that is no number from 0 to 1; {_SAY}.")
        scores[label] = number
    return scores, assumed


def _read(value: Any) -> tuple[float, bool]:
    """Read a number, and whether it says itself that it is per cent."""
    if isinstance(value, bool) or value is None:
        return math.nan, False
    if isinstance(value, str):
        text = _TEXT.fullmatch(value)
        return (float(text[1].replace(",", ".")), bool(text[2])) if text else (math.nan, False)
    try:
        return float(value), False
    except (TypeError, ValueError):
        return math.nan, False


def _entry(entry: Mapping[str, Any]) -> list[tuple[str, Any]]:
    named = _one_finding(entry)
    if named:
        return [named]
    if len(entry) == 1:
        return [(str(label), _number(value)) for label, value in entry.items()]
    raise VictimError(
        f"The model gave findings without a name ({', '.join(_NAMES)}) and a number "
        f"({', '.join(_NUMBERS)}); say in its TOML file where its scores are."
    )


def _one_finding(entry: Mapping[str, Any]) -> tuple[str, Any] | None:
    """Read an object that is one finding; None where it is something else."""
    plain = {str(key).lower(): value for key, value in entry.items()}
    name = next((plain[key] for key in _NAMES if isinstance(plain.get(key), str)), None)
    number = next((plain[key] for key in _NUMBERS if key in plain), None)
    if name is None or number is None or _TEXT.fullmatch(name):
        return None
    return name, number


def _number(value: Any) -> Any:
    """The number of a finding that is an object itself."""
    if not isinstance(value, Mapping):
        return value
    plain = {str(key).lower(): inner for key, inner in value.items()}
    return next((plain[key] for key in _NUMBERS if key in plain), None)
