"""Edited pairs as training data (RoentMod, arXiv 2509.08640), and a victim mended with them.

A reader learned that a drain is a pneumothorax because it never saw one without the other. The
accepted edits of a suite are just those films, with their labels. They are written as a MONAI
datalist beside the films they came from; whoever trains a model can add them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from radedit.lib.errors import OutputError, ParameterError
from radedit.lib.phantom import networks
from radedit.lib.phantom.augment import expose, pose
from radedit.lib.phantom.measures import logits_of, operating_point
from radedit.lib.stress.findings import Found, expected_after
from radedit.lib.stress.ledger import EDITS
from radedit.lib.stress.runner import Plan
from radedit.lib.stress.subjects import Cohort, Image
from radedit.lib.stress.suite import Edit
from radedit.lib.stress.variants import kept_edit
from radedit.lib.victims.embedded import EmbeddedVictim
from radedit.lib.whole_files import replacing, write_file
from radedit_dicom.pixels import to_display

DATALIST: Final = "datalist.json"
STEPS, BATCH, RATE = 500, 16, 1e-3
_SEED = 31


def export_pairs(plan: Plan, found: Found, out: Path) -> Path:
    """Write real films and accepted edits with their labels as a MONAI datalist.

    Parameters
    ----------
    out : folder; gets `images/` (float16 [rows, cols], 0 to 1) and the datalist, whose entries
        have `image`, `label` (one 0 or 1 for each of `labels`), `patient` and `synthetic`

    Raises
    ------
    ParameterError
        The suite asks for no label.
    OutputError
        The folder cannot be written.
    """
    label = plan.suite.question.label
    if not label:
        raise ParameterError(f"the suite {plan.suite.name} asks for no label; nothing to train on.")
    rows: list[dict[str, Any]] = []
    try:
        (out / "images").mkdir(parents=True, exist_ok=True)
        for key, about in sorted(found.subjects.items()):
            if about["present"].get(label) is None:
                continue
            for name, image, positive in _films(plan, found, key, label):
                with replacing(out / "images" / f"{name}.npy") as stream:
                    np.save(stream, image.astype(np.float16))
                rows.append(
                    {
                        "image": f"images/{name}.npy",
                        "label": [int(positive)],
                        "patient": about["patient"],
                        "synthetic": "-" in name,
                    }
                )
        content = {"description": "SYNTHETIC films beside real ones", "labels": [label]}
        text = json.dumps({**content, "training": rows}, indent=1)
        write_file(out / DATALIST, text + "\n")
    except OSError as error:
        raise OutputError(f"the training data cannot be written ({error.strerror}).") from None
    return out / DATALIST


def _films(plan: Plan, found: Found, key: str, label: str) -> list[tuple[str, Image, bool]]:
    """The real film of a subject and its accepted edits: name, display and label."""
    about = found.subjects[key]
    subject = plan.cohort.subject(int(about["number"]))
    films = [(key, to_display(subject.film), bool(about["present"][label]))]
    for edit in plan.suite.edits:
        for seed in edit.seeds:
            row = found.films.get((key, "edit", edit.name, seed))
            if row is None or not row.get("accepted"):
                continue
            edited = kept_edit(plan.out / EDITS / row["file"], subject.film)
            after = expected_after(edit, label, films[0][2])
            if edited is not None:
                films.append((Path(row["file"]).stem, to_display(edited), after))
    return films


@dataclass(frozen=True)
class Shares:
    """How often a reader calls its finding; None where no such film is there.

    Attributes
    ----------
    ill : on films with the finding: sensitivity
    cured : on true counterfactuals, finding gone and all else as it was: 1 - specificity there
    well : on films of patients without either: 1 - specificity
    """

    ill: float | None
    cured: float | None
    well: float | None


def repair(victim: EmbeddedVictim, datalist: Path, steps: int = STEPS) -> EmbeddedVictim:
    """Train an embedded victim on with exported pairs, and choose its threshold on them again.

    Real and edited films are drawn equally often, so that many edits do not drown what it knew.

    Raises
    ------
    ParameterError
        The datalist has no edits, or no real films.
    """
    from monai.data.decathlon_datalist import load_decathlon_datalist

    rows = load_decathlon_datalist(str(datalist), is_segmentation=False)
    films = [_input(victim, np.load(row["image"])) for row in rows]
    truth = np.array([float(np.asarray(row["label"]).ravel()[0]) for row in rows], np.float32)
    edited = np.array([bool(row["synthetic"]) for row in rows])
    if edited.all() or not edited.any():
        raise ParameterError("the datalist lacks edits or real films; export a finished suite.")
    network = networks.build(_config(victim))
    network.load_state_dict(victim.network.state_dict())
    network.eval()  # statistics of batches this small would unsettle the normalisation
    torch.manual_seed(_SEED)
    rng = np.random.default_rng(_SEED)
    optimizer = torch.optim.Adam(network.parameters(), RATE)
    groups = [np.flatnonzero(edited), np.flatnonzero(~edited)]
    for _ in range(steps):
        pick = np.concatenate([rng.choice(group, BATCH // 2) for group in groups])
        x = torch.from_numpy(np.stack([films[i] for i in pick]))[:, None]
        # Posed and exposed as in its first training: few patients are learned by heart else.
        logits = network(expose(pose(x, rng, 0.6, 1 / 3), rng, 0.5))[:, 0]
        loss = functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(truth[pick]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    logits = logits_of(network, torch.from_numpy(np.stack(films))[:, None])[:, 0]
    at = operating_point(1 / (1 + np.exp(-logits.astype(float))), truth > 0.5)
    return replace(victim, network=network, card=replace(victim.card, threshold=at))


def shares(victim: EmbeddedVictim, cohort: Cohort, edit: Edit) -> Shares:
    """Ask a reader about a cohort's films and their true counterfactuals."""
    called: Mapping[str, list[bool]] = {"ill": [], "cured": [], "well": []}
    for number in range(len(cohort)):
        subject = cohort.subject(number)
        here = victim.positive(to_display(subject.film))
        called["ill" if subject.is_for(edit) else "well"].append(here)
        truth = subject.truth(edit) if subject.is_for(edit) else None
        if truth is not None:
            called["cured"].append(victim.positive(truth))
    return Shares(*(_share(called[name]) for name in ("ill", "cured", "well")))


def _share(flags: Sequence[bool]) -> float | None:
    return float(np.mean(flags)) if flags else None


def _input(victim: EmbeddedVictim, image: NDArray[Any]) -> NDArray[np.float32]:
    return networks.to_input(image.astype(np.float32), None, victim.card.image_size)[0]


def _config(victim: EmbeddedVictim) -> networks.Config:
    """Read the shape of a victim's classifier off its weights."""
    network = victim.network
    if not isinstance(network, networks.Classifier):
        raise ParameterError("only embedded classifiers can be trained on.")
    blocks = [part for part in network.features if isinstance(part, networks.Block)]
    return {
        "network": "classifier",
        "channels": [block.second[0].in_channels for block in blocks],
        "labels": [victim.card.target],
        "detail": network.detail,
    }
