"""Numbers and their labels out of other programs' reports: what an AI node says of a film."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from pydicom.dataset import Dataset

_FINDING: Final = ("121071", "DCM")
#: Names of a number that say nothing of what it is a number of (PS3.16 CID 7475 and vendors').
_GENERAL: Final = frozenset({"probability", "confidence", "score", "likelihood"})
_ROOT_DEPTH = 32


def measured(report: Dataset) -> dict[str, float]:
    """Read the numbers of a structured report that lie between 0 and 1, by what they are about.

    A number (NUM) belongs to the finding (121071, DCM, "Finding") of its own container, or of
    the nearest one around it; where there is none, or where a container holds several numbers
    of different names, it goes by its own name. Per cent are brought to 0 to 1.

    Parameters
    ----------
    report : pydicom.Dataset
        An SR of any of the classes with a content tree.

    Returns
    -------
    dict of str to float
        Name in lower case to number. Numbers of other units, such as mm, are passed over.

    Raises
    ------
    ValueError
        A value is no number, or several.

    Notes
    -----
    Source: PS3.3 C.17.3 (content items), PS3.16 TID 1411 and TID 4019 (findings and numbers).
    """
    return dict(_numbers(report, "", 0))


def written(text: str, pattern: str) -> dict[str, float]:
    """Read labels and numbers out of a text, such as the comment of a Secondary Capture.

    Parameters
    ----------
    text : str
    pattern : str
        A regular expression with the groups "label" and "score".

    Returns
    -------
    dict of str to float
        Label in lower case to number, as many as the pattern finds; where the score ends in a
        per cent sign, a hundredth of it.

    Raises
    ------
    ValueError
        What the pattern takes for a score is no number.
    """
    return {
        (found["label"] or "").strip().lower(): _share(found["score"])
        for found in re.finditer(pattern, text)
    }


def texts(report: Dataset) -> str:
    """Write out the content items of a structured report, one a line, as ``NAME: VALUE``.

    Parameters
    ----------
    report : pydicom.Dataset

    Returns
    -------
    str
        Of TEXT the text, of CODE its meaning, of NUM the number and its unit, of others nothing.
    """
    return "\n".join(_lines(report, 0))


def references(dataset: Dataset) -> set[str]:
    """UIDs of all objects that an object refers to anywhere, and of its own study."""
    found = {str(dataset.get("StudyInstanceUID", ""))}
    for element in dataset.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            found.add(str(element.value))
    return found


def _lines(item: Dataset, depth: int) -> Iterator[str]:
    for child in (item.get("ContentSequence") or []) if depth < _ROOT_DEPTH else []:
        name, kind = _meaning(child, "ConceptNameCodeSequence"), child.get("ValueType")
        value = ""
        if kind == "TEXT":
            value = str(child.get("TextValue", ""))
        elif kind == "CODE":
            value = _meaning(child, "ConceptCodeSequence")
        elif kind == "NUM" and child.get("MeasuredValueSequence"):
            measured_value = child.MeasuredValueSequence[0]
            units = measured_value.get("MeasurementUnitsCodeSequence") or [Dataset()]
            unit = str(units[0].get("CodeValue", ""))
            value = f"{measured_value.get('NumericValue', '')} {'' if unit == '1' else unit}"
        if value.strip():
            yield f"{name}: {' '.join(value.split())}"
        yield from _lines(child, depth + 1)


def _numbers(item: Dataset, around: str, depth: int) -> Iterator[tuple[str, float]]:
    children = list(item.get("ContentSequence") or []) if depth < _ROOT_DEPTH else []
    finding = next((_meaning(c, "ConceptCodeSequence") for c in children if _is_finding(c)), around)
    values = [(_meaning(c, "ConceptNameCodeSequence"), _ratio(c)) for c in children]
    names = {name for name, value in values if value is not None}
    for name, value in values:
        if value is None:
            continue
        belongs = finding and (name in _GENERAL or len(names) == 1)
        yield (finding if belongs else name), value
    for child in children:
        yield from _numbers(child, finding, depth + 1)


def _is_finding(item: Dataset) -> bool:
    names = item.get("ConceptNameCodeSequence") or [Dataset()]
    code = (names[0].get("CodeValue"), names[0].get("CodingSchemeDesignator"))
    return item.get("ValueType") == "CODE" and code == _FINDING


def _meaning(item: Dataset, sequence: str) -> str:
    codes = item.get(sequence) or [Dataset()]
    return str(codes[0].get("CodeMeaning", "")).strip().lower()


def _ratio(item: Dataset) -> float | None:
    """Give a NUM's value when it is a share; None for anything else."""
    if item.get("ValueType") != "NUM" or not item.get("MeasuredValueSequence"):
        return None
    value = item.MeasuredValueSequence[0]
    unit = (value.get("MeasurementUnitsCodeSequence") or [Dataset()])[0].get("CodeValue", "1")
    number = value.get("NumericValue")
    if number is None or unit not in ("1", "%", "{0:1}", "{ratio}"):
        return None
    share = _number(number) / (100.0 if unit == "%" else 1.0)
    return share if 0.0 <= share <= 1.0 else None


def _share(text: Any) -> float:
    """Read a number that may end in a per cent sign."""
    plain = str(text).strip()
    number = _number(plain.removesuffix("%"))
    return number / 100.0 if plain.endswith("%") else number


def _number(value: Any) -> float:
    try:
        return float(value)
    except TypeError as error:
        raise ValueError("not one number") from error
