"""Which edits count, and why the others do not. None is thrown away; all have their reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from radedit.lib.phantom.lessons import OPACITIES
from radedit.lib.pipeline import Edited
from radedit.lib.stress.evidence import OBJECTION
from radedit.lib.stress.judge import Judge
from radedit.lib.stress.subjects import Image
from radedit.lib.stress.suite import Edit, Filter

_DEVICES = ("chest drain", "pacemaker")  # that the judge has labels for


@dataclass(frozen=True)
class Verdict:
    """Whether an edit counts.

    Attributes
    ----------
    reasons : why it does not; empty = it counts
    scores : what was looked at, by name; None = there is none
    """

    reasons: tuple[str, ...]
    scores: Mapping[str, float | None]


def judged(edited: Edited, wanted: Filter, seen: Sequence[str] = ()) -> Verdict:
    """Look at an edit with the suite's filter.

    Parameters
    ----------
    seen : objections to it, such as `NO_CHANGE` and those of an independent reader (`objections`)
    """
    found, scores = edited.directional, dict(edited.scores)
    reasons = list(seen)
    outside = edited.fidelity.changed_outside_support
    if outside > wanted.outside:
        reasons.append(f"{outside} pixels changed outside the support")
    if wanted.directional is not None and found.directional is None:
        reasons.append(found.reason)
    figures = (
        ("directional similarity", found.directional, wanted.directional),
        ("image-image similarity", found.image_image, wanted.image_image),
        ("image-text similarity", found.image_text, wanted.image_text),
    )
    for name, value, least in figures:
        if least is None:
            continue
        if value is None:
            if name != "directional similarity":
                reasons.append(f"{name} not known")
        elif value < least:
            reasons.append(f"{name} {value:.2f} is under {least:g}")
    if found.is_kept_by_lance is not None:
        scores["kept_by_lance"] = float(found.is_kept_by_lance)
    return Verdict(tuple(reasons), scores)


def reader_sees(judge: Judge, display: Image, name: str, side: str = "") -> bool | None:
    """Ask the independent reader for a finding or device; None where it has no label for it.

    Parameters
    ----------
    display : float32 [rows, cols], 0 to 1, the patient's left on the right
    name : such as "pneumothorax"; "opacity" is any kind of it
    side : "left" or "right"; "" = on either
    """
    kinds = OPACITIES if name == "opacity" else (name,)
    labels = [
        label
        for label in judge.labels
        if label.startswith(kinds) and (side in label or " " not in label)
    ]
    if not labels:
        return None
    opinion = judge.opinion(display)
    return any(opinion[label] >= judge.thresholds[label] for label in labels)


def objections(
    judge: Judge, display: Image, edit: Edit, side: str, here: Sequence[str] = ()
) -> list[str] | None:
    """Ask the independent reader whether what should be gone is gone, and the rest is there.

    The embedded judge knows phantoms only; for real films the suite leaves `consistent` out.
    Findings that it has no label for are not asked about.

    Parameters
    ----------
    here : what the film showed before

    Returns
    -------
    None where the reader knows nothing of what the edit removes or adds
    """
    seen = {name: reader_sees(judge, display, name, side) for name in (*edit.removes, *edit.adds)}
    if all(opinion is None for opinion in seen.values()):
        return None
    left = [f"{OBJECTION} still sees {name}" for name in edit.removes if seen[name]]
    absent = [f"{OBJECTION} sees no {name}" for name in edit.adds if seen[name] is False]
    kept = [name for name in here if name in _DEVICES and name not in edit.removes]
    erased = [
        f"{OBJECTION} sees {name} no more"
        for name in kept
        if reader_sees(judge, display, name) is False
    ]
    return left + absent + erased
