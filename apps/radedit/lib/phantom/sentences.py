"""What a film shows, in a radiologist's words; the embedded text encoder learns these."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from radedit.lib.phantom.devices import Device
from radedit.lib.phantom.findings import Finding
from radedit.lib.phantom.world import Patient

NORMAL = (
    "No acute cardiopulmonary process",
    "No acute cardiopulmonary abnormality",
    "Normal chest radiograph",
    "Lungs are clear",
    "No finding",
)
_SIZES = (("small", "mild", 0.34), ("moderate", "moderate", 0.67), ("large", "severe", 1.01))
NAMES = {
    "pneumothorax": ("pneumothorax",),
    "effusion": ("pleural effusion", "effusion"),
    "consolidation": ("consolidation", "airspace consolidation"),
    "oedema": ("pulmonary edema", "pulmonary oedema", "edema"),
    "nodule": ("nodule", "lung nodule"),
    "mass": ("mass", "lung mass"),
    "atelectasis": ("atelectasis", "linear atelectasis"),
    "cardiomegaly": ("cardiomegaly", "enlarged heart"),
}
DEVICE_NAMES = {
    "chest drain": ("chest drain", "chest tube"),
    "pacemaker": ("pacemaker", "cardiac pacemaker"),
    "endotracheal tube": ("endotracheal tube",),
    "central line": ("central line", "central venous catheter"),
    "ECG leads": ("ECG leads",),
}
SIDED_DEVICES = ("chest drain", "pacemaker", "central line")
MENTIONED = 0.8  # how often a device that a film shows is named


def describe(patient: Patient, rng: np.random.Generator) -> str:
    """One sentence for one patient; wording is drawn from `rng`."""
    parts = [finding_phrase(finding, rng) for finding in patient.findings]
    if not parts:
        parts = [str(rng.choice(NORMAL))]
    parts += [device_phrase(d, rng) for d in patient.devices if rng.random() < MENTIONED]
    text = " and ".join(parts)
    return text[0].upper() + text[1:]


def finding_phrase(finding: Finding, rng: np.random.Generator) -> str:
    """Words for one finding: "large left upper lobe mass", parts left out at random."""
    diffuse = finding.side == "both"
    words: list[str] = []
    if rng.random() < 0.4:
        small = next(s for s in _SIZES if finding.extent < s[2])
        words.append(small[1] if diffuse else small[0])
    if not diffuse and rng.random() < 0.85:
        words.append(finding.side)
    if finding.kind in ("mass", "nodule", "consolidation") and rng.random() < 0.75:
        words += _place(finding, rng)
    words.append(str(rng.choice(NAMES[finding.kind])))
    return " ".join(words)


def _place(finding: Finding, rng: np.random.Generator) -> Sequence[str]:
    if finding.kind == "consolidation" or rng.random() < 0.5:
        return finding.zone, "lobe"
    return finding.zone, "zone"


def device_phrase(device: Device, rng: np.random.Generator) -> str:
    """Words for one device: "left chest drain"."""
    name = str(rng.choice(DEVICE_NAMES[device.kind]))
    if device.kind in SIDED_DEVICES and rng.random() < 0.6:
        return f"{device.side} {name}"
    return name


_WORDS = (
    "left right upper mid middle lower lobe zone lung lungs bilateral basal pleural pulmonary",
    "in place and with without small moderate large mild severe airspace linear",
    "mass masses nodule nodules consolidation consolidations effusion effusions pneumothorax",
    "edema oedema atelectasis cardiomegaly enlarged heart",
    "chest drain tube pacemaker cardiac endotracheal central line venous catheter ecg leads",
    "no acute cardiopulmonary process abnormality normal radiograph are clear is the a of new",
    "finding findings , .",
)


def vocabulary() -> list[str]:
    """Every token of the embedded text encoder: special tokens, then whole words, lower case.

    Words outside it are unknown, and a prompt that holds one is refused by name.
    """
    words = {word for line in _WORDS for word in line.split()}
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]
