"""The independent judge: what is on a film of the phantom's world, and on which side.

It was trained on other seeds than the editor and the victims, in a world where nothing goes
with anything else, and on films smoothed at random, so that neither a drain nor the smoothness
of an edit says that a finding is there. It is no reader of real films.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from radedit.lib.errors import NotFoundError
from radedit.lib.phantom import networks

FOLDER = Path(__file__).parents[2] / "model" / "judge"


@dataclass(frozen=True)
class Judge:
    """A loaded judge.

    Attributes
    ----------
    labels : "pneumothorax left", ..., "consolidation right middle", ..., "cardiomegaly"
    thresholds : label to operating point, 0 to 1
    measured : label to AUROC, sensitivity, specificity on phantoms it never saw
    image_size : pixels a side that it sees
    sha256 : of its weights
    """

    labels: tuple[str, ...]
    thresholds: Mapping[str, float]
    measured: Mapping[str, Mapping[str, float]]
    image_size: int
    sha256: str
    network: torch.nn.Module

    def opinion(
        self, display: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> dict[str, float]:
        """Give the probability of each label on a film.

        Parameters
        ----------
        display : float32 [rows, cols], 0 to 1, 1 = white (dense), the patient's left on the right
        valid : bool [rows, cols], True = a measured pixel (not padding); all unless told

        Raises
        ------
        FilmError
            The film is not one grey picture of finite values.
        """
        image, _ = networks.to_input(display, valid, self.image_size)
        with torch.inference_mode():
            logits = self.network(torch.from_numpy(image)[None, None])[0]
        return dict(zip(self.labels, torch.sigmoid(logits).tolist(), strict=True))

    def sees(
        self,
        display: NDArray[np.float32],
        what: str,
        valid: NDArray[np.bool_] | None = None,
    ) -> bool:
        """Say whether a finding or device is on a film at the operating points.

        Parameters
        ----------
        display, valid : as in `opinion`
        what : a label, or the first words of some: "pneumothorax" means on either side,
            "consolidation right" in any lobe of that side

        Raises
        ------
        NotFoundError
            No label begins with `what`.
        FilmError
            As in `opinion`.
        """
        meant = self.meant_by(what)
        opinion = self.opinion(display, valid)
        return any(opinion[label] >= self.thresholds[label] for label in meant)

    def meant_by(self, what: str) -> tuple[str, ...]:
        """Labels that are `what` or begin with its words; NotFoundError if there are none."""
        meant = tuple(x for x in self.labels if x == what or x.startswith(what + " "))
        if not meant:
            raise NotFoundError(f"the judge has no such label; it knows {', '.join(self.labels)}.")
        return meant


def load_judge(folder: Path = FOLDER) -> Judge:
    """Load the embedded judge.

    Raises
    ------
    CheckpointError
        Its files are missing or damaged.
    """
    network, config = networks.load(folder)
    return Judge(
        labels=tuple(config["labels"]),
        thresholds=config["thresholds"],
        measured=config["measured"],
        image_size=config["image_size"],
        sha256=config["sha256"],
        network=network,
    )
