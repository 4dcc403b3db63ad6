"""What a film shows, in a radiologist's words; the embedded text encoder learns these."""

from __future__ import annotations

import numpy as np

from radedit.lib.phantom.chest import Patient

NORMAL = (
    "No acute cardiopulmonary process",
    "No acute cardiopulmonary abnormality",
    "Normal chest radiograph",
    "Lungs are clear",
    "No mass",
)
_SIZES = (("Small", 0.34), ("Moderate", 0.67), ("Large", 1.01))
_NAMES = {
    "mass": ("mass", "lung mass", "rounded opacity"),
    "consolidation": ("consolidation", "airspace consolidation"),
    "effusion": ("pleural effusion", "effusion"),
    "pneumothorax": ("pneumothorax",),
}


def describe(patient: Patient, rng: np.random.Generator) -> str:
    """One sentence for one patient; wording is drawn from `rng`."""
    if not patient.findings:
        text = str(rng.choice(NORMAL))
        return f"{text} Chest drain in place" if patient.drain_side and rng.random() < 0.5 else text
    parts = [finding_phrase(f.kind, f.side, f.zone, f.extent, rng) for f in patient.findings]
    if patient.drain_side and rng.random() < 0.5:
        parts.append(f"{patient.drain_side} chest drain")
    return " and ".join(parts).capitalize()


def finding_phrase(kind: str, side: str, zone: str, extent: float, rng: np.random.Generator) -> str:
    """Words for one finding: "large left upper lung mass", with parts left out at random."""
    words: list[str] = []
    if rng.random() < 0.5:
        words.append(next(name for name, limit in _SIZES if extent < limit).lower())
    if rng.random() < 0.8:
        words.append(side)
    if kind in ("mass", "consolidation") and rng.random() < 0.6:
        words.append(zone if rng.random() < 0.5 else f"{zone} lobe")
    words.append(str(rng.choice(_NAMES[kind])))
    return " ".join(words)


_WORDS = (
    "left right upper mid middle lower lobe zone lung lungs bilateral",
    "chest drain in place and with without small moderate large",
    "mass masses rounded opacity nodule consolidation airspace pleural effusion pneumothorax",
    "no acute cardiopulmonary process abnormality normal radiograph are clear is the a of new",
    "findings finding , .",
)


def vocabulary() -> list[str]:
    """Every token of the embedded text encoder: special tokens, then whole words, lower case.

    Words outside it are unknown, and a prompt that holds one is refused by name.
    """
    words = {word for line in _WORDS for word in line.split()}
    return ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]
