"""The embedded victims: small models with known weaknesses, to try a stress test on.

Two read pneumothorax: one was trained where chest drains come with it, one where they do not.
Two read opacity: one was trained where opacities come from one site. Two outline the lungs:
one saw a few normal films, one saw many with findings and devices. All learned on phantoms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from radedit.lib.errors import NotFoundError, ParameterError
from radedit.lib.phantom import networks
from radedit.lib.victims.protocol import Answer, VictimCard
from radedit_dicom.film import Film

VICTIMS = (
    "pneumothorax-biased",
    "pneumothorax-robust",
    "opacity-biased",
    "opacity-robust",
    "lungs-weak",
    "lungs-strong",
)
FOLDER = Path(__file__).parents[2] / "model" / "victims"


PREPROCESSING = "the film's 0.5th to 99.5th percentile stretched, padded to a square, resampled"


@dataclass(frozen=True, kw_only=True)
class EmbeddedCard(VictimCard):
    """What an embedded victim says of itself; its name is one of VICTIMS.

    Attributes
    ----------
    task : "classify" or "segment"
    target : the finding or structure it answers for
    world : what it was trained on, in a sentence
    image_size : pixels a side that it sees
    seeds : first and last phantom that it was trained on
    measured : figures on phantoms that it was not trained on
    """

    task: str
    target: str
    world: str
    image_size: int
    seeds: tuple[int, int]
    measured: Mapping[str, float]


@dataclass(frozen=True)
class EmbeddedVictim:
    """A loaded victim; `card` says which method it has."""

    card: EmbeddedCard
    network: torch.nn.Module

    def answer(
        self,
        display: NDArray[np.float32],
        valid: NDArray[np.bool_] | None = None,
        film: Film | None = None,
    ) -> Answer:
        """Answer for its target, as `protocol.Victim` says; `film` is not needed."""
        if self.card.task == "segment":
            return Answer({}, {self.card.target: self.segment(display, valid)})
        return Answer({self.card.target: self.predict(display, valid)})

    def predict(
        self, display: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> float:
        """Give the probability of the finding on a film.

        Parameters
        ----------
        display : float32 [rows, cols], 0 to 1, 1 = white (dense), the patient's left on the right
        valid : bool [rows, cols], True = a measured pixel (not padding); all unless told

        Returns
        -------
        0 to 1; positive where >= card.threshold

        Raises
        ------
        ParameterError
            This victim segments.
        FilmError
            The film is not one grey picture of finite values.
        """
        self._must("classify")
        image, _ = networks.to_input(display, valid, self.card.image_size)
        return float(torch.sigmoid(self._run(image))[0, 0])

    def positive(
        self, display: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> bool:
        """Say whether the finding is there at the operating point; otherwise as `predict`."""
        return self.predict(display, valid) >= self.card.threshold

    def segment(
        self, display: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> NDArray[np.bool_]:
        """Outline both lung fields; arguments and FilmError as in `predict`.

        Returns
        -------
        bool [rows, cols], True = lung field, as the network gave it, islands and all

        Raises
        ------
        ParameterError
            This victim classifies.
        """
        self._must("segment")
        image, grid = networks.to_input(display, valid, self.card.image_size)
        share = torch.sigmoid(self._run(image))[0, 0].numpy()
        return np.asarray(grid.up(share) > self.card.threshold)

    def _must(self, task: str) -> None:
        if self.card.task != task:
            right = "predict" if self.card.task == "classify" else "segment"
            raise ParameterError(
                f"The model {self.card.name} does not {task}; call {right} for {self.card.target}."
            )

    def _run(self, image: NDArray[np.float32]) -> torch.Tensor:
        scaled = image if self.card.task == "classify" else image * 2 - 1
        with torch.inference_mode():
            return torch.as_tensor(self.network(torch.from_numpy(scaled)[None, None]))


def load_victim(name: str, folder: Path = FOLDER) -> EmbeddedVictim:
    """Load an embedded victim.

    Parameters
    ----------
    name : one of VICTIMS
    folder : where the victims' folders lie

    Raises
    ------
    NotFoundError
        There is no victim of that name.
    CheckpointError
        Its files are missing or damaged.
    """
    if name not in VICTIMS:
        raise NotFoundError(f"no victim of that name; the embedded ones are {', '.join(VICTIMS)}.")
    return read_victim(folder / name)


def read_victim(folder: Path) -> EmbeddedVictim:
    """Load the victim whose weights lie in a folder of their own; CheckpointError if damaged."""
    network, config = networks.load(folder)
    return EmbeddedVictim(_card(config), network)


def _card(config: dict[str, Any]) -> EmbeddedCard:
    first, last = config["seeds"]
    kept = ("name", "task", "target", "world", "threshold", "image_size", "measured", "sha256")
    return EmbeddedCard(
        **{key: config[key] for key in kept},
        seeds=(first, last),
        version=config["sha256"][:12],
        preprocessing=f"{PREPROCESSING} to {config['image_size']} x {config['image_size']} pixels",
    )
